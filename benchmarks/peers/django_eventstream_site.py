"""django-eventstream with Redis, without its storage (with it, it delivered doubles)."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import include, path

redis = urlsplit(os.environ["BENCH_REDIS"])
settings.configure(
    SECRET_KEY="for benchmarks",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django_eventstream"],
    EVENTSTREAM_REDIS={"host": redis.hostname, "port": redis.port, "db": 0},
    USE_TZ=True,
)
django.setup()

urlpatterns = [path("events/<channel>", include("django_eventstream.urls"), {"format-channels": ["{channel}"]})]
app = get_asgi_application()
