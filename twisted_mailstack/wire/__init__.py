"""Bytes on the wire: streams of lines and octets, dot-stuffing. No transport."""
