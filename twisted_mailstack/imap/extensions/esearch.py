# -*- test-case-name: tests.imap.test_esearch -*-
"""ESEARCH (RFC 4731): what SEARCH is to return."""

from __future__ import annotations

from typing import Any

from twisted_mailstack.imap.extension import Extension, SearchReturn
from twisted_mailstack.imap.results import Results


def _all(results: Results, value: Any) -> bytes | None:
    return results.renderAll() or None


def _count(results: Results, value: Any) -> bytes:
    return b"%d" % len(results.found)


def _lowest(results: Results, value: Any) -> bytes | None:
    return results.render(results.found[:1]) or None


def _highest(results: Results, value: Any) -> bytes | None:
    return results.render(results.found[-1:]) or None


EXTENSION = Extension(
    b"ESEARCH",
    4731,
    searchReturns={
        b"MIN": SearchReturn(
            _lowest,
            messages=lambda results, value: results.found[:1],
            reach=lambda value: (1, 0),
        ),
        b"MAX": SearchReturn(
            _highest,
            messages=lambda results, value: results.found[-1:],
            reach=lambda value: (0, 1),
        ),
        b"ALL": SearchReturn(_all, messages=lambda results, value: results.found),
        b"COUNT": SearchReturn(_count, messages=lambda results, value: results.found),
    },
)
