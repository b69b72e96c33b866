"""Complete small examples; each is shown in a page of the documentation and run by the tests."""
