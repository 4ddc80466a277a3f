"""``manage.py tail_events orders:42 news --last 10``: one JSON object per line, until Ctrl-C or the channels' end."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sse_bridge import Event, SSEBridgeError, get_bridge


class Command(BaseCommand):
    help = "Prints the events of channels as they come, one JSON object per line; events of every visibility."
    requires_system_checks: tuple[str, ...] = ()  # using the bridge reports a wrong setting in one line

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("channels", nargs="+", metavar="channel")
        start = parser.add_mutually_exclusive_group()
        start.add_argument("--after", help="an id to resume after, earliest, or now (default)")
        start.add_argument("--last", type=int, help="begin with the last so many events")

    def handle(self, *, channels: list[str], after: str | None, last: int | None, **options: Any) -> None:
        try:
            bridge = get_bridge()
            if bridge.settings.url.startswith("memory:"):
                self.stderr.write("only what this process publishes will be seen: the memory backend; set SSE_BRIDGE")
            with bridge.subscribe(channels, after=after, last=last) as stream:
                for event in stream:
                    self.stdout.write(_line(event))
                    self.stdout.flush()
        except SSEBridgeError as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            return
        except BrokenPipeError:
            # the reader of stdout left (| head); the interpreter's flush at exit would raise again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _line(event: Event) -> str:
    shown = {"channel": event.channel, "type": event.type, "data": event.data, "id": event.id}
    return json.dumps(shown, ensure_ascii=False)
