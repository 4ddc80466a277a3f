"""Content codings of a stream (RFC 9110, 8.4): their choice and their bytes. No I/O.

Everything that a stream writes passes through `encode` last, whole frames at a time, and every result can be decoded as
soon as it has arrived. Two ways:

gzip            A payload is compressed once for all readers: deflate blocks without history, ended by a full flush, so
                they are whole bytes and stand in any reader's stream. Short ones are stored (RFC 1951, 3.2.4). To each
                client its stream is one gzip member (RFC 1952): a header, blocks, at the end an empty last block, the
                CRC and the length of this client's bytes.
per_connection  Each connection has a compressor with history: fewer bytes, more CPU and memory per reader. gzip, and br
                and zstd where their package is installed; see compressors.

Never several gzip members, nor concatenated brotli streams: browsers go silent after the first.
"""

from __future__ import annotations

import functools
import os
import re
import struct
import threading
import zlib
from collections.abc import Sequence
from typing import ClassVar, Final, Protocol

from ...config import Settings
from ...wire.negotiation import MAX_ACCEPT_CHARACTERS, whole_members
from .compressors import OwnContext, own_contexts

# No flags, no time, no name; 255: the system is unknown (RFC 1952, 2.3.1).
_GZIP_HEADER: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_LAST_BLOCK: Final = b"\x03\0"  # final, fixed codes, nothing but the end of the block
_STORED_MAX: Final = 0xFFFF  # a stored block's length has 16 bits
_RAW: Final = -zlib.MAX_WBITS  # blocks without header and trailer

# Payloads that are kept with their blocks: enough for the readers of a few busy channels in one pass of a hub.
_SHARED_BYTES: Final = 4 * 2**20
_MEMBER: Final = re.compile(r"([\w!#$%&'*+.^`|~-]+)(?:\s*;\s*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?", re.ASCII)


class Coding(Protocol):
    """One connection's coding; one thread at a time. `name` is the value of ``Content-Encoding``."""

    @property
    def name(self) -> str: ...

    def encode(self, data: bytes) -> bytes:
        """The bytes that bring `data`, which is not empty, to the client at once."""

    def end(self) -> bytes:
        """The bytes that complete the stream; empty if nothing was encoded, and at each further call."""


class SharedBlocks:
    """Payloads as deflate blocks, made once for all streams of the process, below `threshold` bytes stored; thread-safe."""

    def __init__(self, level: int, threshold: int) -> None:
        self._level = level
        self._threshold = threshold
        self._last = (b"", b"")  # one attribute, so that threads see a pair that belongs together
        self._known: dict[bytes, bytes] = {}
        self._bytes = 0
        self._lock = threading.RLock()

    def blocks(self, data: bytes) -> bytes:
        """`data` as whole blocks that refer to nothing before them."""
        last, blocks = self._last
        if last is data:  # a hub pushes one object to all readers in the same place
            return blocks
        if len(data) < self._threshold:
            blocks = _stored(data)
        else:
            # An SSE frame begins with its id, which holds the positions in all channels: readers of other sets of
            # channels get another id, and the same event behind it.
            cut = data.find(b"\n") + 1 if data.startswith(b"id: ") else 0
            blocks = _stored(data[:cut]) + self._deflated(data[cut:])
        self._last = (data, blocks)
        return blocks

    def _deflated(self, data: bytes) -> bytes:
        known = self._known.get(data)
        if known is None:
            with self._lock:  # zlib releases the GIL, and other threads need the same event
                known = self._known.get(data)
                if known is None:
                    known = self._known[data] = _deflate(data, self._level)
                    self._bytes += len(data) + len(known)
                    while self._bytes > _SHARED_BYTES:
                        oldest = next(iter(self._known))
                        self._bytes -= len(oldest) + len(self._known.pop(oldest))
        return known


class SharedGzip:
    """One connection's gzip member around shared blocks."""

    __slots__ = ("_blocks", "_crc", "_ended", "_size")

    name: ClassVar[str] = "gzip"

    def __init__(self, shared: SharedBlocks) -> None:
        self._blocks = shared.blocks
        self._crc = 0
        self._size = 0
        self._ended = False

    def encode(self, data: bytes) -> bytes:
        if not data:  # `text` has empty frames, each of which would write the member's head again
            return b""
        # A CRC takes 0.2–0.4 µs per kB, next to 10 µs of a write, so it need not be shared.
        self._crc = zlib.crc32(data, self._crc)
        first = not self._size
        self._size += len(data)
        return _GZIP_HEADER + self._blocks(data) if first else self._blocks(data)

    def end(self) -> bytes:
        if self._ended or not self._size:
            return b""
        self._ended = True
        return _LAST_BLOCK + struct.pack("<LL", self._crc, self._size & 0xFFFFFFFF)


def coding_for(settings: Settings, accept_encoding: str) -> Coding | None:
    """The coding for a client; None: send the bytes as they are."""
    if settings.compression == "none":
        return None
    if settings.compression == "gzip":
        blocks = _shared_blocks(settings.compression_level, settings.compression_threshold_bytes)
        return SharedGzip(blocks) if choose(("gzip",), accept_encoding) else None
    makers = own_contexts(settings.compression_level)
    name = choose(tuple(makers), accept_encoding)
    return None if name is None else OwnContext(name, makers[name])


def choose(offered: Sequence[str], accept_encoding: str) -> str | None:
    """The coding that the header wants most (RFC 9110, 12.5.3); None: identity.

    A tie goes to the first offered, and to any rather than identity. Malformed members are ignored. A client that
    forbids identity and accepts nothing offered gets identity all the same: a 406 would end an EventSource.
    """
    return _best(tuple(offered), accept_encoding[: MAX_ACCEPT_CHARACTERS + 1])


@functools.lru_cache(maxsize=64)  # thousands of clients send the same few headers
def _best(offered: tuple[str, ...], accept_encoding: str) -> str | None:
    qualities: dict[str, float] = {}
    for member in whole_members(accept_encoding).lower().split(","):
        match = _MEMBER.fullmatch(member.strip())
        if match:
            qualities[match[1]] = float(match[2] or 1)
    best: str | None = None
    best_quality = 0.0
    for name in offered:
        quality = qualities.get(name, qualities.get("*", 0.0))
        if quality > best_quality:
            best, best_quality = name, quality
    return best if best_quality >= qualities.get("identity", 0.0) else None


def _stored(data: bytes) -> bytes:
    """`data` in stored blocks (RFC 1951, 3.2.4); empty data in none."""
    if len(data) <= _STORED_MAX:
        return b"\0" + struct.pack("<HH", len(data), len(data) ^ 0xFFFF) + data if data else b""
    return b"".join([_stored(data[start : start + _STORED_MAX]) for start in range(0, len(data), _STORED_MAX)])


def _deflate(data: bytes, level: int) -> bytes:
    # A compressor per payload: an interrupted call would leave bytes in a shared one for other readers.
    compressor = zlib.compressobj(level, zlib.DEFLATED, _RAW)
    return compressor.compress(data) + compressor.flush(zlib.Z_FULL_FLUSH)


@functools.lru_cache(maxsize=8)
def _shared_blocks(level: int, threshold: int) -> SharedBlocks:
    return SharedBlocks(level, threshold)


if hasattr(os, "register_at_fork"):  # Windows forks nothing
    os.register_at_fork(after_in_child=_shared_blocks.cache_clear)  # a parent's thread may hold the lock of one
