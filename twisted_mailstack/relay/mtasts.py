# -*- test-case-name: tests.relay.test_mtasts -*-
"""
MTA-STS (RFC 8461): a domain says by HTTPS which hosts take its mail, and that they have TLS with a
certificate that can be verified.

A policy holds for as long as it says, whatever becomes of the DNS record and of the web server
meanwhile: that is what keeps out somebody who can forge DNS or interrupt connections. So policies
are kept over restarts, and are fetched again long before they end.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from time import time
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.error import TimeoutError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from twisted_mailstack.errors import DestinationUnavailable, LookupFailed
from twisted_mailstack.interfaces import IDNSLookup
from twisted_mailstack.net.clienttls import ClientTLS, TLSAttempt
from twisted_mailstack.net.shared import SharedWork
from twisted_mailstack.relay.hosts import HostFinder

#: Seconds that fetching a policy may take, and octets that it may have (RFC 8461 §3.3).
FETCH_TIMEOUT = 60.0
MAX_POLICY = 64 * 1024
#: Seconds before a fetch that failed is tried again (RFC 8461 §3.3: five minutes or longer).
FETCH_AGAIN = 300.0
#: Seconds after which a policy that still holds is fetched again (RFC 8461 §10.2: daily).
REFRESH = 86400
#: Seconds: the longest that a policy may be asked to be kept (RFC 8461 §3.2).
MAX_AGE = 31_557_600
#: Failures that are remembered.
MAX_FAILURES = 10_000

#   sts-text-record = sts-version 1*(sts-field-delim sts-field) [sts-field-delim]
#   sts-field-delim = *WSP ";" *WSP   (RFC 8461 §3.1)
_DELIMITER = re.compile(rb"[ \t]*;[ \t]*")
#   sts-ext-name "=" sts-ext-value
_FIELD = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_.\-]{0,31}=[\x21-\x3a\x3c\x3e-\x7e]+\Z")
#   sts-id = %s"id" "=" 1*32(ALPHA / DIGIT)
_ID = re.compile(rb"id=([A-Za-z0-9]{1,32})\Z")
#   sts-policy-term = LF / CRLF   (RFC 8461 §3.2)
_LINE_END = re.compile(r"\r?\n")
_MAX_AGE = re.compile(r"[0-9]{1,10}\Z")
#   sts-policy-mx-value = ["*."] Domain
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?"
_PATTERN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\Z")


class PolicyProblem(Exception):
    """
    There is no policy, though there should be.

    @ivar text: for people.
    @ivar kind: a result type of RFC 8460 §4.3.2.2.
    """

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.text = text
        self.kind = kind


class STSPolicy(NamedTuple):
    """
    A policy (RFC 8461 §3.2).

    @ivar mode: C{enforce}, C{testing} or C{none}.
    @ivar maxAge: seconds that it holds from when it was fetched.
    @ivar patterns: the hosts that may be used, lower case, some with C{*.} in front.
    @ivar lines: its text, for reports.
    """

    mode: str
    maxAge: int
    patterns: tuple[str, ...]
    lines: tuple[str, ...]

    def covers(self, host: str) -> bool:
        """
        @param host: a mail exchanger.
        @return: whether mail may go there (RFC 8461 §4.1): C{*} is exactly one label.
        """
        host = host.lower().rstrip(".")
        parent = "*." + host.partition(".")[2]
        return host in self.patterns or parent in self.patterns


def parseRecord(records: Sequence[bytes]) -> str | None:
    """
    @param records: TXT records of C{_mta-sts.} and the domain.
    @return: the policy's id; C{None}: there is no policy (RFC 8461 §3.1).
    """
    ours = [each for each in records if re.match(rb"v=STSv1[ \t]*;", each)]
    if len(ours) != 1:
        return None
    fields = _DELIMITER.split(ours[0].strip(b" \t"))[1:]
    if fields and not fields[-1]:
        del fields[-1]
    if not all(_FIELD.match(each) for each in fields):
        return None
    found = [match.group(1).decode("ascii") for each in fields if (match := _ID.match(each))]
    return found[0] if len(found) == 1 else None


def parsePolicy(content: bytes) -> STSPolicy:
    """
    @raise PolicyProblem: if it is none.
    """
    try:
        lines = [line.strip(" \t") for line in _LINE_END.split(content.decode("utf-8"))]
    except UnicodeDecodeError:
        raise _invalid("it is not text") from None
    lines = [line for line in lines if line]
    found: dict[str, str] = {}
    patterns: list[str] = []
    for line in lines:
        key, colon, value = line.partition(":")
        value = value.strip(" \t")
        if not colon:
            raise _invalid("a line has no colon")
        if key == "mx":
            if not _PATTERN.match(value):
                raise _invalid("an mx is not the name of a host")
            patterns.append(value.lower())
        else:
            # All but the first of those that may stand once are ignored.
            found.setdefault(key, value)
    if found.get("version") != "STSv1":
        raise _invalid("its version is not STSv1")
    mode = found.get("mode", "")
    if mode not in ("enforce", "testing", "none"):
        raise _invalid("its mode is none of enforce, testing and none")
    maxAge = found.get("max_age", "")
    if not _MAX_AGE.match(maxAge):
        raise _invalid("its max_age is not a number of seconds")
    if mode != "none" and not patterns:
        raise _invalid("it names no mx")
    return STSPolicy(mode, min(int(maxAge), MAX_AGE), tuple(patterns), tuple(lines))


def _invalid(what: str) -> PolicyProblem:
    return PolicyProblem(f"the policy is not valid: {what}", "sts-policy-invalid")


# --- keeping -----------------------------------------------------------------------------------


class CachedPolicy(NamedTuple):
    """
    @ivar policyId: of the DNS record.
    @ivar fetched: when, seconds since 1970.
    @ivar content: the policy as it came.
    """

    domain: str
    policyId: str
    fetched: int
    content: bytes


class IPolicyCache(Protocol):
    """
    Keeps policies: L{twisted_mailstack.relay.records.RelayRecords}.
    """

    def loadPolicy(self, domain: str) -> CachedPolicy | None:
        """The policy that is kept."""

    def savePolicy(self, policy: CachedPolicy) -> None:
        """Keep it instead of the domain's last."""

    def forgetPolicy(self, domain: str) -> None:
        """Keep none."""


