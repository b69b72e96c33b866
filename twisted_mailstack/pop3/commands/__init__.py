"""POP3 commands, by state."""
