"""The site's routes."""

from django.urls import path

from sse_bridge_django import event_stream_path
from tests.django_app.project import views

urlpatterns = [
    path("sync/<channel>/", views.events),
    path("async/<channel>/", views.async_events),
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
    path("debug/", views.debug),
    path("orders/<int:number>/", views.Own.as_view()),
    path("chosen/", views.Chosen.as_view()),
    event_stream_path("events/", authorize=views.authorize),
]
