"""One upstream subscription per process (per event loop), shared by all its readers.

state           decides on subscriptions, reads and wakes; no I/O (schedule, windows, holds: its parts)
shared_readers  readers in the same place, decided, built and rendered once
resumption      clients that come back together: what one of them gets, all of them get
loop            the driver for asyncio
threads         the driver for threads and greenlets (thread_reader; workers: one thread per server that is slow)
tally           counts losses, for metrics
"""
