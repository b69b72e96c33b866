# -*- test-case-name: tests.smtp.test_commands -*-
"""
Commands that are about the session: EHLO, HELO, NOOP, RSET, HELP, VRFY, EXPN, QUIT.
"""

from __future__ import annotations

import re

from twisted_mailstack.errors import MailError, SyntaxProblem
from twisted_mailstack.model.address import Address
from twisted_mailstack.smtp.extension import Command
from twisted_mailstack.smtp.grammar import POSTMASTER, decodeArgument, parseClientName
from twisted_mailstack.smtp.reply import reply
from twisted_mailstack.smtp.session import SMTPSession

#   vrfy = "VRFY" SP String [ SP "SMTPUTF8" ] CRLF   (RFC 6531 §3.7.4.2)
_SMTPUTF8 = re.compile(r" +SMTPUTF8\Z", re.IGNORECASE)


async def ehlo(session: SMTPSession, argument: bytes) -> None:
    """RFC 5321 §4.1.1.1. Also resets (§4.1.4)."""
    name = parseClientName(decodeArgument(argument))
    session.reset()
    session.helo = name
    session.extended = True
    lines = [f"{session.settings.hostname} greets {name}"]
    for extension in session.registry.extensions:
        value = extension.ehlo(session) if extension.available(session) else None
        if value is not None:
            lines.append(f"{extension.keyword} {value}".rstrip())
    lines.append("HELP")
    session.stream.write(reply(250, "\n".join(lines)))


async def helo(session: SMTPSession, argument: bytes) -> None:
    """RFC 5321 §4.1.1.1."""
    name = parseClientName(decodeArgument(argument))
    session.reset()
    session.helo = name
    session.extended = False
    session.stream.write(reply(250, session.settings.hostname))


async def noop(session: SMTPSession, argument: bytes) -> None:
    """RFC 5321 §4.1.1.9: a parameter is ignored."""
    session.ok()


async def rset(session: SMTPSession, argument: bytes) -> None:
    """RFC 5321 §4.1.1.5."""
    if argument:
        raise SyntaxProblem("RSET takes no argument")
    session.reset()
    session.ok()


async def quit(session: SMTPSession, argument: bytes) -> None:
    """RFC 5321 §4.1.1.10."""
    if argument:
        raise SyntaxProblem("QUIT takes no argument")
    session.ok(f"{session.settings.hostname} closing", "2.0.0", 221)
    session.closing = True


async def help(session: SMTPSession, argument: bytes) -> None:
    """RFC 5321 §4.1.1.8."""
    registry = session.registry
    commands = {
        name: command
        for name, command in registry.commands.items()
        if registry.isAvailable(session, name)
    }
    topic = argument.upper()
    if topic:
        if topic not in commands:
            raise MailError("No such command", smtpCode=504, enhancedStatus="5.5.4")
        session.ok(commands[topic].help, "2.0.0", 214)
        return
    names = " ".join(name.decode("ascii") for name in sorted(commands))
    session.ok(f"Commands: {names}\nHELP COMMAND says more", "2.0.0", 214)


async def vrfy(session: SMTPSession, argument: bytes) -> None:
    """
    RFC 5321 §3.5, §4.1.1.6. Without C{settings.verify} it doesn't tell (§7.3). A name without
    domain is one of the server's own name.
    """
    text = decodeArgument(argument)
    bare = _SMTPUTF8.sub("", text)
    utf8 = bare != text
    if not bare:
        raise SyntaxProblem("An address is needed")
    if not session.settings.verify:
        session.ok("Cannot VRFY user; try to deliver", "2.5.0", 252)
        return
    if bare.startswith("<") and bare.endswith(">"):
        bare = bare[1:-1]
    if bare.lower() == POSTMASTER.localPart:
        address = POSTMASTER
    else:
        address = Address.parse(bare if "@" in bare else f"{bare}@{session.settings.hostname}")
    found = await session.target.verify(address)
    if not utf8 and not found.isascii():
        session.ok("Cannot show the address without SMTPUTF8", "2.6.8", 252)
        return
    session.ok(f"<{found}>", "2.1.5", utf8=utf8)


async def expn(session: SMTPSession, argument: bytes) -> None:
    """RFC 5321 §3.5.2: lists aren't shown."""
    raise MailError("EXPN is not available", smtpCode=502, enhancedStatus="5.5.1")


COMMANDS = (
    Command(b"EHLO", ehlo, "EHLO domain", enhanced=False),
    Command(b"HELO", helo, "HELO domain", enhanced=False),
    Command(b"NOOP", noop, "NOOP"),
    Command(b"RSET", rset, "RSET"),
    Command(b"QUIT", quit, "QUIT"),
    Command(b"HELP", help, "HELP [command]"),
    Command(b"VRFY", vrfy, "VRFY address", beforeAuthentication=False),
    Command(b"EXPN", expn, "EXPN list", beforeAuthentication=False),
)
