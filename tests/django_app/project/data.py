"""A program with Django set up: encodes data as Django has it, and prints what came of each as JSON."""

import json

import django
from django.conf import settings

settings.configure(USE_I18N=True, SECRET_KEY="for tests")
django.setup()

from django.apps.registry import Apps  # noqa: E402
from django.db import models  # noqa: E402
from django.middleware.csrf import get_token  # noqa: E402
from django.test import RequestFactory  # noqa: E402
from django.utils.functional import SimpleLazyObject, lazy  # noqa: E402
from django.utils.safestring import mark_safe  # noqa: E402
from django.utils.translation import gettext_lazy, override  # noqa: E402

from sse_bridge import Bridge, Text  # noqa: E402
from sse_bridge.encoding import encode_data  # noqa: E402
from sse_bridge.errors import InvalidData  # noqa: E402
from sse_bridge.filters import PUBLIC  # noqa: E402
from sse_bridge.streams.sources.items import item_frame  # noqa: E402
from sse_bridge.wire import SSE_FORMAT  # noqa: E402


class Status(models.TextChoices):
    OPEN = "open", gettext_lazy("Yes")
    PAID = "paid", gettext_lazy("No")


class Level(models.IntegerChoices):
    HIGH = 3, gettext_lazy("Yes")


class Receipt(models.Model):
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.OPEN)
    scan = models.FileField()

    class Meta:
        app_label = "shop"
        apps = Apps()  # there is neither an app nor a table, so a query would fail


def encoded(data):
    try:
        return encode_data(data, 10_000)[1].decode()
    except InvalidData as error:
        return str(error)


def published(data, type):
    with Bridge("memory://") as bridge:
        bridge.publish("a", data, type=type)
        event = bridge.history("a")[0]
    return [event.type, event.data]


label = gettext_lazy("Yes")
token = SimpleLazyObject(lambda: get_token(RequestFactory().get("/")))
with override("de"):
    told = {
        "a lazy text": encoded(label),
        "in a list, as a key and a value": encoded([label, {label: label}]),
        "a label of choices": encoded({"label": Status.PAID.label, "value": Status.PAID}),
        "choices": encoded(Status.choices),
        "as text": encoded(Text(label)),
        "of a source": item_frame(label, SSE_FORMAT, PUBLIC).decode(),
        "of a source's event": item_frame({"event": None, "data": label}, SSE_FORMAT, PUBLIC).decode(),
    }
with override("fr"):
    told["another language"] = encoded(label)
told |= {
    "another lazy text": encoded(lazy(lambda: "made late", str)()),
    "members": encoded([Status.OPEN, Level.HIGH, Status.names, Level.values]),
    "a safe string": encoded({Status.OPEN: mark_safe("<b>")}),
    "a lazy object of a text": json.loads(encoded(token)) == str(token),
    "a type": published({"status": Status.PAID}, Status.PAID),
    "a model": encoded(Receipt()),
    "a model in data": encoded({"of": [Receipt()]}),
    "a lazy object of a model": encoded({"user": SimpleLazyObject(Receipt)}),
    "a query": encoded(Receipt.objects.all()),
    "a query of values": encoded([Receipt.objects.values("status")]),
    "a raw query": encoded(Receipt.objects.raw("SELECT 1")),
    "a manager": encoded(Receipt.objects),
    "a file": encoded(Receipt(scan="a.pdf").scan),
}
print(json.dumps(told))
