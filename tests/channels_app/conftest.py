"""Consumers in this process: Channels' communicators, and a bridge of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from django.conf import settings

from sse_bridge import Bridge, configure
from tests.channels_app.helpers import readers

if not settings.configured:  # Channels asks for CHANNEL_LAYERS and DATABASES; any project's will do
    settings.configure()


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    """The default bridge of one test; at its end nobody may be left reading."""
    async with Bridge("memory://", heartbeat_seconds=60) as bridge:
        configure(bridge)
        yield bridge
        configure(None)
        assert readers(bridge) == 0
        assert len(bridge.streams) == 0
