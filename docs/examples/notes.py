"""
An SMTP extension of one's own: XNOTE, a word that a client puts beside a message, and the policy
step that writes it into the message.

    S: 250-XNOTE invoice order
    C: MAIL FROM:<shop@example.org> XNOTE=invoice
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from twisted_mailstack.delivery.policy import PolicyStep
from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.interfaces import IStagedContent
from twisted_mailstack.model.records import Envelope, Recipient
from twisted_mailstack.smtp.extension import Command, Extension
from twisted_mailstack.smtp.session import SMTPSession


def notes(words: Sequence[str]) -> Extension:
    """
    @param words: what may be noted, in lower case.
    @return: the extension.
    """

    def ehlo(session: SMTPSession) -> str | None:
        # Behind the keyword on the EHLO line. None would mean: not now.
        return " ".join(words)

    def check(session: SMTPSession, value: str | None) -> None:
        if value is None or value.lower() not in words:
            raise SyntaxProblem(f"XNOTE is one of {', '.join(words)}")

    async def xnotes(session: SMTPSession, argument: bytes) -> None:
        if argument:
            raise SyntaxProblem("XNOTES takes no argument")
        session.ok("\n".join(words), "2.0.0", 214)

    return Extension(
        "XNOTE",
        # RFC 5321 §4.1.5: keywords that begin with X need no registration.
        5321,
        ehlo=ehlo,
        commands=(Command(b"XNOTES", xnotes, "XNOTES"),),
        mailParameters={"XNOTE": check},
        # By so many octets MAIL's line may be longer (RFC 5321 §4.5.3.1.4).
        mailOctets=len(" XNOTE=") + max(map(len, words)),
    )


class NoteField(PolicyStep):
    """
    Writes the note into the message that is delivered.
    """

    def message(
        self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
    ) -> bytes:
        """See L{IPolicyStep}."""
        note = envelope.parameters.get("XNOTE")
        return f"X-Note: {note.lower()}\r\n".encode() if note else b""
