"""
The tests, mirroring the package.
"""

from hypothesis import HealthCheck, settings

# No test fails because a machine is slow, and none leaves files behind.
settings.register_profile(
    "house", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")
