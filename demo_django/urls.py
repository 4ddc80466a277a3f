"""The page, its buttons (POST) and its two event streams (GET)."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("", views.page, name="page"),
    path("ask/", views.ask, name="ask"),
    path("runs/<slug:run>/events/", views.run_events, name="run_events"),
    path("runs/<slug:run>/stop/", views.stop, name="stop"),
    path("events/", views.events, name="events"),
    path("orders/", views.order, name="order"),
    path("orders/batch/", views.batch, name="batch"),
    path("load/", views.load, name="load"),
    path("cut/", views.cut, name="cut"),
]
