"""
DNS: what is asked of resolvers, what is believed of their replies, and what is remembered.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionRefusedError, TimeoutError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.names import common, dns
from twisted.names.authority import FileAuthority
from twisted.names.error import DNSNameError, DNSServerError
from twisted.names.server import DNSServerFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from twisted_mailstack.errors import LookupFailed
from twisted_mailstack.interfaces import IDNSLookup
from twisted_mailstack.model.dns import MX, TLSA, DNSAnswer
from twisted_mailstack.net import dns as ours
from twisted_mailstack.net.dns import (
    MAX_TTL,
    NEGATIVE_TTL,
    TLSA_TYPE,
    Answers,
    CachedLookup,
    parseServer,
    resolverQuery,
)

# What trial runs; its type says only that it is a module.
reactor: Any = _reactor


def record(name: str, payload: Any, ttl: int = 600, kind: int = 0) -> dns.RRHeader:
    """
    @return: a resource record.
    """
    return dns.RRHeader(name, payload.TYPE or kind, dns.IN, ttl, payload)


def soa(ttl: int = 3600, minimum: int = 300) -> dns.RRHeader:
    """
    @return: the SOA of example.org.
    """
    return record("example.org", dns.Record_SOA(minimum=minimum), ttl)


# --- the cache ---------------------------------------------------------------------------------


class Resolver:
    """
    What a L{CachedLookup} asks.

    @ivar asked: the questions, in order.
    @ivar replies: by name and type: what is answered; a Deferred is not yet.
    @ivar authenticated: names whose answers are said to be validated.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.replies: dict[tuple[str, int], Any] = {}
        self.authenticated: set[str] = set()

    def answer(
        self, name: str, kind: int, *records: dns.RRHeader, authority: Sequence[Any] = ()
    ) -> None:
        """From now on these are the answer."""
        answers = Answers(records)
        answers.authenticated = name in self.authenticated
        self.replies[name, kind] = (answers, list(authority), [])

    def nameError(self, name: str, kind: int, *authority: dns.RRHeader) -> None:
        """From now on there is no such name."""
        message = dns.Message(rCode=dns.ENAME)
        message.authority = list(authority)
        self.replies[name, kind] = DNSNameError(message)

    def __call__(self, query: dns.Query) -> Deferred[Any]:
        key = str(query.name), query.type
        self.asked.append(key)
        reply = self.replies.get(key, DNSServerError())
        if isinstance(reply, Deferred):
            return reply
        return fail(reply) if isinstance(reply, Exception) else succeed(reply)


