"""
C{kill -9} during deliveries: a shortened run of C{bench/crash.py}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.crash import crash


class CrashTests(SynchronousTestCase):
    """
    Acknowledged means on disk.
    """

    def test_nothingLostNothingDoubled(self) -> None:
        """Five kills during a load of 20 connections lose and double nothing."""
        self.assertEqual(crash(rounds=5, connections=20, seed=2, log=False), [])
