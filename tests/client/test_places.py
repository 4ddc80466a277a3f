"""Where the client is found: in the wheel's one copy, by Django's staticfiles, Flask and Starlette; and how big it is."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

import sse_bridge
from tests.support.node import FOLDER, ensure_packages, node_run
from tests.support.process import Process
from tests.support.requires import needs_node

FILES = Path(sse_bridge.__file__).parent / "static" / "sse_bridge"
NAMES = ("client.js", "client.d.ts")

DJANGO = """
from django.conf import settings
import django, sys
settings.configure(INSTALLED_APPS=["django.contrib.staticfiles", "sse_bridge_django"], STATIC_URL="/s/",
    STATIC_ROOT=sys.argv[1], SECRET_KEY="x", TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    STORAGES={"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}})
django.setup()
from django.core.management import call_command
from django.template import Context, Template
call_command("collectstatic", interactive=False, verbosity=0)
print(Template('{% load static %}{% static "sse_bridge/client.js" %}').render(Context()))
"""


def test_it_is_small() -> None:
    packed = len(gzip.compress((FILES / "client.js").read_bytes(), 9))
    assert packed < 4096, f"client.js takes {packed} bytes with gzip -9"


def test_django_collects_it(tmp_path: Path) -> None:
    with Process(["python", "-c", DJANGO, str(tmp_path)]) as process:
        assert process.wait() == 0, process.output
        url = process.output.strip()
    assert url.startswith("/s/sse_bridge/client.")
    assert url != "/s/sse_bridge/client.js"  # with its hash
    for name in NAMES:
        collected = tmp_path / "sse_bridge" / name
        assert not collected.is_symlink()
        assert collected.read_bytes() == (FILES / name).read_bytes()
    assert (tmp_path / url.removeprefix("/s/")).read_bytes() == (FILES / "client.js").read_bytes()


@pytest.mark.parametrize(("options", "url"), [({}, "/static"), ({"static_url_path": "/assets"}, "/assets")])
def test_flask_serves_it(options: dict[str, str], url: str) -> None:
    flask = pytest.importorskip("flask")
    from sse_bridge_flask import SSEBridge

    app = flask.Flask("app", **options)
    SSEBridge(app, default=False)
    with app.test_request_context():
        assert flask.url_for("sse_bridge_static", filename="client.js") == f"{url}/sse_bridge/client.js"
    for name in NAMES:
        with app.test_client().get(f"{url}/sse_bridge/{name}") as response:
            assert response.status_code == 200
            assert response.data == (FILES / name).read_bytes()
    with app.test_client().get(f"{url}/sse_bridge/client.js") as response:
        assert response.mimetype in ("text/javascript", "application/javascript")
    with app.test_client().get(f"{url}/sse_bridge/../../config.py") as response:
        assert response.status_code == 404


def test_starlette_serves_it() -> None:
    pytest.importorskip("starlette")
    from starlette.staticfiles import StaticFiles

    path, stat = StaticFiles(packages=[("sse_bridge", "static")]).lookup_path("sse_bridge/client.js")
    assert stat is not None
    assert Path(path).read_bytes() == (FILES / "client.js").read_bytes()


USE = """
import { EventStream, createParser, type Gap, type StreamErrorEvent } from "./client";
const stream = new EventStream("/events/", {
  method: "POST", body: new FormData(), credentials: "include", signal: new AbortController().signal,
  headers: async ({ signal }) => ({ Authorization: await (await fetch("/token", { signal })).text() }),
  onGap: (gap: Gap) => { const missed: number | null = gap.missed; void missed; },
  onEnd: ({ channel, reason }) => { const text: string = reason + (channel ?? ""); void text; },
  onState: (state, { delay }) => { if (state === "waiting") console.log(delay); },
});
stream.addEventListener("order.paid", (event) => { const text: string = event.data + event.lastEventId; void text; });
stream.addEventListener("error", (event: StreamErrorEvent) => console.log(event.status));
stream.onmessage = (event) => JSON.parse(event.data);
const parse: (text: string) => void = createParser({ onEvent: (event) => console.log(event.type) });
parse("data: 1\\n\\n");
stream.close();
// @ts-expect-error
stream.onmessage = 3;
// @ts-expect-error
new EventStream("/", { resume: "cookie" });
// @ts-expect-error
stream.state = "open";
"""


@needs_node
def test_types(tmp_path: Path) -> None:
    (tmp_path / "client.d.ts").write_text((FILES / "client.d.ts").read_text())
    (tmp_path / "client.js").write_text((FILES / "client.js").read_text())
    (tmp_path / "use.ts").write_text(USE)
    ensure_packages()
    compiler = str(FOLDER / "node_modules" / "typescript" / "bin" / "tsc")
    options = [
        "--noEmit",
        "--strict",
        "--skipDefaultLibCheck",
        "--target",
        "es2022",
        "--lib",
        "es2022,dom,dom.iterable",
    ]
    modules = ["--module", "es2022", "--moduleResolution", "bundler"]
    with Process(["node", compiler, *options, *modules, str(tmp_path / "use.ts")]) as process:
        assert process.wait(60) == 0, process.output


@needs_node
def test_types_name_what_the_module_has() -> None:
    program = f"console.log(Object.keys(await import({(FILES / 'client.js').as_uri()!r})).sort().join())"
    assert node_run(program).strip() == "EventStream,createParser"
