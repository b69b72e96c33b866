"""Sphinx configuration. The build runs with -W: a warning is an error."""

project = "twisted_mailstack"
copyright = "2026, the twisted_mailstack authors"
author = "The twisted_mailstack authors"
extensions: list[str] = []
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "SMTP, POP3 and IMAP4 for Twisted"}
nitpicky = True
