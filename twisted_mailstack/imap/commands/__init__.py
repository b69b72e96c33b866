"""The commands of RFC 3501, by group."""
