"""
What senders are told of their mail, as others read it: the standard library's email package.
"""

from __future__ import annotations

import email
import re
from email.message import Message
from typing import Any

from tests.delivery.support import DirectoryTestCase, staged
from tests.smtp.support import TODAY, UnreachableRelay, now
from twisted_mailstack.delivery.dispatch import Dispatch
from twisted_mailstack.delivery.notification import (
    MAX_HEADER,
    MAX_LINE,
    MAX_RETURNED,
    ORIGIN,
    ORIGIN_DOUBLE,
    Notifier,
)
from twisted_mailstack.delivery.queue import Report
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.errors import MessageExpunged, StoreDamaged, TemporaryFailure
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.dates import formatFieldDate
from twisted_mailstack.model.queue import (
    LOCAL,
    AttemptResult,
    Outcome,
    QueuedMessage,
    QueuedRecipient,
    QueueFilter,
)

REFUSED = AttemptResult(550, "5.1.1", "No such user", "mx.far.test [192.0.2.7]")
LATER = AttemptResult(451, "4.7.1", "Greylisted", "mx.far.test [192.0.2.7]")
TAKEN = AttemptResult(250, "2.0.0", "OK", "mx.far.test [192.0.2.7]")
HEADER = b"From: <alice@example.test>\r\nSubject: lunch\r\nMessage-ID: <1@example.test>\r\n\r\n"
TEXT = HEADER + b"At noon?\r\n"


class NotifierTestCase(DirectoryTestCase):
    """
    A notifier over a store in which alice is. Nothing may be left staged after a test.
    """

    def setUp(self) -> None:
        """Make it."""
        super().setUp()
        self.spool: Any = self.store.spool
        self.notifier = self.make()
        self.addCleanup(lambda: self.assertEqual(self.store.staged, set()))

    def make(self, relay: bool = True, postmaster: str | None = None) -> Notifier:
        """
        @param postmaster: who gets what nobody else can be told.
        @return: a notifier.
        """
        return Notifier(
            self.spool,
            self.store.newContent,
            Resolver(self.directory),
            Dispatch(UnreachableRelay() if relay else None, now=lambda: TODAY),
            "mx.example.test",
            doubleFailures=None if postmaster is None else Address.parse(postmaster),
            now=lambda: TODAY + 60,
        )

    def queue(
        self,
        *recipients: str,
        sender: str | None = "alice@example.test",
        text: bytes = TEXT,
        parameters: dict[str, str | None] | None = None,
        rcpt: dict[str, str | None] | None = None,
        **fields: Any,
    ) -> QueuedMessage:
        """
        @param parameters: of MAIL, C{rcpt}: of each recipient.
        @return: a message that is in the spool.
        """
        message = QueuedMessage(
            "Q1",
            None if sender is None else Address.parse(sender),
            parameters or {},
            b"",
            TODAY,
            TODAY + 86400,
            tuple(
                QueuedRecipient(number, Address.parse(each), rcpt or {}, "far.test", TODAY, TODAY)
                for number, each in enumerate(recipients or ("bob@far.test",))
            ),
        )._replace(**fields)
        content = staged(self.store, text)
        now(self.spool.accept(content, [], 0, message))
        content.discard()
        return self.queued()[-1]

    def queued(self) -> list[QueuedMessage]:
        """
        @return: what is in the spool.
        """
        return list(now(self.spool.select(QueueFilter(), 1000)))

    def text(self, message: QueuedMessage) -> bytes:
        """
        @return: a message in the spool.
        """
        content = now(self.spool.openContent(message.spoolId))
        return now(content.read(0, content.size))

    def tell(
        self,
        message: QueuedMessage,
        action: str = "failed",
        result: AttemptResult = REFUSED,
        at: int | None = TODAY + 50,
        notifier: Notifier | None = None,
    ) -> None:
        """
        Tell of all its recipients.
        """
        final = action != "delayed"
        now(
            (notifier or self.notifier).notify(
                message,
                [Report(each, action, result, at) for each in message.recipients],
                [Outcome(message.spoolId, each.number, final) for each in message.recipients],
            )
        )

    def told(self, address: str = "alice@example.test") -> tuple[bytes, Message]:
        """
        @return: the one message that an account got, and what the standard library reads in it.
        """
        (octets,) = self.inbox(address)
        return octets, self.read(octets)

    def read(self, octets: bytes) -> Message:
        """
        @return: a notification; its frame is as it has to be.
        """
        message = email.message_from_bytes(octets)
        self.assertEqual(message.get_content_type(), "multipart/report")
        self.assertEqual(message.get_param("report-type"), "delivery-status")
        self.assertEqual(message.defects, [])
        for part in message.walk():
            self.assertEqual(part.defects, [])
        # RFC 5322 §2.1, §2.1.1
        self.assertEqual(octets.count(b"\r\n"), octets.count(b"\n"))
        self.assertEqual(octets.count(b"\r\n"), octets.count(b"\r"))
        self.assertLessEqual(max(map(len, octets.split(b"\r\n"))), MAX_LINE)
        if b"Content-Transfer-Encoding: 8bit" not in octets:
            self.assertTrue(octets.isascii())
        # RFC 3834 §5, RFC 5322 §3.6
        self.assertEqual(message["Auto-Submitted"], "auto-replied")
        self.assertEqual(message["MIME-Version"], "1.0")
        for name in ("From", "To", "Subject", "Date", "Message-ID"):
            self.assertEqual(len(message.get_all(name, [])), 1, name)
        return message

    def status(self, message: Message) -> list[Message]:
        """
        @return: the fields of the message, then those of each recipient (RFC 3464 §2.1).
        """
        part: Any = message.get_payload(1)
        if part.get_content_type() == "message/delivery-status":
            self.assertTrue(part.as_bytes().isascii())
            groups: list[Message] = part.get_payload()
            return groups
        self.assertEqual(part.get_content_type(), "message/global-delivery-status")
        # The standard library doesn't know RFC 6533.
        inside = part.get_payload()[0] if part.is_multipart() else part
        octets = re.split(rb"\r?\n\r?\n", part.as_bytes().partition(b"\n\n")[2].strip())
        del inside
        return [email.message_from_string(each.decode("utf-8")) for each in octets]

    def types(self, message: Message) -> list[str]:
        """
        @return: the content types of the parts.
        """
        parts: Any = message.get_payload()
        return [part.get_content_type() for part in parts]


