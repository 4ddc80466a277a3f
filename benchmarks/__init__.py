"""How much a delivered event costs, here and elsewhere: `python -m benchmarks --help`, and README.md beside this file."""
