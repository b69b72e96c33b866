"""
What the protocols share of exchanges.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import AuthenticationFailed, ProofRefused
from twisted_mailstack.sasl.exchange import claimed, respond


class Scripted:
    """An exchange that answers with what it was made with."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def respond(self, response: bytes | None) -> Any:
        """See L{ISASLExchange}."""
        return self.answer


class RespondTests(SynchronousTestCase):
    """
    L{respond} and L{claimed}.
    """

    def test_once(self) -> None:
        """An answer that is there is given at once."""
        waiting = ensureDeferred(respond(Scripted(b"challenge"), None))  # type: ignore[arg-type]
        self.assertEqual(self.successResultOf(waiting), b"challenge")

    def test_waits(self) -> None:
        """One that has to be looked up is waited for, and so is its failure."""
        answers: list[Deferred[bytes]] = [Deferred(), Deferred()]
        waiting = [
            ensureDeferred(respond(Scripted(each), b""))  # type: ignore[arg-type]
            for each in answers
        ]
        self.assertNoResult(waiting[0])
        answers[0].callback(b"late")
        answers[1].errback(ProofRefused(b"me"))
        self.assertEqual(self.successResultOf(waiting[0]), b"late")
        self.failureResultOf(waiting[1], ProofRefused)

    def test_claimed(self) -> None:
        """Who a client wanted to be is known if it came to that, in whatever octets."""
        self.assertEqual(claimed(ProofRefused("j\u00f6rg".encode())), "j\u00f6rg")
        self.assertEqual(claimed(ProofRefused(b"\xff")), "\ufffd")
        self.assertEqual(claimed(AuthenticationFailed()), "?")
