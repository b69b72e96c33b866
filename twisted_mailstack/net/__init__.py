"""Twisted transports: the connection that every protocol runs on, TLS, limits."""
