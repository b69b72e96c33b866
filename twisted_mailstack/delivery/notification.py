# -*- test-case-name: tests.delivery.test_notification -*-
"""
Delivery status notifications: what senders are told of their mail (RFC 3464 in RFC 6522's
multipart/report, by the wishes of RFC 3461, internationalised by RFC 6533).

The null reverse-path never gets one (RFC 5321 §4.5.5). A notification that can't be delivered goes
to the postmaster where one is configured to want it, else it is logged.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from time import time
from typing import Any

from twisted.logger import Logger

from twisted_mailstack.delivery.dispatch import Dispatch
from twisted_mailstack.delivery.queue import Report
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.errors import MailError, MessageExpunged, NoSuchDomain, SyntaxProblem
from twisted_mailstack.interfaces import IContentWriter, ISpool
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.dates import formatFieldDate
from twisted_mailstack.model.queue import Outcome, QueuedMessage, QueuedRecipient
from twisted_mailstack.model.records import Recipient
from twisted_mailstack.model.xtext import decodeUnitext, encodeUnitext

#: Octets of an original message that come back whole, and of a header alone. The sender has it;
#: what is for certain is that a large one would be sent twice for nothing.
MAX_RETURNED = 64 * 1024
MAX_HEADER = 64 * 1024
#: Characters of a reply that are passed on.
MAX_REPLY = 900

#   xtext = *( xchar / hexchar ); hexchar = "+" 2(%x30-39 / %x41-46)   (RFC 3461 §4)
_HEXCHAR = re.compile(rb"\+([0-9A-F]{2})")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")

_SUBJECTS = {
    "failed": "Your message could not be delivered",
    "delayed": "Your message is delayed",
    "delivered": "Your message was delivered",
    "relayed": "Your message was passed on",
    "expanded": "Your message was passed on to several addresses",
}
_TEXTS = {
    "failed": "could not be delivered. It is not tried any more.",
    "delayed": "could not be delivered yet. It is tried again until {until}; you need do nothing.",
    "delivered": "was delivered.",
    "relayed": "was passed on to a server that sends no such notifications.",
    "expanded": "was passed on to several addresses.",
}
#   notify-list-element = "SUCCESS" / "FAILURE" / "DELAY"
_WISHES = {
    "failed": "FAILURE",
    "delayed": "DELAY",
    "delivered": "SUCCESS",
    "relayed": "SUCCESS",
    "expanded": "SUCCESS",
}

ReadContent = Callable[[int, int], Awaitable[bytes]]


def decodeXtext(text: str) -> str:
    """
    @return: what an xtext stands for (RFC 3461 §4); other octets than UTF-8 become U+FFFD.
    """
    octets = _HEXCHAR.sub(
        lambda match: bytes((int(match.group(1), 16),)), text.encode("utf-8", "replace")
    )
    return octets.decode("utf-8", "replace")


def encodeXtext(text: str) -> str:
    """
    @return: the text as xtext (RFC 3461 §4), what isn't ASCII as the octets of UTF-8.
    """
    #   xchar = any ASCII CHAR between "!" (33) and "~" (126) inclusive, except for "+" and "="
    return "".join(
        chr(octet) if 33 <= octet <= 126 and octet not in b"+=" else f"+{octet:02X}"
        for octet in text.encode("utf-8")
    )


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
        @param hostname: what the server calls itself: the Reporting-MTA.
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
            return action == "failed" and self._doubleFailures is not None
        notify = recipient.parameters.get("NOTIFY")
        if notify is None:
            # RFC 3461 §6.2: failures always, delays as we see fit, success only by wish.
            return action in ("failed", "delayed")
        return _WISHES[action] in notify.upper().split(",")

    async def notify(
        self, message: QueuedMessage, reports: Sequence[Report], settled: Sequence[Outcome]
    ) -> None:
        """
        See L{twisted_mailstack.delivery.queue.Notifies}. One notification for each action.
        """
        try:
            content: Any = await self._spool.openContent(message.spoolId)
        except MessageExpunged:
            # Somebody removed it: there is nothing to tell of.
            await self._spool.settle(settled)
            return
        await self.tell(
            message, reports, content.read, content.size, content.structure.bodyOffset, settled
        )

    async def tell(
        self,
        message: QueuedMessage,
        reports: Sequence[Report],
        read: ReadContent,
        size: int,
        headerSize: int,
        settled: Sequence[Outcome] = (),
    ) -> None:
        """
        Tell the sender, and settle the outcomes, in one step for each action.

        @param read: gives octets of the message; C{size} and C{headerSize} are the message's.
        """
        settles = {(each.spoolId, each.number): each for each in settled}
        for action in dict.fromkeys(report.action for report in reports):
            some = [report for report in reports if report.action == action]
            # Each outcome goes with the notification that tells of it; what is told to nobody goes
            # with the first.
            with_ = [
                settles.pop(key)
                for key in [(message.spoolId, report.recipient.number) for report in some]
                if key in settles
            ]
            told = {(message.spoolId, report.recipient.number) for report in reports}
            with_ += [settles.pop(key) for key in list(settles) if key not in told]
            await self._tellOne(message, action, some, read, size, headerSize, with_)

    async def _tellOne(
        self,
        message: QueuedMessage,
        action: str,
        reports: Sequence[Report],
        read: ReadContent,
        size: int,
        headerSize: int,
        settled: Sequence[Outcome],
    ) -> None:
        sender = message.reversePath or self._doubleFailures
        assert sender is not None
        writer = self._newContent()
        try:
            utf8 = await self._compose(
                writer, sender, message, action, reports, read, size, headerSize
            )
            staged = await writer.finish()
        except BaseException:
            writer.abort()
            raise
        try:
            queueId = f"{message.queueId}-{secrets.token_hex(2).upper()}"
            accounts, elsewhere = await self._find(sender)
            placements = [
                self._dispatch.placement(account, sender, None, b"") for account in accounts
            ]
            parameters: dict[str, str | None] = {"BODY": "8BITMIME"}
            if utf8:
                parameters["SMTPUTF8"] = None
            # RFC 8689 §5: as protected as what it tells of; RFC 6710 §4.6: as urgent.
            for keyword in ("REQUIRETLS", "MT-PRIORITY"):
                if keyword in message.parameters:
                    parameters[keyword] = message.parameters[keyword]
            queued = self._dispatch.queued(
                queueId,
                None,
                parameters,
                # RFC 3461 §5.1 (c): nobody wants to hear of a notification.
                [(Recipient(address, {"NOTIFY": "NEVER"}), False) for address in elsewhere],
                origin="notification",
                priority=message.priority,
            )
            results = await self._spool.accept(
                staged, placements, int(self._now()), queued, settled
            )
        finally:
            staged.discard()
        problems = [result for result in results if result is not None]
        nowhere = not placements and not queued.recipients
        self.log.info(
            "{queueId}: notification: {action} of {original} to=<{sender}>{problem}",
            queueId=queueId,
            action=action,
            original=message.queueId,
            sender=str(sender),
            problem=f": not delivered: {problems[0]}"
            if problems
            else ": not delivered: no such address"
            if nowhere
            else "",
        )

    async def _find(self, sender: Address) -> tuple[Sequence[Any], Sequence[Address]]:
        try:
            return await self._resolver.resolve(sender)
        except NoSuchDomain:
            return (), [sender] if self._dispatch.relay is not None else []
        except MailError:
            # A forged sender at a domain of ours, or an account that was removed.
            return (), ()

    # --- composing -----------------------------------------------------------------------------

    async def _compose(
        self,
        writer: IContentWriter,
        sender: Address,
        message: QueuedMessage,
        action: str,
        reports: Sequence[Report],
        read: ReadContent,
        size: int,
        headerSize: int,
    ) -> bool:
        """
        @return: whether it needs SMTPUTF8.
        """

        async def write(data: bytes) -> None:
            waiting = writer.write(data)
            if waiting is not None:
                await waiting

        utf8 = "SMTPUTF8" in message.parameters
        # RFC 3461 §4.3: without RET it is ours to choose; the whole message only for failures.
        wanted = (message.parameters.get("RET") or "FULL").upper()
        if "REQUIRETLS" in message.parameters:
            # RFC 8689 §5: "RET=FULL MUST be disregarded".
            wanted = "HDRS"
        full = wanted == "FULL" and action == "failed" and size <= MAX_RETURNED
        original = await read(0, size if full else min(headerSize, MAX_HEADER))
        boundary = f"=_{secrets.token_hex(16)}"
        now = int(self._now())
        kind = "global" if utf8 else "rfc822"
        returned = f"message/{kind}" if full else f"text/{kind}-headers"
        if utf8 and not full:
            returned = "message/global-headers"
        await write(
            b"".join(
                (
                    f"From: Mail Delivery System <MAILER-DAEMON@{self._hostname}>\r\n".encode(),
                    f"To: <{sender}>\r\n".encode(),
                    f"Subject: {_SUBJECTS[action]}\r\n".encode(),
                    b"Date: " + formatFieldDate(now) + b"\r\n",
                    f"Message-ID: <{secrets.token_hex(12)}@{self._hostname}>\r\n".encode(),
                    # RFC 3834 §5
                    b"Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n",
                    b'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="'
                    + boundary.encode()
                    + b'"\r\n',
                    b"Content-Transfer-Encoding: 8bit\r\n\r\n",
                    f"--{boundary}\r\n".encode(),
                    b"Content-Type: text/plain; charset=utf-8\r\n",
                    b"Content-Transfer-Encoding: 8bit\r\n\r\n",
                    self._text(message, action, reports).encode("utf-8"),
                    f"\r\n--{boundary}\r\n".encode(),
                    b"Content-Type: message/global-delivery-status\r\n"
                    if utf8
                    else b"Content-Type: message/delivery-status\r\n",
                    b"Content-Transfer-Encoding: 8bit\r\n\r\n" if utf8 else b"\r\n",
                    self._status(message, action, reports, utf8).encode("utf-8"),
                    f"\r\n--{boundary}\r\n".encode(),
                    f"Content-Type: {returned}\r\n".encode(),
                    b"Content-Transfer-Encoding: 8bit\r\n\r\n",
                )
            )
        )
        await write(original)
        await write(
            (b"" if original.endswith(b"\r\n") else b"\r\n") + f"\r\n--{boundary}--\r\n".encode()
        )
        return utf8

    def _text(self, message: QueuedMessage, action: str, reports: Sequence[Report]) -> str:
        until = formatFieldDate(message.expires).decode("ascii")
        lines = [f"This is the mail server {self._hostname}.", ""]
        lines.append(
            f"Your message of {formatFieldDate(message.arrived).decode('ascii')}"
            f" (queue id {message.queueId}) {_TEXTS[action].format(until=until)}"
        )
        lines.append("")
        for report in reports:
            lines.append(f"  <{report.recipient.address}>")
            lines.append(f"    {_clean(report.result.line)}")
        lines.append("")
        return "\r\n".join(lines)

    def _status(
        self, message: QueuedMessage, action: str, reports: Sequence[Report], utf8: bool
    ) -> str:
        lines = []
        envelopeId = message.parameters.get("ENVID")
        if envelopeId:
            lines.append(f"Original-Envelope-Id: {_field(decodeXtext(envelopeId), utf8)}")
        lines.append(f"Reporting-MTA: dns; {self._hostname}")
        lines.append(f"Arrival-Date: {formatFieldDate(message.arrived).decode('ascii')}")
        for report in reports:
            recipient, result = report.recipient, report.result
            lines.append("")
            original = recipient.parameters.get("ORCPT")
            if original:
                lines.append(f"Original-Recipient: {_original(original, utf8)}")
            lines.append(f"Final-Recipient: {_typed(recipient.address, utf8)}")
            lines.append(f"Action: {action}")
            lines.append(f"Status: {_statusOf(action, result.enhancedStatus)}")
            if result.remote:
                lines.append(f"Remote-MTA: dns; {_field(result.remote.split(' ')[0], False)}")
                said = f"{result.code} {result.enhancedStatus} {result.text}"
                lines.append(f"Diagnostic-Code: smtp; {_field(_clean(said), utf8)}")
            elif action in ("failed", "delayed"):
                lines.append(f"Diagnostic-Code: x-twisted-mailstack; {_field(result.text, utf8)}")
            if recipient.attempts or result.remote:
                when = formatFieldDate(int(self._now())).decode("ascii")
                lines.append(f"Last-Attempt-Date: {when}")
            if action == "delayed":
                until = formatFieldDate(message.expires).decode("ascii")
                lines.append(f"Will-Retry-Until: {until}")
        return "\r\n".join(lines) + "\r\n"


def _statusOf(action: str, status: str) -> str:
    # RFC 3464 §2.3.4: a delay is 4, success 2; a failure may have been temporary till the end.
    digit = {"delayed": "4", "delivered": "2", "relayed": "2", "expanded": "2"}.get(action)
    return f"{digit}{status[1:]}" if digit else status


def _original(value: str, utf8: bool) -> str:
    kind, _, address = value.partition(";")
    if kind.lower() == "utf-8":
        try:
            return f"{kind}; {_unitext(decodeUnitext(address), utf8)}"
        except SyntaxProblem:
            # RFC 6533 §3: what only has the type's name is copied.
            pass
    return f"{kind}; {_field(decodeXtext(address), utf8)}"


def _unitext(text: str, utf8: bool) -> str:
    # RFC 6533 §3: as it is where UTF-8 may be, else as utf-8-addr-xtext.
    return _clean(text) if utf8 else encodeUnitext(text, ascii=True)


def _typed(address: Address, utf8: bool) -> str:
    #   "rfc822;" address, or RFC 6533 §3's "utf-8;"
    text = str(address)
    if text.isascii():
        return f"rfc822; {text}"
    return f"utf-8; {_unitext(text, utf8)}"


def _field(text: str, utf8: bool) -> str:
    # One line; without SMTPUTF8 in RFC 6533 §3's utf-8-addr-xtext form.
    text = _clean(text)
    if utf8:
        return text
    return _UNPRINTABLE.sub(lambda match: f"\\x{{{ord(match.group()):X}}}", text)


def _clean(text: str) -> str:
    shown = "".join(character if character.isprintable() else " " for character in text)
    return shown if len(shown) <= MAX_REPLY else shown[:MAX_REPLY] + "..."
