"""
An application that takes mail: each message to ticket+NUMBER@app.example becomes a comment.

    python -m docs.examples.smtpapp tcp:2525:interface=127.0.0.1
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from email import message_from_bytes
from email.policy import default
from typing import Any

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from docs.examples.running import runMain, serve
from twisted_mailstack.errors import MailError, NoSuchAccount, NoSuchDomain
from twisted_mailstack.interfaces import IDelivery, IDeliveryTarget, IStagedContent
from twisted_mailstack.model.address import Address, formatPath
from twisted_mailstack.model.records import Envelope, Recipient
from twisted_mailstack.smtp.server import SMTPFactory
from twisted_mailstack.smtp.session import SMTPSettings
from twisted_mailstack.storage.memory import MemoryStaged

DOMAIN = "app.example"
MAX_OCTETS = 1024 * 1024
TICKET = re.compile(r"ticket\+(\d{1,9})\Z", re.IGNORECASE)

#: What the application does with a message: C{await comment(ticket, sender, text)}. Its data is on
#: disk when this returns; if it raises, the client is told to try again.
Comment = Callable[[int, str, str], Awaitable[None]]


@implementer(IDeliveryTarget)
class TicketTarget:
    """
    Where the server's mail goes.
    """

    def __init__(self, comment: Comment) -> None:
        self.comment = comment

    def begin(self, envelope: Envelope) -> TicketDelivery:
        """See L{IDeliveryTarget}: a MAIL command was accepted."""
        return TicketDelivery(self, envelope)

    async def verify(self, address: Address) -> str:
        """See L{IDeliveryTarget}: VRFY asks, if the settings allow it."""
        ticketOf(address)
        return str(address)


def ticketOf(address: Address) -> int:
    """
    @raise MailError: if the address is no ticket's: it becomes the reply to RCPT.
    """
    if address.domain != DOMAIN:
        raise NoSuchDomain()
    found = TICKET.match(address.localPart)
    if found is None:
        raise NoSuchAccount()
    return int(found.group(1))


@implementer(IDelivery)
class TicketDelivery:
    """
    One message on its way.
    """

    def __init__(self, target: TicketTarget, envelope: Envelope) -> None:
        self._target = target
        self._envelope = envelope
        self._tickets: list[int] = []
        # At most MAX_OCTETS, the session sees to that. What may be larger goes to a file, or to the
        # content writer of a store.
        self._octets = bytearray()

    async def addRecipient(self, recipient: Recipient) -> None:
        """See L{IDelivery}: what is raised is RCPT's reply."""
        self._tickets.append(ticketOf(recipient.address))

    def write(self, data: bytes) -> None:
        """See L{IDelivery}. Something to wait for may be returned: the client then waits too."""
        self._octets += data

    async def commit(
        self, inspect: Callable[[IStagedContent], Awaitable[bytes]] | None = None
    ) -> Sequence[Exception | None]:
        """See L{IDelivery}: 250 is said when this returns, and not before."""
        octets = bytes(self._octets)
        if inspect is not None:
            # The policies' last word: raises, or gives header lines.
            octets = await inspect(MemoryStaged(octets)) + octets
        message = message_from_bytes(octets, policy=default)
        body = message.get_body(("plain", "html"))
        if body is None:
            raise MailError("There is no text in it", smtpCode=554, enhancedStatus="5.6.0")
        sender = formatPath(self._envelope.reversePath)
        text = body.get_content().replace("\r\n", "\n")
        for ticket in dict.fromkeys(self._tickets):
            await self._target.comment(ticket, sender, text)
        return [None] * len(self._tickets)

    def abort(self) -> None:
        """See L{IDelivery}: the client gave up, or was refused."""
        self._octets.clear()


def makeFactory(comment: Comment, clock: IReactorTime) -> SMTPFactory:
    """
    @param comment: takes the mail.
    """
    settings = SMTPSettings(hostname=f"mx.{DOMAIN}", maxMessageOctets=MAX_OCTETS, maxRecipients=100)
    return SMTPFactory(TicketTarget(comment), settings, clock)


async def main(reactor: Any, endpoint: str) -> None:
    """Print every comment."""

    async def comment(ticket: int, sender: str, text: str) -> None:
        print(f"ticket {ticket}, from {sender}: {text.strip()}", flush=True)

    await serve(reactor, makeFactory(comment, reactor), endpoint)


if __name__ == "__main__":
    runMain(main)
