"""What is promised, under faults: each fault is a function that returns figures.

registry      the rows of the table: `@guarantee(...)` registers a function, which returns a `Tally`
*_faults.py   the functions; every file of this name is found by itself
test_*.py     pytest runs each of them in its short form
__main__.py   `make guarantees` runs them in their long form and writes docs/guarantees.md
"""