class FormTests(NotifierTestCase):
    """
    RFC 3464, RFC 6522.
    """

    def test_failed(self) -> None:
        """What a notification of a failure looks like, field by field."""
        message = self.queue(
            parameters={"ENVID": "QQ+3D314", "RET": "FULL"},
            rcpt={"ORCPT": "rfc822;Bob+2Bx@Far.test", "NOTIFY": "FAILURE"},
        )
        self.tell(message)
        octets, told = self.told()
        # RFC 3461 §6.1: the null reverse-path.
        self.assertTrue(
            octets.startswith(b"Return-Path: <>\r\nDelivered-To: alice@example.test\r\nFrom: ")
        )
        self.assertEqual(told["To"], "<alice@example.test>")
        self.assertIn("<postmaster@mx.example.test>", told["From"])
        self.assertEqual(told["Date"], formatFieldDate(TODAY + 60).decode())
        self.assertEqual(
            self.types(told), ["text/plain", "message/delivery-status", "message/rfc822"]
        )
        whole, one = self.status(told)
        self.assertEqual(
            whole.items(),
            [
                ("Original-Envelope-Id", "QQ=314"),
                ("Reporting-MTA", "dns; mx.example.test"),
                ("Arrival-Date", formatFieldDate(TODAY).decode()),
            ],
        )
        self.assertEqual(
            one.items(),
            [
                ("Original-Recipient", "rfc822; Bob+x@Far.test"),
                ("Final-Recipient", "rfc822; bob@far.test"),
                ("Action", "failed"),
                ("Status", "5.1.1"),
                ("Remote-MTA", "dns; mx.far.test"),
                ("Diagnostic-Code", "smtp; 550 5.1.1 No such user"),
                ("Last-Attempt-Date", formatFieldDate(TODAY + 50).decode()),
            ],
        )
        original: Any = told.get_payload(2)
        self.assertEqual(
            original.get_payload(0).as_bytes().replace(b"\n", b"\r\n"), TEXT, "not as it came"
        )
        text: Any = told.get_payload(0)
        shown = text.get_payload(decode=True).decode()
        for part in ("mx.example.test", "<bob@far.test>", "550 5.1.1 No such user", "Q1"):
            self.assertIn(part, shown)
        self.assertEqual(self.queued(), [])

    def test_withoutParameters(self) -> None:
        """
        Without ENVID and ORCPT those fields are not there (RFC 3461 §6.3 a, d); without a remote
        host, its fields aren't (RFC 3464 §2.3.5).
        """
        self.tell(self.queue(), result=AttemptResult(550, "5.1.2", "No such domain"), at=None)
        whole, one = self.status(self.told()[1])
        self.assertEqual(whole.keys(), ["Reporting-MTA", "Arrival-Date"])
        self.assertEqual(
            one.items(),
            [
                ("Final-Recipient", "rfc822; bob@far.test"),
                ("Action", "failed"),
                ("Status", "5.1.2"),
                ("Diagnostic-Code", "x-twisted-mailstack; No such domain"),
            ],
        )

    def test_deliverBy(self) -> None:
        """
        The time by which it was to be delivered (RFC 2852), counted from when it came, or from its
        release.
        """
        for parameters, after in (
            ({"BY": "120;R"}, 120),
            ({"BY": "-60;NT"}, -60),
            ({"BY": "120;N", "HOLDFOR": "1000"}, 1120),
        ):
            mail: dict[str, str | None] = dict(parameters)
            message = self.queue(parameters=mail)
            self.tell(message)
            whole = self.status(self.read(self.inbox("alice@example.test")[-1]))[0]
            self.assertEqual(
                whole["Deliver-By-Date"], formatFieldDate(TODAY + after).decode(), mail
            )

    def test_futureRelease(self) -> None:
        """What was asked of the time of its release, as it was (RFC 4865)."""
        for parameters, request in (
            ({"HOLDFOR": "86400"}, "for;86400"),
            ({"HOLDUNTIL": "2023-11-15T00:00:00Z"}, "until;2023-11-15T00:00:00Z"),
        ):
            for action in ("failed", "delayed", "delivered"):
                mail: dict[str, str | None] = dict(parameters)
                message = self.queue(parameters=mail, rcpt={"NOTIFY": "SUCCESS,FAILURE,DELAY"})
                self.tell(message, action)
                whole = self.status(self.read(self.inbox("alice@example.test")[-1]))[0]
                self.assertEqual(whole.get_all("Future-Release-Request"), [request])
                self.assertNotIn("Deliver-By-Date", whole)

    def test_severalRecipients(self) -> None:
        """One notification tells of all recipients of a message that came to the same."""
        self.tell(self.queue("a@far.test", "b@far.test", "c@far.test"))
        groups = self.status(self.told()[1])
        self.assertEqual(
            [each["Final-Recipient"] for each in groups[1:]],
            [f"rfc822; {name}@far.test" for name in "abc"],
        )

    def test_actions(self) -> None:
        """
        One notification for each action (RFC 3464 §2.3.3); each outcome is settled with the one
        that tells of it, the others with the first.
        """
        message = self.queue(*(f"{name}@far.test" for name in "abcd"))
        steps: list[tuple[int, set[int]]] = []
        accept = self.spool.accept

        async def watched(*arguments: Any) -> Any:
            steps.append((len(self.inbox("alice@example.test")), {e.number for e in arguments[4]}))
            return await accept(*arguments)

        self.patch(self.spool, "accept", watched)
        a, b, c, _ = message.recipients
        reports = [Report(a, "failed", REFUSED), Report(b, "relayed", TAKEN)]
        reports.append(Report(c, "failed", REFUSED))
        settled = [Outcome(message.spoolId, number, True) for number in range(4)]
        now(self.notifier.notify(message, reports, settled))
        self.assertEqual(steps, [(0, {0, 2, 3}), (1, {1})])
        found = [self.status(self.read(each)) for each in self.inbox("alice@example.test")]
        self.assertEqual(
            [[(g["Action"], g["Status"]) for g in groups[1:]] for groups in found],
            [[("failed", "5.1.1")] * 2, [("relayed", "2.0.0")]],
        )
        self.assertEqual(self.queued(), [])

    def test_delayed(self) -> None:
        """
        A delay: a status of class 4, until when it is tried (RFC 3464 §2.3.9), the header alone
        (RFC 3461 §4.3); the message goes on waiting.
        """
        self.tell(self.queue(parameters={"RET": "FULL"}), "delayed", LATER, None)
        told = self.told()[1]
        self.assertEqual(self.types(told)[2], "text/rfc822-headers")
        (_, one) = self.status(told)
        self.assertEqual((one["Action"], one["Status"]), ("delayed", "4.7.1"))
        self.assertEqual(one["Will-Retry-Until"], formatFieldDate(TODAY + 86400).decode())
        self.assertEqual(one["Diagnostic-Code"], "smtp; 451 4.7.1 Greylisted")
        self.assertNotIn("Last-Attempt-Date", one)
        self.assertEqual(len(self.queued()), 1)

    def test_expired(self) -> None:
        """A failure may have been temporary till the end, and its status says so (§2.3.3)."""
        self.tell(self.queue(), result=LATER)
        told = self.told()[1]
        (_, one) = self.status(told)
        self.assertEqual((one["Action"], one["Status"]), ("failed", "4.7.1"))
        self.assertIn("time was over", str(told.get_payload(0)))
        self.assertNotIn("Will-Retry-Until", one)

    def test_success(self) -> None:
        """Of successes the status is of class 2, and nobody's diagnosis is told."""
        for action, result in (
            ("delivered", AttemptResult(250, "2.1.5", "Delivered")),
            ("expanded", AttemptResult(250, "2.1.5", "Expanded")),
            ("relayed", TAKEN),
        ):
            self.tell(self.queue(), action, result)
            (_, one) = self.status(self.read(self.inbox("alice@example.test")[-1]))
            self.assertEqual((one["Action"], one["Status"][:2]), (action, "2."))
        self.assertEqual(one["Remote-MTA"], "dns; mx.far.test")

    def test_statusForms(self) -> None:
        """A status is three numbers without zeros in front, of a class that fits (§2.3.4)."""
        for action, given, expected in (
            ("failed", "5.01.001", "5.1.1"),
            ("failed", "2.0.0", "5.0.0"),
            ("failed", "4.4.7", "4.4.7"),
            ("failed", "nonsense", "5.0.0"),
            ("delayed", "5.1.1", "4.1.1"),
            ("relayed", "5.1.1", "2.1.1"),
        ):
            self.tell(self.queue(), action, REFUSED._replace(enhancedStatus=given))
            (_, one) = self.status(self.read(self.inbox("alice@example.test")[-1]))
            self.assertEqual(one["Status"], expected)

    def test_madeUpStatus(self) -> None:
        """A status that was made from the code isn't said to have been in the reply."""
        self.tell(self.queue(), result=AttemptResult(550, "5.0.0", "Go away", "mx.far.test"))
        (_, one) = self.status(self.told()[1])
        self.assertEqual(one["Diagnostic-Code"], "smtp; 550 Go away")

    def test_hostileReply(self) -> None:
        """Whatever a host said, it is one field, on lines that are not too long."""
        for text in (
            "x\r\nAction: delivered\r\n\r\nFinal-Recipient: rfc822; evil@far.test",
            "\0\x07\x1b[2J\x7f\u202eevil\u2028Action: delivered",
            "y" * 5000,
            "word " * 1000,
            "ü" * 3000,
            "--=_boundary--",
            "",
            " ",
            "(comment",
            "\ud7ff\U0001f600",
        ):
            self.tell(self.queue(), result=REFUSED._replace(text=text))
            told = self.read(self.inbox("alice@example.test")[-1])
            self.assertEqual(len(self.types(told)), 3)
            groups = self.status(told)
            self.assertEqual([each["Action"] for each in groups], [None, "failed"], text)
            self.assertTrue(groups[1]["Diagnostic-Code"].startswith("smtp; 550 5.1.1"))
            self.assertLessEqual(len(groups[1]["Diagnostic-Code"]), 12_000)
            for character in groups[1]["Diagnostic-Code"].replace("\r\n", ""):
                self.assertTrue(character.isprintable(), ascii(character))

    def test_hostileInUTF8(self) -> None:
        """Nor is it more where UTF-8 is allowed; and no text moves the reader's cursor."""
        for text in ("x\r\nAction: delivered", "\x1b[2J\x07\u202eevil", "a\nb", "a\rb", "a\0b"):
            message = self.queue("дима@far.test", parameters={"ENVID": text})
            self.tell(message, result=REFUSED._replace(text=text, remote=f"mx{text}"))
            octets = self.inbox("alice@example.test")[-1]
            told = self.read(octets)
            self.assertEqual(self.types(told)[1], "message/global-delivery-status")
            (_, one) = self.status(told)
            self.assertEqual(one.get_all("Action"), ["failed"])
            for character in octets.decode("utf-8").replace("\r\n", "").replace("\t", ""):
                self.assertTrue(character.isprintable(), ascii(character))

    def test_hostileHost(self) -> None:
        """Nor does what a host calls itself."""
        self.tell(self.queue(), result=REFUSED._replace(remote="mx\r\nAction: x [1]"))
        (_, one) = self.status(self.told()[1])
        self.assertEqual(one.get_all("Action"), ["failed"])

    def test_hostileParameters(self) -> None:
        """
        Whatever stands in ENVID and ORCPT (they were checked when they came, or are of an older
        release), nothing gets out of its field.
        """
        for value in ("+0D+0Ax: y", "+", "\r\nAction: x", "+FF+FE", "a\0b", "", ";", "x y"):
            self.tell(self.queue(parameters={"ENVID": value}, rcpt={"ORCPT": f"rfc822;{value}"}))
            whole, one = self.status(self.read(self.inbox("alice@example.test")[-1]))
            self.assertLessEqual(
                set(whole.keys()), {"Original-Envelope-Id", "Reporting-MTA", "Arrival-Date"}
            )
            self.assertEqual(one.get_all("Action"), ["failed"])
        for value in ("no semicolon", "bad type;x", "\r\n;x"):
            self.tell(self.queue(rcpt={"ORCPT": value}))
            (_, one) = self.status(self.read(self.inbox("alice@example.test")[-1]))
            self.assertNotIn("Original-Recipient", one)


