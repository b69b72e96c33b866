"""
What a POP3 server of ours speaks: one line a command group, one line a capability.
"""

from __future__ import annotations

from twisted_mailstack.pop3.commands import authorization, transaction
from twisted_mailstack.pop3.extension import Command, Extension
from twisted_mailstack.pop3.extensions import auth, capabilities, language, stls, utf8

COMMANDS: tuple[Command, ...] = (
    *authorization.COMMANDS,
    *transaction.COMMANDS,
)

#: In the order in which CAPA lists them.
EXTENSIONS: tuple[Extension, ...] = (
    capabilities.TOP,
    capabilities.UIDL,
    capabilities.USER,
    auth.EXTENSION,
    stls.EXTENSION,
    capabilities.PIPELINING,
    capabilities.RESP_CODES,
    capabilities.AUTH_RESP_CODE,
    capabilities.LOGIN_DELAY,
    capabilities.EXPIRE,
    utf8.EXTENSION,
    language.EXTENSION,
    capabilities.IMPLEMENTATION,
)
