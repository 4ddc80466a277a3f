"""The Redis backend: one server, Sentinels, or a cluster; `RedisBackend` is its only public name.

redis-py makes the connections; what goes over them is ours, because its clients repeat commands by themselves, and a
repeated append is an event twice. From the bottom up, first what does no I/O:

    urls      a URL as addresses and options          keys      names of keys and pub/sub channels
    resp      RESP2, by hiredis or by hand            routes    which server owns a channel
    scripts   the Lua files, arguments, replies       calls     the fate of one script call over its attempts
    link      the conversation on a live link         placement which cluster node carries which subscription
    startup   what the first use looks at             connecting  how redis-py is told to connect

and the drivers, which only carry bytes, in two colours:

    threads   threads_upstream   threads_cluster      aio   aio_publisher   aio_upstream   aio_cluster

backend.py puts them together.
"""

from .backend import RedisBackend

__all__ = ["RedisBackend"]
