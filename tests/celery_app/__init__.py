"""Celery: real workers of every pool, and what is told of their tasks."""
