"""Plain sync views. The buttons publish or queue a task and return at once; two views answer with event streams."""

from __future__ import annotations

import secrets
from typing import Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from sse_bridge_django import event_stream, publish

from . import tasks
from .meter import meter_channel
from .orders import ORDERS, new_order

MAX_QUESTION: Final = 500
RATES: Final = (100, 1000, 5000)  # events a second
LOAD_SECONDS: Final = 15
QUESTIONS: Final = (
    "How does resume work?",
    "What is a gap, and when is it told?",
    "What happens to a slow reader?",
    "What does publish do?",
)


@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """The only page. `client` names this page's connections, so that it can have them cut."""
    context = {"client": secrets.token_hex(8), "questions": QUESTIONS, "rates": RATES}
    return render(request, "demo/page.html", context)


@require_POST
def ask(request: HttpRequest) -> HttpResponse:
    """Starts a run in a worker; the answer says where its events are."""
    question = request.POST.get("question", "").strip()[:MAX_QUESTION]
    if not question:
        return JsonResponse({"message": "Type a question first."}, status=400)
    run = secrets.token_hex(8)  # whoever knows it may read the run, so it cannot be guessed
    tasks.answer.delay(run, question)
    return JsonResponse({"events": reverse("run_events", args=[run]), "stop": reverse("stop", args=[run])})


@require_GET
def run_events(request: HttpRequest, run: str) -> HttpResponseBase:
    """A run from its first event, or from where the browser's Last-Event-ID says that it was cut off."""
    return event_stream(request, f"run:{run}", start="earliest")


@require_POST
def stop(request: HttpRequest, run: str) -> HttpResponse:
    """Tells the run to stop, in whatever process it is."""
    publish(f"stop:{run}", type="stop")
    return HttpResponse(status=204)


@require_GET
def events(request: HttpRequest) -> HttpResponseBase:
    """The orders, and the meter of the very process that serves this stream."""
    return event_stream(request, [ORDERS, meter_channel()], last=6)


@require_POST
def order(request: HttpRequest) -> HttpResponse:
    """Publishes from a sync view: one call, no event loop."""
    publish(ORDERS, new_order("sync view"), type="order.placed")
    return HttpResponse(status=204)


@require_POST
def batch(request: HttpRequest) -> HttpResponse:
    """Has a Celery task publish a dozen."""
    tasks.place_orders.delay(12)
    return HttpResponse(status=204)


@require_POST
def load(request: HttpRequest) -> HttpResponse:
    """Has a Celery task publish many events a second for a while."""
    rate = request.POST.get("rate", "")
    if rate not in map(str, RATES):
        return JsonResponse({"message": f"rate must be one of {RATES}."}, status=400)
    tasks.make_load.delay(int(rate), LOAD_SECONDS)
    return HttpResponse(status=204)


@require_POST
def cut(request: HttpRequest) -> HttpResponse:
    """Cuts this page's connections as a bad network would; see `scissors`."""
    client = request.POST.get("client", "")
    if not client.isalnum():
        return JsonResponse({"message": "client must be the page's own name."}, status=400)
    publish(f"cut:{client}", type="cut", store=False)
    return HttpResponse(status=204)
