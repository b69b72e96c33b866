# -*- test-case-name: tests.sasl.test_exchange -*-
"""
What the protocols share of exchanges.
"""

from __future__ import annotations

from inspect import isawaitable
from typing import Any

from twisted_mailstack.errors import AuthenticationFailed, ProofRefused
from twisted_mailstack.interfaces import ISASLExchange


async def respond(exchange: ISASLExchange, response: bytes | None) -> Any:
    """
    Take the client's message, as L{ISASLExchange.respond}.

    @return: the challenge or the credentials, waited for.
    """
    step = exchange.respond(response)
    return await step if isawaitable(step) else step


def claimed(error: AuthenticationFailed) -> str:
    """
    @param error: what an exchange ended in.
    @return: who it was to be, for the log; C{"?"} if it didn't come to that.
    """
    if isinstance(error, ProofRefused):
        return error.username.decode("utf-8", "replace")
    return "?"
