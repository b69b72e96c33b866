"""Who may log in: passwords, checkers and the realm (twisted.cred)."""
