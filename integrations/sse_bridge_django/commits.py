"""Publishing that waits for the transaction."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from sse_bridge import Bridge, get_bridge


def publish_on_commit(
    channel: str,
    data: Any = None,
    *,
    using: str | None = None,
    robust: bool = False,
    bridge: Bridge | None = None,
    **options: Any,
) -> None:
    """Publishes after the current transaction commits; not at all if it is rolled back, at once if there is none.

    The event is lost if the process dies between the commit and the publish: where that matters, publish from an outbox
    table. The data is encoded at the commit, so do not change it after this call.

    Args:
        channel, data: as for `Bridge.publish`.
        using: the alias of the transaction's database; the default one if omitted.
        robust: True: Django logs an error while publishing, and runs the other callbacks of the commit. False: the error
            is raised where the atomic block ends. The transaction is committed in both cases.
        bridge: the default one if omitted.
        options: ``type``, ``visibility``, ``store``, ``idempotency_key`` of `Bridge.publish`.
    """

    def publish() -> None:
        (bridge or get_bridge()).publish(channel, data, **options)

    transaction.on_commit(publish, using=using, robust=robust)
