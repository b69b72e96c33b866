"""The documentation's sources; the examples in it are modules that the tests import."""
