"""The ``mailstack`` command."""
