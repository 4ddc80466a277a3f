"""The demos: the agent by itself, both pages in a browser, and the launchers."""
