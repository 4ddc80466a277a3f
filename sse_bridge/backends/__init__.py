"""Backends, which keep the logs.

base    the contract (adapt: the missing colour of a backend that has only one)
urls    from a URL to a backend
memory  embedded: logs in this process (memory_upstream: its live link; memory_hold, memory_control: policy `block`, leases)
redis   one server, Sentinels, or a cluster
"""