class ReturnedTests(NotifierTestCase):
    """
    What comes back of the original message.
    """

    def returned(self, text: bytes, sender: str = "alice@example.test", **fields: Any) -> Message:
        """
        @return: the third part.
        """
        self.tell(self.queue(sender=sender, text=text, **fields))
        if sender == "alice@example.test":
            octets = self.inbox(sender)[-1]
        else:
            octets = self.text(self.queued()[-1])
        part: Any = self.read(octets).get_payload(2)
        return part  # type: ignore[no-any-return]

    def test_headersOnly(self) -> None:
        """RET=HDRS: the header alone (RFC 3461 §4.3), in its own type (RFC 6522 §4)."""
        for value in ("HDRS", "hdrs"):
            part = self.returned(TEXT, parameters={"RET": value})
            self.assertEqual(part.get_content_type(), "text/rfc822-headers")
            self.assertEqual(
                part.get_payload(decode=True).strip().replace(b"\r\n", b"\n"),  # type: ignore[union-attr]
                HEADER.strip().replace(b"\r\n", b"\n"),
            )

    def test_requireTLS(self) -> None:
        """RFC 8689 §5: as if RET=HDRS was given, and the notification demands it, too."""
        part = self.returned(
            TEXT, "far@elsewhere.test", parameters={"RET": "FULL", "REQUIRETLS": None}
        )
        self.assertEqual(part.get_content_type(), "text/rfc822-headers")
        self.assertIn("REQUIRETLS", self.queued()[-1].parameters)

    def test_large(self) -> None:
        """A large message doesn't come back whole, a very large header not either."""
        limit = MAX_RETURNED - len(HEADER)
        for size, kind in ((limit, "message/rfc822"), (limit + 1, "text/rfc822-headers")):
            body = ((b"y" * 62 + b"\r\n") * (size // 64 + 1))[:size]
            part = self.returned(HEADER + body.rstrip(b"\r\n").ljust(size, b"z"))
            self.assertEqual(part.get_content_type(), kind)
        part = self.returned((b"X-Long: " + b"y" * 54 + b"\r\n") * 2000 + b"\r\nbody\r\n")
        self.assertEqual(part.get_content_type(), "text/rfc822-headers")
        self.assertLessEqual(len(part.as_bytes()), MAX_HEADER + 100)

    def test_eightBitBody(self) -> None:
        """
        Octets outside ASCII come back to an account of ours. To others goes the header: what the
        way back takes isn't known, and message/rfc822 can't be encoded (RFC 6522 §3).
        """
        text = HEADER + "Grüße\r\n".encode()
        part = self.returned(text)
        self.assertEqual(part.get_content_type(), "message/rfc822")
        self.assertIn("Grüße".encode(), self.inbox("alice@example.test")[-1])
        part = self.returned(text, "far@elsewhere.test")
        self.assertEqual(part.get_content_type(), "text/rfc822-headers")
        self.assertEqual(self.queued()[-1].parameters, {"BODY": "7BIT"})
        self.assertTrue(self.text(self.queued()[-1]).isascii())

    def test_eightBitHeader(self) -> None:
        """
        A header in UTF-8 comes back as RFC 6533 §4 has it, encoded where the way back may not take
        it (§4.5); one in no charset at all in a type that may be encoded.
        """
        text = "From: <alice@example.test>\r\nSubject: Grüße\r\n\r\nbody\r\n".encode()
        for sender in ("alice@example.test", "far@elsewhere.test"):
            part = self.returned(text, sender)
            self.assertEqual(part.get_content_type(), "message/global")
            part = self.returned(text, sender, parameters={"RET": "HDRS"})
            self.assertEqual(part.get_content_type(), "message/global-headers")
            broken = text.replace("ü".encode(), b"\xfc")
            part = self.returned(broken, sender)
            self.assertEqual(part.get_content_type(), "text/rfc822-headers")
            found: Any = part.get_payload(decode=True)
            self.assertIn(b"Subject: Gr\xfc", found)
        self.assertTrue(self.text(self.queued()[-1]).isascii())

    def test_notLines(self) -> None:
        """NUL, bare CR or LF, very long lines: what can't be returned as it is isn't."""
        for body in (b"a\0b\r\n", b"a\rb\r\n", b"a\nb\r\n", b"a" * 2000 + b"\r\n"):
            part = self.returned(HEADER + body)
            self.assertEqual(part.get_content_type(), "text/rfc822-headers")
        for header in (b"Subject: a\0b", b"Subject: a\rb", b"X: " + b"y" * 3000):
            part = self.returned(header + b"\r\n\r\nbody\r\n")
            self.assertEqual(part.get_content_type(), "text/rfc822-headers")
            found: Any = part.get_payload(decode=True)
            self.assertEqual(found.rstrip(b"\r\n"), header)

    def test_boundary(self) -> None:
        """A message that is a notification itself comes back in one."""
        self.tell(self.queue())
        (octets,) = self.inbox("alice@example.test")
        part: Any = self.returned(octets[octets.index(b"From: ") :])
        self.assertEqual(part.get_content_type(), "message/rfc822")

    def test_noHeader(self) -> None:
        """A message without anything comes back as nothing."""
        self.tell(self.queue(text=b""))
        self.assertEqual(len(self.types(self.told()[1])), 2)

    def test_cannotBeRead(self) -> None:
        """That the sender is told matters more than what comes back."""
        for problem in (StoreDamaged(), MessageExpunged(), TemporaryFailure()):
            message = self.queue()
            content = now(self.spool.openContent(message.spoolId))

            async def fail(*arguments: Any, problem: Exception = problem) -> bytes:
                raise problem

            async def openContent(spoolId: int, content: Any = content) -> Any:
                return content

            content.read = fail
            self.patch(self.spool, "openContent", openContent)
            self.tell(message)
            told = self.read(self.inbox("alice@example.test")[-1])
            self.assertEqual(len(self.types(told)), 2)
        self.assertEqual(len(self.flushLoggedErrors(StoreDamaged)), 1)
        self.assertEqual(len(self.flushLoggedErrors(TemporaryFailure)), 1)

    def test_removedMeanwhile(self) -> None:
        """Of a message that an operator removed nothing is told."""
        message = self.queue()
        now(self.spool.delete(QueueFilter()))
        self.tell(message)
        self.assertEqual(self.inbox("alice@example.test"), [])


class InternationalTests(NotifierTestCase):
    """
    RFC 6533: addresses in UTF-8.
    """

    def test_toUs(self) -> None:
        """Where the notification may have UTF-8 the addresses are as they are (§4.1)."""
        self.tell(
            self.queue(
                "дима@far.test",
                parameters={"SMTPUTF8": None},
                rcpt={"ORCPT": "utf-8;\\x{434}има\\x{2B}x@far.test"},
            )
        )
        told = self.told()[1]
        self.assertEqual(self.types(told)[1], "message/global-delivery-status")
        (_, one) = self.status(told)
        self.assertEqual(one["Final-Recipient"], "utf-8; дима@far.test")
        self.assertEqual(one["Original-Recipient"], "utf-8; дима+x@far.test")

    def test_toOthers(self) -> None:
        """
        Where it is not known, all of it is ASCII: the old type, with addresses in the form that is
        safe everywhere (§3, utf-8-addr-xtext).
        """
        message = self.queue(
            "дима@far.test",
            sender="far@elsewhere.test",
            parameters={"SMTPUTF8": None},
            rcpt={"ORCPT": "utf-8;дима@far.test"},
        )
        self.tell(message)
        (queued,) = self.queued()
        self.assertEqual(queued.parameters, {"BODY": "7BIT"})
        told = self.read(self.text(queued))
        self.assertEqual(self.types(told)[1], "message/delivery-status")
        (_, one) = self.status(told)
        self.assertEqual(one["Final-Recipient"], "utf-8; \\x{434}\\x{438}\\x{43C}\\x{430}@far.test")
        self.assertEqual(one["Original-Recipient"], one["Final-Recipient"])

    def test_sender(self) -> None:
        """A sender that can't be named without it gets a notification that needs SMTPUTF8."""
        self.tell(self.queue("дима@far.test", sender="ольга@elsewhere.test"))
        (queued,) = self.queued()
        self.assertEqual(queued.parameters, {"BODY": "8BITMIME", "SMTPUTF8": None})
        octets = self.text(queued)
        self.assertIn("To: <ольга@elsewhere.test>\r\n".encode(), octets)
        self.assertEqual(self.types(self.read(octets))[1], "message/global-delivery-status")

    def test_unknownForm(self) -> None:
        """An address of that type that isn't one is copied without alteration (§3)."""
        self.tell(self.queue(rcpt={"ORCPT": "utf-8;\\x{zz}"}))
        (_, one) = self.status(self.told()[1])
        self.assertEqual(one["Original-Recipient"], "utf-8; \\x{zz}")

    def test_reply(self) -> None:
        """A reply in UTF-8 doesn't make a notification need it."""
        self.tell(self.queue(), result=REFUSED._replace(text="Постель"))
        told = self.told()[1]
        self.assertEqual(self.types(told)[1], "message/delivery-status")
        (_, one) = self.status(told)
        self.assertTrue(one["Diagnostic-Code"].isascii())
        text: Any = told.get_payload(0)
        self.assertIn("Постель", text.get_payload(decode=True).decode())


class WayTests(NotifierTestCase):
    """
    Where notifications go.
    """

    def test_elsewhere(self) -> None:
        """
        A sender elsewhere gets it through the queue, in the same step in which the message ends:
        with the null reverse-path, and the wish that nobody be told of it (RFC 3461 §6.1).
        """
        message = self.queue(sender="far@elsewhere.test", priority=3)
        self.tell(message)
        (queued,) = self.queued()
        (recipient,) = queued.recipients
        self.assertIsNone(queued.reversePath)
        self.assertEqual(str(recipient.address), "far@elsewhere.test")
        self.assertEqual(recipient.parameters, {"NOTIFY": "NEVER"})
        self.assertEqual(recipient.destination, "elsewhere.test")
        # RFC 6710 §4.6
        self.assertEqual((queued.priority, queued.parameters["MT-PRIORITY"]), (3, "3"))
        self.assertNotIn("RET", queued.parameters)
        self.assertEqual((queued.origin, queued.queueId[:3]), (ORIGIN, "Q1-"))
        told = self.read(self.text(queued))
        self.assertEqual(told["To"], "<far@elsewhere.test>")

    def test_alias(self) -> None:
        """A sender that is an alias reaches all whom it stands for."""
        self.alias("staff@example.test", "alice@example.test", "x@far.test", "bob@example.test")
        self.tell(self.queue(sender="staff@example.test"))
        for name in ("alice", "bob"):
            self.assertEqual(self.told(f"{name}@example.test")[1]["To"], "<staff@example.test>")
        (queued,) = self.queued()
        self.assertEqual([str(each.address) for each in queued.recipients], ["x@far.test"])

    def test_full(self) -> None:
        """If the sender's account is full the notification waits."""
        now(self.directory.setQuota(Address("alice", "example.test"), None, 0))
        self.tell(self.queue())
        (queued,) = self.queued()
        (recipient,) = queued.recipients
        self.assertEqual(
            (str(recipient.address), recipient.destination), ("alice@example.test", LOCAL)
        )
        self.assertIsNone(queued.reversePath)

    def test_settledOnce(self) -> None:
        """What was settled by a call that was thought to have failed isn't told twice."""
        message = self.queue()
        self.tell(message)
        self.tell(message)
        self.assertEqual(len(self.inbox("alice@example.test")), 1)

    def test_fails(self) -> None:
        """If it can't be written, nothing is settled, nothing told, and nothing left over."""
        message = self.queue()

        async def fail(*arguments: Any) -> None:
            raise TemporaryFailure()

        self.patch(self.spool, "accept", fail)
        self.assertRaises(TemporaryFailure, self.tell, message)
        self.assertEqual(self.inbox("alice@example.test"), [])
        self.assertEqual(self.queued(), [message])

    def test_writerFails(self) -> None:
        """Likewise if the content can't be written."""
        message = self.queue()
        newContent = self.store.newContent

        def broken() -> Any:
            writer = newContent()

            async def fail() -> None:
                raise OSError("full")

            setattr(writer, "finish", fail)  # noqa: B010 it is a method
            return writer

        notifier = self.make()
        self.patch(notifier, "_newContent", broken)
        self.assertRaises(OSError, lambda: self.tell(message, notifier=notifier))
        self.assertEqual(self.queued(), [message])


class NobodyTests(NotifierTestCase):
    """
    Whom nobody can tell: no loops, and nothing lost that somebody wants to know.
    """

    def test_nullPath(self) -> None:
        """The null reverse-path never gets one (RFC 5321 §4.5.5)."""
        message = self.queue(sender=None)
        for action in ("failed", "delayed", "delivered", "relayed", "expanded"):
            self.assertFalse(self.notifier.wants(message, message.recipients[0], action))
        self.tell(message)
        self.assertEqual((self.queued(), self.inbox("alice@example.test")), ([], []))

    def test_postmaster(self) -> None:
        """
        A configured postmaster is told of what fails without a sender (RFC 3461 §5.2), whatever
        NOTIFY says (§5.2.6 b), and of nothing else; of the failure of that nobody is.
        """
        notifier = self.make(postmaster="bob@example.test")
        message = self.queue(sender=None, rcpt={"NOTIFY": "NEVER"})
        recipient = message.recipients[0]
        self.assertTrue(notifier.wants(message, recipient, "failed"))
        for action in ("delayed", "delivered", "relayed", "expanded"):
            self.assertFalse(notifier.wants(message, recipient, action))
        self.tell(message, notifier=notifier)
        octets, told = self.told("bob@example.test")
        self.assertTrue(octets.startswith(b"Return-Path: <>\r\n"))
        self.assertEqual(told["To"], "<bob@example.test>")
        self.assertEqual(self.types(told)[2], "message/rfc822")

    def test_noLoop(self) -> None:
        """A postmaster elsewhere, or an alias for one, that can't be reached makes no loop."""
        self.alias("root@example.test", "root@far.test")
        for address in ("root@far.test", "root@example.test"):
            notifier = self.make(postmaster=address)
            self.tell(self.queue(sender=None), notifier=notifier)
            (queued,) = self.queued()
            self.assertEqual(queued.origin, ORIGIN_DOUBLE)
            self.assertFalse(notifier.wants(queued, queued.recipients[0], "failed"))
            now(self.spool.delete(QueueFilter()))

    def test_notificationFails(self) -> None:
        """A notification that can't be delivered is told of to the postmaster, once."""
        notifier = self.make(postmaster="bob@example.test")
        self.tell(self.queue(sender="forged@elsewhere.test"), notifier=notifier)
        (queued,) = self.queued()
        self.assertTrue(notifier.wants(queued, queued.recipients[0], "failed"))
        self.tell(queued, notifier=notifier)
        self.assertEqual(self.queued(), [])
        self.assertEqual(self.told("bob@example.test")[1]["To"], "<bob@example.test>")

    def test_forged(self) -> None:
        """A sender at a domain of ours that isn't there: the postmaster is told, or the log."""
        for postmaster, messages in ((None, 0), ("bob@example.test", 1)):
            notifier = self.make(postmaster=postmaster)
            self.tell(self.queue(sender="nobody@example.test"), notifier=notifier)
            self.assertEqual(self.queued(), [])
            self.assertEqual(len(self.inbox("bob@example.test")), messages)
        text = self.inbox("bob@example.test")[0]
        self.assertIn(b"<nobody@example.test>", text)

    def test_noRelay(self) -> None:
        """Without a way to other servers nobody there can be told."""
        notifier = self.make(relay=False, postmaster="bob@example.test")
        self.tell(self.queue(sender="far@elsewhere.test"), notifier=notifier)
        self.assertEqual(self.queued(), [])
        self.assertEqual(len(self.inbox("bob@example.test")), 1)

    def test_onlyFailures(self) -> None:
        """The postmaster isn't bothered with delays of forged senders."""
        notifier = self.make(postmaster="bob@example.test")
        self.tell(self.queue(sender="nobody@example.test"), "delayed", notifier=notifier)
        self.assertEqual(self.inbox("bob@example.test"), [])


class WishTests(NotifierTestCase):
    """
    RFC 3461: who wishes to be told of what.
    """

    def test_notify(self) -> None:
        """NOTIFY, in any case (§4.1); without it of failures and delays (§5.2.5, §5.2.6)."""
        for notify, expected in (
            (None, "failed delayed"),
            ("NEVER", ""),
            ("SUCCESS", "delivered relayed expanded"),
            ("failure", "failed"),
            ("Delay", "delayed"),
            ("SUCCESS,FAILURE", "failed delivered relayed expanded"),
            ("DELAY,failure", "failed delayed"),
            ("SUCCESS,FAILURE,DELAY", "failed delayed delivered relayed expanded"),
        ):
            message = self.queue(rcpt={} if notify is None else {"NOTIFY": notify})
            wanted = [
                action
                for action in ("failed", "delayed", "delivered", "relayed", "expanded")
                if self.notifier.wants(message, message.recipients[0], action)
            ]
            self.assertEqual(wanted, expected.split(), notify)
            # RFC 2852 §4.1.4: in any case but that.
            self.assertEqual(
                self.notifier.wants(message, message.recipients[0], "traced"), notify != "NEVER"
            )
        nobodys = self.queue(sender=None)
        self.assertFalse(self.notifier.wants(nobodys, nobodys.recipients[0], "traced"))
