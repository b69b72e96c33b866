"""Values of the RFCs. The standard library and idna only; no I/O."""
