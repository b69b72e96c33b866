"""Sphinx configuration. The build runs with -W: a warning is an error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# This checkout's package and its directive, wherever the build was started.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

project = "twisted_mailstack"
copyright = "2026, the twisted_mailstack authors"
author = "The twisted_mailstack authors"
extensions: list[str] = []
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "SMTP, POP3 and IMAP4 for Twisted"}
nitpicky = True


def setup(app: Any) -> None:
    """Make the directive known."""
    from docs.publicnames import PublicNames

    app.add_directive("public-names", PublicNames)
