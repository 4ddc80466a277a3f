"""Who may hold a stream, and what everybody else is answered."""
