"""
Several processes that serve clients: ``twistd mailstack --workers N``.
"""
