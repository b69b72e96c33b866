"""
The documentation held against the code: its examples run, its tables are complete.
"""

from __future__ import annotations

from pathlib import Path

#: The top of the checkout, and its documentation.
ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
