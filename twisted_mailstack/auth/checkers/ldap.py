# -*- test-case-name: tests.auth.checkers.test_ldap -*-
"""
A directory service: a password is right if one can bind with it (RFC 4513 §5.1.3).

The DN to bind as is made of a template, or searched for. Each question has connections of its own,
in a thread. Needs the library C{bonsai}.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted.logger import Logger
from zope.interface import implementer

from twisted_mailstack.auth.checkers.bounds import Bounds
from twisted_mailstack.auth.checkers.source import SourceProblem, SourceRecord, SourceServices
from twisted_mailstack.auth.schemes import prepare
from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.interfaces import IPasswordSource
from twisted_mailstack.model.address import Address

_LOCAL = ("localhost", "127.0.0.1", "::1")
_PLACES = re.compile(r"\{([^{}]*)\}")
_KNOWN = ("address", "name", "domain")
#: What a server says to a bind that is about this DN and this password (RFC 4511 §4.1.9, A.1):
#: noSuchObject, invalidDNSyntax, inappropriateAuthentication, invalidCredentials,
#: insufficientAccessRights, unwillingToPerform.
REFUSALS = frozenset((32, 34, 48, 49, 50, 53))


@dataclass(frozen=True)
class LDAPSettings:
    """
    @ivar url: ldaps, ldap or ldapi.
    @ivar startTLS: begin TLS on an ldap connection.
    @ivar caFile: certificates of those whose certificates are believed; C{""}: the platform's.
    @ivar dn: the template of the DN, C{uid={name},ou=people,dc=example,dc=org}; C{""}: it is
        searched for.
    @ivar base: below which it is searched.
    @ivar filter: by which, C{(mail={address})}; exactly one entry has to match.
    @ivar bindDN: as which it is searched, C{""} for anybody; C{bindPasswordFile}: the file with the
        password of that.
    @ivar connections: questions at a time.
    @ivar timeout: seconds for an answer.
    """

    url: str = ""
    startTLS: bool = False
    caFile: str = ""
    dn: str = ""
    base: str = ""
    filter: str = "(mail={address})"
    bindDN: str = ""
    bindPasswordFile: str = ""
    connections: int = 4
    timeout: int = 10

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            host = parts.hostname
            _ = parts.port
        except ValueError:
            host = None
        scheme = self.url.partition(":")[0]
        if scheme not in ("ldap", "ldaps", "ldapi") or (scheme != "ldapi" and not host):
            raise SourceProblem("url must be one, like ldaps://ldap.example.org")
        if self.startTLS and scheme != "ldap":
            raise SourceProblem("starttls is for ldap URLs; ldaps has TLS from its beginning")
        if scheme == "ldap" and not self.startTLS and host not in _LOCAL:
            raise SourceProblem("url must be an ldaps URL, or starttls true: passwords are sent")
        if bool(self.dn) == bool(self.base):
            raise SourceProblem("dn must be a template, or base where to search; one of them")
        for key, text in (("dn", self.dn), ("filter", "" if self.dn else self.filter)):
            names = _PLACES.findall(text)
            for name in names:
                if name not in _KNOWN:
                    raise SourceProblem(
                        f"{key}: there is no {{{name}}} (there are {{address}}, {{name}},"
                        " {domain})"
                    )
            if text and not {"address", "name"} & set(names):
                raise SourceProblem(f"{key} must have {{address}} or {{name}} in it")
        if not self.dn and not self.filter:
            raise SourceProblem("filter must say which entry is an address's")
        if bool(self.bindDN) != bool(self.bindPasswordFile):
            raise SourceProblem("bind-dn and bind-password-file go together")


def escapeFilter(value: str) -> str:
    """
    @return: it as an assertion value (RFC 4515 §3).
    """
    # normal = UTF1SUBSET / UTFMB ; UTF1SUBSET excludes 0x00 (NUL), LPAREN, RPAREN, ASTERISK, ESC.
    return re.sub(r"[\0()*\\]", lambda match: f"\\{ord(match[0]):02x}", value)


def escapeDN(value: str) -> str:
    """
    @return: it as an attribute value of a DN (RFC 4514 §2.4).
    """
    escaped = re.sub(r'["+,;<>=\\]', r"\\\g<0>", value).replace("\0", "\\00")
    if escaped[:1] in ("#", " "):
        escaped = "\\" + escaped
    if escaped[-1:] == " " and len(value) > 1:
        escaped = escaped[:-1] + "\\ "
    return escaped


def fill(template: str, address: Address, escape: Any) -> str:
    """
    @return: a template with what it has braces for.
    """
    values = {
        "address": f"{address.localPart}@{address.domain}",
        "name": address.localPart,
        "domain": address.domain,
    }
    return _PLACES.sub(lambda match: escape(values[match[1]]), template)


@implementer(IPasswordSource)
class LDAPSource:
    """
    See L{IPasswordSource}.
    """

    log = Logger()

    def __init__(self, settings: LDAPSettings, services: SourceServices) -> None:
        """
        @raise SourceProblem: if the library isn't there, or a file.
        """
        try:
            self._ldap: Any = import_module("bonsai")
        except ImportError:
            raise SourceProblem(
                "it needs the library bonsai: install twisted_mailstack[ldap]"
            ) from None
        self._settings = settings
        self._secret = ""
        for key, path in (
            ("bind-password-file", settings.bindPasswordFile),
            ("ca-file", settings.caFile),
        ):
            try:
                text = Path(path).read_text("utf-8") if path else ""
            except (OSError, UnicodeDecodeError) as error:
                raise SourceProblem(f"{key}: {error}") from None
            if key == "bind-password-file":
                self._secret = text.removesuffix("\n").removesuffix("\r")
        if settings.bindDN and not self._secret:
            # It would bind as nobody.
            raise SourceProblem("bind-password-file has no password")
        self._threads = services.makeThreads("ldap", settings.connections)
        self._bounds = Bounds(
            services.reactor, "ldap", settings.connections, settings.timeout, cancels=False
        )

    async def start(self) -> None:
        """See L{IPasswordSource}."""
        self._threads.start()

    async def stop(self) -> None:
        """See L{IPasswordSource}."""
        await self._threads.stop()

    async def verify(self, address: Address, password: bytes, origin: str = "") -> bool:
        """See L{IPasswordSource}."""
        try:
            # RFC 4511 §4.2: "clients SHOULD prepare text passwords as "query" strings by applying
            # the SASLprep".
            text = prepare(password)
        except SyntaxProblem:
            return False
        answer: bool = await self._bounds.ask(
            lambda: self._threads.run(self._verify, address, text), origin
        )
        return answer

    def _verify(self, address: Address, password: str) -> bool:
        # In a thread.
        settings = self._settings
        if settings.dn:
            return self._binds(fill(settings.dn, address, escapeDN), password)
        dn = self._search(fill(settings.filter, address, escapeFilter), address)
        if dn is None:
            # As long as for one that is there.
            self._binds(f"cn=nobody,{settings.base}", password)
            return False
        return self._binds(dn, password)

    def _search(self, filter_: str, address: Address) -> str | None:
        settings = self._settings
        client = self._client(settings.bindDN, self._secret)
        with client.connect(timeout=settings.timeout) as connection:
            found = connection.search(
                settings.base,
                self._ldap.LDAPSearchScope.SUBTREE,
                filter_,
                # RFC 4511 §4.5.1.8: no attributes.
                ["1.1"],
                timeout=settings.timeout,
            )
            names = [str(each.dn) for each in found if str(each.dn)]
        if len(names) > 1:
            # Which of them it is would be a matter of luck.
            self.log.error("checker ldap: more than one entry for {name}", name=str(address))
            return None
        return names[0] if names else None

    def _binds(self, dn: str, password: str) -> bool:
        try:
            self._client(dn, password).connect(timeout=self._settings.timeout).close()
        except self._ldap.LDAPError as error:
            if getattr(error, "code", None) in REFUSALS:
                return False
            raise
        return True

    def _client(self, dn: str, password: str) -> Any:
        settings = self._settings
        client = self._ldap.LDAPClient(settings.url, settings.startTLS)
        client.set_cert_policy("demand")
        if settings.caFile:
            client.set_ca_cert(settings.caFile)
        client.set_ignore_referrals(True)
        if dn:
            client.set_credentials("SIMPLE", user=dn, password=password)
        return client


SOURCE = SourceRecord("ldap", LDAPSettings, LDAPSource)
