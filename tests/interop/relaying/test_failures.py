"""
The server as the client of others that refuse, defer or vanish at every stage of the dialogue: no
mail is lost, none is delivered twice but in the window of RFC 5321 §6.1, and each failure makes
exactly the notification that it should.
"""

from __future__ import annotations

import atexit
import ssl
from collections.abc import Iterator, Sequence
from email import message_from_bytes
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.interop.relaying.peer import DROP, KEEP, Peer, Script
from tests.interop.relaying.servers import (
    MailHost,
    Network,
    Notification,
    notifications,
    text,
    waitFor,
)
from twisted_mailstack.net.tls import selfSigned

#: What a peer offers: how a message goes there differs in each case.
OFFERS = {
    "plain": (),
    "pipelined": ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"),
    "chunked": ("PIPELINING", "CHUNKING", "8BITMIME"),
}
#: Larger than what a peer reads before it is gone.
BODY = b"".join(b".%06d is a line of the text\r\n" % number for number in range(5000))


@cache
def shared() -> MailHost:
    """
    @return: a running server.
    """
    network = Network()
    atexit.register(network.close)
    host = network.server("a.test", relay__address_families=["ipv6", "ipv4"])
    host.start()
    return host


class FailureTestCase(SynchronousTestCase):
    """
    A server, an account of the test's own, and peers.

    @ivar peers: by domain.
    """

    def setUp(self) -> None:
        """All but the peers."""
        self.a = shared()
        self.network = self.a.network
        self.peers: dict[str, Peer] = {}
        self.name = self.id().rpartition(".")[2].removeprefix("test_").lower()
        self.sender = self.a.user(self.name)
        self.a.addAccounts(self.sender)

    def peer(self, label: str, *scripts: Script, **settings: Any) -> str:
        """
        @return: an address at a peer.
        """
        domain = f"{label}-{self.name}.test".lower()
        self.peers[domain] = self.network.peer(domain, *scripts, **settings)
        self.addCleanup(self.peers[domain].stop)
        return f"someone@{domain}"

    def at(self, address: str) -> Peer:
        """
        @return: the peer of an address.
        """
        return self.peers[address.rpartition("@")[2]]

    def submit(self, recipients: Sequence[str], **settings: Any) -> bytes:
        """
        From this test's account.

        @return: the message.
        """
        message = text(self.name, self.sender, BODY)
        self.a.submit(recipients, message, sender=self.sender, **settings)
        return message

    def drained(self) -> dict[str, list[dict[str, str]]]:
        """
        Wait until all of it is done.

        @return: what the sender was told.
        """
        self.a.drained()
        self.assertNotIn("Traceback", self.a.log.read_text())
        return notifications(self.a.inbox(self.sender))

    def assertTaken(self, address: str, message: bytes, copies: int = 1) -> None:
        """It got the message, unchanged, so many times."""
        taken = self.at(address).taken
        self.assertEqual([each.mail.split(" ")[0] for each in taken], [f"<{self.sender}>"] * copies)
        for each in taken:
            self.assertEqual([it.split(" ")[0] for it in each.rcpts], [f"<{address}>"])
            head, subject, rest = each.octets.partition(b"From: <")
            self.assertEqual(subject + rest, message, address)
            self.assertTrue(head.startswith(b"Received: "), head)


def stages(*excluded: str) -> Iterator[tuple[str, str, Sequence[str]]]:
    """
    @return: a label, a stage of the dialogue, and what the peer offers, in all combinations.
    """
    for kind, extensions in OFFERS.items():
        for stage in ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "text", "end"):
            if stage not in excluded and not (kind == "chunked" and stage == "DATA"):
                yield f"{kind}-{stage}", stage, extensions


