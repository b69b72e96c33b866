# -*- test-case-name: tests.pop3.test_server -*-
"""
The POP3 server's factory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import time
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime

from twisted_mailstack.interfaces import (
    IKeyedMemory,
    IMaildropSurvey,
    ISecretSource,
    IServerMechanism,
)
from twisted_mailstack.net.protocol import MailFactory
from twisted_mailstack.pop3.extension import Extension
from twisted_mailstack.pop3.registry import COMMANDS, EXTENSIONS
from twisted_mailstack.pop3.session import POP3Session, POP3Settings, Registry
from twisted_mailstack.sasl.registry import MECHANISMS
from twisted_mailstack.wire.stream import Stream


class POP3Factory(MailFactory):
    """
    Serves POP3 to the accounts of a portal.
    """

    def __init__(
        self,
        portal: Portal,
        settings: POP3Settings,
        clock: IReactorTime,
        *,
        mechanisms: Sequence[IServerMechanism] = MECHANISMS,
        extensions: Sequence[Extension] = EXTENSIONS,
        tls: IOpenSSLServerConnectionCreator | None = None,
        service: str = "pop3",
        secrets: ISecretSource | None = None,
        memory: IKeyedMemory | None = None,
        survey: IMaildropSurvey | None = None,
        now: Callable[[], float] = time,
        **limits: Any,
    ) -> None:
        """
        @param portal: its realm gives L{IAccount<twisted_mailstack.interfaces.IAccount>} avatars.
        @param tls: for STLS; C{None}: it isn't offered.
        @param service: its name, for logs.
        @param secrets: for APOP (RFC 1939 §7), which needs passwords that are stored in plain;
            C{None}: it isn't offered.
        @param memory: where the time of logins is kept, for C{settings.loginDelay}; C{None}: nobody
            has to wait.
        @param survey: knows what C{loginDelay} and C{expireDays} accounts have of their own, as
            their L{MaildropSettings<twisted_mailstack.model.records.MaildropSettings>} say: their
            directory; C{None}: these don't count.
        @param now: seconds since 1970, as C{memory} has them.
        @param limits: as of L{MailFactory}.
        """
        registry = Registry(COMMANDS, extensions)

        async def serve(stream: Stream) -> None:
            session = POP3Session(
                *(stream, settings, registry, portal, mechanisms, tls is not None),
                secrets=secrets,
                memory=memory,
                survey=survey,
                now=now,
            )
            await session.run()

        super().__init__(
            serve,
            service,
            clock,
            tls=tls,
            timeout=settings.loginTimeout,
            refusal=b"-ERR [SYS/TEMP] too many connections, try later\r\n",
            **limits,
        )