#: Fetches the policy of a domain; raises L{PolicyProblem} if that fails.
FetchPolicy = Callable[[str], Awaitable[bytes]]


class STSPolicies:
    """
    Finds the policies of domains.
    """

    log = Logger()

    def __init__(
        self,
        dns: IDNSLookup,
        fetch: FetchPolicy,
        cache: IPolicyCache,
        now: Callable[[], float] = time,
        report: Callable[[str, PolicyProblem], None] = lambda domain, problem: None,
    ) -> None:
        """
        @param fetch: by HTTPS: a L{PolicyFetcher}.
        @param now: seconds since 1970.
        @param report: is told of each fetch that failed (TLS-RPT).
        """
        self._dns = dns
        self._fetch = fetch
        self._cache = cache
        self._now = now
        self._report = report
        self._fetching: dict[str, SharedWork[STSPolicy | None]] = {}
        # By domain: the id whose policy could not be fetched, and when.
        self._failed: dict[str, tuple[str, float]] = {}
        self._refreshing: set[Deferred[Any]] = set()

    async def policyOf(self, domain: str) -> STSPolicy | None:
        """
        @return: the policy that holds for mail to a domain; C{None} if there is none. One whose
            mode is C{none} says that there is none.
        """
        kept = self._kept(domain)
        policyId = await self._idOf(domain)
        if kept is None:
            if policyId is None:
                return None
            return await self._fetched(domain, policyId)
        cached, policy = kept
        if policyId is not None and policyId != cached.policyId:
            # RFC 8461 §5.1: a new policy; until it can be had the old one holds.
            return await self._fetched(domain, policyId) or policy
        if policyId is not None and self._now() - cached.fetched > min(REFRESH, policy.maxAge / 2):
            self._refresh(domain, policyId)
        return policy

    def close(self) -> None:
        """
        Fetch nothing more.
        """
        for each in list(self._refreshing):
            each.cancel()

    def _kept(self, domain: str) -> tuple[CachedPolicy, STSPolicy] | None:
        try:
            cached = self._cache.loadPolicy(domain)
            if cached is None:
                return None
            policy = parsePolicy(cached.content)
            if self._now() - cached.fetched < policy.maxAge:
                return cached, policy
            self._cache.forgetPolicy(domain)
        except Exception:
            self.log.failure("the policy kept for {domain} can't be read", domain=domain)
        return None

    async def _idOf(self, domain: str) -> str | None:
        try:
            answer = await self._dns.lookup("_mta-sts." + domain, "TXT")
        except LookupFailed:
            return None
        return parseRecord(answer.records)

    def _refresh(self, domain: str, policyId: str) -> None:
        # In the background: what is kept holds meanwhile.
        done = Deferred.fromCoroutine(self._fetched(domain, policyId))
        if not done.called:
            self._refreshing.add(done)

        def over(result: object) -> None:
            self._refreshing.discard(done)
            if isinstance(result, Failure) and not result.check(CancelledError):
                self.log.failure("refreshing a policy failed", result)

        done.addBoth(over)

    async def _fetched(self, domain: str, policyId: str) -> STSPolicy | None:
        work = self._fetching.get(domain)
        if work is None:
            failedId, when = self._failed.get(domain, ("", 0.0))
            if failedId == policyId and self._now() - when < FETCH_AGAIN:
                return None

            def over() -> None:
                self._fetching.pop(domain, None)

            work = SharedWork(self._fetchNow(domain, policyId), over)
            if work.running:
                self._fetching[domain] = work
        return await work.join()

    async def _fetchNow(self, domain: str, policyId: str) -> STSPolicy | None:
        try:
            content = await self._fetch(domain)
            policy = parsePolicy(content)
        except PolicyProblem as problem:
            self.log.info(
                "MTA-STS: no policy of {domain}: {problem}", domain=domain, problem=problem.text
            )
            if len(self._failed) >= MAX_FAILURES:
                self._failed.clear()
            self._failed[domain] = policyId, self._now()
            self._report(domain, problem)
            return None
        self._failed.pop(domain, None)
        try:
            self._cache.savePolicy(CachedPolicy(domain, policyId, int(self._now()), content))
        except Exception:
            self.log.failure("the policy of {domain} can't be kept", domain=domain)
        return policy


