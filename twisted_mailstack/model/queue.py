# -*- test-case-name: tests.model.test_queue -*-
"""
The values of the spool: mail that is accepted and yet to be delivered or relayed (RFC 5321 §4.5.4).

A queued message is stored once, however many recipients and destinations it has. Its recipients
wait, are tried and end one by one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from twisted_mailstack.model.address import Address, ReversePath

#: The destination of recipients that are accounts of ours and can't get their copy at once.
LOCAL = "local:"
#: Those of recipients that have their copy, or were expanded (RFC 3461 §5.2.7.3): their sender is
#: to be told, and nothing else.
DELIVERED = "delivered:"
EXPANDED = "expanded:"
#: What never leaves this server.
HERE = frozenset((LOCAL, DELIVERED, EXPANDED))
#: C{checkAt} of those that can neither be late nor expire.
NEVER = 1 << 62

_LINE = re.compile(r"(?:(.+?) said: )?([245]\d\d) ([245]\.\d{1,3}\.\d{1,3}) (.*)\Z", re.DOTALL)


class QueuedRecipient(NamedTuple):
    """
    One recipient of a queued message.

    @ivar number: names it within its message.
    @ivar address: where it goes.
    @ivar parameters: of RCPT, upper-case keywords.
    @ivar destination: whom it waits for together with others: a domain, a configured next hop, or
        one of L{HERE}. Recipients of one destination share connections, limits and connection
        failures.
    @ivar nextAttempt: not before, seconds since 1970.
    @ivar attempts: how often it was tried and answered temporarily.
    @ivar lastReply: to the last attempt, empty if there was none.
    @ivar checkAt: when its sender is to be told of a delay, or it expires: whichever comes next.
    @ivar delayNotified: whether the sender was told of the delay.
    @ivar via: the address by which an account of ours was reached, if it is another than its own.
    """

    number: int
    address: Address
    parameters: Mapping[str, str | None]
    destination: str
    nextAttempt: int
    checkAt: int
    attempts: int = 0
    lastReply: str = ""
    delayNotified: bool = False
    via: Address | None = None

    @property
    def arrived(self) -> bool:
        """Whether its copy is there: only its sender is to be told."""
        return self.destination in (DELIVERED, EXPANDED)


class QueuedMessage(NamedTuple):
    """
    A message in the spool, or about to go there.

    @ivar queueId: names it for people: in replies, Received fields, logs and commands.
    @ivar reversePath: C{None} is the null reverse-path.
    @ivar parameters: of MAIL, upper-case keywords.
    @ivar prefix: header lines put in front of the content, each ended by CRLF.
    @ivar arrived: when it was accepted, seconds since 1970.
    @ivar expires: when recipients that still wait are given up.
    @ivar recipients: those that are asked for: all, or those of one destination.
    @ivar priority: RFC 6710's, -9 to 9; the higher goes first.
    @ivar held: an operator keeps it from being tried and from expiring.
    @ivar origin: who brought it, for people: the account's address, or the client's.
    @ivar octets: with the prefix; set by the spool.
    @ivar spoolId: names it for the spool; set by the spool, never used again.
    """

    queueId: str
    reversePath: ReversePath
    parameters: Mapping[str, str | None]
    prefix: bytes
    arrived: int
    expires: int
    recipients: tuple[QueuedRecipient, ...]
    priority: int = 0
    held: bool = False
    origin: str = ""
    octets: int = 0
    spoolId: int = 0

    @property
    def mustNotBeLate(self) -> bool:
        """Whether it is to be returned rather than delivered late (RFC 2852 §4, by-mode R)."""
        return self._byMode[:1] == "R"

    def relayIsTold(self, heedsTime: bool) -> bool:
        """
        RFC 2852 §4.1.4: whether the sender wishes to know that it was passed on, because it is
        traced, or since it is not told of delays any more (§4.1.4.2).

        @param heedsTime: whether the next hop takes over the time.
        """
        mode = self._byMode
        return mode[1:] == "T" or (mode == "N" and not heedsTime)

    @property
    def _byMode(self) -> str:
        #   by-mode [by-trace]
        return (self.parameters.get("BY") or "").partition(";")[2].upper()


class Outcome(NamedTuple):
    """
    What became of one recipient.

    @ivar final: it leaves the spool: delivered, or given up.
    @ivar reply: what was said, for operators; empty to keep the last.
    @ivar nextAttempt: when it is tried again; C{None} to leave that as it is.
    @ivar attempts: how many attempts there were; C{None} to leave that as it is.
    @ivar checkAt: when to look at it again for delay and expiry; C{None} to leave that as it is.
    @ivar delayNotified: whether its sender was told of the delay.
    """

    spoolId: int
    number: int
    final: bool
    reply: str = ""
    nextAttempt: int | None = None
    attempts: int | None = None
    checkAt: int | None = None
    delayNotified: bool = False


class DestinationState(NamedTuple):
    """
    A destination that recipients wait for.

    @ivar due: the earliest C{nextAttempt} among them.
    @ivar retryAt: nobody of them is tried before, since it could not be reached; 0 for at once.
    @ivar failures: how often in a row it could not be reached.
    @ivar lastReply: why not, the last time.
    """

    name: str
    due: int
    retryAt: int = 0
    failures: int = 0
    lastReply: str = ""


class QueueFilter(NamedTuple):
    """
    Which queued messages an operator means; all that is given must hold.

    @ivar queueIds: one of these.
    @ivar sender: the reverse-path, C{""} for the null path; without C{@}: its domain.
    @ivar recipient: one of its recipients that wait; C{domain}: the domain of one of them.
    @ivar arrivedBefore: seconds since 1970.
    @ivar held: whether it is held.
    """

    queueIds: tuple[str, ...] = ()
    sender: str | None = None
    recipient: str | None = None
    domain: str | None = None
    arrivedBefore: int | None = None
    held: bool | None = None


class QueueCounts(NamedTuple):
    """
    The queue in numbers, for metrics.

    @ivar messages: in the spool; C{held} those of them that are held.
    @ivar octets: of their contents.
    @ivar recipients: that wait, by destination.
    @ivar deferred: of those the ones that were tried before.
    @ivar oldest: when the oldest message arrived, C{None} if there is none.
    """

    messages: int
    held: int
    octets: int
    recipients: Mapping[str, int]
    deferred: int
    oldest: int | None


class AttemptResult(NamedTuple):
    """
    What the next hop said of one recipient.

    @ivar code: the SMTP reply code; 2yz: it took the message for this recipient.
    @ivar enhancedStatus: RFC 3463's; made from the code where the next hop gave none.
    @ivar text: of the reply, without codes.
    @ivar remote: the host that said it, empty if it is our own finding.
    @ivar notifies: the next hop takes over the sender's wishes about notifications (RFC 3461).
    @ivar heedsTime: the next hop takes over the time by which it is to be delivered (RFC 2852).
    """

    code: int
    enhancedStatus: str
    text: str
    remote: str = ""
    notifies: bool = False
    heedsTime: bool = False

    @property
    def delivered(self) -> bool:
        """Whether the message is the next hop's business now."""
        return 200 <= self.code < 300

    @property
    def temporary(self) -> bool:
        """Whether trying again may help."""
        return 400 <= self.code < 500

    @property
    def line(self) -> str:
        """For logs, operators and notifications."""
        said = f"{self.code} {self.enhancedStatus} {self.text}"
        return f"{self.remote} said: {said}" if self.remote else said

    @classmethod
    def parse(cls, line: str) -> AttemptResult | None:
        """
        @return: the result that a L{line} tells of, without C{notifies} and C{heedsTime};
            C{None} if it is none.
        """
        match = _LINE.match(line)
        if match is None:
            return None
        remote, code, status, text = match.groups()
        return cls(int(code), status, text, remote or "")
