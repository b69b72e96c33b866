# -*- test-case-name: tests.imap.test_server -*-
"""
The IMAP server's factory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime

from twisted_mailstack.auth.urls import URLAuthority
from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.registry import EXTENSIONS, makeRegistry
from twisted_mailstack.imap.session import IMAPSession, IMAPSettings
from twisted_mailstack.imap.views import Views
from twisted_mailstack.interfaces import IServerMechanism
from twisted_mailstack.net.protocol import MailFactory
from twisted_mailstack.sasl.registry import MECHANISMS
from twisted_mailstack.wire.stream import Stream


class IMAPFactory(MailFactory):
    """
    Serves IMAP to the accounts of a portal.
    """

    def __init__(
        self,
        portal: Portal,
        settings: IMAPSettings,
        clock: IReactorTime,
        *,
        mechanisms: Sequence[IServerMechanism] = MECHANISMS,
        extensions: Sequence[Extension] = EXTENSIONS,
        tls: IOpenSSLServerConnectionCreator | None = None,
        urls: URLAuthority | None = None,
        views: Views | None = None,
        service: str = "imap",
        **limits: Any,
    ) -> None:
        """
        @param portal: its realm gives L{IAccount<twisted_mailstack.interfaces.IAccount>} avatars.
        @param tls: for STARTTLS; C{None}: it isn't offered.
        @param urls: authorises URLs for others (RFC 4467); C{None}: that isn't offered.
        @param views: shared with other factories of the same accounts.
        @param service: its name, for logs.
        @param limits: as of L{MailFactory}.
        """
        registry = makeRegistry(tuple(extensions))
        shared = views or Views()

        async def serve(stream: Stream) -> None:
            session = IMAPSession(stream, settings, registry, portal, mechanisms, tls is not None)
            session.urls = urls
            session.views = shared
            await session.run()

        super().__init__(
            serve,
            service,
            clock,
            tls=tls,
            timeout=settings.loginTimeout,
            refusal=b"* BYE too many connections, try later\r\n",
            **limits,
        )
