"""From a published value to the log, or to the spool while the broker is away.

publication  from a caller's arguments to an append, and back
observed     observers of appends: metrics, a test's recorder
spool        appends that wait in memory for the broker; no I/O (spooling: a backend that waits and flushes)
letters      dead letters: spooled events that could not be published
"""
