"""Keys, arguments, replies and errors of the Lua scripts; no I/O.

A script is sent as EVALSHA; a broker that does not know it answers NOSCRIPT without doing anything, and gets EVAL.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import logging
import re
from collections.abc import Sequence
from typing import Any, Final

from ...errors import BackendError, ChannelClosed, ForeignRecord, PublishUncertain
from ...events import Entry
from ...records.codec import decode_record
from ...records.continuity import Page, ReadRequest
from ..base import Append, Appended
from .keys import Keys
from .resp import pack

log = logging.getLogger("sse_bridge.redis")

_ENTRY: Final = b"%b %b\n%b"  # check, head and data: a record but for what the broker knows
ANNOUNCE_BYTES: Final = 16_384  # processes with readers read a longer record from the log, once each
META_SECONDS: Final = 24 * 3600.0  # a quiet channel keeps its epoch at least as long: a client resumes the next day

# Errors of commands that changed nothing, where a retry may meet another primary, or this one recovered.
RETRYABLE: Final = frozenset(
    {"READONLY", "LOADING", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "BUSY", "MOVED", "ASK", "MISCONF", "NOREPLICAS"}
)

# Errors of a server that can serve no call at the moment, or no write.
AWAY: Final = frozenset({"READONLY", "LOADING", "CLUSTERDOWN", "MASTERDOWN", "BUSY", "MISCONF", "NOREPLICAS"})
UNWRITABLE: Final = frozenset({"READONLY", "MISCONF", "NOREPLICAS"})

# Errors that last until the user, its password or its access rules are changed.
PERMANENT: Final = frozenset({"NOPERM", "NOAUTH", "WRONGPASS"})

# advice by the first word of Redis's error
_ADVICE: Final = {
    "OOM": "Redis is out of memory: raise maxmemory, or lower replay_size or replay_seconds",
    "NOPERM": "the Redis user needs ~{prefix}:* for keys, &{prefix}:* for channels, and EVAL, EVALSHA and the commands "
    "of the scripts",
    "WRONGTYPE": "another program uses a key under this prefix: choose another prefix, or delete the key",
    "NOAUTH": "Redis wants a password: put it into the URL",
    "WRONGPASS": "Redis refuses the user name or password of the URL",
}
_IN_SCRIPT = re.compile(r"@user_script: ?\d+: -?([A-Z]+) ")  # Redis 6 puts the first word of a script's error here


def lua(name: str) -> str:
    """The text of a Lua file in this directory."""
    return importlib.resources.files(__package__).joinpath(f"{name}.lua").read_text("utf-8")


class Script:
    """A Lua program, made of parts, and its SHA-1, by which Redis finds it."""

    def __init__(self, *parts: str) -> None:
        self.source = "\n".join(parts).encode()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()

    def call(self, arguments: Sequence[Any], *, whole: bool) -> bytes:
        """The command; if `whole`, with the source, for a broker that does not know the SHA-1."""
        return pack((b"EVAL", self.source, *arguments) if whole else (b"EVALSHA", self.sha, *arguments))


READ: Final = Script(lua("read"))
LETTERS: Final = Script(lua("letters"))


class Codec:
    """Encodes the commands of one bridge and decodes their replies; `sharded` in a cluster, where SPUBLISH announces."""

    def __init__(self, keys: Keys, replay_size: int, replay_seconds: float, sharded: bool) -> None:
        self.keys = keys
        self._sharded = sharded
        self.groups = not sharded  # whether one command may append to several channels, which have slots of their own
        self.foreign_records = 0  # pages with foreign records read by this process
        self._foreign: set[str] = set()  # channels already reported
        self.retain(replay_size, replay_seconds)

    def retain(self, replay_size: int, replay_seconds: float) -> None:
        """Sets the retention of all later appends."""
        self.replay_size = replay_size
        self.replay_seconds = replay_seconds
        # Trimming and renewing cost as much as appending, so they wait until an eighth is due: a list may hold an eighth
        # more entries than promised, and live up to 9/8 of the promised time.
        list_ms = max(8, round(replay_seconds * 1000))
        meta_ms = round(max(META_SECONDS * 1000, 10 * list_ms) * 9 / 8)
        self._meta_ms = b"%d" % meta_ms
        trim_at, keep, announce = replay_size + max(16, replay_size // 8), -replay_size, ANNOUNCE_BYTES
        if not replay_size:  # LTRIM from an index behind its end empties a list; an entry not kept must travel whole
            trim_at, keep, announce = 0, 2**31, 2**31
        constants = (
            "local PUBLISH, TRIM_AT, KEEP, ANNOUNCE_BYTES, LIST_MS, META_MS, RENEW_SECONDS = "
            f"'{self.publish_command.decode()}', {trim_at}, {keep}, {announce}, {list_ms * 9 // 8}, {meta_ms}, "
            f"{list_ms // 8000}"
        )
        append = lua("append")
        self.append_script = Script(constants, "local TIME", append)
        self.append_each_script = Script(
            constants,
            "local TIME = redis.call('TIME')",
            "local function append(KEYS, ARGV)",
            append,
            "end",
            lua("append_each"),
        )

    @property
    def publish_command(self) -> bytes:
        return b"SPUBLISH" if self._sharded else b"PUBLISH"

    def append(self, batch: Append, age_ms: int | None) -> tuple[Any, ...]:
        """Number of keys, keys and arguments of one append; `age_ms` of the first attempt, None if this is it."""
        meta, log_key = self.keys.of(batch.channel)
        mode = b"e" if batch.ephemeral else b"c" if batch.close else b"s"
        if age_ms is not None:
            mode += b"%d" % age_ms
        entries = [_ENTRY % entry for entry in batch.entries]
        modes = () if mode == b"s" and len(entries) == 1 else (mode,)
        if batch.idempotency_key is None:
            return (b"2", meta, log_key, *modes, *entries)
        key = self.keys.idempotency(batch.channel, batch.idempotency_key)
        return (b"3", meta, log_key, key, *modes, *entries)

    def append_each(self, batches: Sequence[Append]) -> list[Any]:
        """Number of keys, keys and arguments of a first attempt to append one entry to each of these channels."""
        keys: list[Any] = []
        arguments: list[Any] = []
        for batch in batches:
            keys += self.keys.of(batch.channel)
            arguments.append(_ENTRY % batch.entries[0])
        return [b"%d" % len(keys), *keys, *arguments]

    @staticmethod
    def appended(reply: Any, batch: Append) -> Appended:
        if type(reply) is bytes:  # the meta before the append, in columns
            entries = batch.entries
            return Appended(reply[:8], int(reply[40:]) + len(entries), entries[-1].check)
        epoch, last, check, recognised, announced = reply
        return Appended(epoch, last, check, recognised == 1, announced == 1)

    def read(self, request: ReadRequest) -> tuple[Any, ...]:
        meta, log_key = self.keys.of(request.channel)
        return (b"2", meta, log_key, self._meta_ms, request.epoch or b"", b"%d" % request.offset,
                b"%d" % request.limit, b"%d" % request.max_bytes)  # fmt: skip

    def page(self, reply: Any, request: ReadRequest) -> Page:
        epoch, top, check, closed, first, start, more, records = reply
        entries: list[Entry] = []
        expected = start
        for record in records:
            try:
                entry = decode_record(epoch, record)
            except ForeignRecord as error:
                self.foreign_records += 1
                if request.channel not in self._foreign and len(self._foreign) < 1000:
                    self._foreign.add(request.channel)
                    log.warning(
                        "foreign record in the log of channel %r skipped, readers get a gap: %s", request.channel, error
                    )
                continue
            if expected <= entry.offset <= top and entry.stored:
                entries.append(entry)
                expected = entry.offset + 1
        return Page(epoch, top, check, closed == 1, first, start, entries, more == 1)


def error_code(text: str) -> str:
    """The first word of Redis's error: ``WRONGTYPE``, ``MOVED`` …"""
    inside = _IN_SCRIPT.search(text)
    return inside.group(1) if inside else text.split(" ", 1)[0]


def refusal(text: str, channel: str | None, purpose: str = "") -> BackendError | ChannelClosed:
    """The exception for an error reply that no retry can change; the message begins with `purpose`."""
    code = error_code(text)
    where = f"channel {channel!r}" if channel else "Redis"
    if code == "CLOSED":
        return ChannelClosed(f"{where} is closed: its end is stored and nothing can be appended any more")
    if code == "UNCERTAIN":
        return PublishUncertain(
            f"{where}: the connection broke after the event was sent, and the log does not reach back far enough to "
            "prove whether it was stored; it was not sent again"
        )
    advice = _ADVICE.get(code)
    message = f"{purpose or where}: Redis refused with {text!r}" + (f"; {advice}" if advice else "")
    return BackendError(message, permanent=code in PERMANENT)
