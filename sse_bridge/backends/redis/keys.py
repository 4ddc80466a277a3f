"""Names of keys and pub/sub channels; no I/O.

::

    {prefix}:retention                      hash   layout version, replay_size, replay_seconds, generation, changed
    {prefix}:dead                           list   dead letters (letters.py), oldest first; one per prefix
    {prefix}:<database>:{<channel>}         string the channel's meta, packed (append.lua says how); its pub/sub channel
    {prefix}:<database>:{<channel>}:l       list   its records, oldest first
    {prefix}:<database>:{<channel>}:k:<hash>  string the first position under an idempotency key

The braces around the channel are literal: they are the hash tag that puts a channel's keys, and its sharded pub/sub
channel, into one slot of a cluster. Neither a prefix nor a channel can hold a brace, so no two names collide. Pub/sub
ignores the database number, so names carry it. Keys and pub/sub channels are separate namespaces, so the meta and the
pub/sub channel share one name, which saves every append an argument.
"""

from __future__ import annotations

import hashlib
from typing import Final

from ...events import cached_by_name

# Of everything that two versions of the library must agree on to share a prefix: keys, meta, records, announcements, and
# what the scripts are given and answer. A change to one of them raises the number (tests/backends/redis/test_layout.py).
LAYOUT_VERSION: Final = b"2"

# Names of callers' channels start with a letter or a digit, so none collides with this one.
PROBE = ".probe"


class Keys:
    def __init__(self, prefix: str, database: int) -> None:
        self._start = f"{prefix}:{database}:{{".encode()
        self.retention = f"{prefix}:retention".encode()
        self.dead = f"{prefix}:dead".encode()
        self.of = cached_by_name(3 * 200 + 2 * (len(self._start) + 1) + 150)(self._of)  # the two names in a tuple

    def _of(self, channel: str) -> tuple[bytes, bytes]:
        """The names of the meta (and of the pub/sub channel), and of the list."""
        name = self._start + channel.encode() + b"}"
        return name, name + b":l"

    def idempotency(self, channel: str, key: str) -> bytes:
        """The key of an idempotency key, which may be any text: only its hash (128 bits) is stored."""
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return self.of(channel)[0] + b":k:" + digest.encode()

    def control(self, name: bytes) -> bytes:
        """A key of leases or revocations; see control.py."""
        return self._start + b".control}:" + name
