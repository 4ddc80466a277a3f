"""What the tests stand on: brokers, servers, clients and a bad network, all private to one run and stopped by process id.

Tests wait for conditions (`wait.py`), never for time.
"""
