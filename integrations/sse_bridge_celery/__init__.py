"""sse_bridge for Celery: each task's progress and outcome on a channel of its own.

    app = Celery("shop", broker="redis://…")
    follow_tasks(app)                                   # each task publishes to task:<its id>

    @app.task(bind=True)
    def export(self, rows):
        for n in range(rows):
            progress(self, n, rows, "writing")

A page follows ``task:<id>`` with the id that ``export.delay(…)`` returned; the stream ends with the task. Tasks may
publish anything else with `sse_bridge.publish`, in every pool.

follower   task events from Celery's signals
"""

try:
    import celery as _celery  # noqa: F401
except ImportError as error:
    raise ImportError("sse_bridge_celery needs Celery 5.3 or later: pip install 'sse-bridge[celery]'") from error

from .follower import TaskFollower, follow_tasks, progress

__all__ = ["TaskFollower", "follow_tasks", "progress"]
