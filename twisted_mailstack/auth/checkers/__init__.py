"""Where passwords are known besides the store: one file a source, one line each in the registry."""
