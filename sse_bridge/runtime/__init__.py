"""Protection against interruption halfway: by a signal handler, a fork, the garbage collector, or another thread.

locks        locks that an exception out of a signal handler cannot leave held
daemon       daemon threads whose start is all or nothing
forks        resetting per-process state in a forked child, once
wakers       wake-ups for waiting threads, greenlets and tasks
containment  exceptions of an application's code that must not cross a thread or task as they are
reports      exceptions of predicates, logged once the locks are released
chance       jitter
"""
