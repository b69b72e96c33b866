"""Mailboxes of others (RFC 4314): what may be done in them, whatever the protocol."""
