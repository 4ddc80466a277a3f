"""Task events from Celery's signals.

    task.started    {"id", "name", "retries"}       again after each retry
    task.progress   {…, "current", "total", "percent", "message"}      from `progress`
    task.retried    {…, "retries", "reason"}
    task.succeeded  {…, "result"}                   or "result_omitted": the reason (no JSON form, or too long)
    task.failed     {…, "message"}                  and "traceback" with ``settings.debug``; else without details
    task.revoked    {…, "terminated", "expired"}
    task.ignored    {…}                             the task raised `Ignore`

Celery queues a retry before its signal, so without a countdown the next ``task.started`` may come before the
``task.retried``; ``retries`` counts the runs. The last four end the task, and with it the channel. Publishing never
fails a task: failures are logged and counted. After one, progress is not published for a while, since each attempt
would block the task for ``publish_timeout_seconds``.

The worker's main process receives the signals of a task that was revoked, timed out, or lost its process.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final

from celery import signals
from celery.exceptions import SoftTimeLimitExceeded

from sse_bridge import Bridge, SSEBridgeError, get_bridge
from sse_bridge.errors import BackendError, ChannelClosed, ConfigurationError, InvalidInput

CHANNEL: Final = "task:{id}"
QUIET_SECONDS: Final = 5.0  # the default publish_timeout_seconds: at most half of a task's time is lost

logger = logging.getLogger("sse_bridge.celery")

Channel = str | Callable[[Any, str], str | None]

_followers: weakref.WeakKeyDictionary[Any, TaskFollower] = weakref.WeakKeyDictionary()


def follow_tasks(
    app: Any,
    *,
    channel: Channel = CHANNEL,
    tasks: Iterable[Any] | None = None,
    bridge: Bridge | None = None,
    close: bool | None = None,
    result: bool = True,
    progress_seconds: float = 0.1,
) -> TaskFollower:
    """Publishes events of an app's tasks. Call it where the app is made, so that every worker process runs it.

    Args:
        app: the Celery app.
        channel: a template with ``{id}`` and ``{name}``, or a function of the task and its id that returns a channel's
            name, or None for a task that is not followed.
        tasks: names or objects of the tasks to follow; all but Celery's own if omitted.
        bridge: where to publish; the default bridge if omitted.
        close: end the channel with the task; if omitted, where the template contains ``{id}``, so the channel is the
            task's own.
        result: publish the result of a task that succeeded.
        progress_seconds: the least time between two events of a task's progress, except for the last step, so that a
            loop over a million rows may call `progress` each time.

    Returns:
        The follower; its `stop` ends this.

    Raises:
        ConfigurationError: the app is followed already, or the template has other fields.
    """
    app = _real(app)
    if app in _followers:
        raise ConfigurationError(f"the tasks of {app!r} are followed already; stop() the first follower")
    if isinstance(channel, str):
        try:
            channel.format(id="x", name="x")
        except (LookupError, ValueError):
            raise ConfigurationError(
                f"a channel template has the fields {{id}} and {{name}}, got {channel!r}"
            ) from None
    if close is None:
        close = isinstance(channel, str) and "{id}" in channel
    names = None if tasks is None else frozenset(task if isinstance(task, str) else task.name for task in tasks)
    follower = _followers[app] = TaskFollower(app, channel, names, bridge, close, result, progress_seconds)
    return follower


def progress(task: Any, current: float, total: float | None = None, message: str | None = None) -> None:
    """Publishes the progress of a task: ``self`` of a bound task, or ``celery.current_task``.

    Does nothing where the task is not followed, or runs as a plain function.

    Args:
        current: rows, bytes, steps …
        total: the value of `current` at the end, for the percentage.
        message: a text for people.

    Raises:
        SoftTimeLimitExceeded: the time limit came during the call.
    """
    follower = _followers.get(_real(task.app))
    if follower is not None:
        follower.progress(task, current, total, message)


class TaskFollower:
    """Follows the tasks of one app; made by `follow_tasks`. Safe in every pool.

    Attributes:
        failures: events of this process that could not be published.
    """

    def __init__(
        self,
        app: Any,
        channel: Channel,
        names: frozenset[str] | None,
        bridge: Bridge | None,
        close: bool,
        result: bool,
        progress_seconds: float,
    ) -> None:
        self.failures = 0
        self._app = weakref.ref(app)
        self._channel = channel
        self._names = names
        self._bridge = bridge
        self._close = close
        self._result = result
        self._progress_seconds = progress_seconds
        self._quiet_until = 0.0
        self._told_at: dict[str, float] = {}  # last progress by id of tasks running in this process
        self._signals = [
            (signals.task_prerun, self._started),
            (signals.task_postrun, self._left),
            (signals.task_retry, self._retried),
            (signals.task_success, self._succeeded),
            (signals.task_failure, self._failed),
            (signals.task_revoked, self._revoked),
        ]
        for signal, receiver in self._signals:
            signal.connect(receiver, weak=False)

    def stop(self) -> None:
        """Disconnects from the signals. Idempotent."""
        for signal, receiver in self._signals:
            signal.disconnect(receiver)
        app = self._app()
        if app is not None and _followers.get(app) is self:
            del _followers[app]

    def progress(self, task: Any, current: float, total: float | None, message: str | None) -> None:
        task_id = task.request.id
        now = time.monotonic()
        last = total is not None and current >= total
        if task_id is None or now < self._quiet_until:
            return
        if not last and now < self._told_at.get(task_id, -self._progress_seconds) + self._progress_seconds:
            return
        self._told_at[task_id] = now
        percent = None if not total else round(100 * current / total, 1)
        data = {"current": current, "total": total, "percent": percent, "message": message}
        self._publish(task, task_id, "progress", data)

    # the signals' receivers

    def _started(self, sender: Any, task_id: str, **_: Any) -> None:
        self._publish(sender, task_id, "started", {"retries": sender.request.retries})

    def _left(self, sender: Any, task_id: str, state: str | None = None, **_: Any) -> None:
        self._told_at.pop(task_id, None)
        if state == "IGNORED":
            self._publish(sender, task_id, "ignored", {}, last=True)

    def _retried(self, sender: Any, request: Any, reason: Any, **_: Any) -> None:
        self._publish(sender, request.id, "retried", {"retries": request.retries, "reason": self._reason(reason)})

    def _succeeded(self, sender: Any, result: Any = None, **_: Any) -> None:
        data = {"result": result} if self._result else {}
        self._publish(sender, sender.request.id, "succeeded", data, last=True)

    def _failed(self, sender: Any, task_id: str, exception: Any = None, einfo: Any = None, **_: Any) -> None:
        data = {"message": self._reason(exception)}
        if self._debug and einfo is not None:
            data["traceback"] = str(einfo.traceback)
        self._publish(sender, task_id, "failed", data, last=True)

    def _revoked(self, sender: Any, request: Any, terminated: Any = False, expired: Any = False, **_: Any) -> None:
        data = {"terminated": bool(terminated), "expired": bool(expired)}
        self._publish(sender, request.id, "revoked", data, last=True)

    # inside

    @property
    def _debug(self) -> bool:
        return (self._bridge or get_bridge()).settings.debug

    def _reason(self, error: Any) -> str:
        if not self._debug:
            return "the task failed"
        return f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else str(error)

    def _publish(self, task: Any, task_id: str, state: str, data: dict[str, Any], *, last: bool = False) -> None:
        try:
            channel = self._channel_of(task, task_id)
            if channel is None:
                return
            bridge = self._bridge or get_bridge()
            head = {"id": task_id, "name": task.name}
            try:
                bridge.publish(channel, {**head, **data}, type=f"task.{state}")
            except InvalidInput as error:
                if "result" not in data:
                    raise
                bridge.publish(channel, {**head, "result_omitted": str(error)}, type=f"task.{state}")
            if last and self._close:
                bridge.close_channel(channel, state)
        except SoftTimeLimitExceeded:
            raise  # the limit came while the publish waited, and ends the task
        except ChannelClosed as error:  # by a task that runs again, as after a lost acknowledgement
            self._count()
            logger.info("task.%s of task %r not published, its channel is closed: %r", state, task_id, error)
        except Exception as error:
            self._count()
            if isinstance(error, BackendError):
                self._quiet_until = time.monotonic() + QUIET_SECONDS
            known = isinstance(error, SSEBridgeError)
            logger.warning("publishing task.%s of task %r failed: %r", state, task_id, error, exc_info=not known)

    def _channel_of(self, task: Any, task_id: str) -> str | None:
        if self._app() is not _real(task.app):
            return None  # signals reach receivers of all apps
        if self._names is None and task.name.startswith("celery."):
            return None
        if self._names is not None and task.name not in self._names:
            return None
        if isinstance(self._channel, str):
            return self._channel.format(id=task_id, name=task.name)
        return self._channel(task, task_id)

    def _count(self) -> None:
        self.failures += 1  # without a lock, which a fork might inherit locked; two threads at once may count as one


def _real(app: Any) -> Any:
    """The app behind a proxy such as ``celery.current_app``."""
    get = getattr(app, "_get_current_object", None)
    return app if get is None else get()
