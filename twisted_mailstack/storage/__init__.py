"""Storage backends: implementations of IMailStore."""
