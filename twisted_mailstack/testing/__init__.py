"""Doubles and harnesses for the tests of those who build on this library."""
