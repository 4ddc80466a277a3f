"""Where the log lives: memory (embedded) and redis; base.py is the contract."""
