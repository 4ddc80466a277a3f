"""Settings of the site; SSE_BRIDGE_URL chooses the broker, TEST_DATABASE a file for sqlite."""

import json
import os

SECRET_KEY = "for tests"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.django_app.project.urls"
USE_TZ = True
INSTALLED_APPS = ["sse_bridge_django"]
MIDDLEWARE = [
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    "django.middleware.common.CommonMiddleware",
    "tests.django_app.project.visitor.visitor",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("TEST_DATABASE", ":memory:")}}

# Heartbeats as short as they are here are for tests: under WSGI only a write notices that the client left.
SSE_BRIDGE = {"HEARTBEAT_SECONDS": 0.5, "LINGER_SECONDS": 0.2, "DRAIN_SECONDS": 0}
# A refusal is no failure: daphne would log each 403 with its traceback.
LOGGING = {"version": 1, "disable_existing_loggers": False, "loggers": {"django.request": {"level": "ERROR"}}}

# What a test sets otherwise, as JSON.
globals().update(json.loads(os.environ.get("TEST_SETTINGS", "{}")))
