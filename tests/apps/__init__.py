"""Applications that tests run under real servers."""
