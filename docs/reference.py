"""
Writes what docs/configuration.rst and docs/commands.rst say of the code, out of the code.

    python -m docs.reference

rewrites what stands between the markers in these pages; a test fails where that would change
anything.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import Field, fields
from inspect import cleandoc
from pathlib import Path
from typing import Any, get_type_hints

import click

from twisted_mailstack.cli.main import main as mailstack
from twisted_mailstack.config import SERVICES, Configuration
from twisted_mailstack.tap import Options

HERE = Path(__file__).resolve().parent
BEGIN = ".. Written by docs/reference.py from here on\n"
END = ".. to here.\n"
WIDTH = 100

_KINDS = {str: "text", int: "a whole number", bool: "true or false"}
#: What reStructuredText would take for markup.
_MARKUP = re.compile(r"([*`|\\]|_\b)")


def escape(text: str) -> str:
    """
    @return: the text as itself in reStructuredText.
    """
    return _MARKUP.sub(r"\\\1", text)


def paragraph(text: str, indent: int) -> list[str]:
    """
    @return: the lines of a paragraph.
    """
    margin = " " * indent
    return textwrap.wrap(
        escape(text),
        WIDTH,
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )


# --- configuration.rst -------------------------------------------------------------------------


def bounds(field: Field[Any], kind: Any) -> str:
    """
    @return: what a key may have, and what it has if it isn't given.
    """
    words = _KINDS.get(kind, "a table")
    if field.metadata["least"] is not None:
        words += f", at least {field.metadata['least']:,}"
    if kind is bool:
        return f"{words}; default {'true' if field.default else 'false'}"
    if kind is int:
        return f"{words}; default {field.default:,}"
    if kind is str:
        return f"{words}; default {field.default}" if field.default else f"{words}; not set"
    if kind in (tuple[str, ...], tuple[int, ...]):
        shown = ", ".join(str(each) for each in field.default)
        return f"a list; default {shown}" if shown else "a list; not set"
    return words


def configuration() -> Iterator[str]:
    """
    @return: the lines about the keys and the services.
    """
    hints = get_type_hints(Configuration)
    section = None
    for field in fields(Configuration):
        key = field.metadata["key"]
        head = key.rpartition(".")[0]
        if head != section:
            section = head
            title = f"[{head}]" if head else "At the top"
            yield from ("", title, "~" * len(title))
        yield from ("", f"``{key}``")
        yield from paragraph(field.metadata["doc"], 4)
        yield ""
        yield from paragraph(f"({bounds(field, hints[field.name])})", 4)
    yield from ("", "Services", "--------", "")
    yield from ("The names of ``listen``, and where they listen:", "")
    rows = []
    for name, (protocol, implicit, endpoint) in SERVICES.items():
        tls = "implicit TLS" if implicit else "STLS" if protocol == "pop3" else "STARTTLS"
        rows.append((f"``{name}``", tls, f"``{endpoint}``"))
    yield from table(("service", "TLS", "default"), rows)


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """
    @return: the lines of a simple table.
    """
    widths = [max(len(row[at]) for row in (header, *rows)) for at in range(len(header))]
    rule = "  ".join("=" * width for width in widths)
    yield rule
    for number, row in enumerate((header, *rows)):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if not number:
            yield rule
    yield rule


# --- commands.rst ------------------------------------------------------------------------------


def commands() -> Iterator[str]:
    """
    @return: the lines about C{twistd mailstack} and about each C{mailstack} command.
    """
    yield from ("", "twistd mailstack", "----------------", "")
    yield from paragraph(Options.longdesc, 0)
    options = Options()
    for name in sorted(each.rstrip("=") for each in options.longOpt):
        if name in ("help", "version"):
            continue
        short = [each for each, whole in options.synonyms.items() if whole == name]
        method = getattr(options, f"opt_{name}", None)
        doc = cleandoc(method.__doc__ or "") if method else options.docs[name]
        spelled = [f"-{each}" for each in short if len(each) == 1] + [f"--{name}"]
        yield from ("", ", ".join(f"``{each}``" for each in spelled))
        yield from paragraph(" ".join(doc.split()), 4)
    yield from ("", "mailstack", "---------", "")
    yield from paragraph(mailstack.help or "", 0)
    # With its settings: click keeps what it makes of them, for who runs the command later.
    context = click.Context(mailstack, info_name="mailstack", **mailstack.context_settings)
    yield from parameters(context, 0)
    yield from tree(context)


def tree(context: click.Context) -> Iterator[str]:
    """
    @return: the lines about the commands of a group.
    """
    group = context.command
    assert isinstance(group, click.Group)
    # Those of this group first, then the groups below it.
    for name, command in sorted(
        group.commands.items(), key=lambda item: (isinstance(item[1], click.Group), item[0])
    ):
        inner = click.Context(command, parent=context, info_name=name)
        if isinstance(command, click.Group):
            yield from ("", inner.command_path, "~" * len(inner.command_path), "")
            yield from paragraph(cleandoc(command.help or ""), 0)
            yield from tree(inner)
        else:
            pieces = [each for each in command.collect_usage_pieces(inner) if each != "[OPTIONS]"]
            yield from ("", f"``{' '.join((inner.command_path, *pieces))}``")
            yield from paragraph(cleandoc(command.help or ""), 4)
            yield from parameters(inner, 4)


def parameters(context: click.Context, indent: int) -> Iterator[str]:
    """
    @return: the lines about a command's options.
    """
    for parameter in context.command.params:
        if isinstance(parameter, click.Option) and parameter.name not in ("help", "version"):
            record = parameter.get_help_record(context)
            assert record is not None
            spelled, doc = record
            yield from ("", f"{' ' * indent}``{spelled}``")
            yield from paragraph(doc, indent + 4)


# --- the pages ---------------------------------------------------------------------------------

PAGES = {"configuration.rst": configuration, "commands.rst": commands}


def rewritten(name: str) -> str:
    """
    @return: a page as it should be.
    """
    text = (HERE / name).read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"docs/{name} has no markers")
    lines = "".join(f"{line}\n" for line in PAGES[name]())
    return f"{before}{begin}{lines}\n{end}{after}"


def main() -> None:
    """Rewrite the pages."""
    for name in PAGES:
        (HERE / name).write_text(rewritten(name), "utf-8")


if __name__ == "__main__":
    main()
