"""
The tests, mirroring the package.
"""

from hypothesis import settings

# No test fails because a machine is slow, and none leaves files behind.
settings.register_profile("house", deadline=None, database=None)
settings.load_profile("house")
