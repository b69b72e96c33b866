"""
A delivery policy: what strangers may do who send mail to us. It has a say at each stage: at the
connection, at MAIL, at RCPT, and when the message is there.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Network, ip_address

from twisted_mailstack.delivery.policy import PolicyStep
from twisted_mailstack.errors import MailError
from twisted_mailstack.interfaces import IStagedContent
from twisted_mailstack.model.records import ConnectionInfo, Envelope, Recipient


class Strangers(PolicyStep):
    """
    Refuses some networks, some senders and mail to the whole staff; marks what has no Message-ID.

    What isn't overridden here accepts. A refusal is a L{MailError}: its C{smtpCode} says whether it
    is for good (5yz) or for now (4yz), its text is told to the client.
    """

    def __init__(
        self,
        networks: Collection[IPv4Network | IPv6Network],
        domains: Collection[str],
        staff: str,
    ) -> None:
        """
        @param networks: from which nothing is taken.
        @param domains: of reverse-paths that are put off.
        @param staff: a local-part that only our own users may write to.
        """
        self._networks = tuple(networks)
        self._domains = frozenset(domains)
        self._staff = staff

    def connection(self, info: ConnectionInfo) -> None:
        """The refusal is the greeting."""
        if info.peer != "local":
            peer = ip_address(info.peer)
            if any(peer in network for network in self._networks):
                raise MailError("No mail from there", smtpCode=554, enhancedStatus="5.7.1")

    def reversePath(self, envelope: Envelope) -> None:
        """A temporary refusal: an honest server tries again."""
        path = envelope.reversePath
        if path is not None and path.domain in self._domains:
            raise MailError("Try again later", smtpCode=450, enhancedStatus="4.7.1")

    async def recipient(self, envelope: Envelope, recipient: Recipient) -> None:
        """A stage may be a coroutine, so it may ask somebody."""
        if envelope.authenticated is None and recipient.address.localPart == self._staff:
            raise MailError("Only for members", smtpCode=550, enhancedStatus="5.7.1")

    def message(
        self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
    ) -> bytes:
        """The lines are put in front of the message."""
        return b"" if content.summary.messageId else b"X-Suspicious: no Message-ID\r\n"
