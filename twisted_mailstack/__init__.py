"""A mail stack for Twisted: SMTP, POP3 and IMAP4, library and reference server."""
