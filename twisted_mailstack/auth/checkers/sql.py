# -*- test-case-name: tests.auth.checkers.test_sql -*-
"""
A table of users in a database: a query gives the hash of a password, which is verified here.

Any module with Python's DB-API 2.0 (PEP 249) does; SQLite comes with Python. Queries run in
threads, each with a connection of its own, which is made anew if it broke.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.logger import Logger
from zope.interface import implementer

from twisted_mailstack.auth.checkers.bounds import Bounds
from twisted_mailstack.auth.checkers.decoy import decoyOf
from twisted_mailstack.auth.checkers.source import SourceProblem, SourceRecord, SourceServices
from twisted_mailstack.auth.schemes import parseSecret, withName
from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.interfaces import IPasswordSource
from twisted_mailstack.model.address import Address

SQLITE = "sqlite3"
#: The parameters of a query: what each is of an address.
PARAMETERS: dict[str, Callable[[Address], str]] = {
    "address": lambda address: f"{address.localPart}@{address.domain}",
    "name": lambda address: address.localPart,
    "domain": lambda address: address.domain,
}
#: Texts, quoted names, comments and casts, in none of which a parameter is one; then a parameter.
_TOKENS = re.compile(
    r"""('(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|::)|:([A-Za-z_][A-Za-z0-9_]*)""",
    re.DOTALL,
)


@dataclass(frozen=True)
class SQLSettings:
    """
    @ivar module: the driver.
    @ivar arguments: of its C{connect}.
    @ivar passwordFile: a file with the C{password} that is given with them; C{""}: none.
    @ivar query: with C{:address}, C{:name} (its local-part) or C{:domain} in it. The first column
        of its one row is the hash.
    @ivar connections: at a time.
    @ivar timeout: seconds for an answer.
    """

    module: str = SQLITE
    arguments: Mapping[str, str] = field(default_factory=dict)
    passwordFile: str = ""
    query: str = ""
    connections: int = 4
    timeout: int = 10

    def __post_init__(self) -> None:
        if not self.query:
            raise SourceProblem("query must be the SQL that gives the hash of a password")
        names = {match[2] for match in _TOKENS.finditer(self.query) if match[2]}
        for name in names - set(PARAMETERS):
            raise SourceProblem(
                f"query: there is no parameter :{name} (there are"
                f" {', '.join(f':{each}' for each in PARAMETERS)})"
            )
        if not names & {"address", "name"}:
            raise SourceProblem("query must ask for :address, or for :name")
        if self.module == SQLITE and not self.arguments.get("database"):
            raise SourceProblem('arguments must name the file: {database = "/srv/users.db"}')
        for name, value in self.arguments.items():
            if not isinstance(value, str):
                raise SourceProblem(f"arguments: {name} must be a string")


def adapt(query: str, paramstyle: str) -> tuple[str, Callable[[Mapping[str, str]], Any]]:
    """
    @param query: with named parameters, C{:name}.
    @param paramstyle: of a DB-API module.
    @return: it as the module wants it, and what makes what goes with it of values by name.
    @raise SourceProblem: if there is no such style.
    """
    order: list[str] = []
    doubles = paramstyle in ("format", "pyformat")

    def put(match: re.Match[str]) -> str:
        if not match[2]:
            return match[1].replace("%", "%%") if doubles else match[1]
        order.append(match[2])
        return forms[paramstyle].format(name=match[2], number=len(order))

    forms = {
        "named": ":{name}",
        "pyformat": "%({name})s",
        "qmark": "?",
        "format": "%s",
        "numeric": ":{number}",
    }
    if paramstyle not in forms:
        raise SourceProblem(f"module has parameters of no style that is known: {paramstyle}")
    parts, at = [], 0
    for match in _TOKENS.finditer(query):
        between = query[at : match.start()]
        parts += [between.replace("%", "%%") if doubles else between, put(match)]
        at = match.end()
    parts.append(query[at:].replace("%", "%%") if doubles else query[at:])
    if paramstyle in ("named", "pyformat"):
        return "".join(parts), dict
    return "".join(parts), lambda values: tuple(values[name] for name in order)