class StageTests(FailureTestCase):
    """
    Whatever goes wrong at whatever stage, at a different peer each.
    """

    def test_permanent(self) -> None:
        """
        5yz to a command or the text: the sender is told, once, what was said and by whom; it isn't
        tried again (RFC 5321 §4.2.1).
        """
        to = [
            self.peer(label, always={stage: "550 5.7.1 no, thanks"}, extensions=extensions)
            for label, stage, extensions in stages("greeting", "EHLO", "text")
        ]
        self.submit(to)
        told = self.drained()
        self.assertEqual(sorted(told), sorted(to))
        for address in to:
            (each,) = told[address]
            host = f"mx.{address.rpartition('@')[2]}"
            self.assertEqual((each["action"], each["status"]), ("failed", "5.7.1"), address)
            self.assertEqual(each["diagnostic-code"], "smtp; 550 5.7.1 no, thanks")
            self.assertEqual(each["remote-mta"], f"dns; {host}")
            self.assertIn("last-attempt-date", each)
            self.assertEqual(self.at(address).taken, [])
            self.assertEqual(self.at(address).attempts, 1, address)

    def test_temporary(self) -> None:
        """4yz at first: it is tried again, arrives once, and nobody is told (§4.5.4.1)."""
        to = [
            self.peer(label, {stage: "451 4.3.0 later"}, extensions=extensions)
            for label, stage, extensions in stages("text")
        ]
        message = self.submit(to)
        self.assertEqual(self.drained(), {})
        for address in to:
            self.assertTaken(address, message)

    def test_closing(self) -> None:
        """421: the server closes, the mail waits for the next connection (§3.8)."""
        to = [
            self.peer(label, {stage: "421 4.3.2 shutting down"}, extensions=extensions)
            for label, stage, extensions in stages("text")
        ]
        message = self.submit(to)
        self.assertEqual(self.drained(), {})
        for address in to:
            self.assertTaken(address, message)

    def test_unserved(self) -> None:
        """
        A host that doesn't serve us at all says nothing of the mail: it waits, and goes when the
        host does (§3.1).
        """
        no = "554 5.3.2 no service here"
        to = [
            self.peer("greeting", {"greeting": no}),
            self.peer("hello", {"EHLO": no, "HELO": no}),
        ]
        message = self.submit(to)
        self.assertEqual(self.drained(), {})
        for address in to:
            self.assertTaken(address, message)

    def test_old(self) -> None:
        """A server that knows no EHLO gets HELO (§3.2)."""
        to = self.peer("old", always={"EHLO": "502 5.5.1 What?"})
        message = self.submit([to])
        self.assertEqual(self.drained(), {})
        self.assertTaken(to, message)
        (heard,) = self.at(to).heard
        self.assertEqual(
            heard[1:5],
            [f"HELO {self.a.name}", f"MAIL FROM:<{self.sender}>", f"RCPT TO:<{to}>", "DATA"],
        )

    def test_dropped(self) -> None:
        """The connection breaks before anything is answered: it arrives once all the same."""
        to = [
            self.peer(label, {stage: DROP}, extensions=extensions)
            for label, stage, extensions in stages()
        ]
        message = self.submit(to)
        self.assertEqual(self.drained(), {})
        for address in to:
            self.assertTaken(address, message)

    def test_nonsense(self) -> None:
        """
        Replies that mean nothing where they come are no success, and say nothing of the mail: it
        is tried again.
        """
        wrong = {
            "EHLO": "what do you want",
            "MAIL": "354 go on",
            "RCPT": "334 cGFzc3dvcmQ=",
            "DATA": "250 2.0.0 ok",
            "end": "354 go on",
        }
        to = [
            self.peer(label, {stage: wrong[stage]}, extensions=extensions)
            for label, stage, extensions in stages("greeting", "text")
        ]
        to += [
            self.peer("silent", {"end": ""}),
            self.peer("other", {"greeting": "SSH-2.0-OpenSSH_9.2"}),
        ]
        message = self.submit(to)
        self.assertEqual(self.drained(), {})
        for address in to:
            self.assertTaken(address, message)

    def test_wordy(self) -> None:
        """Replies of several lines, and other good ones than the usual, are as good (§4.2.1)."""
        wordy = {
            "greeting": "220-mx.peer.test\r\n220-says\r\n220 hello",
            "MAIL": "250-2.1.0 it\r\n250 2.1.0 is good",
            "RCPT": "251 2.1.5 it will be forwarded",
            "DATA": "354-go\r\n354 on",
            "end": "250-2.0.0 ok\r\n250",
        }
        to = [
            self.peer(kind, always=wordy, extensions=extensions)
            for kind, extensions in OFFERS.items()
        ]
        message = self.submit(to)
        self.assertEqual(self.drained(), {})
        for address in to:
            self.assertTaken(address, message)

    def test_window(self) -> None:
        """
        The connection breaks when the peer has the whole message and hasn't said so: nobody can
        know, so it is sent again (§6.1). Where that was said, and it breaks then, it is not.
        """
        twice = [
            self.peer(label, {stage: KEEP}, extensions=extensions)
            for label, stage, extensions in stages(
                "greeting", "EHLO", "MAIL", "RCPT", "DATA", "text"
            )
        ]
        once = self.peer("quit", {"QUIT": DROP})
        message = self.submit([*twice, once])
        self.assertEqual(self.drained(), {})
        for address in twice:
            self.assertTaken(address, message, 2)
        self.assertTaken(once, message)

    def test_tls(self) -> None:
        """
        Mail goes over TLS where the peer has it, and in the clear where TLS isn't to be had or
        breaks (RFC 7435 §3): once in each case.
        """
        place = Path(self.mktemp())
        place.mkdir()
        certificate = selfSigned(place, "peer.test")
        good = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        good.load_cert_chain(certificate.certificate, certificate.key)
        # It has no certificate, so no handshake succeeds.
        broken = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        secure = self.peer("secure", tls=good)
        chunked = self.peer("chunked", tls=good, extensions=OFFERS["chunked"])
        clear = [
            self.peer("none"),
            self.peer("broken", tls=broken),
            self.peer("refused", always={"STARTTLS": "454 4.7.0 not now"}, tls=good),
            self.peer("dropped", {"STARTTLS": DROP}, always={"STARTTLS": "502 no"}, tls=good),
        ]
        message = self.submit([secure, chunked, *clear])
        self.assertEqual(self.drained(), {})
        for address in (secure, chunked, *clear):
            self.assertTaken(address, message)
        for address in (secure, chunked):
            self.assertEqual([each.secure for each in self.at(address).taken], [True])
        for address in clear:
            self.assertEqual([each.secure for each in self.at(address).taken], [False], address)


