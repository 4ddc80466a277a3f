"""The extension: whose bridge, from which settings, and routes where the client chooses the channels."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest
from flask import Flask, Response, render_template_string, request, url_for

import sse_bridge
import sse_bridge_flask
from sse_bridge import Bridge
from sse_bridge.errors import AsyncContextError, ConfigurationError, InvalidChannel, NotAuthenticated
from sse_bridge.streams import Grant
from sse_bridge_flask import SSEBridge, event_blueprint, event_stream, get_bridge
from tests.support.sse_parser import SSEParser


@pytest.fixture(autouse=True)
def _default_bridge() -> Any:
    yield
    sse_bridge.configure(None)


def create_app(name: str = "app", **config: Any) -> Flask:
    app = Flask(name)
    app.config.update(config)
    return app


def first_frame(app: Flask, path: str, **options: Any) -> tuple[int, bytes]:
    with app.test_client().get(path, buffered=False, **options) as response:
        return response.status_code, next(response.iter_encoded()) if response.status_code == 200 else response.data


def test_settings_come_from_the_config() -> None:
    app = create_app(SSE_BRIDGE_PREFIX="a", SSE_BRIDGE_HEARTBEAT_SECONDS=3, SSE_BRIDGE={"PREFIX": "b"})
    bridge = SSEBridge(app, max_channels=7).bridge
    assert (bridge.settings.prefix, bridge.settings.heartbeat_seconds, bridge.settings.max_channels) == ("b", 3, 7)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"SSE_BRIDGE_URI": "memory://"}, "did you mean 'url'"),
        ({"SSE_BRIDGE": {"HEARTBEAT_SECONDS": -1}}, "heartbeat_seconds"),
        ({"SSE_BRIDGE": "redis://localhost"}, "must be a mapping"),
    ],
)
def test_a_wrong_config_stops_the_start(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SSEBridge(create_app(**config))


def test_a_bridge_of_its_own_takes_no_settings() -> None:
    with pytest.raises(ConfigurationError, match="bridge="), Bridge() as bridge:
        SSEBridge(bridge=bridge, prefix="x")


def test_apps_of_a_factory_have_bridges_of_their_own() -> None:
    sse = SSEBridge()
    one, two = create_app("one", SSE_BRIDGE_PREFIX="one"), create_app("two", SSE_BRIDGE_PREFIX="two")
    sse.init_app(one)
    assert sse.bridge is one.extensions["sse_bridge"], "the only app needs no context"
    sse.init_app(two)
    for app in (one, two):
        with app.app_context():
            assert sse.bridge is get_bridge() is app.extensions["sse_bridge"]
            assert sse.publish("a", app.name) is not None
            assert [event.data for event in get_bridge().history("a")] == [app.name]
    assert sse_bridge.get_bridge() is two.extensions["sse_bridge"], "the last one is the default"
    SSEBridge(create_app("three"), default=False)
    assert sse_bridge.get_bridge() is two.extensions["sse_bridge"]
    with pytest.raises(ConfigurationError, match="already"):
        sse.init_app(two)


def test_a_given_bridge_serves_all_apps() -> None:
    with Bridge() as bridge:
        sse = SSEBridge(bridge=bridge)
        for name in ("one", "two"):
            app = create_app(name)
            sse.init_app(app)
            assert app.extensions["sse_bridge"] is bridge


def test_without_the_extension_the_message_says_what_to_call() -> None:
    app = create_app()
    with app.app_context(), pytest.raises(ConfigurationError, match="init_app"):
        sse_bridge_flask.publish("a", 1)


async def test_module_level_publishing_means_the_current_app() -> None:
    app = create_app()
    bridge = SSEBridge(app, default=False).bridge
    with app.app_context():
        await sse_bridge_flask.apublish("a", 1)
    assert [event.data for event in await bridge.ahistory("a")] == [1]


def allow(request: Any, channels: tuple[str, ...]) -> bool | Grant:
    user = request.headers.get("X-User")
    if not user:
        raise NotAuthenticated("say who you are")
    return user == "root" or (all(channel.startswith(user) for channel in channels) and Grant(user=user))


async def allow_async(request: Any, channels: tuple[str, ...]) -> bool | Grant:
    return allow(request, channels)


@pytest.mark.parametrize("hook", [allow, allow_async])
def test_a_mounted_route_asks_its_hook(hook: Any) -> None:
    before, after = create_app("before"), create_app("after")
    sse = SSEBridge(before)
    sse.mount("/events", authorize=hook)
    sse.init_app(after)
    after.register_blueprint(event_blueprint(authorize=hook, path="/stream"), url_prefix="/api")
    for app, path in ((before, "/events"), (after, "/events"), (after, "/api/stream")):
        assert first_frame(app, f"{path}?channel=ann:1")[0] == 401
        assert first_frame(app, f"{path}?channel=ann:1&channel=bob", headers={"X-User": "ann"})[0] == 403
        assert first_frame(app, path, headers={"X-User": "ann"})[0] == 400, "no channel"
        status, body = first_frame(app, f"{path}?channel=ann:1&channels=ann:2,ann:3", headers={"X-User": "ann"})
        assert status == 200
        assert b"event: stream.open" in body
    with after.test_request_context():
        assert url_for("sse_bridge_events") == "/events"
        assert url_for("sse_bridge.events") == "/api/stream"


@pytest.mark.parametrize("mount", [event_blueprint, lambda: SSEBridge().mount("/events")])
def test_a_route_without_a_hook_refuses_to_start(mount: Any) -> None:
    with pytest.raises(ConfigurationError, match="authorize=lambda request, channels: True"):
        mount()


def test_a_route_with_a_format_that_no_stream_has_refuses_to_start() -> None:
    with pytest.raises(ConfigurationError, match=r"sse-data.*got 'sse_data'"):
        event_blueprint(authorize=lambda request, channels: True, format="sse_data")


def test_a_hook_that_returns_something_else_is_the_servers_fault() -> None:
    app = create_app(TESTING=True)
    SSEBridge(app).mount("/events", authorize=lambda request, channels: "yes")
    with pytest.raises(ConfigurationError, match="authorize hook must return"):
        app.test_client().get("/events?channel=a")


def test_the_apps_error_handlers_see_refusals() -> None:
    app = create_app()
    SSEBridge(app)

    @app.errorhandler(403)
    def forbidden(error: Any) -> tuple[str, int]:
        return f"no: {error.description} {request.path}", 403

    @app.get("/events")
    def events() -> Response:
        return event_stream("a", authorize=lambda request, channels: False)

    status, body = first_frame(app, "/events")
    assert status == 403
    assert body.startswith(b"no: the authorize hook")


def test_a_missing_flask_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flask", None)
    monkeypatch.delitem(sys.modules, "sse_bridge_flask")
    with pytest.raises(ImportError, match=r"sse-bridge\[flask\]"):
        importlib.import_module("sse_bridge_flask")


@pytest.mark.parametrize("channels", ['"a"', '["a", "b"]', '"a", "b"', '["a"], "b"'])
def test_a_template_knows_where_its_stream_begins(channels: str) -> None:
    app = create_app()
    bridge = SSEBridge(app).bridge
    app.add_url_rule("/page", "page", lambda: render_template_string(f"{{{{ sse_position({channels}) }}}}"))
    app.add_url_rule("/events", "events", lambda: event_stream(["a", "b"]))
    bridge.publish("a", "shown")
    after = app.test_client().get("/page").text
    bridge.publish("a", "between")
    with app.test_client().get(f"/events?after={after}", buffered=False) as response:
        pieces = response.iter_encoded()
        frames = SSEParser().feed(next(pieces))
        assert [(frame.event, frame.data) for frame in frames] == [("stream.open", "{}"), ("message", '"between"')]


@pytest.mark.parametrize("channels", ["", "none", "5", "missing"])
def test_a_template_that_names_no_channel(channels: str) -> None:
    app = create_app()
    SSEBridge(app)
    with app.app_context(), pytest.raises(InvalidChannel):
        render_template_string(f"{{{{ sse_position({channels}) }}}}")


def test_an_async_view_is_told_of_the_twin() -> None:
    app = create_app()
    SSEBridge(app)

    async def page() -> str:
        return render_template_string('{{ sse_position("a") }}')

    app.add_url_rule("/page", view_func=page)
    app.testing = True
    with pytest.raises(AsyncContextError, match="aposition"):
        app.test_client().get("/page")
