"""The house measured: what a flow costs whoever follows it through the files, and what shape the files have.

`python -m tests.house` prints the table.
"""