class RecipientTests(FailureTestCase):
    """
    Recipients of one message at one place, with fates of their own.
    """

    def test_partly(self) -> None:
        """
        One is accepted, one later, one never: each gets the message once or its sender is told, and
        who has it is not named again.
        """
        for kind, extensions in OFFERS.items():
            domain = f"{kind}-{self.name}.test"
            now, later, never = (f"{each}@{domain}" for each in ("now", "later", "never"))
            self.peer(
                kind,
                {"RCPT": {later: "450 4.2.1 later", never: "550 5.1.1 never"}},
                extensions=extensions,
            )
            message = self.submit([now, later, never])
            told = self.drained()
            self.assertEqual(list(told), [never])
            self.assertEqual(told[never][0]["status"], "5.1.1")
            peer = self.peers[domain]
            self.assertEqual([each.rcpts for each in peer.taken], [(f"<{now}>",), (f"<{later}>",)])
            for each in peer.taken:
                self.assertTrue(each.octets.endswith(message))
            named = [line for heard in peer.heard for line in heard if line.startswith("RCPT")]
            self.assertEqual(len(named), 4, named)
            self.sender = self.a.user(f"{kind}{self.name}")
            self.a.addAccounts(self.sender)

    def test_hosts(self) -> None:
        """
        Where there are several hosts, one that isn't there, refuses to serve or breaks off at once
        is passed over in the same attempt.
        """
        dns, domain = self.network.dns, f"hosts-{self.name}.test"
        scripts: dict[str, Script] = {
            "refusing": {"greeting": "554 5.3.2 not here"},
            "busy": {"greeting": "421 4.3.2 too busy"},
            "breaking": {"EHLO": DROP},
        }
        for label, script in scripts.items():
            self.peer(label, always=script)
        dns.host(f"down.{domain}", self.network.address())
        to = self.peer("taking")
        hosts = [
            f"down.{domain}",
            *(f"mx.{each}-{self.name}.test" for each in (*scripts, "taking")),
        ]
        dns.mx(domain, *((10 * number, host) for number, host in enumerate(hosts)))
        self.submit([f"someone@{domain}"])
        self.assertEqual(self.drained(), {})
        self.assertEqual(self.at(to).recipients, [f"someone@{domain}"])
        for label in scripts:
            self.assertEqual(len(self.peers[f"{label}-{self.name}.test"].heard), 1, label)

    def test_families(self) -> None:
        """
        A host with addresses of both kinds is reached by the one that works (RFC 5321 §5.1), and
        one that has only IPv6 by that.
        """
        dns = self.network.dns
        both = self.peer("both")
        dns.host(f"mx.both-{self.name}.test", "::1", self.at(both).address)
        message = self.submit([both])
        self.assertEqual(self.drained(), {})
        self.assertTaken(both, message)
        try:
            six = Peer("::1", self.network.port)
        except OSError:
            raise SkipTest("no IPv6 here") from None
        self.addCleanup(six.stop)
        dns.host(f"six-{self.name}.test", "::1")
        self.submit([f"x@six-{self.name}.test", "x@[IPv6:::1]"])
        self.assertEqual(self.drained(), {})
        self.assertEqual(sorted(six.recipients), ["x@[IPv6:::1]", f"x@six-{self.name}.test"])

    def test_literal(self) -> None:
        """An address literal is its own host; the DNS has no say (§4.1.3)."""
        to = self.peer("literal")
        literal = f"x@[{self.at(to).address}]"
        self.submit([literal])
        self.assertEqual(self.drained(), {})
        self.assertEqual(self.at(to).recipients, [literal])

    def test_together(self) -> None:
        """What fails together is told together: one notification for a message and a server."""
        domain = f"{self.name}-{self.name}.test"
        self.peer(self.name, always={"end": "554 5.6.0 no"})
        to = [f"{user}@{domain}" for user in ("one", "two", "three")]
        self.submit(to)
        told = self.drained()
        self.assertEqual(sorted(told), sorted(to))
        (octets,) = self.a.inbox(self.sender)
        notification = Notification(octets)
        self.assertEqual(len(notification.recipients), 3)
        for address in to:
            self.assertIn(address, notification.text)

    def test_utf8(self) -> None:
        """
        A message that needs SMTPUTF8 goes back where the next server doesn't have it (RFC 6531
        §3.5), and the notification is one that its sender can read.
        """
        self.peer(self.name)
        self.peer("able", extensions=["PIPELINING", "8BITMIME", "SMTPUTF8"])
        to = f"žofie@{self.name}-{self.name}.test"
        other = f"žofie@able-{self.name}.test"
        self.submit([to, other], mail=["SMTPUTF8", "BODY=8BITMIME"])
        told = self.drained()
        self.assertEqual(list(told), [to])
        self.assertEqual((told[to][0]["action"], told[to][0]["status"]), ("failed", "5.6.7"))
        self.assertEqual(self.at(to).taken, [])
        (taken,) = self.at(other).taken
        self.assertIn("SMTPUTF8", taken.mail)
        self.assertEqual(taken.rcpts, (f"<{other}>",))

    def test_sevenBit(self) -> None:
        """
        A text in UTF-8 is written in ASCII for a server that takes no other, and is the same when
        it is read (RFC 6152 §3); a server that takes 8-bit text gets it as it is.
        """
        plain = self.peer("plain", extensions=())
        able = self.peer("able")
        body = "Grüße, žluťoučký kůň\r\n.\r\n".encode() * 50
        message = text(self.name, self.sender).removesuffix(b"\r\ntext\r\n") + (
            b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
            b"Content-Transfer-Encoding: 8bit\r\n\r\n" + body
        )
        self.a.submit([plain, able], message, sender=self.sender, mail=["BODY=8BITMIME"])
        self.assertEqual(self.drained(), {})
        self.assertTaken(able, message)
        (taken,) = self.at(plain).taken
        self.assertTrue(taken.octets.isascii())
        read = message_from_bytes(taken.octets).get_payload(decode=True)
        assert isinstance(read, bytes)
        self.assertEqual(read.replace(b"\r\n", b"\n"), body.replace(b"\r\n", b"\n"))
        self.assertEqual(taken.mail, f"<{self.sender}>")

    def test_wishes(self) -> None:
        """
        Who asks to be told of success is told when the mail goes to a server that can't take that
        over (RFC 3461 §5.2.2); one that can gets the parameters; NEVER is never.
        """
        plain = self.peer("plain")
        knowing = self.peer("knowing", extensions=["PIPELINING", "DSN"])
        refused = "550 5.7.1 no"
        never = self.peer("never", always={"RCPT": refused})
        self.submit(
            [plain, knowing],
            mail=["RET=HDRS", "ENVID=some+3Did"],
            rcpt=["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;first@a.test"],
        )
        self.submit([never], rcpt=["NOTIFY=NEVER"])
        told = self.drained()
        self.assertEqual(list(told), [plain])
        self.assertEqual((told[plain][0]["action"], told[plain][0]["status"][0]), ("relayed", "2"))
        self.assertEqual(told[plain][0]["original-recipient"], "rfc822; first@a.test")
        (octets,) = self.a.inbox(self.sender)
        notification = Notification(octets)
        self.assertEqual(notification.fields["original-envelope-id"], "some=id")
        self.assertEqual(notification.returned.get_content_type(), "text/rfc822-headers")
        (taken,) = self.at(knowing).taken
        self.assertEqual(
            set(taken.mail.split(" ")[1:]) & {"RET=HDRS", "ENVID=some+3Did"},
            {"RET=HDRS", "ENVID=some+3Did"},
        )
        self.assertEqual(
            set(taken.rcpts[0].split(" ")[1:]),
            {"NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;first@a.test"},
        )
        (taken,) = self.at(plain).taken
        self.assertEqual((taken.mail, taken.rcpts), (f"<{self.sender}>", (f"<{plain}>",)))
        self.assertEqual(self.at(never).attempts, 1)

    def test_ours(self) -> None:
        """
        A notification that can't be delivered makes no other (§6.1); the null reverse-path is what
        it is sent with.
        """
        told = self.peer("told", always={"RCPT": "550 5.1.1 nobody"})
        refusing = self.peer("refusing", always={"end": "554 5.6.0 no"})
        self.a.addAlias(f"out-{self.name}@a.test", refusing)
        self.a.deliver(told, f"out-{self.name}@a.test", text("x", told))
        waitFor(lambda: self.at(told).heard, "the notification was tried")
        self.assertEqual(self.drained(), {})
        (heard,) = self.at(told).heard
        self.assertIn("MAIL FROM:<>", heard[1])
        self.assertEqual(self.at(told).taken, [])


