"""
The import rule (docs/architecture.rst): a module imports from lower layers and lower modules of its
own package, never upward and never sideways.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import twisted_mailstack

PACKAGE = Path(twisted_mailstack.__file__).parent
NAME = "twisted_mailstack"

#: By the beginning of a module's name: its layer and its room. Rooms of one layer
#: don't know one another.
LAYERS: tuple[tuple[str, float, str], ...] = (
    ("errors", 0, "model"),
    ("model", 0, "model"),
    ("interfaces", 1, "interfaces"),
    ("wire", 2, "wire"),
    ("sasl", 2, "sasl"),
    ("sharing", 2.4, "sharing"),
    ("storage", 2.5, "storage"),
    ("delivery", 2.5, "delivery"),
    ("auth", 2.5, "auth"),
    *(
        (f"{protocol}.{module}", layer, protocol)
        for protocol in ("smtp", "pop3", "imap")
        for module, layer in (
            *(("grammar", 3), ("framing", 3), ("encode", 3), ("reply", 3), ("extension", 3)),
            ("responses", 3),
            ("submission", 3),
            *(
                ("session", 4),
                ("clientsession", 4),
                ("clientauth", 4),
                ("downgrade", 4),
                ("view", 4),
                ("views", 4),
                ("selected", 4),
                ("fetch", 4),
                ("search", 4),
                ("sort", 4),
                ("thread", 4),
                ("results", 4),
                ("sources", 4),
            ),
            *(
                ("maildrop", 4),
                ("surrogate", 4),
                ("commands", 5),
                ("extensions", 5),
                ("registry", 5.5),
            ),
            *(("client", 6), ("server", 6), ("lmtp", 6)),
        )
    ),
    ("net", 5.9, "net"),
    ("relay", 6.5, "relay"),
    ("checkers", 7, "top"),
    ("config", 7, "top"),
    ("mechanisms", 7, "top"),
    ("outbound", 7, "top"),
    ("policies", 7, "top"),
    ("service", 7, "top"),
    ("tap", 7, "top"),
    ("workers", 7, "top"),
    ("cli", 7, "top"),
    ("testing", 7, "top"),
)
#: Top-level packages that layer 0 may import: the standard library, and idna for its tables of
#: Unicode: what the standard library has of IDNA is that of 2003, which finds the wrong domains.
STANDARD = sys.stdlib_module_names | {"idna"}


def layer(module: str) -> tuple[float, str] | None:
    """
    @param module: without the package's name.
    @return: its layer and room; C{None} for a package's empty C{__init__}.
    """
    for prefix, number, room in LAYERS:
        if module == prefix or module.startswith(prefix + "."):
            return number, room
    return None


def imports(source: str) -> Iterator[str]:
    """
    @return: the full names of the modules that are imported when it runs; not for types only.
    """
    tree = ast.parse(source)
    onlyTypes = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in onlyTypes:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == NAME or layer(node.module.removeprefix(NAME + ".")) is None:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif node.module.endswith((".commands", ".extensions")):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def violations(module: str, source: str) -> list[str]:
    """
    @return: what a module imports and must not.
    """
    found = layer(module)
    if found is None:
        return [] if not source.count("import") else [f"{module} has no layer"]
    number, room = found
    wrong = []
    for name in imports(source):
        top = name.partition(".")[0]
        if top != NAME:
            if number == 0 and top not in STANDARD and top != "__future__":
                wrong.append(f"{module} imports {name}: layer 0 is the standard library only")
            if number < 7 and name in ("twisted.internet.reactor", "twisted.internet.reactor.*"):
                wrong.append(f"{module} imports the reactor: it is a parameter")
            continue
        other = layer(name.removeprefix(NAME + "."))
        if other is None:
            continue
        otherNumber, otherRoom = other
        if otherNumber > number:
            wrong.append(f"{module} imports {name}, upward")
        elif otherNumber == number and otherRoom != room:
            wrong.append(f"{module} imports {name}, sideways")
        elif {room, otherRoom} <= {"smtp", "pop3", "imap"} and room != otherRoom:
            wrong.append(f"{module} imports {name}: another protocol")
        elif {room, otherRoom} <= {"storage", "delivery", "auth"} and room != otherRoom:
            wrong.append(f"{module} imports {name}: a neighbour")
    return wrong


class LayerTests(SynchronousTestCase):
    """
    The rule, and that the test can see it broken.
    """

    def test_everyModule(self) -> None:
        """No module of the package breaks the rule, and each has a layer."""
        wrong = []
        for path in sorted(PACKAGE.rglob("*.py")):
            module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
            wrong += violations(module.removesuffix(".__init__"), path.read_text("utf-8"))
        self.assertEqual(wrong, [])

    def test_violations(self) -> None:
        """Upward, sideways, other protocols, third parties in layer 0 and the reactor are seen."""
        for module, line in (
            ("model.flags", "from twisted_mailstack.interfaces import IMailbox"),
            ("model.flags", "import zope.interface"),
            ("storage.memory", "from twisted_mailstack.delivery.target import MailTarget"),
            ("imap.grammar", "from twisted_mailstack.imap.session import IMAPSession"),
            ("imap.session", "from twisted_mailstack.imap.commands import append"),
            ("imap.fetch", "from twisted_mailstack.smtp.reply import reply"),
            ("sasl.plain", "from twisted_mailstack.wire.stream import Stream"),
            ("smtp.session", "def f():\n    from twisted_mailstack.service import MailService"),
            ("net.protocol", "import twisted.internet.reactor"),
        ):
            self.assertEqual(len(violations(module, line)), 1, (module, line))

    def test_typesOnly(self) -> None:
        """What is imported for annotations only doesn't count."""
        source = (
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    from twisted_mailstack.imap.session import IMAPSession\n"
        )
        self.assertEqual(violations("imap.extension", source), [])
