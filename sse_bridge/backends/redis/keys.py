"""Names of keys and pub/sub channels; no I/O.

::

    {prefix}:retention                      hash   record version, replay_size, replay_seconds; one per prefix
    {prefix}:dead                           list   dead letters (letters.py), oldest first; one per prefix
    {prefix}:<database>:{<channel>}         string the channel's meta, packed (append.lua says how); its pub/sub channel
    {prefix}:<database>:{<channel>}:l       list   its records, oldest first
    {prefix}:<database>:{<channel>}:k:<hash>  string the first position under an idempotency key

The braces around the channel are literal: they are the hash tag that puts a channel's keys, and its sharded pub/sub
channel, into one slot of a cluster. Neither a prefix nor a channel can hold a brace, so no two names meet. Pub/sub
ignores the database number, so the name has to carry it; keys and pub/sub channels are apart, so the meta and the pub/sub
channel can have one name, which is one argument less for every append.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

# No channel of a caller can have this name: names start with a letter or a digit.
PROBE = ".probe"


class Keys:
    """The names under one prefix and database."""

    def __init__(self, prefix: str, database: int) -> None:
        self._start = f"{prefix}:{database}:{{".encode()
        self.retention = f"{prefix}:retention".encode()
        self.dead = f"{prefix}:dead".encode()
        self.of = lru_cache(maxsize=65536)(self._of)

    def _of(self, channel: str) -> tuple[bytes, bytes]:
        """The meta, which is the pub/sub channel's name as well, and the list."""
        name = self._start + channel.encode() + b"}"
        return name, name + b":l"

    def idempotency(self, channel: str, key: str) -> bytes:
        """Any text is fine as an idempotency key: only its hash (128 bits) is stored."""
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return self.of(channel)[0] + b":k:" + digest.encode()

    def control(self, name: bytes) -> bytes:
        """A key of leases or revocations; control.py says which there are."""
        return self._start + b".control}:" + name

    def channel_of(self, announced_on: bytes) -> str | None:
        """The channel whose pub/sub channel this is; None for another prefix or database."""
        start = self._start
        if not announced_on.startswith(start) or not announced_on.endswith(b"}"):
            return None
        return announced_on[len(start) : -1].decode("utf-8", "replace")
