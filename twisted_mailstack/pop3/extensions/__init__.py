"""POP3 extensions (RFC 2449), one file each."""
