"""The site's routes."""

from django.urls import path

from sse_bridge_django import event_stream_path
from tests.django_app.project import hook_errors, views

urlpatterns = [
    path("sync/<channel>/", views.events),
    path("async/<channel>/", views.async_events),
    path("strict/sync/<channel>/", views.strict),
    path("strict/async/<channel>/", views.async_strict),
    path("strict/view/<channel>/", views.Strict.as_view()),
    path("page/sync/<channel>/", views.page),
    path("page/async/<channel>/", views.async_page),
    path("query/<channel>/", views.after_query),
    path("publish/<channel>/", views.publish_view),
    path("apublish/<channel>/", views.apublish_view),
    path("close/<channel>/", views.close),
    path("commit/<channel>/", views.commit),
    path("broken/<channel>/", views.broken),
    path("wrapped/<channel>/", views.wrapped),
    path("redacted/<channel>/", views.redacted),
    path("source/sync/<name>/", views.source),
    path("source/async/<name>/", views.async_source),
    path("two/sync/<channel>/", views.two),
    path("two/async/<channel>/", views.atwo),
    path("replaced/<channel>/", views.replaced),
    path("hook/sync/<colour>/<error>/", hook_errors.hook),
    path("hook/async/<colour>/<error>/", hook_errors.ahook),
    path("hook/class/sync/<place>/<error>/", hook_errors.Failing.as_view()),
    path("hook/class/async/<place>/<error>/", hook_errors.AsyncFailing.as_view()),
    path("fails/sync/<kind>/<error>/", hook_errors.source),
    path("fails/async/<kind>/<error>/", hook_errors.asource),
    path("left/", hook_errors.left),
    path("debug/", views.debug),
    path("orders/<int:number>/", views.Own.as_view()),
    path("chosen/", views.Chosen.as_view()),
    event_stream_path("events/", authorize=views.authorize),
]
