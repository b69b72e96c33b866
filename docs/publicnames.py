"""
The directive C{public-names}: what a module offers, out of its docstrings, which are epytext.

    .. public-names:: twisted_mailstack.errors
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from inspect import Signature, cleandoc, isclass, isfunction, signature
from types import ModuleType
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from docutils.parsers.rst import Directive  # type: ignore[import-untyped]
from zope.interface import Attribute
from zope.interface.interface import InterfaceClass, Method

#: C{...}, L{...}, L{text<name>}, I{...}, B{...}, with braces in pairs inside.
_INLINE = re.compile(r"([CLIB])\{((?:[^{}]|\{[^{}]*\})*)\}")
_FIELD = re.compile(r"@(\w+)(?: (\w+))?: *")
_FIELDS = {"param": "", "ivar": "", "cvar": "", "return": "Returns", "raise": "Raises"}


def inline(text: str) -> list[nodes.Node]:
    """
    @return: the nodes of a text in epytext.
    """
    found: list[nodes.Node] = []
    at = 0
    for match in _INLINE.finditer(text):
        found.append(nodes.Text(text[at : match.start()]))
        kind, inside = match.groups()
        if kind in "CL":
            shown = inside.partition("<")[0] or inside
            found.append(nodes.literal("", shown))
        else:
            found.append(nodes.emphasis("", inside))
        at = match.end()
    found.append(nodes.Text(text[at:]))
    return found


def docstring(text: str) -> list[nodes.Node]:
    """
    @return: the nodes of a docstring: paragraphs, then a list of its fields.
    """
    found: list[nodes.Node] = []
    fields: list[tuple[str, str, str]] = []
    for block in re.split(r"\n\s*\n", cleandoc(text)):
        if not block.startswith("@"):
            if re.match(r" *- ", block):
                items = re.split(r"^ *- ", block, flags=re.MULTILINE)[1:]
                found.append(bullets([inline(" ".join(item.split())) for item in items]))
            elif re.match(r" {2,}\S", block):
                found.append(nodes.literal_block("", cleandoc(block)))
            elif block:
                found.append(nodes.paragraph("", "", *inline(" ".join(block.split()))))
            continue
        # A field's text goes on in lines that are indented, and in the next "@" another begins.
        for field in re.split(r"\n(?=@)", block):
            match = _FIELD.match(field)
            if match is not None:
                kind, name = match.groups()
                fields.append((kind, name or "", " ".join(field[match.end() :].split())))
    rows = []
    for kind, name, text in fields:
        word = _FIELDS.get(kind, kind)
        head: list[nodes.Node] = [nodes.Text(f"{word} " if word and name else word)]
        if name:
            head.append(nodes.literal("", name))
        rows.append([*head, nodes.Text(": "), *inline(text)])
    if rows:
        found.append(bullets(rows))
    return found


def bullets(items: list[list[nodes.Node]]) -> nodes.Node:
    """
    @return: a list of paragraphs.
    """
    found = nodes.bullet_list()
    for item in items:
        found += nodes.list_item("", nodes.paragraph("", "", *item))
    return found


def publicNames(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """
    @return: the classes and functions that a module defines for others, in its order.
    """
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if isclass(value) or isfunction(value) or isinstance(value, InterfaceClass):
            yield name, value


def members(value: Any) -> Iterator[tuple[str, str, str]]:
    """
    @return: the public methods and attributes of a class or an interface: name, signature, doc.
    """
    if isinstance(value, InterfaceClass):
        for name, attribute in value.namesAndDescriptions():
            if isinstance(attribute, Method):
                yield name, attribute.getSignatureString(), attribute.getDoc()
            elif isinstance(attribute, Attribute):
                yield name, "", attribute.getDoc()
        return
    for name, attribute in vars(value).items():
        if name.startswith("_"):
            continue
        function = getattr(attribute, "__func__", attribute)
        if isinstance(attribute, property):
            yield name, "", attribute.__doc__ or ""
        elif isfunction(function):
            yield name, shown(function), function.__doc__ or ""


def shown(value: Any) -> str:
    """
    @return: a signature without annotations, C{self} left out.
    """
    try:
        found = signature(value)
    except (TypeError, ValueError):
        return ""
    parameters = [
        each.replace(annotation=each.empty)
        for name, each in found.parameters.items()
        if name not in ("self", "cls")
    ]
    text = str(found.replace(parameters=parameters, return_annotation=Signature.empty))
    # A function as a default: its name, not where it is in memory.
    return re.sub(r"<function (\w+) at 0x\w+>", r"\1", text)


class PublicNames(Directive):
    """
    See the module.
    """

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The module's docstring, and a definition for each name."""
        module = import_module(self.arguments[0])
        title = nodes.paragraph("", "", nodes.strong("", module.__name__))
        found = [title, *docstring(module.__doc__ or "")]
        names = nodes.definition_list()
        for name, value in publicNames(module):
            names += self.definition(name, value)
        if len(names):
            found.append(names)
        return found

    def definition(self, name: str, value: Any) -> nodes.Node:
        """A name with what it has."""
        isInterface = isinstance(value, InterfaceClass)
        arguments = "" if isInterface or getattr(value, "_member_map_", None) else shown(value)
        body = nodes.definition("", *docstring(value.__doc__ or ""))
        if isInterface or isclass(value):
            inner = nodes.definition_list()
            for member, parameters, doc in members(value):
                if doc and not doc.strip().startswith("See "):
                    inner += nodes.definition_list_item(
                        "",
                        nodes.term("", "", nodes.literal("", member + parameters)),
                        nodes.definition("", *docstring(doc)),
                    )
            if len(inner):
                body += inner
        term = nodes.term("", "", nodes.literal("", name + arguments))
        return nodes.definition_list_item("", term, body)