class LoadTests(FailureTestCase):
    """
    Many messages at once.
    """

    def load(self, *numbers: int) -> list[str]:
        """
        Submit messages to all peers.

        @return: their subjects.
        """
        subjects = [f"{self.name}-{number}" for number in numbers]
        to = [f"someone@{domain}" for domain in self.peers]
        for subject in subjects:
            self.a.submit(to, text(subject, self.sender), sender=self.sender)
        return subjects

    def assertAll(self, subjects: Sequence[str]) -> None:
        """Each peer has each message, once."""
        for domain, peer in self.peers.items():
            found = [
                line.removeprefix(b"Subject: ").decode()
                for each in peer.taken
                for line in each.octets.split(b"\r\n")
                if line.startswith(b"Subject: ")
            ]
            self.assertEqual(sorted(found), sorted(subjects), domain)

    def test_oneByOne(self) -> None:
        """Peers that take one message and close the connection, without a word."""
        for kind, extensions in OFFERS.items():
            self.peer(kind, always={"after": DROP}, extensions=extensions)
        subjects = self.load(*range(10))
        self.assertEqual(self.drained(), {})
        self.assertAll(subjects)

    def test_limits(self) -> None:
        """What a server says that it takes at most is not exceeded (RFC 9422, RFC 1870)."""
        offers = ["PIPELINING", "LIMITS RCPTMAX=2 MAILMAX=2"]
        domain = self.peer("limits", extensions=offers).partition("@")[2]
        small = self.peer("small", extensions=["SIZE 1000"])
        to = [f"{user}@{domain}" for user in "abcde"]
        self.submit([*to, small])
        told = self.drained()
        self.assertEqual(list(told), [small])
        # RFC 3463 §3.4: message too big for system
        self.assertEqual(told[small][0]["status"], "5.3.4")
        self.assertEqual(self.at(small).taken, [])
        peer = self.peers[domain]
        self.assertEqual(sorted(peer.recipients), to)
        for each in peer.taken:
            self.assertLessEqual(len(each.rcpts), 2)
        for heard in peer.heard:
            self.assertLessEqual(sum(line.startswith("MAIL") for line in heard), 2)

    def test_chaos(self) -> None:
        """Peers at which anything may go wrong get each message once, and nobody is told."""
        chance = Random(7)
        wrong = [DROP, "421 4.3.2 closing", "451 4.3.0 later"]
        for kind, extensions in OFFERS.items():
            places = [stage for _, stage, offered in stages() if offered == extensions]
            scripts = [
                {
                    stage: DROP if stage == "text" else chance.choice(wrong)
                    for stage in chance.sample(places, 2)
                }
                for _ in range(15)
            ]
            self.peer(kind, *scripts, extensions=extensions)
        subjects = self.load(*range(40))
        self.assertEqual(self.drained(), {})
        self.assertAll(subjects)

    def test_restart(self) -> None:
        """
        The server is stopped and started again while mail goes out: nothing is lost, and nothing
        is sent twice, since what is on its way is finished first.
        """
        for kind, extensions in OFFERS.items():
            self.peer(kind, extensions=extensions)
        subjects = self.load(*range(20))
        waitFor(lambda: all(peer.taken for peer in self.peers.values()), "some are through")
        self.a.stop()
        self.a.start()
        subjects += self.load(*range(20, 40))
        self.assertEqual(self.drained(), {})
        self.assertAll(subjects)


