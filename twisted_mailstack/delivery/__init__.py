"""Delivery: from an accepted recipient to a mailbox or the spool."""
