"""What a view refuses at construction; it needs no request."""

from __future__ import annotations

import pytest

from sse_bridge.errors import ConfigurationError, InvalidChannel
from sse_bridge_django import EventStreamView, event_stream_path
from sse_bridge_django.templatetags.sse_bridge import sse_position


class Chosen(EventStreamView):
    channels_from_query = True


class Allowed(Chosen):
    async def authorize(self, request, channels):
        return True


class Named(EventStreamView):
    def get_channels(self):
        return ["news"]


@pytest.mark.parametrize(
    "make",
    [
        Chosen.as_view,
        lambda: Chosen.as_view(authorize=None),
        lambda: Allowed.as_view(authorize=None),
        lambda: EventStreamView.as_view(channels_from_query=True),
        lambda: event_stream_path("events/", authorize=None),
    ],
)
def test_a_client_that_chooses_its_channels_needs_authorize(make) -> None:
    with pytest.raises(ConfigurationError, match="authorize=lambda request, channels: True"):
        make()


def test_a_view_needs_channels() -> None:
    with pytest.raises(ConfigurationError, match="has no channels"):
        EventStreamView.as_view()


def test_a_format_that_no_stream_has() -> None:
    with pytest.raises(ConfigurationError, match=r"sse-data.*got 'sse_data'"):
        Named.as_view(format="sse_data")


@pytest.mark.parametrize("channels", [(), (None,), (5,), ("",), ("a", ["no spaces"])])
def test_a_tag_that_names_no_channel(channels) -> None:
    with pytest.raises(InvalidChannel):
        sse_position(*channels)


def test_what_is_enough() -> None:
    Allowed.as_view()
    Named.as_view()
    Chosen.as_view(authorize=lambda request, channels: True)
    EventStreamView.as_view(channels=["news"])
    EventStreamView.as_view(channels="news", authorize=None)
    assert event_stream_path("live/", authorize=lambda request, channels: True, name="live").name == "live"
