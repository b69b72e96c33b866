"""
Pages as scripts: the blocks of a page, and commands with the output that it shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

#: In what is expected: anything on this line; alone on a line, any number of lines.
ANYTHING = "..."


class Step(NamedTuple):
    """
    A command and what it prints.

    @ivar root: whether its prompt is root's.
    """

    command: str
    root: bool
    expected: tuple[str, ...]


def blocks(page: Path, language: str) -> list[str]:
    """
    @return: the text of the page's code blocks in a language, without their margin.
    """
    found: list[str] = []
    margin: int | None = None
    for line in page.read_text("utf-8").splitlines():
        start = re.match(rf"( *)\.\. code-block:: {language}$", line)
        if start:
            margin = len(start.group(1)) + 4
            found.append("")
        elif margin is not None:
            if line.strip() and not line.startswith(" " * margin):
                margin = None
            else:
                found[-1] += line[margin:] + "\n"
    return [block.strip("\n") + "\n" for block in found]


def steps(page: Path) -> Iterator[Step]:
    """
    @return: the commands of the page's console blocks, in order.
    """
    for block in blocks(page, "console"):
        command, root = "", False
        expected: list[str] = []
        for line in block.splitlines():
            if line[:2] in ("$ ", "# "):
                if command:
                    yield Step(command, root, tuple(expected))
                command, root, expected = line[2:], line[0] == "#", []
            else:
                expected.append(line)
        yield Step(command, root, tuple(expected))


def matches(expected: Sequence[str], actual: Sequence[str]) -> bool:
    """
    @return: whether what a command printed is what the page shows.
    """
    if not expected:
        return not actual
    if expected[0] == ANYTHING:
        return any(matches(expected[1:], actual[at:]) for at in range(len(actual) + 1))
    if not actual:
        return False
    pattern = re.escape(expected[0]).replace(re.escape(ANYTHING), ".*")
    return bool(re.fullmatch(pattern, actual[0].rstrip())) and matches(expected[1:], actual[1:])
