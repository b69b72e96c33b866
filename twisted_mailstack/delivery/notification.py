# -*- test-case-name: tests.delivery.test_notification -*-
"""
Delivery status notifications: what senders are told of their mail (RFC 3464 in RFC 6522's
multipart/report, by the wishes of RFC 3461, internationalised by RFC 6533).

The null reverse-path never gets one (RFC 5321 §4.5.5). A failure that nobody can be told of goes to
the postmaster where one is configured to want it, else it is logged; of a failure of that message
nobody is told, so there are no loops.

A notification is written such that it gets there: all of it is ASCII, encoded where that is
allowed, unless the way back is known to take more, since it ends here or the sender's address
itself needs SMTPUTF8.
"""

from __future__ import annotations

import binascii
import re
import secrets
from collections.abc import Callable, Sequence
from textwrap import wrap
from time import time
from typing import Any

from twisted.logger import Logger

from twisted_mailstack.delivery.dispatch import Dispatch
from twisted_mailstack.delivery.queue import Report
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.wishes import deliveryWishes
from twisted_mailstack.errors import MailError, MessageExpunged, NoSuchDomain, SyntaxProblem
from twisted_mailstack.interfaces import IContentWriter, IMessageContent, ISpool
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.dates import formatFieldDate
from twisted_mailstack.model.queue import AttemptResult, Outcome, QueuedMessage, QueuedRecipient
from twisted_mailstack.model.records import AccountRecord, Recipient
from twisted_mailstack.model.xtext import decodeUnitext, decodeXtext, encodeUnitext

#: Octets of an original message that come back whole, and of a header alone. The sender has it;
#: what is for certain is that a large one would be sent twice for nothing.
MAX_RETURNED = 64 * 1024
MAX_HEADER = 64 * 1024
#: Characters of a reply that are passed on.
MAX_REPLY = 900
#: RFC 5322 §2.1.1.
MAX_LINE = 998

#: C{origin} of notifications, and of those that tell the postmaster what nobody else can be told.
ORIGIN = "notification"
ORIGIN_DOUBLE = "notification for the postmaster"

_SUBJECTS = {
    "failed": "Your message could not be delivered",
    "delayed": "Your message is delayed",
    "delivered": "Your message was delivered",
    "relayed": "Your message was passed on",
    "expanded": "Your message was passed on to several addresses",
}
_TEXTS = {
    "failed": "could not be delivered to the addresses below, and is not tried any more.",
    "delayed": (
        "could not be delivered to the addresses below yet. It is tried again until {until};"
        " you need not send it again."
    ),
    "delivered": "was delivered to the addresses below, as you wished to know.",
    "relayed": (
        "was passed on to other servers for the addresses below. They may not tell you whether it"
        " was delivered."
    ),
    "expanded": "was passed on to all that the addresses below stand for, as you wished to know.",
}
#   notify-list-element = "SUCCESS" / "FAILURE" / "DELAY"   (RFC 3461 §4.1)
_WISHES = {
    "failed": "FAILURE",
    "delayed": "DELAY",
    "delivered": "SUCCESS",
    "relayed": "SUCCESS",
    "expanded": "SUCCESS",
}
#   status-code = DIGIT "." 1*3DIGIT "." 1*3DIGIT, without leading zeros (RFC 3464 §2.3.4)
_STATUS = re.compile(r"([245])\.0{0,2}(\d{1,3})\.0{0,2}(\d{1,3})\Z")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_ATOM = re.compile(r"[!#-'*+\-/-9=?A-Z^-~]+\Z")


