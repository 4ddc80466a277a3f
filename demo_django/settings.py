"""Django's settings for the demo: no database, no accounts, one page. ``SSE_BRIDGE`` is all that the library needs."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

DEBUG = False
# The launcher sets it, so that several web workers agree; a single process makes its own.
SECRET_KEY = os.environ.get("DEMO_SECRET_KEY") or secrets.token_urlsafe(32)
ALLOWED_HOSTS = os.environ.get("DEMO_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

INSTALLED_APPS = ["django.contrib.staticfiles", "sse_bridge_django"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "demo_django.urls"
ASGI_APPLICATION = "demo_django.asgi.application"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [FOLDER / "templates"]}]
STATIC_URL = "static/"
STATICFILES_DIRS = [FOLDER / "static"]
USE_TZ = True

# Where the log lives comes from the environment: memory:// unless SSE_BRIDGE_URL says redis://…
SSE_BRIDGE = {
    "RETRY_MIN_MS": 1500,  # browsers come back sooner than usual, so that "cut the connection" is no test of patience
    "RETRY_MAX_MS": 2500,
    "DRAIN_SECONDS": 0.5,  # the few streams of a demo need no spread at Ctrl-C
}