class CacheTests(SynchronousTestCase):
    """
    What is remembered of answers, and for how long.
    """

    def setUp(self) -> None:
        """A cache."""
        self.resolver = Resolver()
        self.clock = Clock()
        self.cache = CachedLookup(self.resolver, self.clock)

    def ask(self, name: str, kind: str) -> Deferred[DNSAnswer]:
        """
        @return: fires with the answer.
        """
        return Deferred.fromCoroutine(self.cache.lookup(name, kind))

    def lookup(self, name: str, kind: str) -> DNSAnswer:
        """
        @return: the answer, which is there at once.
        """
        return self.successResultOf(self.ask(name, kind))

    def test_interface(self) -> None:
        """It is an IDNSLookup."""
        verifyObject(IDNSLookup, self.cache)

    def test_kinds(self) -> None:
        """Each kind of record has the value that the interface says."""
        name = "x.example.org"
        for kind, number, payload, value in (
            ("A", dns.A, dns.Record_A("192.0.2.7"), "192.0.2.7"),
            ("AAAA", dns.AAAA, dns.Record_AAAA("2001:db8:0::7"), "2001:db8::7"),
            ("MX", dns.MX, dns.Record_MX(10, "MX.Example.ORG"), MX(10, "mx.example.org")),
            ("MX", dns.MX, dns.Record_MX(0, ""), MX(0, "")),
            ("TXT", dns.TXT, dns.Record_TXT(b"one ", b"two"), b"one two"),
            ("TXT", dns.TXT, dns.Record_TXT(b"\xff\x00"), b"\xff\x00"),
            ("PTR", dns.PTR, dns.Record_PTR("Host.example.org"), "host.example.org"),
            ("CNAME", dns.CNAME, dns.Record_CNAME("y.example.org"), "y.example.org"),
            (
                "TLSA",
                TLSA_TYPE,
                dns.UnknownRecord(b"\x03\x01\x01" + b"d" * 32),
                TLSA(3, 1, 1, b"d" * 32),
            ),
        ):
            self.resolver.answer(name, number, record(name, payload, 0, number))
            self.assertEqual(self.lookup(name, kind).records, (value,), kind)

    def test_damagedTLSA(self) -> None:
        """A TLSA record that is too short is still there: it says that there should be one."""
        for octets in (b"", b"\x03", b"\x03\x01\x01"):
            payload = dns.UnknownRecord(octets)
            self.resolver.answer("x.test", TLSA_TYPE, record("x.test", payload, 0, TLSA_TYPE))
            [found] = self.lookup("x.test", "TLSA").records
            self.assertEqual(found.data, b"")

    def test_otherRecords(self) -> None:
        """Records of other names, types and classes are no answer to the question."""
        stray = record("x.example.org", dns.Record_A("192.0.2.3"))
        stray.cls = dns.CH
        self.resolver.answer(
            "x.example.org",
            dns.A,
            record("x.example.org", dns.Record_A("192.0.2.1")),
            record("y.example.org", dns.Record_A("192.0.2.2")),
            record("x.example.org", dns.Record_TXT(b"no")),
            stray,
        )
        self.assertEqual(self.lookup("x.example.org", "A").records, ("192.0.2.1",))

    def test_timeToLive(self) -> None:
        """An answer holds as long as its shortest TTL, then it is asked again (RFC 1035 §3.2.1)."""
        self.resolver.answer(
            "a.test",
            dns.A,
            record("a.test", dns.Record_A("192.0.2.1"), 100),
            record("a.test", dns.Record_A("192.0.2.2"), 50),
        )
        self.lookup("a.test", "A")
        self.clock.advance(49)
        self.lookup("A.Test.", "A")
        self.assertEqual(len(self.resolver.asked), 1)
        self.clock.advance(1)
        self.lookup("a.test", "A")
        self.assertEqual(len(self.resolver.asked), 2)

    def test_noTimeToLive(self) -> None:
        """A TTL of 0, or one with the highest bit set (RFC 2181 §8), is not kept."""
        for ttl in (0, 2**31, 2**32 - 1):
            self.resolver.answer("a.test", dns.A, record("a.test", dns.Record_A("192.0.2.1"), ttl))
            self.lookup("a.test", "A")
        self.assertEqual(len(self.resolver.asked), 3)

    def test_longestTimeToLive(self) -> None:
        """Nothing is kept longer than a day."""
        self.resolver.answer("a.test", dns.A, record("a.test", dns.Record_A("192.0.2.1"), 10**8))
        self.lookup("a.test", "A")
        self.clock.advance(MAX_TTL)
        self.lookup("a.test", "A")
        self.assertEqual(len(self.resolver.asked), 2)

    def test_noSuchName(self) -> None:
        """That a name doesn't exist is kept as the SOA says (RFC 2308 §5)."""
        for own, minimum in ((30, 300), (300, 30)):
            self.resolver.nameError("no.example.org", dns.MX, soa(own, minimum))
            before = len(self.resolver.asked)
            answer = self.lookup("no.example.org", "MX")
            self.assertEqual((answer.exists, answer.records), (False, ()))
            self.clock.advance(29)
            self.assertFalse(self.lookup("no.example.org", "MX").exists)
            self.assertEqual(len(self.resolver.asked), before + 1)
            self.clock.advance(1)

    def test_noRecords(self) -> None:
        """A name without records of that kind exists; that too is kept as the SOA says."""
        self.resolver.answer("example.org", dns.MX, authority=[soa(3600, 40)])
        self.assertEqual(self.lookup("example.org", "MX"), ((), True, False, "example.org"))
        self.clock.advance(39)
        self.lookup("example.org", "MX")
        self.assertEqual(len(self.resolver.asked), 1)
        self.clock.advance(1)
        self.lookup("example.org", "MX")
        self.assertEqual(len(self.resolver.asked), 2)

    def test_noWithoutSOA(self) -> None:
        """A "no" that doesn't say how long it holds is kept for a minute."""
        self.resolver.answer("example.org", dns.MX)
        self.resolver.replies["gone.test", dns.A] = DNSNameError()
        self.lookup("example.org", "MX")
        self.lookup("gone.test", "A")
        self.clock.advance(NEGATIVE_TTL - 1)
        self.lookup("example.org", "MX")
        self.lookup("gone.test", "A")
        self.assertEqual(len(self.resolver.asked), 2)
        self.clock.advance(1)
        self.lookup("example.org", "MX")
        self.assertEqual(len(self.resolver.asked), 3)

    def test_failure(self) -> None:
        """A resolver that fails is no "no", and is asked again at once."""
        for problem in (DNSServerError(), TimeoutError(), OSError(101, "unreachable")):
            self.resolver.replies["a.test", dns.A] = problem
            error = self.failureResultOf(self.ask("a.test", "A"), LookupFailed).value
            self.assertEqual((error.enhancedStatus, error.temporary), ("4.4.3", True))
            self.assertIn("a.test", error.text)
        self.assertEqual(len(self.resolver.asked), 3)

    def test_unreadable(self) -> None:
        """An answer that can't be made sense of is a failure to look up, and is logged."""
        broken = record("a.test", dns.Record_A("192.0.2.1"))
        broken.payload = None
        self.resolver.answer("a.test", dns.A, broken)
        self.failureResultOf(self.ask("a.test", "A"), LookupFailed)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_impossibleNames(self) -> None:
        """What no name can be (RFC 1035 §2.3.4) doesn't exist, and nobody is asked."""
        for name in (
            "a" * 64 + ".example.org",
            "a..example.org",
            ".example.org",
            "",
            ".".join(["a" * 60] * 5),
            "f\xfcr.example.org",
        ):
            self.assertFalse(self.lookup(name, "A").exists, name)
        self.assertEqual(self.resolver.asked, [])
        longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
        self.resolver.answer(longest, dns.A, record(longest, dns.Record_A("192.0.2.1")))
        self.assertTrue(self.lookup(longest, "A").exists)

    def test_room(self) -> None:
        """There is a bound to what is kept: the oldest goes."""
        self.patch(ours, "MAX_ENTRIES", 2)
        for name in ("a.test", "b.test", "c.test"):
            self.resolver.answer(name, dns.A, record(name, dns.Record_A("192.0.2.1")))
            self.lookup(name, "A")
        for name in ("c.test", "b.test"):
            self.lookup(name, "A")
        self.assertEqual(len(self.resolver.asked), 3)
        self.lookup("a.test", "A")
        self.assertEqual(len(self.resolver.asked), 4)

    # --- aliases -------------------------------------------------------------------------------

    def test_alias(self) -> None:
        """Aliases are followed within an answer, in whatever order its records come."""
        self.resolver.answer(
            "a.test",
            dns.MX,
            record("c.test", dns.Record_MX(5, "mx.test")),
            record("B.test", dns.Record_CNAME("c.test"), 20),
            record("a.test", dns.Record_CNAME("b.test")),
        )
        self.assertEqual(self.lookup("a.test", "MX"), ((MX(5, "mx.test"),), True, False, "c.test"))
        self.clock.advance(20)
        self.lookup("a.test", "MX")
        self.assertEqual(len(self.resolver.asked), 2)

    def test_aliasElsewhere(self) -> None:
        """Where an answer ends with an alias, its target is asked for; both must be vouched for."""
        for signed in (set(), {"a.test"}, {"b.test"}, {"a.test", "b.test"}):
            self.resolver.asked.clear()
            self.resolver.authenticated = signed
            self.resolver.answer("a.test", dns.A, record("a.test", dns.Record_CNAME("b.test"), 70))
            self.resolver.answer("b.test", dns.A, record("b.test", dns.Record_A("192.0.2.1"), 90))
            self.assertEqual(
                self.lookup("a.test", "A"), (("192.0.2.1",), True, len(signed) == 2, "b.test")
            )
            self.assertEqual(self.resolver.asked, [("a.test", dns.A), ("b.test", dns.A)])
            self.clock.advance(69)
            self.lookup("a.test", "A")
            self.assertEqual(len(self.resolver.asked), 2)
            self.clock.advance(1)

    def test_aliasOfNothing(self) -> None:
        """An alias of a name that has no such records has none, one of no name doesn't exist."""
        self.resolver.answer("a.test", dns.A, record("a.test", dns.Record_CNAME("b.test")))
        self.resolver.answer("b.test", dns.A, authority=[soa()])
        self.assertEqual(self.lookup("a.test", "A"), ((), True, False, "b.test"))
        self.resolver.answer("c.test", dns.A, record("c.test", dns.Record_CNAME("d.test")))
        self.resolver.nameError("d.test", dns.A)
        self.assertFalse(self.lookup("c.test", "A").exists)

    def test_aliasesInCircles(self) -> None:
        """Aliases that go in circles are a failure, however long the circle and the answers."""
        for length in (1, 2, 3, 9):
            names = [f"{length}-{number}.test" for number in range(length)]
            circle = [
                record(name, dns.Record_CNAME(names[(at + 1) % length]))
                for at, name in enumerate(names)
            ]
            self.resolver.answer(names[0], dns.A, *circle)
            self.failureResultOf(self.ask(names[0], "A"), LookupFailed)
        for at in range(3):
            alias = record(f"{at}.test", dns.Record_CNAME(f"{(at + 1) % 3}.test"))
            self.resolver.answer(f"{at}.test", dns.A, alias)
        self.failureResultOf(self.ask("0.test", "A"), LookupFailed)

    def test_aliasItself(self) -> None:
        """Who asks for the alias gets it, and it is not followed."""
        self.resolver.authenticated = {"a.test"}
        self.resolver.answer("a.test", dns.CNAME, record("a.test", dns.Record_CNAME("b.test")))
        self.assertEqual(self.lookup("a.test", "CNAME"), (("b.test",), True, True, "a.test"))

    # --- several who ask -----------------------------------------------------------------------

    def test_shared(self) -> None:
        """Who asks what is being asked gets the same answer; the question goes out once."""
        reply: Deferred[Any] = Deferred()
        self.resolver.replies["a.test", dns.A] = reply
        first, second = self.ask("a.test", "A"), self.ask("A.TEST", "A")
        other = self.ask("a.test", "MX")
        self.failureResultOf(other, LookupFailed)
        reply.callback(([record("a.test", dns.Record_A("192.0.2.1"))], [], []))
        for each in (first, second):
            self.assertEqual(self.successResultOf(each).records, ("192.0.2.1",))
        self.assertEqual(self.resolver.asked, [("a.test", dns.A), ("a.test", dns.MX)])

    def test_sharedFailure(self) -> None:
        """All who wait are told of a failure; who asks then asks anew."""
        reply: Deferred[Any] = Deferred()
        self.resolver.replies["a.test", dns.A] = reply
        first, second = self.ask("a.test", "A"), self.ask("a.test", "A")
        reply.errback(TimeoutError())
        self.failureResultOf(first, LookupFailed)
        self.failureResultOf(second, LookupFailed)
        self.resolver.answer("a.test", dns.A, record("a.test", dns.Record_A("192.0.2.1")))
        self.lookup("a.test", "A")

    def test_cancelFirst(self) -> None:
        """That who asked first is cancelled is nothing to the others."""
        reply: Deferred[Any] = Deferred()
        self.resolver.replies["a.test", dns.A] = reply
        first, second, third = (self.ask("a.test", "A") for _ in range(3))
        first.cancel()
        second.cancel()
        self.failureResultOf(first, CancelledError)
        self.failureResultOf(second, CancelledError)
        reply.callback(([record("a.test", dns.Record_A("192.0.2.1"))], [], []))
        self.assertEqual(self.successResultOf(third).records, ("192.0.2.1",))

    def test_cancelAll(self) -> None:
        """When nobody waits any more the question is given up; it can be asked again."""
        cancelled: list[object] = []
        self.resolver.replies["a.test", dns.A] = Deferred(cancelled.append)
        first, second = self.ask("a.test", "A"), self.ask("a.test", "A")
        first.cancel()
        second.cancel()
        self.failureResultOf(first, CancelledError)
        self.failureResultOf(second, CancelledError)
        self.assertEqual(len(cancelled), 1)
        self.resolver.answer("a.test", dns.A, record("a.test", dns.Record_A("192.0.2.1")))
        self.assertEqual(self.lookup("a.test", "A").records, ("192.0.2.1",))


