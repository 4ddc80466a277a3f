"""What goes into the scripts and what comes back: keys, arguments, replies, errors; no I/O.

A script is sent as EVALSHA; a broker that does not know it answers NOSCRIPT, has done nothing, and gets EVAL.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import logging
import re
from collections.abc import Sequence
from typing import Any, Final

from ...errors import BackendError, ChannelClosed, ForeignRecord, PublishUncertain
from ...events import Entry, new_token
from ...follow.page import Page, ReadRequest
from ...records import decode_record
from ..base import Append, Appended
from .keys import Keys
from .resp import pack

log = logging.getLogger("sse_bridge.redis")

_ENTRY: Final = b"%b %b\n%b"  # check, head and data: a record but for what the broker knows
RECORD_VERSION: Final = b"1"
META_SECONDS: Final = 24 * 3600.0  # so long at least a quiet channel keeps its epoch: a client resumes the next day

# Redis could not do it now and has done nothing: another attempt may find another primary, or this one recovered.
RETRYABLE: Final = frozenset(
    {"READONLY", "LOADING", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "BUSY", "MOVED", "ASK", "MISCONF", "NOREPLICAS"}
)

# what to do, by the first word of Redis's error
_ADVICE: Final = {
    "OOM": "Redis is out of memory: raise maxmemory, or lower replay_size or replay_seconds",
    "NOPERM": "the Redis user needs ~{prefix}:* for keys, &{prefix}:* for channels, and EVAL, EVALSHA and the commands "
    "of the scripts",
    "WRONGTYPE": "another program uses a key under this prefix: choose another prefix, or delete the key",
    "NOAUTH": "Redis wants a password: put it into the URL",
    "WRONGPASS": "Redis refuses the user name or password of the URL",
}
_IN_SCRIPT = re.compile(r"@user_script: ?\d+: -?([A-Z]+) ")  # where Redis 6 puts the first word of a script's error


def lua(name: str) -> str:
    """The text of one of the files beside this one."""
    return importlib.resources.files(__package__).joinpath(f"{name}.lua").read_text("utf-8")


class Script:
    """A Lua program, made of these parts, and its SHA-1, by which Redis knows it."""

    def __init__(self, *parts: str) -> None:
        self.source = "\n".join(parts).encode()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()

    def call(self, arguments: Sequence[Any], *, whole: bool) -> bytes:
        """The command; `whole`: with the source, for a broker that does not know the SHA-1."""
        return pack((b"EVAL", self.source, *arguments) if whole else (b"EVALSHA", self.sha, *arguments))


READ: Final = Script(lua("read"))
START: Final = Script(lua("start"))
LETTERS: Final = Script(lua("letters"))


class Codec:
    """Builds the commands of one bridge and reads their replies.

    Args:
        keys: the names.
        replay_size: entries kept per channel.
        replay_seconds: how long after the last append.
        sharded: announce with SPUBLISH, in the channel's own slot of a cluster.
        adopt: take over a stored retention, and store none where there is none.

    Attributes:
        groups: one command may append to several channels: not in a cluster, where each has its own slot.
    """

    def __init__(self, keys: Keys, replay_size: int, replay_seconds: float, sharded: bool, adopt: bool = False) -> None:
        self.keys = keys
        self._adopt = adopt
        self._sharded = sharded
        self.groups = not sharded
        self.foreign_records = 0  # met so far, in this process
        self._foreign: set[str] = set()  # channels where one was reported
        self.retain(replay_size, replay_seconds)

    def retain(self, replay_size: int, replay_seconds: float) -> None:
        """Sets what is kept, here and in every later append."""
        self.replay_size = replay_size
        self.replay_seconds = replay_seconds
        # Trimming and renewing cost as much as appending, so they wait until an eighth is due: the list may hold an
        # eighth more than promised, and it lives between 8/8 and 9/8 of the promised time.
        list_ms = max(8, round(replay_seconds * 1000))
        meta_ms = round(max(META_SECONDS * 1000, 10 * list_ms) * 9 / 8)
        self._meta_ms = b"%d" % meta_ms
        constants = (
            "local PUBLISH, TRIM_AT, KEEP, LIST_MS, META_MS, RENEW_SECONDS = "
            f"'{'SPUBLISH' if self._sharded else 'PUBLISH'}', {replay_size + max(16, replay_size // 8)}, {-replay_size}, "
            f"{list_ms * 9 // 8}, {meta_ms}, {list_ms // 8000}"
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
        if type(reply) is bytes:  # the meta before, in columns
            entries = batch.entries
            return Appended(reply[:8], int(reply[40:]) + len(entries), entries[-1].check)
        epoch, last, check, recognised, announced = reply
        return Appended(epoch, last, check, recognised == 1, announced == 1)

    def read(self, request: ReadRequest) -> tuple[Any, ...]:
        meta, log_key = self.keys.of(request.channel)
        return (b"2", meta, log_key, new_token(), self._meta_ms, request.epoch or b"", b"%d" % request.offset,
                b"%d" % request.limit, b"%d" % request.max_bytes)  # fmt: skip

    def page(self, reply: Any, request: ReadRequest) -> Page:
        epoch, top, check, closed, first, start, more, records = reply
        entries: list[Entry] = []
        expected = start
        for record in records:
            try:
                entry = decode_record(epoch, record)
            except ForeignRecord as error:
                self.foreign(request.channel, error)
                continue
            if expected <= entry.offset <= top and entry.stored:
                entries.append(entry)
                expected = entry.offset + 1
        return Page(epoch, top, check, closed == 1, first, start, entries, more == 1)

    def foreign(self, channel: str, error: ForeignRecord) -> None:
        """Counts what somebody else wrote into a log, and reports it once per channel."""
        self.foreign_records += 1
        if channel not in self._foreign and len(self._foreign) < 1000:
            self._foreign.add(channel)
            log.warning("foreign record in channel %r, skipped: %s", channel, error)

    def start(self) -> tuple[Any, ...]:
        adopt = b"1" if self._adopt else b"0"
        size, seconds = b"%d" % self.replay_size, b"%.17g" % self.replay_seconds
        return (b"1", self.keys.retention, RECORD_VERSION, size, seconds, adopt)


def error_code(text: str) -> str:
    """The word by which Redis names an error: ``WRONGTYPE``, ``MOVED`` …"""
    inside = _IN_SCRIPT.search(text)
    return inside.group(1) if inside else text.split(" ", 1)[0]


def refusal(text: str, channel: str | None) -> BackendError | ChannelClosed:
    """The exception for an error reply that no retry would change."""
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
    return BackendError(f"{where}: Redis refused with {text!r}" + (f"; {advice}" if advice else ""))