# --- fetching ----------------------------------------------------------------------------------


class PolicyFetcher:
    """
    Fetches policies by HTTPS (RFC 8461 §3.3): the certificate is verified, redirections aren't
    followed, and the host's addresses come from the DNS that everything else is asked.
    """

    def __init__(
        self,
        reactor: Any,
        finder: HostFinder,
        tls: ClientTLS,
        *,
        port: int = 443,
        timeout: float = FETCH_TIMEOUT,
    ) -> None:
        """
        @param port: another than 443 is for tests.
        """
        self._reactor = reactor
        self._finder = finder
        self._tls = tls
        self._port = port
        self._timeout = timeout

    async def __call__(self, domain: str) -> bytes:
        """
        @raise PolicyProblem: if it can't be had.
        """
        host = f"mta-sts.{domain}"
        tls = self._tls.verified(host)
        work = Deferred.fromCoroutine(self._get(host, tls))
        timedOut = []

        def giveUp() -> None:
            timedOut.append(True)
            work.cancel()

        def cancel(asked: Deferred[bytes]) -> None:
            # Whatever becomes of the work then is no failure of the server.
            asked.errback(CancelledError())
            work.cancel()

        asked: Deferred[bytes] = Deferred(cancel)
        work.addBoth(lambda result: None if asked.called else asked.callback(result))
        timer = self._reactor.callLater(self._timeout, giveUp)
        try:
            return await asked
        except (PolicyProblem, CancelledError) as error:
            if not timedOut:
                raise
            raise _unfetched(f"{host}: timeout") from error
        except Exception as error:
            if timedOut:
                raise _unfetched(f"{host}: timeout") from error
            if tls.problem is not None:
                raise PolicyProblem(f"{host}: {tls.problem.text}", "sts-webpki-invalid") from error
            text = error.text if isinstance(error, DestinationUnavailable) else str(error)
            raise _unfetched(f"{host}: {text or type(error).__name__}") from error
        finally:
            if timer.active():
                timer.cancel()

    async def _get(self, host: str, tls: TLSAttempt) -> bytes:
        found = await self._finder.addresses(host)
        if not found.addresses:
            raise _unfetched(f"{host} has no address")
        endpoint = _Addresses(self._reactor, found.addresses, self._port, tls)
        agent = Agent.usingEndpointFactory(self._reactor, _Always(endpoint))
        authority = host if self._port == 443 else f"{host}:{self._port}"
        url = f"https://{authority}/.well-known/mta-sts.txt"
        headers = Headers({b"User-Agent": [b"twisted_mailstack"]})
        try:
            response = await agent.request(b"GET", url.encode("ascii"), headers)
            if response.code != 200:
                raise _unfetched(f"{host} answered {response.code}")
            kinds = response.headers.getRawHeaders(b"content-type") or [b""]
            if kinds[-1].partition(b";")[0].strip().lower() != b"text/plain":
                # RFC 8461 §3.2: it may be a page that somebody else could put there.
                raise _unfetched(f"{host} sent what isn't text/plain")
            body = _Body()
            response.deliverBody(body)
            return await body.whole
        finally:
            endpoint.abort()


