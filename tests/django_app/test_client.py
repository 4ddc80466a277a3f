"""Django's own test client and settings overrides, as a site's tests use them; in a process that has this site's settings."""

from __future__ import annotations

import textwrap

from tests.django_app.conftest import PROJECT
from tests.support.process import Process


def run(source: str) -> str:
    begin = "import asyncio, django; django.setup()\nfrom sse_bridge import get_bridge, publish\n"
    program = begin + textwrap.dedent(source)
    process = Process(["python", "-W", "error", "-c", program], env={"DJANGO_SETTINGS_MODULE": f"{PROJECT}.settings"})
    assert process.wait() == 0, process.output
    return process.output


def test_the_client_reads_a_stream_and_closes_it() -> None:
    run(
        """
        from django.test import Client

        publish("a", "hello")
        response = Client().get("/sync/a/?after=earliest")
        assert b'data: "hello"' in next(iter(response))
        assert len(get_bridge().streams) == 1
        response.close()
        assert len(get_bridge().streams) == 0
        assert list(Client().head("/sync/a/")) == []
        """
    )
    run(
        """
        from django.test import AsyncClient

        async def main():
            response = await AsyncClient().get("/async/a/?after=earliest")
            async for piece in response:
                assert b'data: "hello"' in piece
                break
            response.close()
            await asyncio.sleep(0)
            assert len(get_bridge().streams) == 0

        publish("a", "hello")
        asyncio.run(main())
        """
    )


def test_the_bridge_follows_overridden_settings() -> None:
    run(
        """
        from django.test import override_settings
        from sse_bridge.errors import ConfigurationError

        with override_settings(SSE_BRIDGE={"MAX_CHANNELS": 3}):
            assert get_bridge().settings.max_channels == 3
        assert get_bridge().settings.max_channels == 20
        with override_settings(SSE_BRIDGE={"MAX_CHANNEL": 3}):
            try:
                publish("a")
            except ConfigurationError as error:
                assert "did you mean 'max_channels'?" in str(error)
            else:
                raise AssertionError("published to who knows where")
        """
    )


def test_an_async_hook_on_a_loop_is_refused_and_elsewhere_awaited() -> None:
    run(
        """
        from django.test import RequestFactory
        from sse_bridge.errors import AsyncContextError
        from sse_bridge_django import event_stream

        async def authorize(request, channels):
            return channels == ("a",)

        request = RequestFactory().get("/")
        assert event_stream(request, "a", authorize=authorize).status_code == 200
        assert event_stream(request, ["a", "a"], authorize=authorize).status_code == 200
        assert event_stream(request, ["a", "b"], authorize=authorize).status_code == 403

        async def view():
            try:
                event_stream(request, "a", authorize=authorize)
            except AsyncContextError as error:
                assert "grant=" in str(error)
            else:
                raise AssertionError("it should have been refused")

        asyncio.run(view())
        """
    )


def test_a_stream_that_is_read_keeps_the_id_that_it_came_with() -> None:
    run(
        """
        from django.test import Client
        from sse_bridge.testing import read_stream

        publish("a", "hello")
        with read_stream(Client().get("/sync/a/", headers={"Last-Event-ID": "garbage"})) as stream:
            assert [stream.next().id == "garbage" for _ in range(2)] == [True, False]
        """
    )
