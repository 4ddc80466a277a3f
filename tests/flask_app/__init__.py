"""Flask under real servers."""
