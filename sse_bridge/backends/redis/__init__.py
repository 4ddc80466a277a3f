"""The Redis backend: one server, Sentinels, or a cluster; `RedisBackend` is its only public name.

redis-py makes the connections, but its clients do not send the commands: they retry by themselves, and a repeated append
is a duplicate event. From the bottom up, first the modules without I/O:

    urls        a URL as addresses and options      keys        names of keys and pub/sub channels
    resp        RESP2, by hiredis or by hand        routes      which server owns a channel
    scripts     the Lua files, arguments, replies   control     the same for leases and revocations
    calls       the outcome of one call over its attempts (call_round: of several under one deadline; exchange: one round trip)
    breaker     circuit breakers per server
    link        a live link: lost, and found again  placement   which cluster node carries which subscription
    retries     refused subscriptions               retention   a prefix's retention, and the layout's version
    startup     checks at the first use             connecting  redis-py's connections and their errors
    letter_box  dead letters                        slots       the limit of connections per process

and the drivers, which only carry bytes, for threads and for asyncio:

    threads   threads_upstream   threads_cluster      aio   aio_publisher   aio_upstream   aio_cluster   aio_daemon

backend puts them together.
"""

from .backend import RedisBackend

__all__ = ["RedisBackend"]