# --- asking resolvers --------------------------------------------------------------------------


class Port:
    """
    A UDP port of our side.

    @ivar peer: to whom it is connected.
    @ivar sent: what was sent.
    @ivar closed: whether it is no more.
    """

    def __init__(self, protocol: Any, interface: str) -> None:
        self.protocol = protocol
        self.interface = interface
        self.peer: tuple[str, int] | None = None
        self.sent: list[bytes] = []
        self.closed = False
        self.problem: Exception | None = None

    def connect(self, host: str, port: int) -> None:
        """See IUDPTransport."""
        self.peer = host, port

    def write(self, octets: bytes) -> None:
        """See IUDPTransport."""
        if self.problem is not None:
            raise self.problem
        self.sent.append(octets)

    def stopListening(self) -> None:
        """See IListeningPort."""
        self.closed = True

    @property
    def question(self) -> dns.Message:
        """What was asked."""
        message = dns.Message()
        message.fromStr(self.sent[0])
        return message


class Resolvers(MemoryReactorClock):
    """
    A reactor on which nothing answers by itself.

    @ivar ports: UDP ports that were opened.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[Port] = []
        self.problem: Exception | None = None

    def listenUDP(self, port: int, protocol: Any, interface: str = "") -> Port:
        """See IReactorUDP."""
        made = Port(protocol, interface)
        made.problem = self.problem
        self.ports.append(made)
        return made

    @property
    def idle(self) -> bool:
        """Whether nothing is left open or waiting."""
        return all(port.closed for port in self.ports) and not self.getDelayedCalls()


def replyTo(question: dns.Message, *records: dns.RRHeader, **flags: Any) -> dns.Message:
    """
    @return: a reply.
    """
    settings = {"answer": 1, "recDes": 1, "recAv": 1, **flags}
    message = dns.Message(question.id, **settings)
    message.queries = list(question.queries)
    message.answers = list(records)
    return message


class ResolverTests(SynchronousTestCase):
    """
    Questions to recursive resolvers.
    """

    def setUp(self) -> None:
        """A reactor."""
        self.reactor = Resolvers()

    def ask(
        self, *servers: str, trusted: bool = False, name: str = "mx.example.org"
    ) -> Deferred[Any]:
        """
        @return: fires with the answer.
        """
        query = resolverQuery(self.reactor, servers, trusted=trusted)
        return query(dns.Query(name, dns.A, dns.IN))

    def reply(self, octets: bytes) -> None:
        """A datagram comes from the server that was asked last."""
        port = self.reactor.ports[-1]
        port.protocol.datagramReceived(octets, port.peer)

    def answer(self, *records: dns.RRHeader, **flags: Any) -> None:
        """The server that was asked last replies."""
        self.reply(replyTo(self.reactor.ports[-1].question, *records, **flags).toStr())

    def test_question(self) -> None:
        """
        The question is one for a recursive resolver, and wants to know whether the answer was
        validated (RFC 6840 §5.7). Each has a port and an id of its own (RFC 5452 §9.2).
        """
        self.ask("192.0.2.53")
        self.ask("[2001:db8::53]:5353")
        first, second = self.reactor.ports
        self.assertEqual((first.peer, second.peer), (("192.0.2.53", 53), ("2001:db8::53", 5353)))
        self.assertEqual((first.interface, second.interface), ("", "::"))
        question = first.question
        self.assertEqual(question.queries, [dns.Query("mx.example.org", dns.A, dns.IN)])
        self.assertEqual(
            (question.answer, question.recDes, question.authenticData, question.opCode),
            (0, 1, 1, 0),
        )

    def test_answer(self) -> None:
        """The answer's sections are handed on, and nothing is left open."""
        asked = self.ask("192.0.2.53")
        self.answer(record("mx.example.org", dns.Record_A("192.0.2.1")))
        answers, authority, additional = self.successResultOf(asked)
        self.assertEqual([str(each.name) for each in answers], ["mx.example.org"])
        self.assertEqual((authority, additional), ([], []))
        self.assertTrue(self.reactor.idle)

    def test_validated(self) -> None:
        """
        That an answer was validated is believed of a resolver on this machine, and of others if
        they are trusted (RFC 7672 §2.2).
        """
        for server, trusted, believed in (
            ("127.0.0.1", False, True),
            ("127.0.0.53:53", False, True),
            ("::1", False, True),
            ("192.0.2.53", False, False),
            ("192.0.2.53", True, True),
            ("2001:db8::53", False, False),
        ):
            for said in (0, 1):
                asked = self.ask(server, trusted=trusted)
                self.answer(record("mx.example.org", dns.Record_A("192.0.2.1")), authenticData=said)
                answers = self.successResultOf(asked)[0]
                self.assertEqual(answers.authenticated, bool(said) and believed, server)

    def test_validatedNothing(self) -> None:
        """That there are no such records may be validated too."""
        asked = self.ask("127.0.0.1")
        self.answer(authenticData=1)
        answers = self.successResultOf(asked)[0]
        self.assertEqual((list(answers), answers.authenticated), ([], True))

    def test_noSuchName(self) -> None:
        """That the name doesn't exist is an answer; the message tells for how long."""
        asked = self.ask("127.0.0.1", "192.0.2.53")
        message = replyTo(self.reactor.ports[0].question, rCode=dns.ENAME)
        message.authority = [soa()]
        self.reply(message.toStr())
        error = self.failureResultOf(asked, DNSNameError).value
        self.assertEqual(len(error.args[0].authority), 1)
        self.assertTrue(self.reactor.idle)

    def test_nextServer(self) -> None:
        """A server that can't answer is passed over for the next; the last problem is told."""
        for rCode in (dns.EFORMAT, dns.ESERVER, dns.ENOTIMP, dns.EREFUSED):
            asked = self.ask("192.0.2.1", "192.0.2.2")
            self.answer(rCode=rCode)
            self.assertNoResult(asked)
            self.assertEqual(self.reactor.ports[-1].peer, ("192.0.2.2", 53))
            self.answer(record("mx.example.org", dns.Record_A("192.0.2.1")))
            self.successResultOf(asked)
        self.assertTrue(self.reactor.idle)

    def test_referral(self) -> None:
        """A server that only knows who else might know (it doesn't recurse) has no answer."""
        asked = self.ask("192.0.2.1", "192.0.2.2")
        self.answer(recAv=0)
        self.assertNoResult(asked)
        # One that is itself the authority needn't recurse to know that there is nothing.
        self.answer(recAv=0, auth=1)
        self.successResultOf(asked)

    def test_silence(self) -> None:
        """Servers that don't answer are asked in turn, some times, and then it has failed."""
        asked = self.ask("192.0.2.1", "192.0.2.2")
        for _ in range(2 * len(ours.TIMEOUTS)):
            self.assertNoResult(asked)
            self.reactor.advance(max(ours.TIMEOUTS))
        self.failureResultOf(asked, TimeoutError)
        peers = [port.peer[0] for port in self.reactor.ports if port.peer]
        self.assertEqual(peers, ["192.0.2.1", "192.0.2.2"] * len(ours.TIMEOUTS))
        self.assertTrue(self.reactor.idle)

    def test_allFail(self) -> None:
        """If no server can answer that is told at once, and none is asked twice."""
        asked = self.ask("192.0.2.1", "192.0.2.2")
        self.answer(rCode=dns.ESERVER)
        self.answer(rCode=dns.ESERVER)
        self.failureResultOf(asked, DNSServerError)
        self.assertTrue(self.reactor.idle)

    def test_closedPort(self) -> None:
        """A machine on which no resolver runs is passed over at once."""
        asked = self.ask("192.0.2.1", "192.0.2.2")
        self.reactor.ports[-1].protocol.connectionRefused()
        self.answer(record("mx.example.org", dns.Record_A("192.0.2.1")))
        self.successResultOf(asked)

    def test_cannotSend(self) -> None:
        """A network that can't be reached fails, and leaves no port open."""
        self.reactor.problem = OSError(101, "Network is unreachable")
        self.failureResultOf(self.ask("192.0.2.1"), OSError)
        self.assertTrue(self.reactor.ports)
        self.assertTrue(self.reactor.idle)

    def test_notTheReply(self) -> None:
        """
        What has another id, another question, is no reply, or is cut off, isn't the reply: that is
        still waited for.
        """
        asked = self.ask("192.0.2.53")
        question = self.reactor.ports[0].question
        good = replyTo(question, record("mx.example.org", dns.Record_A("192.0.2.1")))
        wrong = []
        for flags in ({"id": question.id ^ 1}, {"answer": 0}):
            message = replyTo(question, record("mx.example.org", dns.Record_A("192.0.2.9")))
            for key, value in flags.items():
                setattr(message, key, value)
            wrong.append(message.toStr())
        for query in (
            dns.Query("my.example.org", dns.A, dns.IN),
            dns.Query("mx.example.org", dns.MX, dns.IN),
        ):
            message = replyTo(question)
            message.queries = [query]
            wrong.append(message.toStr())
        message = replyTo(question, record("mx.example.org", dns.Record_A("192.0.2.9")))
        message.queries = []
        wrong.append(message.toStr())
        wrong += [good.toStr()[:length] for length in range(len(good.toStr()))]
        wrong += [b"", b"\xff" * 40, good.toStr()[:12] + b"\xc0\x0c" * 8]
        for octets in wrong:
            self.reply(octets)
            self.assertNoResult(asked)
        self.reply(good.toStr())
        [answer] = self.successResultOf(asked)[0]
        self.assertEqual(answer.payload.dottedQuad(), "192.0.2.1")
        # Another copy of it comes too late to matter.
        self.reply(good.toStr())

    def test_errorWithoutQuestion(self) -> None:
        """A server that couldn't read the question may leave it out of its reply."""
        asked = self.ask("192.0.2.1", "192.0.2.2")
        message = replyTo(self.reactor.ports[0].question, rCode=dns.EFORMAT)
        message.queries = []
        self.reply(message.toStr())
        self.assertEqual(len(self.reactor.ports), 2)
        asked.cancel()
        self.failureResultOf(asked, CancelledError)

    def test_cancel(self) -> None:
        """Who doesn't want to know any more leaves nothing open."""
        asked = self.ask("192.0.2.53", "192.0.2.54")
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(len(self.reactor.ports), 1)
        self.assertTrue(self.reactor.idle)

    # --- TCP -----------------------------------------------------------------------------------

    def truncated(self) -> tuple[Deferred[Any], Any, StringTransport]:
        """
        @return: a question whose reply doesn't fit into a datagram, and the connection on which
            it is asked again.
        """
        asked = self.ask("192.0.2.53:5353", "192.0.2.54")
        self.answer(record("mx.example.org", dns.Record_A("192.0.2.9")), trunc=1)
        self.assertNoResult(asked)
        host, port, factory, _, _ = self.reactor.tcpClients[-1]
        self.assertEqual((host, port), ("192.0.2.53", 5353))
        protocol = factory.buildProtocol(None)
        transport = StringTransport()
        assert protocol is not None
        protocol.makeConnection(transport)
        return asked, protocol, transport

    def sent(self, transport: StringTransport) -> dns.Message:
        """
        @return: the question on a connection.
        """
        octets = transport.value()
        self.assertEqual(int.from_bytes(octets[:2], "big"), len(octets) - 2)
        message = dns.Message()
        message.fromStr(octets[2:])
        return message

    def test_truncated(self) -> None:
        """What doesn't fit into a datagram is asked for by TCP, whole (RFC 7766 §5)."""
        asked, protocol, transport = self.truncated()
        question = self.sent(transport)
        self.assertEqual((question.authenticData, question.recDes), (1, 1))
        self.assertEqual(question.queries, [dns.Query("mx.example.org", dns.A, dns.IN)])
        message = replyTo(
            question, *(record("mx.example.org", dns.Record_A(f"192.0.2.{n}")) for n in range(99))
        )
        message.maxSize = 0
        octets = message.toStr()
        for octet in len(octets).to_bytes(2, "big") + octets:
            protocol.dataReceived(bytes([octet]))
        self.assertEqual(len(self.successResultOf(asked)[0]), 99)
        self.assertTrue(transport.disconnected)
        self.assertTrue(self.reactor.idle)

    def test_truncatedAgain(self) -> None:
        """A reply that says by TCP too that it isn't whole is no use: the next server is asked."""
        asked, protocol, transport = self.truncated()
        octets = replyTo(self.sent(transport), trunc=1).toStr()
        protocol.dataReceived(len(octets).to_bytes(2, "big") + octets)
        self.assertTrue(transport.disconnected)
        self.assertEqual(self.reactor.ports[-1].peer, ("192.0.2.54", 53))
        asked.cancel()
        self.failureResultOf(asked, CancelledError)

    def test_tcpClosed(self) -> None:
        """A server that closes without a reply is passed over."""
        asked, protocol, _ = self.truncated()
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.reactor.ports[-1].peer, ("192.0.2.54", 53))
        asked.cancel()
        self.failureResultOf(asked, CancelledError)

    def test_tcpSilent(self) -> None:
        """A server that says nothing by TCP is passed over after its time."""
        asked, _, transport = self.truncated()
        self.reactor.advance(ours.TIMEOUTS[0])
        self.assertTrue(transport.disconnected)
        self.assertEqual(self.reactor.ports[-1].peer, ("192.0.2.54", 53))
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertTrue(self.reactor.idle)

    def test_tcpCannotConnect(self) -> None:
        """A server without TCP is passed over: refused, or after its time."""
        asked = self.ask("192.0.2.53", "192.0.2.54", "192.0.2.55")
        self.answer(trunc=1)
        factory = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))  # type: ignore[arg-type]
        self.assertEqual(self.reactor.ports[-1].peer, ("192.0.2.54", 53))
        self.answer(trunc=1)
        self.reactor.advance(ours.TIMEOUTS[0])
        self.assertEqual(self.reactor.ports[-1].peer, ("192.0.2.55", 53))
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertTrue(self.reactor.idle)

    def test_tcpCancel(self) -> None:
        """Who doesn't want to know any more leaves no connection open."""
        asked, _, transport = self.truncated()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertTrue(transport.disconnected)
        self.assertTrue(self.reactor.idle)


