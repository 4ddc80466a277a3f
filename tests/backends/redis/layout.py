"""The layout as Redis sees it: keys, values, announcements, and what each script is given and answers.

``python -m tests.backends.redis.layout redis://…`` writes it to ``layout_<version>.json`` beside this file, which two versions
of the library that share a prefix must agree on. It never overwrites one: a layout that is in use does not change, it gets
another version.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import redis

from sse_bridge.admission.admissions import target_of, user_key
from sse_bridge.admission.contract import (
    CONTROL,
    Beat,
    ListRevocations,
    Revoke,
    TakeLease,
    replaced_message,
    revoked_message,
)
from sse_bridge.backends.base import Append, NewEntry
from sse_bridge.backends.redis.calls import AppendCall, Call, LettersCall, ReadCall
from sse_bridge.backends.redis.control import ControlCall
from sse_bridge.backends.redis.keys import LAYOUT_VERSION, Keys
from sse_bridge.backends.redis.retention import RetentionCall
from sse_bridge.backends.redis.scripts import Codec
from sse_bridge.events import Position, Visibility, channel_key
from sse_bridge.publishing.letters import DeadLetter, encode_letter
from sse_bridge.records.codec import record_head
from sse_bridge.records.continuity import ReadRequest

FOLDER = Path(__file__).parent
PREFIX = "layout-test"
_HEAD = record_head(Visibility.USER_FACING, "J", "order.paid")
_TIMES = ((re.compile(r"(?<![0-9])[0-9]{16}(?![0-9])"), "<µs>"), (re.compile(r"(?<![0-9])1[0-9]{12}(?![0-9])"), "<ms>"),
          (re.compile(r"(?<![0-9])1[0-9]{9}(?![0-9])"), "<s>"))  # fmt: skip


def path_of(version: str) -> Path:
    return FOLDER / f"layout_{version}.json"


def observed(client: redis.Redis) -> dict[str, Any]:
    """Does on a Redis what the library does, with tokens that are always the same, and returns what can be seen of it."""
    _delete(client)
    try:
        return _Observer(client).all()
    finally:
        _delete(client)


class _Observer:
    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._codec = Codec(Keys(PREFIX, 0), 16, 3600.0, False)
        self._calls: list[Any] = []

    def all(self) -> dict[str, Any]:
        keys, codec = self._codec.keys, self._codec
        with self._client.pubsub() as pubsub:
            for channel in ("a", "b", CONTROL):
                pubsub.subscribe(keys.of(channel)[0])
                assert pubsub.get_message(timeout=60)
            self._appends()
            self._reads()
            for mode, size, seen in (
                ("show", 16, 0),
                ("keep", 16, 0),
                ("update", 20, 0),
                ("set", 30, 0),
                ("keep", 30, 3),
            ):
                self._run(f"retention {mode}", RetentionCall(codec, mode, (size, 60.5), seen))  # type: ignore[arg-type]
            self._control()
            self._letters()
            self._client.publish(keys.of("a")[0], b"that was all")
            announced: list[list[str]] = []
            while (message := pubsub.get_message(ignore_subscribe_messages=True, timeout=10)) is not None:
                if message["data"] == b"that was all":
                    break
                announced.append([_text(message["channel"]), _text(message["data"])])
        return {
            "calls": self._calls,
            "announced": announced,
            "keys": {name: self._value(name) for name in sorted(map(_text, self._client.keys(f"{PREFIX}*")))},
            "names": {
                "channel": _plain(keys.of("a:1")), "idempotency": _text(keys.idempotency("a:1", "k")),
                "dead letters": _text(keys.dead), "retention": _text(keys.retention), "other database": _plain(
                    Keys(PREFIX, 3).of("a:1")),
            },
            "ids": [
                str(Position(channel_key("a:1").decode(), "epoch001", 7, "check001")),
                str(Position(channel_key("b").decode(), "epoch001", 7, "check001", True)),
            ],
            "control messages": _plain([replaced_message("owner.1"), revoked_message(Revoke(target_of("7", "a"), 1.5))]),
        }  # fmt: skip

    def _appends(self) -> None:
        one, two, three, four = (NewEntry(b"check00%d" % n, _HEAD, b'{"n":%d}' % n) for n in range(1, 5))
        large = NewEntry(b"check005", _HEAD, b"x" * 20_000)
        end = NewEntry(b"check006", record_head(Visibility.USER_FACING, "J", "stream.end"), b"{}")
        for what, batch, age in (
            ("ephemeral, no entry yet", Append("a", (one,), ephemeral=True), None),
            ("first", Append("a", (one,)), None),
            ("next", Append("a", (two,)), None),
            ("ephemeral", Append("a", (three,), ephemeral=True), None),
            ("ephemerals", Append("a", (three, four), ephemeral=True), None),
            ("under a key", Append("a", (three,), idempotency_key="k"), None),
            ("under the same key", Append("a", (four,), idempotency_key="k"), None),
            ("a retry", Append("a", (two,)), 1000),
            ("a retry that cannot be proven", Append("a", (four,)), 10_000_000),
            ("large", Append("a", (large,)), None),
            ("the end", Append("a", (end,), close=True), None),
            ("behind the end", Append("a", (four,)), None),
            ("several at once", Append("b", (one, two)), None),
        ):
            self._run(f"append {what}", AppendCall(self._codec, batch), age)
        batches = [Append("a", (four,)), Append("b", (three,)), Append("c", (one,))]
        command = self._codec.append_each(batches)
        self._note("append to each of several", self._codec.append_each_script.source, command)

    def _reads(self) -> None:
        for what, request in (
            ("no entry yet", ReadRequest("none")),
            ("the head", ReadRequest("b", limit=0)),
            ("after an offset", ReadRequest("b", b"check001", 1)),
            ("of another epoch", ReadRequest("b", b"another1", 1)),
            ("the last of a closed one", ReadRequest("a", None, -1)),
        ):
            self._run(f"read {what}", ReadCall(self._codec, request))

    def _control(self) -> None:
        user = user_key("7")
        for what, request in (
            ("take", TakeLease(user, "owner", "owner.1", 1, False, 60.0)),
            ("take one too many", TakeLease(user, "owner", "owner.2", 1, False, 60.0)),
            ("replace", TakeLease(user, "owner", "owner.3", 1, True, 60.0)),
            ("beat", Beat("owner", ((user, "owner.1"),))),
            ("revoke", Revoke(target_of("7", None), 60.0)),
            ("revocations", ListRevocations()),
        ):
            self._run(f"control {what}", ControlCall(self._codec, request))

    def _letters(self) -> None:
        batch = Append("a", (NewEntry(b"check001", _HEAD, b"1"),), idempotency_key="k")
        letter = encode_letter(DeadLetter("a", "full", "no room", 1, None, batch))
        for words in ((b"put", b"10", b"60000", letter), (b"look", b"5"), (b"put", b"10", b"60000", b"other"),
                      (b"remove", b"other")):  # fmt: skip
            self._run(f"letters {words[0].decode()}", LettersCall(self._codec, *words))

    def _run(self, what: str, call: Call[Any], age_ms: int | None = None) -> None:
        self._note(what, call.script.source, call.arguments(age_ms))

    def _note(self, what: str, source: bytes, arguments: Sequence[Any]) -> None:
        try:
            reply: object = self._client.execute_command("EVAL", source, *arguments)
        except redis.ResponseError as error:
            reply = f"error {str(error).split(' ', 1)[0]}"
        if what == "control revocations":
            assert isinstance(reply, list)
            reply = [reply[0], "<ms left>"]
        self._calls.append([what, _plain(arguments), _plain(reply)])

    def _value(self, name: str) -> Any:
        client = self._client
        kind = _text(client.type(name))
        read: dict[str, Callable[[str], Any]] = {
            "string": client.get, "list": lambda key: client.lrange(key, 0, -1), "hash": client.hgetall,
            "zset": lambda key: client.zrange(key, 0, -1),
        }  # fmt: skip
        return [kind, "expires" if client.pttl(name) > 0 else "stays", _plain(read[kind](name))]


def _text(value: bytes) -> str:
    text = value.decode("utf-8", "backslashreplace").replace("x" * 20_000, "<20,000 x>")
    for pattern, word in _TIMES:
        text = pattern.sub(word, text)
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return _text(value)
    if isinstance(value, dict):
        return {_plain(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, redis.ResponseError):
        return f"error {str(value).split(' ', 1)[0]}"
    return value


def _delete(client: redis.Redis) -> None:
    for name in client.keys(f"{PREFIX}*"):
        client.delete(name)


def main(url: str) -> None:
    version = LAYOUT_VERSION.decode()
    path = path_of(version)
    if path.exists():
        sys.exit(f"{path} exists: a layout that is in use may not change; raise LAYOUT_VERSION, then run this again")
    with redis.Redis.from_url(url) as client:
        path.write_text(json.dumps(observed(client), indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
