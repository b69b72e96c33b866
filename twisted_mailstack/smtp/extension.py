# -*- test-case-name: tests.smtp.test_session -*-
"""
The records of which an SMTP server is made: commands and service extensions (RFC 5321 §2.2).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from twisted_mailstack.interfaces import IStagedContent
    from twisted_mailstack.model.address import ReversePath
    from twisted_mailstack.model.records import Recipient
    from twisted_mailstack.smtp.clientsession import OutgoingMessage, SMTPClientSession
    from twisted_mailstack.smtp.session import SMTPSession, Transaction

Execute = Callable[["SMTPSession", bytes], Awaitable[None]]
#: Checks a MAIL or RCPT parameter's value; raises L{SyntaxProblem} (501) or another MailError.
CheckParameter = Callable[["SMTPSession", "str | None"], None]
#: Checks what only all parameters of MAIL together show, each being right by itself. It may change
#: them into those that hold from here on, and give the enhanced status and the text of the reply.
CheckMail = Callable[
    ["SMTPSession", "ReversePath", "dict[str, str | None]"], "tuple[str, str] | None"
]
#: Likewise of RCPT, within the transaction.
CheckRcpt = Callable[["SMTPSession", "Recipient"], None]
#: May refuse DATA for the transaction that is under way.
CheckData = Callable[["SMTPSession"], None]


class TextFilter(Protocol):
    """
    Changes a message's text on its way to the delivery.
    """

    def feed(self, text: bytes) -> bytes:
        """
        @return: what becomes of the next octets; may be empty.
        @raise MailError: if the message must be refused.
        """

    def finish(self) -> bytes:
        """
        @return: what is left when all was fed.
        @raise MailError: if the message must be refused.
        """


#: Says what changes the text of a transaction, if anything does.
MakeFilter = Callable[["SMTPSession", "Transaction"], "TextFilter | None"]
#: Says what the trace field is to have in addition (RFC 5321 §4.4: Additional-Registered-Clauses).
Trace = Callable[["SMTPSession", "Transaction"], "str | None"]
#: Looks at the message before it is made durable; may still change the envelope's parameters.
Inspect = Callable[["SMTPSession", "Transaction", "IStagedContent"], Awaitable[None]]


@dataclass(frozen=True)
class Command:
    """
    @ivar name: the verb, upper case.
    @ivar execute: C{await execute(session, argument)}: does it and writes the replies, or raises a
        L{MailError<twisted_mailstack.errors.MailError>} that becomes the reply.
    @ivar help: one line for HELP.
    @ivar maxLine: octets of the line, CRLF included (RFC 5321 §4.5.3.1.4; extensions add to it).
    @ivar beforeAuthentication: allowed on a submission port before AUTH.
    @ivar enhanced: whether refusals carry enhanced status codes; RFC 2034 §3 exempts EHLO and HELO.
    @ivar payload: given the argument, how many octets follow the line; C{None} if that can't be
        told, which ends the session. Whoever refuses the command without executing it discards
        them, so that they are never taken for commands.
    """

    name: bytes
    execute: Execute
    help: str
    maxLine: int = 512
    beforeAuthentication: bool = True
    enhanced: bool = True
    payload: Callable[[bytes], int | None] | None = None


#: The client's halves: given the session, the message, and what stood behind the keyword in the
#: server's EHLO reply (C{None}: it doesn't offer the extension). They raise a MailError where a
#: message can't go to that server, which becomes its recipients' result; where the recipient can't,
#: its own.
ClientPrepare = Callable[
    ["SMTPClientSession", "OutgoingMessage", "str | None"], Awaitable["OutgoingMessage"]
]
ClientMail = Callable[
    ["SMTPClientSession", "OutgoingMessage", "str | None"], "Mapping[str, str | None]"
]
ClientRcpt = Callable[
    ["SMTPClientSession", "OutgoingMessage", "Recipient", "str | None"],
    "Mapping[str, str | None]",
]
#: Given the recipients that are still to be named (perhaps none), how many of them, from the first
#: on, the server takes in a transaction that begins now; 0 if there may be none any more on this
#: connection.
ClientLimit = Callable[["SMTPClientSession", "Sequence[Recipient]", "str | None"], int]


def _plain(session: SMTPSession) -> str | None:
    return ""


def _always(session: SMTPSession) -> bool:
    return True


@dataclass(frozen=True)
class Extension:
    """
    @ivar keyword: of the EHLO line.
    @ivar rfc: where it is specified; C{None} if in none.
    @ivar ehlo: given the session, what follows the keyword on the EHLO line; C{None}: don't offer
        it now.
    @ivar available: given the session, whether it is there at all. If not, it isn't offered, and
        its parameters and commands are as unknown as if it weren't among the extensions.
    @ivar commands: that it adds.
    @ivar mailParameters: of MAIL that it adds, and their checks; C{rcptParameters} likewise. Where
        several extensions have the same parameter, the check of the last that is available holds.
    @ivar checkMail: asked when every parameter of MAIL passed its own check.
    @ivar checkRcpt: likewise of RCPT, before the policies.
    @ivar checkData: asked at DATA.
    @ivar makeFilter: asked when the text begins; C{trace} likewise.
    @ivar inspect: asked when the text was read, before the policies.
    @ivar mailOctets: how much longer MAIL's line may be; C{rcptOctets} likewise.
    @ivar clientPrepare: before a message is sent: the message, or another that the server can take.
    @ivar clientMail: parameters for MAIL; C{clientRcpt} likewise for RCPT.
    @ivar clientLimit: how many recipients, and whether another message.
    """

    keyword: str
    rfc: int | None
    ehlo: Callable[[SMTPSession], str | None] = _plain
    available: Callable[[SMTPSession], bool] = _always
    commands: tuple[Command, ...] = ()
    mailParameters: Mapping[str, CheckParameter] = field(default_factory=dict)
    rcptParameters: Mapping[str, CheckParameter] = field(default_factory=dict)
    checkMail: CheckMail | None = None
    checkRcpt: CheckRcpt | None = None
    checkData: CheckData | None = None
    makeFilter: MakeFilter | None = None
    trace: Trace | None = None
    inspect: Inspect | None = None
    mailOctets: int = 0
    rcptOctets: int = 0
    clientPrepare: ClientPrepare | None = None
    clientMail: ClientMail | None = None
    clientRcpt: ClientRcpt | None = None
    clientLimit: ClientLimit | None = None