class ServerAddressTests(SynchronousTestCase):
    """
    Which resolvers are asked.
    """

    def test_addresses(self) -> None:
        """An address, with or without a port."""
        for text, server in (
            ("192.0.2.1", ("192.0.2.1", 53)),
            ("127.0.0.1:5353", ("127.0.0.1", 5353)),
            ("2001:db8::1", ("2001:db8::1", 53)),
            ("[2001:db8::1]", ("2001:db8::1", 53)),
            ("[::1]:65535", ("::1", 65535)),
            ("fe80::1%eth0", ("fe80::1%eth0", 53)),
        ):
            self.assertEqual(parseServer(text), server)

    def test_notAddresses(self) -> None:
        """Whatever else is refused, and the text says what is expected."""
        for text in (
            *("", "ns.example.org", "ns.example.org:53", "192.0.2.1:", "192.0.2.1:0"),
            *("192.0.2.1:65536", "192.0.2.1:x", "[::1", "[::1]53", "[::1]:", "192.0.2.1:53:53"),
            *("192.0.2.1:\u0665", "256.0.2.1"),
        ):
            error = self.assertRaises(ValueError, parseServer, text)
            self.assertIn(repr(text), str(error))
            self.assertIn("127.0.0.1", str(error))
        self.assertRaises(ValueError, resolverQuery, None, ["nowhere"])

    def resolvConf(self, text: str) -> Resolvers:
        """
        @return: the reactor on which the resolvers of that file were asked.
        """
        path = Path(self.mktemp())
        path.write_text(text)
        made = Resolvers()
        query = resolverQuery(made, resolvConf=str(path), timeouts=[1.0])
        asked = query(dns.Query("example.org", dns.A, dns.IN))
        asked.addErrback(lambda _: None)
        made.pump([1.0] * 5)
        return made

    def peers(self, made: Resolvers) -> list[tuple[str, int] | None]:
        """
        @return: whom it asked.
        """
        return [port.peer for port in made.ports]

    def test_resolvConf(self) -> None:
        """Without configuration they are those of the machine; comments and nonsense are not."""
        made = self.resolvConf(
            "# nameserver 192.0.2.9\n; nameserver 192.0.2.8\nsearch example.org\n"
            "nameserver 192.0.2.1\nnameserver\nnameserver here\n nameserver\t2001:db8::1 # x\n"
        )
        self.assertEqual(self.peers(made), [("192.0.2.1", 53), ("2001:db8::1", 53)])

    def test_noResolvConf(self) -> None:
        """Without a nameserver in the file, or without the file, it is this machine."""
        self.assertEqual(self.peers(self.resolvConf("search a.test\n")), [("127.0.0.1", 53)])
        made = Resolvers()
        query = resolverQuery(made, resolvConf=self.mktemp())
        query(dns.Query("example.org", dns.A, dns.IN))
        self.assertEqual(self.peers(made), [("127.0.0.1", 53)])

    def test_resolvConfChanges(self) -> None:
        """A file that changes, as on a machine that moves, counts from the next question on."""
        path = Path(self.mktemp())
        path.write_text("nameserver 192.0.2.1\n")
        made = Resolvers()
        query = resolverQuery(made, resolvConf=str(path))
        query(dns.Query("example.org", dns.A, dns.IN))
        path.write_text("nameserver 192.0.2.2\n")
        os.utime(path, ns=(1, 1))
        query(dns.Query("example.org", dns.A, dns.IN))
        self.assertEqual(self.peers(made), [("192.0.2.1", 53), ("192.0.2.2", 53)])

    def test_trustedByResolvConf(self) -> None:
        """The file may say that its resolvers' validation is to be believed (trust-ad)."""
        for options, believed in (("", False), ("options edns0 trust-ad\n", True)):
            path = Path(self.mktemp())
            path.write_text(f"nameserver 192.0.2.1\n{options}")
            made = Resolvers()
            query = resolverQuery(made, resolvConf=str(path))
            asked = query(dns.Query("example.org", dns.A, dns.IN))
            port = made.ports[0]
            message = replyTo(port.question, authenticData=1)
            port.protocol.datagramReceived(message.toStr(), port.peer)
            self.assertEqual(self.successResultOf(asked)[0].authenticated, believed)