class Notifier:
    """
    Writes notifications and delivers or queues them, together with the outcomes they tell of.
    """

    log = Logger()

    def __init__(
        self,
        spool: ISpool,
        newContent: Callable[[], IContentWriter],
        resolver: Resolver,
        dispatch: Dispatch,
        hostname: str,
        *,
        doubleFailures: Address | None = None,
        now: Callable[[], float] = time,
    ) -> None:
        """
        @param newContent: of the store that the spool is part of.
        @param hostname: what the server calls itself: the Reporting-MTA. Its postmaster has to be
            reachable under that name (RFC 3461 §9.3).
        @param doubleFailures: who gets notifications that can't be delivered; C{None}: they are
            logged.
        """
        self._spool = spool
        self._newContent = newContent
        self._resolver = resolver
        self._dispatch = dispatch
        self._hostname = hostname
        self._doubleFailures = doubleFailures
        self._now = now

    def wants(self, message: QueuedMessage, recipient: QueuedRecipient, action: str) -> bool:
        """See L{twisted_mailstack.delivery.queue.Notifies}."""
        if message.reversePath is None:
            # RFC 3461 §5.2: the postmaster, "through some mechanism that will not itself result in
            # the generation of DSNs".
            return (
                action == "failed"
                and self._doubleFailures is not None
                and message.origin != ORIGIN_DOUBLE
            )
        notify = recipient.parameters.get("NOTIFY")
        if action == "traced":
            # RFC 2852 §4.1.4: that is a wish of its own.
            return (notify or "").upper() != "NEVER"
        if notify is None:
            # RFC 3461 §5.2: failures always, delays as we see fit, success only by wish.
            return action in ("failed", "delayed")
        return _WISHES[action] in notify.upper().split(",")

    async def notify(
        self, message: QueuedMessage, reports: Sequence[Report], settled: Sequence[Outcome]
    ) -> None:
        """
        See L{twisted_mailstack.delivery.queue.Notifies}. One notification for each action.
        """
        try:
            content = await self._spool.openContent(message.spoolId)
        except MessageExpunged:
            # Somebody removed it: there is nothing to tell of.
            await self._spool.settle(settled)
            return
        settles = {(each.spoolId, each.number): each for each in settled}
        told = {(message.spoolId, report.recipient.number) for report in reports}
        for action in dict.fromkeys(report.action for report in reports):
            some = [report for report in reports if report.action == action]
            # Each outcome goes with the notification that tells of it; what is told to nobody goes
            # with the first.
            keys = [(message.spoolId, report.recipient.number) for report in some]
            keys += [key for key in settles if key not in told]
            together = [settles.pop(key) for key in keys if key in settles]
            await self._tellOne(message, action, some, content, together)

    async def _tellOne(
        self,
        message: QueuedMessage,
        action: str,
        reports: Sequence[Report],
        content: IMessageContent,
        settled: Sequence[Outcome],
    ) -> None:
        sender, double = message.reversePath, False
        accounts, elsewhere = await self._find(sender)
        if not accounts and not elsewhere and action == "failed":
            # RFC 3461 §5.2: somebody should know of it.
            sender, double = self._doubleFailures, True
            accounts, elsewhere = await self._find(sender)
        if sender is None or not (accounts or elsewhere):
            await self._spool.settle(settled)
            self.log.info(
                "{queueId}: nobody can be told: {action}",
                queueId=message.queueId,
                action=action,
            )
            return
        notification = _Notification(
            self._hostname,
            int(self._now()),
            message,
            action,
            reports,
            sender,
            double,
            # RFC 6531 §3.1: SMTPUTF8 comes with 8BITMIME.
            eightBit=not elsewhere or not sender.isASCII,
        )
        writer = self._newContent()
        try:
            original = await self._original(notification, content)
            text = notification.compose(*original)
            waiting = writer.write(text)
            if waiting is not None:
                await waiting
            staged = await writer.finish()
        except BaseException:
            writer.abort()
            raise
        try:
            await self._deliver(
                staged, message, action, sender, double, accounts, elsewhere, text, settled
            )
        finally:
            staged.discard()

    async def _original(
        self, notification: _Notification, content: IMessageContent
    ) -> tuple[bytes, bytes]:
        """
        @return: the header of the original message, and its body if that goes back, too.
        """
        try:
            header = await content.read(0, min(content.structure.bodyOffset, MAX_HEADER))
            if not notification.returnsBody or content.size > MAX_RETURNED:
                return header, b""
            return header, await content.read(len(header), content.size - len(header))
        except MessageExpunged:
            # It was removed while this was written.
            return b"", b""
        except MailError:
            # That its sender is told matters more.
            self.log.failure("an original message can't be read")
            return b"", b""

    async def _deliver(
        self,
        staged: Any,
        message: QueuedMessage,
        action: str,
        sender: Address,
        double: bool,
        accounts: Sequence[AccountRecord],
        elsewhere: Sequence[Address],
        text: bytes,
        settled: Sequence[Outcome],
    ) -> None:
        queueId = f"{message.queueId}-{secrets.token_hex(2).upper()}"
        parameters: dict[str, str | None] = {"BODY": "7BIT" if text.isascii() else "8BITMIME"}
        if not sender.isASCII:
            parameters["SMTPUTF8"] = None
        if "REQUIRETLS" in message.parameters:
            # RFC 8689 §5
            parameters["REQUIRETLS"] = None
        if message.priority:
            # RFC 6710 §4.6
            parameters["MT-PRIORITY"] = str(message.priority)
        # RFC 3461 §6.1: nobody wants to hear of a notification.
        never: dict[str, str | None] = {"NOTIFY": "NEVER"}
        recipients: list[tuple[Recipient, Address | None]] = [
            (Recipient(address, never), None) for address in elsewhere
        ]
        recipients += [(Recipient(each.address, never), sender) for each in accounts]
        queued = self._dispatch.queued(
            queueId,
            None,
            parameters,
            recipients,
            origin=ORIGIN_DOUBLE if double else ORIGIN,
            priority=message.priority,
        )
        # An account gets it at once, or if that is full later.
        results = await self._spool.accept(
            staged,
            [self._dispatch.placement(each, sender, None, b"") for each in accounts],
            int(self._now()),
            queued._replace(recipients=queued.recipients[: len(elsewhere)]),
            settled,
            queued.recipients[len(elsewhere) :],
        )
        problem = next((f" ({each})" for each in results if each is not None), "")
        self.log.info(
            "{queueId}: notification: {action} of {original} to=<{sender}>{problem}",
            queueId=queueId,
            action=action,
            original=message.queueId,
            sender=str(sender),
            problem=problem,
        )

    async def _find(
        self, sender: Address | None
    ) -> tuple[Sequence[AccountRecord], Sequence[Address]]:
        if sender is None:
            return (), ()
        try:
            accounts, elsewhere = await self._resolver.resolve(sender)
        except NoSuchDomain:
            accounts, elsewhere = [], [sender]
        except MailError:
            # A forged sender at a domain of ours, or an account that was removed.
            return (), ()
        return accounts, elsewhere if self._dispatch.relay is not None else ()


