# -*- test-case-name: tests.imap.test_sasl -*-
"""AUTH= capabilities and SASL-IR (RFC 4959): which mechanisms may be used now."""

from __future__ import annotations

from twisted_mailstack.imap.extension import Extension, State
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.sasl.registry import offered


def _mechanisms(session: IMAPSession) -> bytes | None:
    if session.state is not State.NOT_AUTHENTICATED:
        return None
    names = offered(session.mechanisms, session.stream.info, session.settings.allowPlaintextAuth)
    return b" ".join(b"AUTH=" + name for name in names) or None


AUTH = Extension(_mechanisms, 3501)
SASL_IR = Extension(b"SASL-IR", 4959)
