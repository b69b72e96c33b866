"""
The records of which a POP3 server is made: commands and capabilities (RFC 2449).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted_mailstack.pop3.session import POP3Session

#: RFC 2449 §4: 255 octets, CRLF included.
MAX_LINE = 255


class State(Enum):
    """RFC 1939 §3. UPDATE is what QUIT does in TRANSACTION."""

    AUTHORIZATION = "AUTHORIZATION"
    TRANSACTION = "TRANSACTION"


BOTH = (State.AUTHORIZATION, State.TRANSACTION)

Execute = Callable[..., Awaitable[None]]


@dataclass(frozen=True)
class Command:
    """
    @ivar name: upper case.
    @ivar states: in which it may be given.
    @ivar execute: C{await execute(session, *parameters)}: does it and writes the response, or
        raises a L{MailError<twisted_mailstack.errors.MailError>} that becomes C{-ERR}. The
        parameters are bytes, not empty and without spaces.
    @ivar least: how many parameters it must have.
    @ivar most: how many it may have.
    @ivar verbatim: all behind the space is its one parameter, spaces included; it may be empty.
    @ivar longest: octets of its line, CRLF included (RFC 2449 §4).
    """

    name: bytes
    states: tuple[State, ...]
    execute: Execute
    least: int = 0
    most: int = 0
    verbatim: bool = False
    longest: int = MAX_LINE


@dataclass(frozen=True)
class Extension:
    """
    @ivar capability: given the session, the line that CAPA shows now; C{None}: doesn't hold now. It
        may return an awaitable of that.
    @ivar rfc: where it is specified.
    @ivar commands: that it adds.
    """

    capability: Callable[[POP3Session], bytes | Awaitable[bytes | None] | None]
    rfc: int
    commands: tuple[Command, ...] = ()


def always(line: bytes) -> Callable[[POP3Session], bytes | None]:
    """
    @return: a capability that holds in both states.
    """
    return lambda session: line