class _Notification:
    """
    One notification on its way to paper.
    """

    def __init__(
        self,
        hostname: str,
        now: int,
        message: QueuedMessage,
        action: str,
        reports: Sequence[Report],
        sender: Address,
        double: bool,
        eightBit: bool,
    ) -> None:
        """
        @param double: it is for the postmaster, since nobody else can be told.
        @param eightBit: the way back takes octets outside ASCII.
        """
        self._hostname = hostname
        self._now = now
        self._message = message
        self._action = action
        self._reports = reports
        self._sender = sender
        self._double = double
        self._eightBit = eightBit
        # RFC 6533 §4.4: if all can be said in the old form, that may be used.
        self._utf8 = eightBit and not all(
            each.recipient.address.isASCII
            and (each.recipient.parameters.get("ORCPT") or "")[:6].lower() != "utf-8;"
            for each in reports
        )

    @property
    def returnsBody(self) -> bool:
        """
        Whether the original comes back whole if it can: only with failures, and if that isn't
        unwanted (RFC 3461 §4.3, §6.2; RFC 8689 §5). RFC 6522 §3: without RET it should.
        """
        parameters = self._message.parameters
        return (
            self._action == "failed"
            and (parameters.get("RET") or "FULL").upper() == "FULL"
            and "REQUIRETLS" not in parameters
        )

    def compose(self, header: bytes, body: bytes) -> bytes:
        """
        @param header: of the original message, empty if it can't be had; C{body} likewise.
        @return: the notification.
        """
        boundary = f"=_{secrets.token_hex(16)}"
        subject = _SUBJECTS[self._action]
        if self._double:
            subject = "A message could not be delivered, nor its sender be told"
        parts = [
            self._part("text/plain; charset=utf-8", self._text().encode("utf-8")),
            self._part(
                f"message/{'global-' if self._utf8 else ''}delivery-status",
                self._status().encode("utf-8"),
            ),
        ]
        if header:
            parts.append(self._returned(header, body))
        mixed = b"".join(b"--%b\r\n%b\r\n" % (boundary.encode(), part) for part in parts)
        encoding = "7bit" if mixed.isascii() else "8bit"
        return b"".join(
            (
                # RFC 3464 §2: "the address of a human".
                f"From: Mail Delivery System <postmaster@{self._hostname}>\r\n".encode(),
                f"To: <{self._sender}>\r\n".encode(),
                f"Subject: {subject}\r\n".encode(),
                b"Date: " + formatFieldDate(self._now) + b"\r\n",
                f"Message-ID: <{secrets.token_hex(12)}@{self._hostname}>\r\n".encode(),
                # RFC 3834 §5
                b"Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n",
                b"Content-Type: multipart/report; report-type=delivery-status;\r\n",
                f'\tboundary="{boundary}"\r\n'.encode(),
                f"Content-Transfer-Encoding: {encoding}\r\n\r\n".encode(),
                mixed,
                f"--{boundary}--\r\n".encode(),
            )
        )

    # --- the parts -----------------------------------------------------------------------------

    def _part(self, contentType: str, data: bytes) -> bytes:
        encoding, data = _encoded(data, self._eightBit)
        return (
            f"Content-Type: {contentType}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
        ).encode() + data

    def _returned(self, header: bytes, body: bytes) -> bytes:
        # RFC 6533 §4.4: what has UTF-8 in its header needs other types than what has not.
        utf8 = not header.isascii() and _isUTF8(header)
        if body and header.isascii() and _isPlain(header + body, self._eightBit):
            return self._part("message/rfc822", header + body)
        if body and utf8 and _isLines(header + body):
            # RFC 6532 §3.5: unlike message/rfc822 it may be encoded.
            return self._part("message/global", header + body)
        # RFC 6522 §3: "the text/rfc822-headers media type MAY be used to return only the original
        # message headers" of what the way back does not take.
        header = header.rstrip(b"\r\n") + b"\r\n"
        if utf8:
            return self._part("message/global-headers", header)
        return self._part("text/rfc822-headers", header)

    def _text(self) -> str:
        message = self._message
        until = formatFieldDate(message.expires).decode("ascii")
        arrived = formatFieldDate(message.arrived).decode("ascii")
        what = "Your message"
        if self._double:
            sender = message.reversePath
            what = "A message without a sender" if sender is None else f"A message of <{sender}>"
        said = _TEXTS[self._action].format(until=until)
        lines = [
            f"This is the mail server {self._hostname}.",
            "",
            *wrap(f"{what}, which arrived on {arrived}, {said}", 72),
            "",
        ]
        for report in self._reports:
            lines.append(f"<{report.recipient.address}>")
            original = _original(report.recipient)
            if original is not None and original[1] != str(report.recipient.address):
                lines.append(f"    by way of <{_clean(original[1])}>")
            result = report.result
            if self._action == "failed" and result.temporary:
                lines.append("    The last attempt, after which its time was over:")
            lines += wrap(
                _clean(result.line),
                72,
                initial_indent="    ",
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            lines.append("")
        lines.append(f"The postmaster finds the message in the log as {message.queueId}.")
        return "\r\n".join(lines) + "\r\n"

    def _status(self) -> str:
        message = self._message
        lines = []
        envelopeId = message.parameters.get("ENVID")
        if envelopeId:
            lines.append(f"Original-Envelope-Id: {self._field(_xtext(envelopeId))}")
        lines.append(f"Reporting-MTA: dns; {self._hostname}")
        lines.append(f"Arrival-Date: {formatFieldDate(message.arrived).decode('ascii')}")
        lines += self._wishes()
        for report in self._reports:
            lines += ["", *self._recipient(report)]
        return "\r\n".join(lines) + "\r\n"

    def _wishes(self) -> list[str]:
        parameters, lines = self._message.parameters, []
        if parameters.get("BY"):
            # RFC 2852
            wishes = deliveryWishes(parameters, self._message.arrived)
            deadline = wishes.warnAt if wishes.expires is None else wishes.expires
            assert deadline is not None
            lines.append(f"Deliver-By-Date: {formatFieldDate(deadline).decode('ascii')}")
        for keyword, kind in (("HOLDFOR", "for"), ("HOLDUNTIL", "until")):
            if parameters.get(keyword):
                # RFC 4865: as it was asked for.
                request = self._field(parameters[keyword] or "")
                lines.append(f"Future-Release-Request: {kind};{request}")
        return lines

    def _recipient(self, report: Report) -> list[str]:
        recipient, result = report.recipient, report.result
        lines = []
        original = _original(recipient)
        if original is not None:
            lines.append(f"Original-Recipient: {self._typed(*original)}")
        address = str(recipient.address)
        kind = "rfc822" if address.isascii() else "utf-8"
        lines.append(f"Final-Recipient: {self._typed(kind, address)}")
        lines.append(f"Action: {self._action}")
        lines.append(f"Status: {_statusOf(self._action, result)}")
        if result.remote:
            # The name that it has, without the address behind it.
            name = result.remote.partition(" ")[0]
            kind = "x-unix-socket" if name.startswith("/") else "dns"
            lines.append(f"Remote-MTA: {kind}; {self._field(name)}")
            code = str(result.code)
            #   *( 3*DIGIT "-" *text ) 3*DIGIT SPACE *text   (RFC 3461 §9.2)
            status = f" {result.enhancedStatus}" if result.enhancedStatus[1:] != ".0.0" else ""
            lines += self._folded(f"Diagnostic-Code: smtp; {code}{status} {result.text}")
        elif self._action in ("failed", "delayed"):
            lines += self._folded(f"Diagnostic-Code: x-twisted-mailstack; {result.text}")
        if report.at is not None:
            lines.append(f"Last-Attempt-Date: {formatFieldDate(report.at).decode('ascii')}")
        if self._action == "delayed":
            until = formatFieldDate(self._message.expires).decode("ascii")
            lines.append(f"Will-Retry-Until: {until}")
        return lines

    def _typed(self, kind: str, address: str) -> str:
        #   address-type ";" generic-address
        if kind.lower() == "utf-8" and not self._utf8 and not address.isascii():
            # RFC 6533 §3: utf-8-addr-xtext
            return f"{kind}; {encodeUnitext(_clean(address), ascii=True)}"
        return f"{kind}; {self._field(address)}"

    def _field(self, text: str) -> str:
        # On one line, which is as long as it has to be.
        text = _clean(text)
        if self._utf8:
            return text
        return _UNPRINTABLE.sub(lambda match: f"\\x{{{ord(match.group()):X}}}", text)

    def _folded(self, line: str) -> list[str]:
        # Nothing but spaces is put in where it is folded, and only where a space was, as long as
        # there are some.
        field = self._field(line)
        return wrap(
            field,
            900 if field.isascii() else 240,
            subsequent_indent=" ",
            break_on_hyphens=False,
            expand_tabs=False,
            replace_whitespace=False,
        )


def _original(recipient: QueuedRecipient) -> tuple[str, str] | None:
    """
    @return: the type and the address that the sender knows (RFC 3461 §4.2), if it is known.
    """
    kind, semicolon, value = (recipient.parameters.get("ORCPT") or "").partition(";")
    if not semicolon or not _ATOM.match(kind):
        return None
    if kind.lower() != "utf-8":
        return kind, _xtext(value)
    try:
        return kind, decodeUnitext(value)
    except SyntaxProblem:
        # It only has the type's name.
        return kind, _xtext(value)


def _xtext(value: str) -> str:
    try:
        return decodeXtext(value).decode("utf-8", "replace")
    except SyntaxProblem:
        return value


def _statusOf(action: str, result: AttemptResult) -> str:
    # RFC 3464 §2.3.4: a delay is 4, success 2; a failure may have been temporary till the end.
    digits = {"delayed": "4", "failed": "45"}.get(action, "2")
    match = _STATUS.match(result.enhancedStatus)
    if match is None:
        return f"{digits[-1]}.0.0"
    number, subject, detail = match.groups()
    return f"{number if number in digits else digits[-1]}.{int(subject)}.{int(detail)}"


def _clean(text: str) -> str:
    # Nothing in it can end a line, or hide what is said.
    shown = "".join(character if character.isprintable() else " " for character in text)
    return shown if len(shown) <= MAX_REPLY else shown[:MAX_REPLY] + "..."


def _isUTF8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _isLines(data: bytes) -> bool:
    # RFC 2045 §2.7, §2.8: what "7bit" and "8bit" have in common.
    ends = data.count(b"\r\n")
    return (
        ends == data.count(b"\n") == data.count(b"\r")
        and b"\0" not in data
        and all(len(line) <= MAX_LINE for line in data.split(b"\r\n"))
    )


def _isPlain(data: bytes, eightBit: bool) -> bool:
    return (eightBit or data.isascii()) and _isLines(data)


def _encoded(data: bytes, eightBit: bool) -> tuple[str, bytes]:
    """
    @return: a Content-Transfer-Encoding, and the data in it.
    """
    if _isPlain(data, eightBit):
        return ("7bit" if data.isascii() else "8bit"), data
    lines = []
    for line in data.split(b"\r\n"):
        # In lines of its own, a bare CR or LF is encoded.
        encoded = binascii.b2a_qp(line, quotetabs=False, istext=False)
        lines.append(encoded.replace(b"=\n", b"=\r\n"))
    return "quoted-printable", b"\r\n".join(lines)
