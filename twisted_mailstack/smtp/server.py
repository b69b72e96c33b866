# -*- test-case-name: tests.smtp.test_server -*-
"""
The SMTP server's factory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime

from twisted_mailstack.auth.urls import URLAuthority
from twisted_mailstack.delivery.policy import HopLimit, Policies
from twisted_mailstack.interfaces import IDeliveryTarget, IPolicyStep, IServerMechanism, ISpool
from twisted_mailstack.net.protocol import MailFactory
from twisted_mailstack.sasl.registry import MECHANISMS
from twisted_mailstack.smtp.extension import Command, Extension
from twisted_mailstack.smtp.registry import COMMANDS, EXTENSIONS
from twisted_mailstack.smtp.reply import reply
from twisted_mailstack.smtp.session import Registry, SMTPSession, SMTPSettings
from twisted_mailstack.wire.stream import Stream

#: The policies of a server that is given none.
POLICIES: tuple[IPolicyStep, ...] = (HopLimit(),)


class SMTPFactory(MailFactory):
    """
    Serves SMTP: to other servers, or (C{settings.submission}) to users. Or LMTP, to the mail server
    whose mailboxes these are.
    """

    def __init__(
        self,
        target: IDeliveryTarget,
        settings: SMTPSettings,
        clock: IReactorTime,
        *,
        portal: Portal | None = None,
        policies: Sequence[IPolicyStep] = POLICIES,
        mechanisms: Sequence[IServerMechanism] = MECHANISMS,
        commands: Iterable[Command] = COMMANDS,
        extensions: Sequence[Extension] = EXTENSIONS,
        lmtp: bool = False,
        spool: ISpool | None = None,
        urls: URLAuthority | None = None,
        tls: IOpenSSLServerConnectionCreator | None = None,
        service: str = "smtp",
        **limits: Any,
    ) -> None:
        """
        @param target: where accepted mail goes.
        @param commands: besides those of the extensions.
        @param lmtp: the sessions speak LMTP (RFC 2033); C{commands} then has LHLO.
        @param spool: the queue, for ETRN; C{None}: it isn't offered.
        @param urls: opens URLs of messages, for BURL; C{None}: it isn't offered.
        @param portal: for AUTH; C{None}: it isn't offered.
        @param tls: for STARTTLS; C{None}: it isn't offered.
        @param service: its name, for logs and policies.
        @param limits: as of L{MailFactory}.
        """
        registry = Registry(commands, extensions)
        asked = Policies(policies)

        async def serve(stream: Stream) -> None:
            session = SMTPSession(
                stream,
                settings,
                registry,
                target,
                policies=asked,
                portal=portal,
                mechanisms=mechanisms,
                hasTLS=tls is not None,
                lmtp=lmtp,
                spool=spool,
                urls=urls,
            )
            await session.run()

        super().__init__(
            serve,
            service,
            clock,
            tls=tls,
            timeout=settings.timeout,
            refusal=reply(421, f"{settings.hostname} too many connections, try later"),
            **limits,
        )
