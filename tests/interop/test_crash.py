"""
C{kill -9} and SIGTERM during deliveries: shortened runs of C{bench/crash.py}.
"""

from __future__ import annotations

import signal

from twisted.trial.unittest import SynchronousTestCase

from bench.crash import crash


class CrashTests(SynchronousTestCase):
    """
    Acknowledged means on disk.
    """

    def test_killed(self) -> None:
        """Five kills during a load of 20 connections lose and double nothing."""
        self.assertEqual(crash(rounds=5, connections=20, seed=2, log=False), [])

    def test_terminated(self) -> None:
        """SIGTERM during a load: what is being committed is committed and acknowledged."""
        self.assertEqual(crash(rounds=2, connections=20, seed=3, log=False, how=signal.SIGTERM), [])