class TimeTests(SynchronousTestCase):
    """
    What waits for long.
    """

    def setUp(self) -> None:
        """Peers that never take anything."""
        self.network = Network()
        self.addCleanup(self.network.close)
        dns = self.network.dns
        dns.fail("unknown.test")
        dns.mx("down.test", (10, "mx.down.test"))
        dns.host("mx.down.test", self.network.address())
        self.never = self.network.peer("never.test", always={"RCPT": "450 4.2.1 not yet"})
        self.to = ["x@never.test", "x@down.test", "x@unknown.test"]

    def server(self, **settings: Any) -> MailHost:
        """
        @return: a running server.
        """
        host = self.network.server("a.test", **settings)
        host.start()
        return host

    def test_delayed(self) -> None:
        """
        After a while the sender is told once of each recipient that the mail is delayed, why, and
        until when it will be tried (RFC 3464 §2.3.3, §2.3.9); then it arrives, and nothing more is
        said. NOTIFY without DELAY is heeded.
        """
        a = self.server(queue__warn_after=1)
        waiting = self.network.peer("waiting.test", always={"MAIL": "451 4.7.1 greylisted"})
        a.submit([*self.to, "x@waiting.test"], text("delayed"))
        a.submit("quiet@never.test", text("quiet"), rcpt=["NOTIFY=FAILURE"])
        waitFor(lambda: len(notifications(a.inbox())) == 4, "all four delays are told")
        attempts = self.never.attempts
        waitFor(lambda: self.never.attempts > attempts + 1, "it is tried again")
        self.never.stop()
        waiting.always = {}
        waitFor(lambda: waiting.taken, "it arrives")
        waitFor(lambda: a.count("SELECT count(*) FROM queued_recipient") == 4, "that is noted")
        told = notifications(a.inbox())
        self.assertEqual(sorted(told), sorted([*self.to, "x@waiting.test"]))
        for address, fields in told.items():
            (each,) = fields
            self.assertEqual(each["action"], "delayed", address)
            self.assertRegex(each["status"], r"\A4\.\d+\.\d+\Z")
            self.assertIn("will-retry-until", each)
        self.assertEqual(told["x@waiting.test"][0]["diagnostic-code"], "smtp; 451 4.7.1 greylisted")
        self.assertEqual(told["x@waiting.test"][0]["status"], "4.7.1")
        self.assertIn("refused", told["x@down.test"][0]["diagnostic-code"])
        self.assertEqual(waiting.recipients, ["x@waiting.test"])
        for octets in a.inbox():
            # Of a delay the text itself isn't returned (RFC 3461 §4.3).
            self.assertEqual(
                Notification(octets).returned.get_content_type(), "text/rfc822-headers"
            )

    def test_expired(self) -> None:
        """
        What can't be delivered for too long goes back, once, with the last reason (RFC 5321
        §4.5.4.1); nothing is left.
        """
        a = self.server(queue__lifetime=4)
        a.submit(self.to, text("expired"))
        a.drained()
        told = notifications(a.inbox())
        self.assertEqual(sorted(told), sorted(self.to))
        for address, fields in told.items():
            (each,) = fields
            self.assertEqual(each["action"], "failed", address)
            self.assertNotIn("will-retry-until", each)
        self.assertEqual(told["x@never.test"][0]["diagnostic-code"], "smtp; 450 4.2.1 not yet")
        self.assertIn("refused", told["x@down.test"][0]["diagnostic-code"])
        self.assertGreater(self.never.attempts, 1)
        waitFor(lambda: not a.count("SELECT count(*) FROM destination"), "nothing is left")

    def test_doubleFailures(self) -> None:
        """Notifications that can't be delivered go to whom the configuration names."""
        a = self.server(queue__double_failures="alice@a.test")
        for domain in ("told.test", "refusing.test"):
            self.network.peer(domain, always={"RCPT": "550 5.1.1 nobody"})
        a.addAlias("out@a.test", "x@refusing.test")
        a.deliver("x@told.test", "out@a.test", text("x", "x@told.test"))
        (octets,) = a.mail(1)
        a.drained()
        self.assertEqual(len(a.inbox()), 1)
        notification = Notification(octets)
        self.assertEqual(notification.only["final-recipient"], "rfc822; x@told.test")
        self.assertIn(b"x@refusing.test", octets)
