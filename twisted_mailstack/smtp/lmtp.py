# -*- test-case-name: tests.smtp.test_lmtp -*-
"""
LMTP (RFC 2033): delivery by a mail server whose mailboxes these are. What differs from SMTP: LHLO
instead of EHLO and HELO, and a reply for each recipient in the end, so that the client's queue
keeps those that could not be delivered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IReactorTime

from twisted_mailstack.interfaces import IDeliveryTarget, IPolicyStep
from twisted_mailstack.smtp.commands.session import ehlo
from twisted_mailstack.smtp.extension import Command
from twisted_mailstack.smtp.registry import COMMANDS
from twisted_mailstack.smtp.server import POLICIES, SMTPFactory
from twisted_mailstack.smtp.session import SMTPSettings

#: RFC 2033 §4.1: LHLO has the semantics of EHLO, and EHLO and HELO must not be accepted.
LMTP_COMMANDS: tuple[Command, ...] = (
    Command(b"LHLO", ehlo, "LHLO domain", enhanced=False),
    *(command for command in COMMANDS if command.name not in (b"EHLO", b"HELO")),
)


class LMTPFactory(SMTPFactory):
    """
    Serves LMTP, for local recipients only: there is nobody for whom to relay.
    """

    def __init__(
        self,
        target: IDeliveryTarget,
        settings: SMTPSettings,
        clock: IReactorTime,
        *,
        policies: Sequence[IPolicyStep] = POLICIES,
        service: str = "lmtp",
        **others: Any,
    ) -> None:
        """
        @param policies: by default nothing but the limit of hops, since an alias may lead elsewhere
            and back here. The client has judged the mail already.
        @param others: as of L{SMTPFactory}.
        """
        super().__init__(
            target,
            settings,
            clock,
            policies=policies,
            commands=LMTP_COMMANDS,
            lmtp=True,
            service=service,
            **others,
        )
