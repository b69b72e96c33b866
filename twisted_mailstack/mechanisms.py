# -*- test-case-name: tests.test_mechanisms -*-
"""
The SASL mechanisms that the configuration wants and what they need.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted_mailstack.auth.certificates import CertificateAccounts
from twisted_mailstack.auth.checkers.registry import ACCOUNTS
from twisted_mailstack.auth.secretsource import DirectorySecrets
from twisted_mailstack.auth.tokens import Fetch, Introspection, SignedTokens
from twisted_mailstack.config import MECHANISMS, Configuration, ConfigurationProblem
from twisted_mailstack.interfaces import (
    ICredentialSurvey,
    IDirectory,
    IServerMechanism,
    ITokenVerifier,
)
from twisted_mailstack.net.http import WebClient
from twisted_mailstack.sasl.gssapi import acceptor, accountNames
from twisted_mailstack.sasl.registry import MechanismServices, makeMechanisms
from twisted_mailstack.sasl.scram import SCHEMES


class Mechanisms:
    """
    Those of one server.

    @ivar services: what they need.
    """

    def __init__(
        self,
        configuration: Configuration,
        reactor: Any,
        directory: IDirectory,
        now: Callable[[], float],
        fetch: Fetch | None = None,
        isLocked: Callable[[str, str], Awaitable[bool]] | None = None,
    ) -> None:
        """
        @param now: seconds since 1970.
        @param isLocked: as of L{DirectorySecrets}.
        @param fetch: asks about tokens; by default a L{WebClient}.
        @raise ConfigurationProblem: if something that was wanted can't be had.
        """
        self._web = WebClient(reactor) if fetch is None else None
        self._directory = directory
        # What the operator asks for is offered, whoever can do it.
        self._chosen = configuration.mechanisms != MECHANISMS
        self._covered: set[str] = set()
        domain = configuration.defaultDomain or None
        realms = configuration.gssapiRealms
        self.services = MechanismServices(
            names=_names(configuration),
            hostname=configuration.name,
            secrets=DirectorySecrets(
                directory, configuration.scramIterations, now, domain, isLocked
            ),
            covers=lambda scheme: self._chosen or scheme in self._covered,
            tokens=_tokens(configuration, reactor, now, fetch or self._web),
            tokenHints=_hints(configuration),
            certificates=CertificateAccounts(
                configuration.certificateAccounts, configuration.certificateAddresses
            ),
            anonymous=bool(configuration.anonymous),
            tickets=_tickets(configuration) if realms else None,
            accountName=accountNames(realms),
        )

    def of(self, protocol: str) -> tuple[IServerMechanism, ...]:
        """
        @param protocol: C{imap}, C{pop3} or C{smtp}.
        @return: the mechanisms that its sessions have.
        """
        # Nobody in particular must neither send nor delete.
        services = self.services._replace(anonymous=self.services.anonymous and protocol == "imap")
        return makeMechanisms(services)

    async def look(self) -> None:
        """
        Find out by which mechanisms everybody can log in. Until then nobody is offered those for
        which something has to be kept of each password, unless the configuration says so.
        """
        survey: Any = self._directory
        if ICredentialSurvey.providedBy(survey) and not self._chosen:
            for scheme in SCHEMES:
                if await survey.isMissing(scheme):
                    self._covered.discard(scheme)
                else:
                    self._covered.add(scheme)

    def close(self) -> Any:
        """
        @return: a Deferred that fires when nobody is asked any more; or C{None}.
        """
        return self._web.close() if self._web is not None else None


def _names(configuration: Configuration) -> tuple[str, ...]:
    # Not those that verify clients by what the store keeps of passwords: who is known elsewhere
    # would be offered them, too, and fail, since clients prefer them.
    names, checkers = configuration.mechanisms, configuration.checkers
    if ACCOUNTS not in checkers or (len(checkers) > 1 and names == MECHANISMS):
        return tuple(name for name in names if not name.startswith(("SCRAM-", "CRAM-")))
    return names


def _hints(configuration: Configuration) -> Mapping[str, str]:
    found = {
        "scope": configuration.oauthScope,
        "openid-configuration": configuration.oauthDiscovery,
    }
    return {name: text for name, text in found.items() if text}


def _tickets(configuration: Configuration) -> Any:
    try:
        return acceptor(configuration.gssapiKeytab)
    except ImportError:
        if "GSSAPI" not in configuration.mechanisms:
            return None
        raise ConfigurationProblem(
            "auth.gssapi-realms needs the library gssapi: install twisted_mailstack[gssapi]"
        ) from None


def _tokens(
    configuration: Configuration, clock: Any, now: Callable[[], float], fetch: Any
) -> ITokenVerifier | None:
    claims = configuration.oauthClaims
    if configuration.oauthIntrospection:
        return Introspection(
            fetch,
            _url("oauth.introspection", configuration.oauthIntrospection),
            clock,
            client=configuration.oauthClient,
            secret=_secret(configuration.oauthSecretFile),
            claims=claims,
            audience=configuration.oauthAudience,
            scope=configuration.oauthScope,
            now=now,
        )
    if not configuration.oauthKeys:
        return None
    if not configuration.oauthIssuer:
        raise ConfigurationProblem("oauth.keys needs oauth.issuer: whose tokens are taken")
    try:
        return SignedTokens(
            fetch,
            _url("oauth.keys", configuration.oauthKeys),
            clock,
            issuer=configuration.oauthIssuer,
            audience=configuration.oauthAudience,
            claims=claims,
            scope=configuration.oauthScope,
        )
    except ImportError:
        raise ConfigurationProblem(
            "oauth.keys needs the library PyJWT: install twisted_mailstack[oauth]"
        ) from None


def _url(key: str, url: str) -> str:
    parts = urlsplit(url)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not url.isascii() or not parts.hostname or parts.scheme not in ("https", "http"):
        raise ConfigurationProblem(f"{key} must be a URL, like https://login.example.org/keys")
    if parts.scheme == "http" and not local:
        raise ConfigurationProblem(f"{key} must be an https URL: tokens are as good as passwords")
    return url


def _secret(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationProblem(f"oauth.secret-file: {error}") from error
