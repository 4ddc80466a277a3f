"""Every setting once, with its unit in the name, its default, and the reason for the default.

Values come from keyword arguments, a mapping (Django's ``SSE_BRIDGE``, Flask's config) or the environment
(``SSE_BRIDGE_URL`` …), in this order. An unknown name is an error that suggests the nearest one.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import pydantic
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from .environment import ENV_PREFIX, names_under_prefix
from .errors import ConfigurationError

__all__ = [
    "ENV_PREFIX",
    "Policy",
    "Settings",
]

# A page's origin as sent by browsers (RFC 6454, 6.2); apps in a web view have schemes of their own.
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@,*\\]+")
_HOUR: Final = 3600
_DAY: Final = 86_400
_MONTH: Final = 30 * _DAY  # below 49 days, the longest wait of a thread on some platforms
_TEN_YEARS: Final = 3650 * _DAY  # milliseconds up to here are exact numbers in Lua
MAX_QUEUE_SIZE: Final = 10_000_000
MIN_SECRET_CHARACTERS: Final = 32  # HMAC-SHA256 gains nothing from a key longer than its output (RFC 7518, 3.2)

Policy = Literal["catch_up", "drop_oldest", "drop_newest", "block", "disconnect", "latest_only"]


class Settings(BaseSettings):
    """The settings of one bridge; immutable."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="ignore", frozen=True, allow_inf_nan=False)

    url: str = Field("memory://", repr=False,  # may hold a password
                     description="Where the log lives: memory://, redis://, rediss://, redis+sentinel://, "
                     "redis+cluster://, valkey://, unix://; memory needs no server and ends with its process.")  # fmt: skip
    prefix: str = Field("sse_bridge", pattern=r"^[A-Za-z0-9_.:-]{1,64}$",
                        description="First part of every Redis key and pub/sub channel; no braces, which mark hash tags.")  # fmt: skip

    # the log
    replay_size: int = Field(1000, ge=0, le=1_000_000, description="Entries kept per channel: minutes of a busy one; 0 keeps "
                             "none, so a client that was away gets a gap.")  # fmt: skip
    replay_seconds: float = Field(
        3600, ge=1, le=_TEN_YEARS, description="How long entries are kept after the last append: a lunch break."
    )
    max_event_bytes: int = Field(65_536, ge=64, le=16_777_216, description="Longest encoded data of one event.")
    retention_change: Literal["keep", "update", "adopt"] = Field(
        "keep", description="replay_size and replay_seconds are stored under the prefix at its first use, and the stored values "
        "rule. keep: others here change nothing; update: they are stored instead, and running processes follow within 30 s; "
        "adopt: never store any, for tools beside the application."
    )  # fmt: skip
    memory_max_bytes: int = Field(256 * 2**20, ge=2**16, le=2**40, description="Memory backend: bytes over all channels; beyond it "
                                  "the channels that were quiet the longest lose their logs.")  # fmt: skip
    memory_max_channels: int = Field(100_000, ge=1, le=100_000_000, description="Memory backend: channels, likewise.")

    # publishing
    publish_timeout_seconds: float = Field(
        5.0, ge=0.1, le=_HOUR, description="Deadline of one publish, retries included."
    )
    on_unavailable: Literal["raise", "spool"] = Field(
        "raise", description="While the broker is away: raise at the deadline, or keep events in this process's memory, in "
        "order, and publish them when it is back."
    )  # fmt: skip
    spool_max_events: int = Field(10_000, ge=1, le=10_000_000, description="Spooled events of one process; further ones become dead "
                                  "letters.")  # fmt: skip
    spool_max_bytes: int = Field(16 * 2**20, ge=4096, le=2**34, description="Memory for spooled events, likewise.")
    spool_max_seconds: float = Field(300.0, ge=0.1, le=_MONTH, description="Events that waited longer become dead letters: a restart or "
                                     "a failover is over by then, and what is older may mislead.")  # fmt: skip
    dead_letters_max: int = Field(1000, ge=0, le=100_000, description="Dead letters that are kept, in each process and "
                                  "under the prefix; beyond it the oldest are thrown away and counted.")  # fmt: skip
    dead_letter_seconds: float = Field(604_800, ge=1, le=_TEN_YEARS, description="How long Redis keeps dead letters after the last one: a "
                                       "week, so that somebody sees them.")  # fmt: skip
    block_timeout_seconds: float = Field(
        5.0, ge=0.01, le=_HOUR, description="Policy block: how long a publisher waits for room."
    )

    # readers
    max_channels: int = Field(20, ge=1, le=80, description="Channels per stream; 80 parts still fit an id of 4 kB.")
    policy: Policy = Field("catch_up", description="What happens to a reader that is more than queue_size behind.")
    queue_size: int = Field(
        1000, ge=1, le=MAX_QUEUE_SIZE, description="How many entries behind the policies other than catch_up allow."
    )
    window_bytes: int = Field(1_048_576, ge=4096, le=2**30, description="Recent entries of one channel that a process shares "
                              "among its readers; older ones are read from the log again.")  # fmt: skip
    windows_max_bytes: int = Field(64 * 2**20, ge=2**20, le=2**40, description="Windows of all channels of a process "
                                   "together; beyond it those unread for the longest are emptied, and their readers read the "
                                   "log again.")  # fmt: skip
    linger_seconds: float = Field(
        5.0, ge=0, le=_DAY, description="How long a subscription outlives its last reader: a reload."
    )
    check_seconds: float = Field(
        10.0, ge=0.1, le=_DAY, description="Channels with readers are compared with the log this often."
    )
    link_timeout_seconds: float = Field(10.0, ge=0.2, le=_DAY, description="A broker link silent for so long is lost; half of it "
                                        "idle sends a PING.")  # fmt: skip

    # admission
    max_streams: int = Field(10_000, ge=0, le=10_000_000, description="Streams per process, of every kind; beyond it new ones are sent "
                             "away (429, or come back later). About what one event loop serves; 0: no limit.")  # fmt: skip
    max_streams_per_user: int = Field(0, ge=0, le=1_000_000, description="Streams per Grant.user, over all processes; 0: no limit. Leave "
                                      "room for tabs, and for connections that died unnoticed.")  # fmt: skip
    over_limit: Literal["replace_oldest", "reject", "retry"] = Field(
        "replace_oldest", description="One stream too many of a user: replace_oldest ends the oldest one, so that a reload "
        "never locks a user out; reject answers 429, which ends an EventSource for good; retry tells it to come back later."
    )  # fmt: skip
    max_websocket_message_bytes: int = Field(16_384, ge=1024, le=1_048_576, description="Longest message of a WebSocket's "
                                             "client: an id of 4 kB and the names of 80 channels fit.")  # fmt: skip
    max_websocket_messages_per_second: float = Field(10.0, ge=0.01, le=1_000_000, description="A client has nothing to say most of the time; "
                                                     "four times as many may come at once.")  # fmt: skip

    # streams
    heartbeat_seconds: float = Field(15.0, ge=0, le=_DAY, description="A comment line after so much silence: half of the "
                                     "usual 30–60 s of proxies; 0 sends none.")  # fmt: skip
    max_stream_seconds: float = Field(3600.0, ge=0.05, le=_MONTH, description="Streams end after this × random 0.8–1.0 and resume, so "
                                      "that load and credentials are looked at again.")  # fmt: skip
    retry_min_ms: int = Field(
        2000, ge=100, le=86_400_000, description="Browsers reconnect after a random time from here …"
    )
    retry_max_ms: int = Field(
        5000, ge=100, le=86_400_000, description="… to here, so that a deploy is not followed by a storm."
    )
    drain_seconds: float = Field(
        5.0, ge=0, le=_HOUR, description="At shutdown the ends of the streams are spread over this."
    )
    max_write_bytes: int = Field(65_536, ge=1024, le=2**24, description="At most so much in one write to a reader.")
    compression: Literal["none", "gzip", "per_connection"] = Field(
        "none", description="gzip: an event is compressed once for all readers that accept it; per_connection: for each "
        "anew, which saves more bytes and costs CPU and memory per reader (zstd where installed, gzip, br where installed)."
    )  # fmt: skip
    compression_threshold_bytes: int = Field(512, ge=0, le=2**24, description="gzip: shorter writes leave as they are, in the gzip "
                                             "stream; compressed they would save little.")  # fmt: skip
    compression_level: int = Field(6, ge=1, le=9, description="zlib's level: 1 is fast, 9 is small.")
    metrics_prefix: str = Field("sse_bridge_", pattern=r"^[A-Za-z_:][A-Za-z0-9_:]{0,63}$", description="First part of every "
                                "name that sse_bridge.metrics exposes.")  # fmt: skip
    debug: bool = Field(False, description="Error events carry the exception's text and traceback.")

    # access
    token_secret: SecretStr | tuple[SecretStr, ...] | None = Field(
        None, description="Signs stream tokens; at least 32 characters. Several: the first signs, all are accepted, so "
        "that one can be replaced while its tokens live."
    )  # fmt: skip
    token_cookie: str = Field("sse_bridge_token", pattern=r"^[A-Za-z0-9_.-]{1,64}$",
                              description="The cookie that may carry a token; EventSource cannot send headers.")  # fmt: skip
    token_in_url: bool = Field(False, description="Accept ?token= too. Addresses end up in logs, histories and Referer "
                               "headers, so only where neither a header nor a cookie can be sent.")  # fmt: skip
    cors_origins: str | tuple[str, ...] = Field(
        (), description="Pages of these origins may read streams, with credentials: https://app.example.com, several by "
        "comma or as a list. Never '*': every page on the web could read with its visitor's cookies."
    )  # fmt: skip

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation in (int, float):
            raise ValueError("a number is expected, which True and False are to Python alone")
        return value

    @pydantic.field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        return value.strip()  # a URL read from a file ends with a line break

    @pydantic.field_validator("token_secret", mode="before")
    @classmethod
    def _secrets(cls, value: Any) -> Any:
        if value is None or value == "":
            return None
        # pydantic-settings parses an environment variable of digits as a number
        listed = value if isinstance(value, (list, tuple)) else (str(value) if type(value) is int else value,)
        for secret in listed:
            text = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
            if not isinstance(text, str) or len(text) < MIN_SECRET_CHARACTERS:
                raise ValueError(
                    f"each secret must be a str of at least {MIN_SECRET_CHARACTERS} characters, e.g. of secrets.token_urlsafe(32)"
                )
        return tuple(listed) or None

    @pydantic.field_validator("cors_origins", mode="before")
    @classmethod
    def _origins(cls, value: Any) -> tuple[str, ...]:
        return checked_origins(value)

    @pydantic.model_validator(mode="after")
    def _retry_order(self) -> Settings:
        if self.retry_min_ms > self.retry_max_ms:
            raise ValueError(f"retry_min_ms={self.retry_min_ms} must not exceed retry_max_ms={self.retry_max_ms}")
        return self

    @classmethod
    def load(cls, mapping: Mapping[str, Any] | None = None, /, **kwargs: Any) -> Settings:
        """Settings from keyword arguments over `mapping` over the environment.

        Args:
            mapping: names in lower or upper case, e.g. Django's ``SSE_BRIDGE = {"URL": …}``.

        Raises:
            ConfigurationError: an unknown name (with the nearest known one), or a value out of range: numbers have
                bounds at both ends, and are finite.
        """
        if mapping is not None and not isinstance(mapping, Mapping):
            raise ConfigurationError(f"settings must be a mapping of names to values, got {mapping!r:.100}")
        values: dict[str, Any] = {}
        for source, names in (("the mapping", mapping or {}), ("a keyword argument", kwargs)):
            for name, value in names.items():
                values[_known(str(name).lower(), str(name), source)] = value
        for name in names_under_prefix(os.environ):
            _known(name[len(ENV_PREFIX) :].lower(), name, "the environment")
        try:
            return cls(**values)
        except pydantic.ValidationError as error:
            problems = "; ".join(map(_problem, error.errors()))
            raise ConfigurationError(f"invalid sse_bridge settings: {problems}") from None
        except ValueError as error:  # pydantic-settings' SettingsError: malformed JSON in a variable
            raise ConfigurationError(f"invalid sse_bridge settings in the environment: {error}") from None


