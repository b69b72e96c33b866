# -*- test-case-name: tests.net.test_dns -*-
"""
DNS lookups: a stub resolver on twisted.names' messages, and a cache that heeds TTLs.

L{resolverQuery} asks recursive resolvers, by UDP and, where the reply doesn't fit, by TCP. It asks
whether they validated the answer (the AD bit, RFC 6840 §5.7), and believes it of those that it has
reason to believe.

L{CachedLookup} is what the rest of the package asks. It takes the C{query} of any resolver of
twisted.names as well, which then validates nothing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import DatagramProtocol, Factory, connectionDone
from twisted.logger import Logger
from twisted.names import dns
from twisted.names.error import DNSNameError, DNSServerError
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_mailstack.errors import LookupFailed
from twisted_mailstack.interfaces import IDNSLookup
from twisted_mailstack.model.dns import MX, TLSA, DNSAnswer
from twisted_mailstack.net.shared import SharedWork

#: RFC 6698 §7.1; twisted.names has no class for it.
TLSA_TYPE = 52
_TYPES = {
    "A": dns.A,
    "AAAA": dns.AAAA,
    "CNAME": dns.CNAME,
    "MX": dns.MX,
    "TXT": dns.TXT,
    "PTR": dns.PTR,
    "TLSA": TLSA_TYPE,
}
#: Aliases that are followed.
MAX_ALIASES = 8
#: Answers that are kept, and seconds: at most, and for a "no" that doesn't say.
MAX_ENTRIES = 20_000
MAX_TTL = 86400
NEGATIVE_TTL = 60
#: Seconds to wait for each server, round by round.
TIMEOUTS = (2.0, 5.0, 10.0)
PORT = 53

#: What answers a question: C{(answers, authority, additional)}, or a failure, C{DNSNameError} if
#: the name doesn't exist. Where C{answers} has an attribute C{authenticated}, that tells whether
#: the resolver validated them.
DNSQuery = Callable[[dns.Query], Deferred[Any]]


# --- asking ------------------------------------------------------------------------------------


class Answers(list[Any]):
    """
    Resource records of an answer.

    @ivar authenticated: whether DNSSEC vouches for them.
    """

    authenticated = False


class _Server(NamedTuple):
    host: str
    port: int
    trusted: bool


def parseServer(text: str) -> tuple[str, int]:
    """
    Read the address of a resolver: C{192.0.2.1}, C{192.0.2.1:53}, C{2001:db8::1} or
    C{[2001:db8::1]:53}.

    @raise ValueError: if it is none; the text says so.
    """
    host, port = text, str(PORT)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if bracket and rest.startswith(":"):
            port = rest[1:]
        elif not bracket or rest:
            host = ""
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        ip_address(host)
        if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{text!r} is no DNS server: an IP address is expected, with :port behind it where that"
            " isn't 53, as in 127.0.0.1 or [::1]:5353"
        ) from None
    return host, int(port)


class _ResolvConf:
    """
    The file C{resolv.conf}, read again when it changes.
    """

    def __init__(self, path: str, trusted: bool) -> None:
        self._path = path
        self._trusted = trusted
        self._stamp: object = ()
        self._servers: tuple[_Server, ...] = ()

    def servers(self) -> tuple[_Server, ...]:
        try:
            found = os.stat(self._path)
            stamp: object = (found.st_mtime_ns, found.st_ino, found.st_size)
        except OSError:
            stamp = None
        if stamp != self._stamp:
            self._stamp = stamp
            self._servers = tuple(self._read())
        return self._servers

    def _read(self) -> Iterator[_Server]:
        hosts: list[str] = []
        trusted = self._trusted
        try:
            with open(self._path, encoding="utf-8", errors="replace") as file:
                for line in file:
                    words = line.split()
                    if words[:1] == ["nameserver"] and len(words) > 1:
                        try:
                            ip_address(words[1])
                        except ValueError:
                            continue
                        hosts.append(words[1])
                    elif words[:1] == ["options"] and "trust-ad" in words:
                        trusted = True
        except OSError:
            pass
        # resolv.conf(5): without a nameserver line the one of this machine is asked.
        for host in hosts or ["127.0.0.1"]:
            yield _Server(host, PORT, trusted or _isLoopback(host))


def _isLoopback(host: str) -> bool:
    return ip_address(host.partition("%")[0]).is_loopback


def resolverQuery(
    reactor: Any,
    servers: Sequence[str] = (),
    *,
    resolvConf: str = "/etc/resolv.conf",
    trusted: bool = False,
    timeouts: Sequence[float] = TIMEOUTS,
) -> DNSQuery:
    """
    What asks recursive resolvers.

    @param servers: as L{parseServer} reads them, the preferred ones first; without any, those of
        C{resolvConf}, as it is at each time.
    @param trusted: believe these resolvers that they validated an answer, wherever they are. It is
        always believed of those on this machine, since on the way from others anybody could have
        said so (RFC 7672 §2.2, RFC 4035 §4.9.3), and where C{resolvConf} says so (C{trust-ad}).
    @param timeouts: seconds to wait for each server; all are asked once for each number, as long as
        one of them is silent.
    @return: as L{CachedLookup} wants it. It fails with C{DNSNameError} if the name doesn't exist,
        and otherwise with what was wrong with the last server.
    @raise ValueError: if one of the servers is none.
    """
    if servers:
        fixed = tuple(
            _Server(host, port, trusted or _isLoopback(host))
            for host, port in map(parseServer, servers)
        )

        def current() -> Sequence[_Server]:
            return fixed

    else:
        current = _ResolvConf(resolvConf, trusted).servers

    async def ask(query: dns.Query) -> tuple[Answers, list[Any], list[Any]]:
        problem: Exception = DNSServerError()
        for timeout in timeouts:
            silent = False
            for server in current():
                try:
                    message = await _askServer(reactor, server, query, timeout)
                except CancelledError:
                    raise
                except Exception as error:
                    silent = silent or isinstance(error, TimeoutError)
                    problem = error
                    continue
                if message.rCode == dns.ENAME:
                    raise DNSNameError(message)
                if message.rCode == dns.OK and _isAnswer(message):
                    answers = Answers(message.answers)
                    answers.authenticated = bool(message.authenticData and server.trusted)
                    return answers, message.authority, message.additional
                # SERVFAIL, REFUSED and their like: another may know.
                problem = DNSServerError(message)
            if not silent:
                # They would say the same again.
                break
        raise problem

    return lambda query: Deferred.fromCoroutine(ask(query))


def _isAnswer(message: dns.Message) -> bool:
    # A referral is none (RFC 2308 §2.2): what gives it doesn't recurse, and knows nothing of the
    # name.
    return bool(
        message.answers
        or message.auth
        or message.recAv
        or any(each.type == dns.SOA for each in message.authority)
    )


async def _askServer(
    reactor: Any, server: _Server, query: dns.Query, timeout: float
) -> dns.Message:
    request = dns.Message(dns.randomSource(), recDes=1, authenticData=1)
    request.queries = [query]
    octets = request.toStr()
    reply = await _byUDP(reactor, server, request, octets, timeout)
    if reply.trunc:
        reply = await _byTCP(reactor, server, request, octets, timeout)
    return reply


def _readReply(data: bytes, request: dns.Message) -> dns.Message | None:
    """
    @return: the message, if it is the reply to this request, and whole.
    """
    message = dns.Message()
    try:
        _, _, *counts = struct.unpack("!6H", data[:12])
        message.fromStr(data)
    except Exception:
        # twisted.names raises this and that for what isn't DNS.
        return None
    if not message.answer or message.id != request.id:
        return None
    if message.queries != request.queries and (message.queries or message.rCode == dns.OK):
        return None
    found: list[list[Any]] = [
        message.queries,
        message.answers,
        message.authority,
        message.additional,
    ]
    if not message.trunc and [len(each) for each in found] != counts:
        return None
    return message


class _Datagrams(DatagramProtocol):
    """
    One question by UDP, from a port of its own (RFC 5452 §9.2).
    """

    noisy = False

    def __init__(self, request: dns.Message) -> None:
        self._request = request
        self.reply: Deferred[dns.Message] = Deferred()

    def datagramReceived(self, data: bytes, address: Any) -> None:
        message = _readReply(data, self._request)
        if message is not None and not self.reply.called:
            self.reply.callback(message)

    def connectionRefused(self) -> None:
        if not self.reply.called:
            self.reply.errback(ConnectionRefusedError())


async def _byUDP(
    reactor: Any, server: _Server, request: dns.Message, octets: bytes, timeout: float
) -> dns.Message:
    protocol = _Datagrams(request)
    # The system chooses the port, at random.
    port = reactor.listenUDP(0, protocol, interface="::" if ":" in server.host else "")
    timer = reactor.callLater(timeout, protocol.reply.errback, TimeoutError())
    try:
        # Connected, so that nobody else's datagrams come in, and a closed port is told.
        port.connect(server.host, server.port)
        port.write(octets)
        return await protocol.reply
    finally:
        if timer.active():
            timer.cancel()
        port.stopListening()


class _Strings(Int16StringReceiver):
    """
    One question by TCP (RFC 7766).
    """

    def __init__(self, request: dns.Message, octets: bytes) -> None:
        self._request = request
        self._octets = octets
        self.reply: Deferred[dns.Message] = Deferred()

    # Twisted's annotation says only ITransport | None.
    transport: Any

    def connectionMade(self) -> None:
        self.sendString(self._octets)

    def stringReceived(self, string: bytes) -> None:
        message = _readReply(string, self._request)
        if self.reply.called:
            return
        if message is None or message.trunc:
            self.reply.errback(DNSServerError("not a reply"))
        else:
            self.reply.callback(message)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.reply.called:
            self.reply.errback(reason)


async def _byTCP(
    reactor: Any, server: _Server, request: dns.Message, octets: bytes, timeout: float
) -> dns.Message:
    endpoint = TCP6ClientEndpoint if ":" in server.host else TCP4ClientEndpoint
    protocol = _Strings(request, octets)
    factory = Factory.forProtocol(lambda: protocol)
    factory.noisy = False

    async def exchange() -> dns.Message:
        await endpoint(reactor, server.host, server.port).connect(factory)
        return await protocol.reply

    work = Deferred.fromCoroutine(exchange())
    timer = reactor.callLater(timeout, work.cancel)
    try:
        return await work
    except CancelledError:
        if timer.active():
            raise
        raise TimeoutError() from None
    finally:
        if timer.active():
            timer.cancel()
        if protocol.transport is not None:
            protocol.transport.abortConnection()


# --- remembering -------------------------------------------------------------------------------


def _host(name: Any) -> str:
    return str(name.name.decode("ascii", "backslashreplace")).rstrip(".").lower()


def _value(kind: int, payload: Any) -> Any:
    if kind in (dns.A, dns.AAAA):
        return str(ip_address(payload.address))
    if kind == dns.MX:
        return MX(payload.preference, _host(payload.name))
    if kind in (dns.PTR, dns.CNAME):
        return _host(payload.name)
    if kind == dns.TXT:
        return b"".join(payload.data)
    # What is too short to be one still says that there is one, which nothing can match.
    octets = payload.data.ljust(3, b"\xff")
    return TLSA(octets[0], octets[1], octets[2], octets[3:])


def _isPossible(name: str) -> bool:
    # RFC 1035 §2.3.4. What can't be asked can't exist.
    labels = name.split(".")
    return name.isascii() and len(name) <= 253 and all(0 < len(label) <= 63 for label in labels)


@implementer(IDNSLookup)
class CachedLookup:
    """
    See L{IDNSLookup}. Questions that are asked while the same one waits share its answer.
    """

    log = Logger()

    def __init__(self, query: DNSQuery, clock: IReactorTime) -> None:
        """
        @param query: as L{resolverQuery} makes it; that of any resolver of twisted.names.
        @param clock: for TTLs.
        """
        self._query = query
        self._clock = clock
        self._known: dict[tuple[str, int], tuple[float, DNSAnswer]] = {}
        self._asked: dict[tuple[str, int], SharedWork[DNSAnswer]] = {}

    async def lookup(self, name: str, kind: str) -> DNSAnswer:
        """See L{IDNSLookup}."""
        name = name.lower().rstrip(".")
        if not _isPossible(name):
            return DNSAnswer((), exists=False, name=name)
        key = name, _TYPES[kind]
        known = self._known.get(key)
        if known is not None and self._clock.seconds() < known[0]:
            return known[1]
        asked = self._asked.get(key)
        if asked is None:

            def over() -> None:
                self._asked.pop(key, None)

            asked = SharedWork(self._find(*key), over)
            if asked.running:
                self._asked[key] = asked
        return await asked.join()

    async def _find(self, name: str, kind: int) -> DNSAnswer:
        try:
            answer, ttl = await self._ask(name, kind)
        except (LookupFailed, CancelledError):
            raise
        except Exception:
            self.log.failure("DNS: what was said of {name} can't be read", name=name)
            raise LookupFailed(f"DNS lookup of {name} failed") from None
        if ttl > 0:
            self._known.pop((name, kind), None)
            if len(self._known) >= MAX_ENTRIES:
                # The oldest.
                del self._known[next(iter(self._known))]
            self._known[name, kind] = self._clock.seconds() + ttl, answer
        return answer

    async def _ask(self, name: str, kind: int) -> tuple[DNSAnswer, float]:
        ttl = float(MAX_TTL)
        authenticated = True
        followed = 0
        asked = name
        while True:
            try:
                answers, authority, _ = await self._query(dns.Query(name, kind, dns.IN))
            except CancelledError:
                raise
            except DNSNameError as error:
                authority = getattr(error.args[0], "authority", ()) if error.args else ()
                return (
                    DNSAnswer((), exists=False, name=name),
                    min(ttl, _negativeTTL(authority)),
                )
            except Exception as error:
                raise LookupFailed(f"DNS lookup of {name} failed") from error
            authenticated = authenticated and getattr(answers, "authenticated", False)
            ttl = min(ttl, *(_ttl(each) for each in answers), MAX_TTL)
            start = name
            if kind != dns.CNAME:
                aliases = {
                    _host(each.name): _host(each.payload.name)
                    for each in answers
                    if each.type == dns.CNAME
                }
                while name in aliases and followed <= MAX_ALIASES:
                    name = aliases[name]
                    followed += 1
            if followed > MAX_ALIASES:
                raise LookupFailed(f"{asked} is an alias of too many others")
            records = tuple(
                _value(kind, each.payload)
                for each in answers
                if each.type == kind and each.cls == dns.IN and _host(each.name) == name
            )
            if records or name == start:
                if not records:
                    ttl = min(ttl, _negativeTTL(authority))
                return DNSAnswer(records, True, authenticated, name), ttl


def _ttl(record: Any) -> float:
    # RFC 2181 §8: with the highest bit set it counts as none.
    return float(record.ttl if record.ttl < 2**31 else 0)


def _negativeTTL(authority: Any) -> float:
    # RFC 2308 §5: the lesser of the SOA's own TTL and its minimum.
    for each in authority:
        if each.type == dns.SOA and each.payload is not None:
            return min(_ttl(each), float(each.payload.minimum), MAX_TTL)
    return float(NEGATIVE_TTL)