@implementer(IPasswordSource)
class SQLSource:
    """
    See L{IPasswordSource}.
    """

    log = Logger()

    def __init__(self, settings: SQLSettings, services: SourceServices) -> None:
        """
        @raise SourceProblem: if the driver isn't there, or the password's file.
        """
        try:
            module: Any = import_module(settings.module)
        except ImportError as error:
            raise SourceProblem(f"module: there is no {settings.module}: {error}") from None
        self._query, self._values = adapt(
            settings.query, "named" if settings.module == SQLITE else str(module.paramstyle)
        )
        self._services = services
        self._arguments: dict[str, Any] = dict(settings.arguments)
        if settings.passwordFile:
            try:
                text = Path(settings.passwordFile).read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise SourceProblem(f"password-file: {error}") from None
            self._arguments["password"] = text.removesuffix("\n").removesuffix("\r")
        if settings.module == SQLITE:
            # Only read; a file that isn't there is not made.
            name = quote(self._arguments["database"])
            self._arguments |= {
                "database": f"file:{name}?mode=ro",
                "uri": True,
                "timeout": settings.timeout / 2,
            }
        self._bounds = Bounds(
            services.reactor, "sql", settings.connections, settings.timeout, cancels=False
        )
        self._threads = services.makeThreads("sql", settings.connections)
        # Like the last one that was there.
        self._decoy: str | None = None
        self._connections = _Connections(
            lambda: module.connect(**self._arguments), settings.module != SQLITE
        )

    async def start(self) -> None:
        """See L{IPasswordSource}."""
        self._threads.start()

    async def stop(self) -> None:
        """See L{IPasswordSource}."""
        await self._threads.stop()
        self._connections.close()

    async def verify(self, address: Address, password: bytes, origin: str = "") -> bool:
        """See L{IPasswordSource}."""
        values = self._values({name: of(address) for name, of in PARAMETERS.items()})
        rows: list[Any] = await self._bounds.ask(
            lambda: self._threads.run(self._connections.ask, self._query, values),
            origin,
        )
        hashed = self._hashOf(rows, address)
        hasher = self._services.hasher
        if hashed is None:
            await hasher.verify(self._decoy, password, origin)
            return False
        self._decoy = decoyOf(hashed)
        return await hasher.verify(hashed, password, origin)

    def _hashOf(self, rows: list[Any], address: Address) -> str | None:
        if len(rows) > 1:
            # Which of them holds would be a matter of luck.
            self.log.error("checker sql: there is more than one row for {name}", name=str(address))
            return None
        found = rows[0][0] if rows else None
        if isinstance(found, (bytes, memoryview)):
            found = bytes(found).decode("utf-8", "replace")
        if not isinstance(found, str):
            return None
        found = withName(found, PARAMETERS["address"](address))
        try:
            parseSecret(found)
        except SyntaxProblem as problem:
            self.log.error("checker sql: {name}: {text}", name=str(address), text=problem.text)
            return None
        return found


class _Connections:
    """
    Connections, one a thread.
    """

    def __init__(self, connect: Callable[[], Any], keep: bool) -> None:
        """
        @param keep: use them again. Not those of SQLite: it costs nothing to open the file, and a
            file that was put in its place is another one.
        """
        self._connect = connect
        self._keep = keep
        self._open: dict[int, Any] = {}

    def ask(self, query: str, values: Any) -> list[Any]:
        """
        @return: the first two rows. In a thread.
        """
        mine = threading.get_ident()
        kept = self._open.pop(mine, None)
        if kept is not None:
            try:
                return self._use(mine, kept, query, values)
            except Exception:
                # It was idle for too long, or the server started anew: once more.
                pass
        return self._use(mine, self._connect(), query, values)

    def _use(self, mine: int, connection: Any, query: str, values: Any) -> list[Any]:
        kept = False
        try:
            cursor = connection.cursor()
            cursor.execute(query, values)
            rows = list(cursor.fetchmany(2))
            cursor.close()
            if self._keep:
                # No transaction stays open, or the next question would see what was then.
                connection.rollback()
                self._open[mine] = connection
                kept = True
            return rows
        finally:
            if not kept:
                connection.close()

    def close(self) -> None:
        """
        Close what is open. No thread may ask any more.
        """
        for connection in self._open.values():
            try:
                connection.close()
            except Exception:
                # A driver may want it closed by the thread that opened it. That is gone.
                pass
        self._open.clear()


SOURCE = SourceRecord("sql", SQLSettings, SQLSource)
