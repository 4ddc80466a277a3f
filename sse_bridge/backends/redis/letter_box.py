"""Dead letters in Redis, readable by every process and the command line."""

from __future__ import annotations

from ...config import Settings
from .calls import LettersCall
from .scripts import Codec
from .threads import Client


class RedisLetterBox:
    """See `sse_bridge.publishing.letters.LetterBox`."""

    def __init__(self, client: Client, codec: Codec, settings: Settings) -> None:
        self._client = client
        self._codec = codec
        self._max = b"%d" % settings.dead_letters_max
        self._ms = b"%d" % round(settings.dead_letter_seconds * 1000)
        self._timeout = settings.publish_timeout_seconds

    def put(self, letters: list[bytes]) -> None:
        self._run(b"put", self._max, self._ms, *letters)

    def look(self, limit: int) -> list[bytes]:
        return self._run(b"look", b"%d" % limit)

    def remove(self, letters: list[bytes]) -> None:
        self._run(b"remove", *letters)

    def _run(self, *words: bytes) -> list[bytes]:
        call = LettersCall(self._codec, *words)
        self._client.run((call,), self._timeout)
        return call.outcome()
