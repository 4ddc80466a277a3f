"""One upstream subscription per process (per event loop), shared by all its readers.

switchboard  decides what is due; no I/O
alarms       who must be woken when: one timer for all heartbeats and lifetimes
loop         the driver for asyncio
tally        what was lost, for metrics
threads      the driver for threads and greenlets
wakers       how a waiting thread or greenlet is woken
"""
