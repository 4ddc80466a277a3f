"""What docs/security.md promises, held against attackers."""