def checked_origins(value: Any) -> tuple[str, ...]:
    """Checked origins for CORS, in the form sent by browsers.

    Args:
        value: one origin, several separated by commas, or an iterable of them; None: none.

    Raises:
        ValueError: a value is ``*``, ``null`` (the origin of every sandboxed frame), or no origin.
    """
    if value is None:
        return ()
    if isinstance(value, (bytes, bytearray, Mapping)) or not isinstance(value, Iterable):
        raise ValueError(f"a list of origins is expected, or one as a str, got {value!r:.200}")
    listed = value.split(",") if isinstance(value, str) else list(value)
    origins = tuple(str(origin).strip().rstrip("/").lower() for origin in listed if str(origin).strip())
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"an origin is scheme://host or scheme://host:port, without a path or a wildcard, got {origin!r:.200}"
            )
    return origins


def _problem(error: Any) -> str:
    """The text of one of pydantic's errors: the setting, the expectation, and the value unless it may be secret."""
    name = ".".join(map(str, error["loc"]))
    said = str(error["msg"]).removeprefix("Value error, ")
    secret = not name or error["loc"][0] in ("token_secret", "url")  # without a name the input is the whole mapping
    if ", got " not in said and (not secret or (name and error["input"] is None)):
        said += f", got {error['input']!r:.80}"
    return f"{name}: {said}" if name else said


def _known(name: str, written: str, source: str) -> str:
    if name in Settings.model_fields:
        return name
    near = difflib.get_close_matches(name, Settings.model_fields, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known settings: {', '.join(sorted(Settings.model_fields))}"
    raise ConfigurationError(f"unknown sse_bridge setting {written!r} in {source}; {hint}")
