"""``manage.py publish_event orders:42 '{"status": "paid"}' --type order.paid``"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sse_bridge import SSEBridgeError, Text, Visibility, get_bridge


class Command(BaseCommand):
    help = "Publishes one event and prints its id."
    requires_system_checks: tuple[str, ...] = ()  # using the bridge reports a wrong setting in one line

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("channel")
        parser.add_argument("data", help="JSON, or plain text with --text")
        parser.add_argument("--type", help="the event's type as in the DOM; message if omitted")
        parser.add_argument("--text", action="store_true", help="the data is plain text, not JSON")
        parser.add_argument(
            "--visibility",
            default=Visibility.USER_FACING.value,
            choices=[each.value for each in Visibility],
            help="who may see it; user_facing if omitted",
        )

    def handle(self, *, channel: str, data: str, text: bool, **options: Any) -> None:
        try:
            payload = Text(data) if text else json.loads(data)
        except json.JSONDecodeError as error:
            raise CommandError(f"expected JSON, got {data!r:.100} ({error}); a text needs quotes, or --text") from None
        try:
            bridge = get_bridge()
            position = bridge.publish(channel, payload, type=options["type"], visibility=options["visibility"])
            if bridge.settings.url.startswith("memory:"):
                self.stderr.write("published in this process only: the memory backend ends with it; set SSE_BRIDGE")
        except SSEBridgeError as error:
            raise CommandError(str(error)) from None
        self.stdout.write("published, not stored" if position is None else str(position))
