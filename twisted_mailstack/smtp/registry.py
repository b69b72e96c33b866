# -*- test-case-name: tests.smtp.test_commands -*-
"""
What an SMTP server of ours speaks: one line a command group, one line an extension.
"""

from __future__ import annotations

from twisted_mailstack.smtp.commands import mail, session
from twisted_mailstack.smtp.extension import Command, Extension
from twisted_mailstack.smtp.extensions import (
    auth,
    binarymime,
    burl,
    chunking,
    deliverby,
    dsn,
    eightbitmime,
    enhancedstatuscodes,
    etrn,
    futurerelease,
    limits,
    mtpriority,
    pipelining,
    requiretls,
    size,
    smtputf8,
    starttls,
    xclient,
    xforward,
)

COMMANDS: tuple[Command, ...] = (
    *session.COMMANDS,
    *mail.COMMANDS,
)

#: In the order of the EHLO reply, and in which the client's halves are asked: SMTPUTF8, which may
#: make it impossible to send a message, before 8BITMIME, which may have to encode it.
EXTENSIONS: tuple[Extension, ...] = (
    pipelining.EXTENSION,
    size.EXTENSION,
    smtputf8.EXTENSION,
    eightbitmime.EXTENSION,
    enhancedstatuscodes.EXTENSION,
    starttls.EXTENSION,
    auth.EXTENSION,
    chunking.EXTENSION,
    binarymime.EXTENSION,
    burl.EXTENSION,
    dsn.EXTENSION,
    requiretls.EXTENSION,
    limits.EXTENSION,
    mtpriority.EXTENSION,
    deliverby.EXTENSION,
    futurerelease.EXTENSION,
    etrn.EXTENSION,
    xclient.EXTENSION,
    xforward.EXTENSION,
)
