"""Middleware that sets what belongs to a visitor: the language, the time zone, and a ContextVar of the site's own."""

import contextvars
import zoneinfo

from django.utils import timezone, translation

request_id = contextvars.ContextVar("request_id", default="none")


def visitor(get_response):
    def middleware(request):
        if "visitor" not in request.GET:
            return get_response(request)
        translation.activate("de")
        timezone.activate(zoneinfo.ZoneInfo("Asia/Tokyo"))
        request_id.set(request.GET["visitor"])
        return get_response(request)

    return middleware


def seen():
    """What code that runs for this visitor sees."""
    return [translation.get_language(), timezone.get_current_timezone_name(), request_id.get()]
