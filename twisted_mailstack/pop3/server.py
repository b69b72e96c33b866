# -*- test-case-name: tests.pop3.test_server -*-
"""
The POP3 server's factory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime

from twisted_mailstack.interfaces import IServerMechanism
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
        **limits: Any,
    ) -> None:
        """
        @param portal: its realm gives L{IAccount<twisted_mailstack.interfaces.IAccount>} avatars.
        @param tls: for STLS; C{None}: it isn't offered.
        @param service: its name, for logs.
        @param limits: as of L{MailFactory}.
        """
        registry = Registry(COMMANDS, extensions)

        async def serve(stream: Stream) -> None:
            await POP3Session(stream, settings, registry, portal, mechanisms, tls is not None).run()

        super().__init__(
            serve,
            service,
            clock,
            tls=tls,
            timeout=settings.loginTimeout,
            refusal=b"-ERR [SYS/TEMP] too many connections, try later\r\n",
            **limits,
        )