class Zone(FileAuthority):
    """
    A zone in memory.
    """

    def __init__(self, *records: tuple[str, Any]) -> None:
        common.ResolverBase.__init__(self)
        self.records: dict[bytes, list[Any]] = {}
        self.soa = (b"example.org", dns.Record_SOA(minimum=60, ttl=600))
        self.records[b"example.org"] = [self.soa[1]]
        for name, payload in records:
            self.records.setdefault(name.encode(), []).append(payload)


class RealServerTests(TestCase):
    """
    Against an authoritative server of twisted.names, on loopback.
    """

    def setUp(self) -> None:
        """The server, on one port by UDP and TCP."""
        tlsa = dns.UnknownRecord(b"\x03\x01\x01" + b"d" * 32, ttl=60)
        tlsa.TYPE = TLSA_TYPE
        zone = Zone(
            ("example.org", dns.Record_MX(10, "mx.example.org", ttl=60)),
            ("mx.example.org", dns.Record_A("192.0.2.1", ttl=60)),
            ("alias.example.org", dns.Record_CNAME("mx.example.org", ttl=60)),
            ("_25._tcp.mx.example.org", tlsa),
            *(
                ("many.example.org", dns.Record_TXT(f"{n:0100}".encode(), ttl=60))
                for n in range(40)
            ),
        )
        factory = DNSServerFactory(authorities=[zone])
        factory.noisy = False
        udp = reactor.listenUDP(0, dns.DNSDatagramProtocol(factory, reactor), interface="127.0.0.1")
        self.addCleanup(udp.stopListening)
        port = udp.getHost().port
        tcp = reactor.listenTCP(port, factory, interface="127.0.0.1")
        self.addCleanup(tcp.stopListening)
        self.cache = CachedLookup(resolverQuery(reactor, [f"127.0.0.1:{port}"]), reactor)

    async def test_lookups(self) -> None:
        """Records of each kind, aliases, what isn't there, and what doesn't fit into a datagram."""
        lookup = self.cache.lookup
        answer = await lookup("example.org", "MX")
        self.assertEqual(answer, ((MX(10, "mx.example.org"),), True, False, "example.org"))
        answer = await lookup("alias.example.org", "A")
        self.assertEqual((answer.records, answer.name), (("192.0.2.1",), "mx.example.org"))
        answer = await lookup("_25._tcp.mx.example.org", "TLSA")
        self.assertEqual(answer.records, (TLSA(3, 1, 1, b"d" * 32),))
        self.assertEqual((await lookup("mx.example.org", "AAAA")).records, ())
        self.assertFalse((await lookup("none.example.org", "MX")).exists)
        answer = await lookup("many.example.org", "TXT")
        self.assertEqual(len(answer.records), 40)
