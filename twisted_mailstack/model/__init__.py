"""Values of the RFCs. Standard library only; no I/O."""
