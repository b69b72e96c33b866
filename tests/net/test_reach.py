"""
Where a client's server is: C{twisted_mailstack.net.reach}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.net.reach import TLS_LEVELS, Destination


class DestinationTests(SynchronousTestCase):
    """
    What is said before anything is connected to.
    """

    def test_senseless(self) -> None:
        """What makes no sense is an error at once."""
        wrong: list[tuple[str, dict[str, Any]]] = [
            *(("", {"level": "none"}), ("host.test", {"level": "some"})),
            ("host.test", {"level": "none", "path": "/socket"}),
            ("", {"level": "none", "path": "/socket", "endpoint": object()}),
            ("", {"level": "verified", "path": "/socket"}),
        ]
        for host, options in wrong:
            self.assertRaises(ValueError, Destination, object(), host, 25, **options)

    def test_name(self) -> None:
        """It is called by what was said of it."""
        for level in TLS_LEVELS:
            self.assertEqual(Destination(object(), "host.test", 25, level).name, "host.test")
        self.assertEqual(Destination(object(), "", 25, "none", path="/socket").name, "/socket")
