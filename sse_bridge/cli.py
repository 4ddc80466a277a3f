"""``sse-bridge``: publish, tail, read and close channels from a terminal, and check a broker.

Settings come from the options, else from the environment (``SSE_BRIDGE_URL`` …), which keeps passwords out of the list
of processes. Retention is what the applications stored under the prefix; on a prefix that nobody has used yet, what these
settings say, and nothing is stored but by ``sse-bridge retention set``.

Exit codes:

    0    done
    1    refused: the channel, the event or the position breaks a rule, or the channel is closed
    2    the command line or a setting is wrong
    3    the broker is away: nothing was done, try again
    4    the event may or may not have been published
    130  Ctrl-C
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from typing_extensions import override

from .bridge import Bridge
from .cli_lines import frame, kept_words, letter_line, retention_line
from .config import Settings
from .errors import BackendError, BackendUnavailable, ConfigurationError, PublishUncertain, SSEBridgeError
from .events import Event, Text, Visibility
from .wire import CHANNEL_FORMATS, NDJSON_FORMAT

REFUSED: Final = 1
WRONG: Final = 2  # argparse's own
AWAY: Final = 3
UNCERTAIN: Final = 4
INTERRUPTED: Final = 130

logger = logging.getLogger("sse_bridge")

Command = Callable[[Bridge, argparse.Namespace], int | None]  # returns an exit code; None: 0

DEAD_LETTERS: Final = (
    "Events of processes with on_unavailable=spool that found no room, waited too long, or were refused when the broker "
    "was back. Processes put them under the prefix as soon as they can."
)
RETENTION: Final = (
    "It is stored at the first use of a prefix, and the stored values rule: processes with other settings log one line and "
    "keep to it. Those with retention_change=update store theirs when they start."
)
_FORMATS: Final = {each.name: each for each in CHANNEL_FORMATS}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; argparse itself exits with 2."""
    arguments = _parser().parse_args(argv)
    notes = _Notes()
    logger.addHandler(notes)
    try:
        command: Command = arguments.command
        if command is publish:  # a mistake in its data is told before one in the settings
            arguments.data = _event_data(arguments)
        with _bridge(arguments) as bridge:
            if bridge.backend.name == "memory" and command is not check:
                raise ConfigurationError(
                    "the memory backend lives inside one process, where no command can reach it; set SSE_BRIDGE_URL or "
                    "--url, for instance to redis://localhost:6379/0"
                )
            return command(bridge, arguments) or 0
    except PublishUncertain as error:
        return _failed(error, UNCERTAIN)
    except BackendError as error:
        return _failed(error, AWAY)
    except ConfigurationError as error:
        return _failed(error, WRONG)
    except SSEBridgeError as error:
        return _failed(error, REFUSED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # the reader of the output has left (| head); the interpreter would complain again when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        logger.removeHandler(notes)


def publish(bridge: Bridge, arguments: argparse.Namespace) -> None:
    """Prints the event's id."""
    position = bridge.publish(
        arguments.channel, arguments.data, type=arguments.type, visibility=arguments.visibility,
        idempotency_key=arguments.idempotency_key,
    )  # fmt: skip
    if position is not None:
        _write(f"{position}\n".encode())


def tail(bridge: Bridge, arguments: argparse.Namespace) -> None:
    """Prints events, of every visibility, until the channels have ended."""
    # a hub tries again and again; a mistake in the settings, or a broker that is away, is better said at once
    bridge.history(arguments.channels[0], limit=1)
    with bridge.subscribe(arguments.channels, after=arguments.after, last=arguments.last) as stream:
        for event in stream:
            _show(event, arguments.format)


def history(bridge: Bridge, arguments: argparse.Namespace) -> None:
    """Prints what the log holds."""
    for event in bridge.history(arguments.channel, after=arguments.after, limit=arguments.limit):
        _show(event, arguments.format)


def close(bridge: Bridge, arguments: argparse.Namespace) -> None:
    """Prints the id of the end."""
    _write(f"{bridge.close_channel(arguments.channel, arguments.reason)}\n".encode())


def list_dead_letters(bridge: Bridge, arguments: argparse.Namespace) -> None:
    """Prints events that were spooled and could not be published: one line of JSON each, the oldest first."""
    for letter in bridge.dead_letters(arguments.limit):
        _write(letter_line(letter))


def resend_dead_letters(bridge: Bridge, arguments: argparse.Namespace) -> int:
    """Publishes them, and prints what became of each; the exit code is that of the last failure."""
    code = 0
    for letter, result in bridge.resend_dead_letters(arguments.limit, uncertain=arguments.uncertain):
        if isinstance(result, SSEBridgeError):
            codes = ((BackendUnavailable, AWAY), (PublishUncertain, UNCERTAIN), (SSEBridgeError, REFUSED))
            code = _failed(result, next(code for kind, code in codes if isinstance(result, kind)))
        else:
            _write(letter_line(letter, id=str(result)))
    return code


def revoke(bridge: Bridge, arguments: argparse.Namespace) -> None:
    """Ends streams in all processes, and keeps their clients out for a while."""
    if arguments.undo:
        bridge.unrevoke(user=arguments.user, channel=arguments.channel)
    else:
        bridge.revoke(user=arguments.user, channel=arguments.channel, seconds=arguments.seconds)


def check(bridge: Bridge, arguments: argparse.Namespace) -> None:
    """Does what a bridge with these settings does at its first use, and says what it found."""
    settings = bridge.settings
    ours = kept_words(settings.replay_size, settings.replay_seconds)
    _say("backend", f"{bridge.backend.name}, {_without_secrets(settings.url)}, prefix {settings.prefix}")
    _say("versions", f"sse_bridge {_version('sse-bridge')}, Python {platform.python_version()}")
    if bridge.backend.name == "memory":
        _say("note", "the memory backend lives inside each process; nothing else can reach it")
        _say("retention", ours)
        return
    began = time.monotonic()
    bridge.history("sse_bridge.check", limit=1)  # the first use; a channel that nobody uses otherwise
    took = time.monotonic() - began
    _say("broker", f"{_broker_version(settings.url)}, redis-py {_version('redis')}, hiredis {_version('hiredis')}")
    _say("answered", f"in {took * 1000:.0f} ms, a message to ourselves included")
    stored = bridge.backend.stored_retention()  # type: ignore[attr-defined]
    known = f"generation {stored.generation}" if stored.generation else "not stored yet"
    _say("retention", f"{kept_words(stored.replay_size, stored.replay_seconds)}, {known}")
    if stored[1:3] != (settings.replay_size, settings.replay_seconds):
        rule = "what is stored rules (see sse-bridge retention --help)"
        if Settings.load(_given(arguments)).retention_change == "update":
            rule = "a process that starts with them stores them, since retention_change is update"
        _say("note", f"these settings say {ours}; {rule}")


def show_retention(bridge: Bridge, arguments: argparse.Namespace) -> None:
    """Prints what is stored under the prefix: entries per channel, seconds after the last one, and who wrote it."""
    _write(retention_line(bridge.backend.stored_retention()))  # type: ignore[attr-defined]


def set_retention(bridge: Bridge, arguments: argparse.Namespace) -> None:
    """Stores other values; what is not given stays. Running processes follow within 30 seconds, without a gap of their own."""
    stored = bridge.backend.stored_retention()  # type: ignore[attr-defined]
    size, seconds = arguments.replay_size, arguments.replay_seconds
    if size is None and seconds is None:
        raise ConfigurationError("expected --replay-size or --replay-seconds, or both, got neither")
    wanted = Settings.load(
        replay_size=stored.replay_size if size is None else size,
        replay_seconds=stored.replay_seconds if seconds is None else seconds,
    )  # the same bounds as everywhere
    changed = bridge.backend.change_retention(wanted.replay_size, wanted.replay_seconds)  # type: ignore[attr-defined]
    _write(retention_line(changed))


def _event_data(arguments: argparse.Namespace) -> Any:
    text = sys.stdin.read() if arguments.data == "-" else arguments.data
    if arguments.text:
        return Text(text)
    try:
        return json.loads(text)
    except ValueError as error:
        hint = "a text needs quotes of its own ('\"hello\"'), or --text"
        raise ConfigurationError(f"expected JSON, got {text!r:.120}: {error}; {hint}") from None


def _show(event: Event, name: str) -> None:
    format = _FORMATS[name]
    if event.type == "stream.gap" and not format.tells:
        logger.warning("%s: events are missing (%s)", event.channel, event.data["reason"])
    _write(frame(event, format))


def _bridge(arguments: argparse.Namespace) -> Bridge:
    # a command ends at once, and what it had spooled would end with it
    return Bridge.from_settings(_given(arguments), on_unavailable="raise", retention_change="adopt")


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    options = {name: getattr(arguments, name) for name in ("url", "prefix") if getattr(arguments, name) is not None}
    Settings.load(options)  # also those that a command does not go by
    return options


def _broker_version(url: str) -> str:
    """The server's version by INFO, at the first of several addresses, which may be a Sentinel's."""
    from .backends.redis import threads, urls  # only with the redis extra

    target = urls.parse(url)
    wire = threads.Connection(target, target.addresses[0], 5.0, sentinel=target.kind == "sentinel")
    try:
        answer = wire.ask(("INFO", "server"))
    except (OSError, EOFError) as error:
        return f"a server that does not tell its version ({error})"
    finally:
        wire.close()
    fields = dict(line.partition(b":")[::2] for line in answer.split(b"\r\n")) if isinstance(answer, bytes) else {}
    for key in (b"valkey_version", b"redis_version"):
        if key in fields:
            return f"{key.partition(b'_')[0].decode().capitalize()} {fields[key].decode('ascii', 'replace')}"
    return "a server that does not tell its version"


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _failed(error: object, code: int) -> int:
    sys.stderr.write(f"sse-bridge: {error}\n")
    return code


def _say(name: str, text: str) -> None:
    sys.stdout.write(f"{name:<10} {text}\n")


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


class _Notes(logging.Handler):
    """Writes the library's log records as lines on stderr."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"sse-bridge: {record.levelname.lower()}: {record.getMessage()}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "sse-bridge",
        description="Publish to, follow and look after the channels of sse_bridge.",
        epilog="Settings come from the environment too (SSE_BRIDGE_URL …). Exit codes: 0 done, 1 refused, 2 wrong usage or "
        "settings, 3 the broker is away, 4 perhaps published, 130 Ctrl-C.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--url", help="the broker, for instance redis://localhost:6379/0; SSE_BRIDGE_URL if omitted")
    shared.add_argument("--prefix", help="the prefix of the keys; SSE_BRIDGE_PREFIX if omitted")
    shown = argparse.ArgumentParser(add_help=False)
    shown.add_argument(
        "--format", choices=list(_FORMATS), default=NDJSON_FORMAT.name, help="ndjson if omitted; text shows data only"
    )

    def command(name: str, run: Command, summary: str, *parents: Any, to: Any = commands) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = to.add_parser(
            name, help=summary, description=run.__doc__, parents=[shared, *parents]
        )
        added.set_defaults(command=run)
        return added

    one = command("publish", publish, "publish one event")
    one.add_argument("channel")
    one.add_argument("data", metavar="JSON", help="the event's data; - reads it from stdin")
    one.add_argument("--type", help="the event's type as in the DOM; message if omitted")
    one.add_argument("--text", action="store_true", help="the data is plain text")
    one.add_argument("--visibility", choices=[each.value for each in Visibility], default=Visibility.USER_FACING.value)
    one.add_argument("--idempotency-key", metavar="KEY", help="within 5 minutes the first event under a key wins")

    one = command("tail", tail, "follow channels", shown)
    one.add_argument("channels", metavar="CHANNEL", nargs="+")
    start = one.add_mutually_exclusive_group()
    start.add_argument("--after", metavar="ID|earliest|now", help="resume after this id; now if omitted")
    start.add_argument("--last", type=int, metavar="N", help="begin with the last N events")

    one = command("history", history, "print what a channel's log holds", shown)
    one.add_argument("channel")
    one.add_argument("--after", metavar="ID", help="only what comes after this id")
    one.add_argument("--limit", type=int, default=100, metavar="N", help="at most N events, the oldest; 100 if omitted")

    one = command("close", close, "store the end of a channel: its readers stop")
    one.add_argument("channel")
    one.add_argument("--reason", default="completed", help="what readers are told; completed if omitted")

    letters = commands.add_parser(
        "dead-letters", help="events that were spooled and could not be published", description=DEAD_LETTERS
    ).add_subparsers(metavar="list|resend", required=True)
    limited = argparse.ArgumentParser(add_help=False)
    limited.add_argument("--limit", type=int, default=100, metavar="N", help="at most N, the oldest; 100 if omitted")
    command("list", list_dead_letters, "print them", limited, to=letters)
    one = command("resend", resend_dead_letters, "publish them", limited, to=letters)
    one.add_argument(
        "--uncertain",
        action="store_true",
        help="those too of which the log cannot prove whether they were published: they may then be there twice",
    )
    one = command("revoke", revoke, "end the streams of a user, a channel or both, and keep them ended for a while")
    one.add_argument("--user", help="as the application names them in its grants")
    one.add_argument("--channel")
    one.add_argument("--seconds", type=float, metavar="S", help="how long; max_stream_seconds if omitted")
    one.add_argument("--undo", action="store_true", help="take it back")

    retention = commands.add_parser(
        "retention", help="how much every channel under the prefix keeps", description=RETENTION
    ).add_subparsers(metavar="show|set", required=True)
    command("show", show_retention, "print it", to=retention)
    one = command("set", set_retention, "change it", to=retention)
    one.add_argument("--replay-size", type=int, metavar="N", help="entries per channel")
    one.add_argument("--replay-seconds", type=float, metavar="S", help="how long after a channel's last entry")

    command("check", check, "connect, and say what a bridge with these settings would find")
    return parser
