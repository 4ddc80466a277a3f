"""A small Django site that tests run under real servers."""
