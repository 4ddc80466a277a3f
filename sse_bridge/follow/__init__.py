"""Decisions on a reader's next events, without I/O, threads or a clock: time comes in as an argument.

window             the recent entries of a channel that a process shares among its readers (evicted_checks: checks and
                   visibilities of evicted ones)
feed               a process's knowledge of a channel, and the reads that are due
policies           what a reader that is too slow gets
cursor             one reader on one channel (start_point: where it begins; kept: its part of a page)
follower           one reader on its channels: a batch of deliveries at a time, each with the id to resume at
subscribe_request  a reader's request, checked
"""
