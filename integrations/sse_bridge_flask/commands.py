"""``flask sse publish`` and ``flask sse tail``, on the app's bridge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click
from flask.cli import AppGroup

from sse_bridge import Bridge, SSEBridgeError

from .current import get_bridge

sse_commands: Final = AppGroup("sse", help="Publish events and follow channels.")


@sse_commands.command("publish")
@click.argument("channel")
@click.argument("data", metavar="JSON")
@click.option("--type", "type_", help="The event's type; 'message' if omitted.")
def publish_command(channel: str, data: str, type_: str | None) -> None:
    """Publish one event and print its id.

    JSON is the event's data, such as '{"status": "paid"}' or '"text"'.
    """
    try:
        value = json.loads(data)
    except ValueError as error:
        raise click.BadParameter(f"expected JSON, got {data!r:.100}: {error}", param_hint="JSON") from None
    with _shared_bridge() as bridge:
        click.echo(str(bridge.publish(channel, value, type=type_)))


@sse_commands.command("tail")
@click.argument("channels", metavar="CHANNEL...", nargs=-1, required=True)
@click.option("--after", help="Resume after this id; 'earliest' begins with the oldest event.")
@click.option("--last", type=click.IntRange(min=0), help="Begin with the last so many events.")
def tail_command(channels: tuple[str, ...], after: str | None, last: int | None) -> None:
    """Follow channels until Ctrl-C or their end, and print a line of JSON per event."""
    with _shared_bridge() as bridge, bridge.subscribe(channels, after=after, last=last) as stream:
        for event in stream:
            line = {"channel": event.channel, "type": event.type, "data": event.data, "id": event.id}
            click.echo(json.dumps(line, ensure_ascii=False))


@contextmanager
def _shared_bridge() -> Iterator[Bridge]:
    """The app's bridge, if other processes share it; an `SSEBridgeError` becomes one line instead of a traceback."""
    try:
        bridge = get_bridge()
        if bridge.backend.name == "memory":
            raise click.ClickException(
                "expected a shared backend, got memory, which lives in the server's process, out of a command's reach; "
                "set SSE_BRIDGE_URL, for instance to redis://localhost:6379/0"
            )
        yield bridge
    except SSEBridgeError as error:
        raise click.ClickException(str(error)) from error
