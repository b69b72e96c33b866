"""The built-in policies, a file each; C{delivery.registry} is their table."""
