"""Bodies: what leaves, when, and what is given back."""
