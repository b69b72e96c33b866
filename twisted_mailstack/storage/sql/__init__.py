"""The SQL backend, on SQLite."""