def _unfetched(text: str) -> PolicyProblem:
    return PolicyProblem(text, "sts-policy-fetch-error")


class _Body(TwistedProtocol):
    """
    A response's body, up to L{MAX_POLICY} octets.
    """

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred()
        self._parts: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= MAX_POLICY:
            self._parts.append(data)
        elif not self.whole.called:
            self.whole.errback(_unfetched("the policy is too long"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.whole.called:
            # PotentialDataLoss: the server says the end of the body by closing, as HTTP/1.0 does.
            if reason.check(ResponseDone, PotentialDataLoss):
                self.whole.callback(b"".join(self._parts))
            else:
                self.whole.errback(_unfetched("the connection was closed too early"))


@implementer(IStreamClientEndpoint)
class _Addresses:
    """
    The first of several addresses that answers, under TLS.
    """

    def __init__(self, reactor: Any, addresses: Sequence[str], port: int, tls: TLSAttempt) -> None:
        self._reactor = reactor
        self._addresses = addresses
        self._port = port
        self._tls = tls
        self._protocol: Any = None

    def abort(self) -> None:
        # Nobody waits for the server to close, as the agent would.
        if self._protocol is not None and self._protocol.transport.connected:
            self._protocol.transport.abortConnection()

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, protocolFactory: IProtocolFactory) -> Any:
        problem: Exception = TimeoutError()
        for address in self._addresses:
            maker = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            endpoint = wrapClientTLS(self._tls, maker(self._reactor, address, self._port))
            try:
                self._protocol = await endpoint.connect(protocolFactory)
                return self._protocol
            except CancelledError:
                raise
            except Exception as error:
                problem = error
        raise problem


@implementer(IAgentEndpointFactory)
class _Always:
    """
    An endpoint for whatever the agent asks.
    """

    def __init__(self, endpoint: _Addresses) -> None:
        self._endpoint = endpoint

    def endpointForURI(self, uri: URI) -> _Addresses:
        return self._endpoint
