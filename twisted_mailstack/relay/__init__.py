"""Relaying: from the spool to other servers (RFC 5321 §3.6, §5)."""
