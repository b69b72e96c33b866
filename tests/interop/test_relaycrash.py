"""
C{kill -9} of a server that passes mail on: a shortened run of C{bench/relaycrash.py}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.relaycrash import crash


class RelayCrashTests(SynchronousTestCase):
    """
    Acknowledged means passed on, whatever happens.
    """

    def test_killed(self) -> None:
        """
        Three kills during a load lose nothing, and nothing arrives twice but what was in flight
        (RFC 5321 §6.1).
        """
        self.assertEqual(crash(rounds=3, connections=5, seed=2, log=False), [])
