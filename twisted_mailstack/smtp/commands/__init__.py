"""The commands of RFC 5321, by group."""
