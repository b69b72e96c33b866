"""
The sources that can be configured.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.auth import checkers
from twisted_mailstack.auth.checkers.file import FileSettings
from twisted_mailstack.auth.checkers.registry import ACCOUNTS, SOURCES
from twisted_mailstack.interfaces import IPasswordSource


class RegistryTests(SynchronousTestCase):
    """
    L{registry}.
    """

    def test_everyFile(self) -> None:
        """Each file with a source is registered, under its own name."""
        (place,) = checkers.__path__
        found = []
        for path in sorted(Path(place).glob("*.py")):
            module: Any = import_module(f"{checkers.__name__}.{path.stem}")
            if hasattr(module, "SOURCE"):
                self.assertEqual(module.SOURCE.name, path.stem)
                found.append(module.SOURCE)
        self.assertEqual(sorted(found), sorted(SOURCES))
        self.assertNotIn(ACCOUNTS, [each.name for each in SOURCES])

    def test_records(self) -> None:
        """Each makes a source of passwords of settings that nobody changes."""
        for record in SOURCES:
            settings: Any = record.settings
            self.assertTrue(is_dataclass(settings) and fields(settings), record.name)
            self.assertTrue(IPasswordSource.implementedBy(record.make), record.name)
        some: Any = FileSettings("x")
        with self.assertRaises(FrozenInstanceError):
            some.path = "y"
