"""SMTP service extensions (RFC 5321 §2.2), one file each."""
