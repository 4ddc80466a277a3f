"""Prometheus metrics of a bridge: call `register` once, and expose the registry as usual.

Two kinds, for two reasons:

publishing  counters and a histogram of prometheus_client itself, updated by each append (about 3 µs), so that its
            multiprocess mode sums them over workers
reading     computed at a scrape: open streams, readers, the lag of the slowest, dropped events. Delivering an event costs
            nothing, but a scrape covers only the process that answers it

No label holds a channel, a user or an id, whose number is unbounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "sse_bridge.metrics needs prometheus_client 0.20 or later: pip install 'sse-bridge[metrics]'"
    ) from error

from .backends.base import Append, Appended
from .bridge import Bridge
from .errors import ConfigurationError, SSEBridgeError
from .publishing.observed import ObservedAppends, Outcome, observe, stop_observing

__all__ = ["PUBLISH_BUCKETS_SECONDS", "BridgeCollector", "register"]

# From an append in memory to the default publish_timeout_seconds.
PUBLISH_BUCKETS_SECONDS: Final = (
    0.000025, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
)  # fmt: skip

_LOOKS: Final = 20  # attempts to count in a loop's hub on another thread, each of microseconds


def register(bridge: Bridge, registry: CollectorRegistry = REGISTRY, prefix: str | None = None) -> BridgeCollector:
    """Exposes a bridge's metrics in a registry, and starts to count and time its publishes.

    Args:
        bridge: the bridge, one per prefix and registry.
        registry: prometheus_client's own one if omitted.
        prefix: first part of all names; the setting ``metrics_prefix`` (``sse_bridge_``) if omitted.

    Returns:
        The collector; its `unregister` undoes it.

    Raises:
        ConfigurationError: the registry has these names already.
    """
    return BridgeCollector(bridge, registry, bridge.settings.metrics_prefix if prefix is None else prefix)


class BridgeCollector(Collector):
    """Answers a registry's scrapes; made by `register`. Safe for any thread, and after fork.

    In a forked child the counters of publishes continue the parent's, as all of prometheus_client's do.
    """

    def __init__(self, bridge: Bridge, registry: CollectorRegistry, prefix: str) -> None:
        self._bridge = bridge
        self._registry = registry
        self._prefix = prefix
        self._publishing = _Publishing(prefix)
        try:
            registry.register(self)
        except ValueError as error:
            raise ConfigurationError(
                f"the registry has metrics named {prefix}… already ({error}); give each bridge a prefix or a registry "
                "of its own, or unregister the other one"
            ) from None
        self._observed: ObservedAppends | None = observe(bridge, self._publishing)

    def unregister(self) -> None:
        """Removes the metrics from the registry, and stops counting publishes; idempotent."""
        observed, self._observed = self._observed, None
        if observed is not None:
            self._registry.unregister(self)
            stop_observing(self._bridge, observed)

    def describe(self) -> Iterator[Metric]:
        """The metrics' names, by which the registry finds duplicates."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """All metrics with their current values."""
        yield from self._publishing.collect()
        hubs = self._bridge.hubs()
        tally = self._bridge.tally
        dropped = CounterMetricFamily(
            self._prefix + "events_dropped",
            "Entries that slow-reader policies skipped, per reader (slow), and ephemeral events that came out of order, "
            "per event loop (ephemeral); ephemeral events that found the broker away, and dead letters (spool).",
            labels=["reason"],
        )
        dropped.add_metric(["slow"], tally.slow)
        dropped.add_metric(["ephemeral"], tally.ephemeral)
        spool = self._bridge.spool
        dropped.add_metric(["spool"], spool.dropped + spool.dead)
        yield dropped
        lost = "How often an event loop or the threads lost their live link to the broker."
        foreign = "Pages of a log with records that this library did not write, which are skipped and told as a gap."
        # a log in memory has one writer, and no foreign records
        for name, documentation, value in (
            ("broker_link_lost", lost, tally.links_lost),
            ("foreign_records", foreign, getattr(self._bridge.backend, "foreign_records", 0)),
            ("events_flushed", "Spooled events that reached the log later.", spool.flushed),
        ):
            yield CounterMetricFamily(self._prefix + name, documentation, value=value)
        readers = sum(_look(hub.readers) for hub in hubs)
        depth = "How many entries the slowest reader of this process is behind the head of its channel."
        for name, documentation, value in (
            ("spool_queued", "Events that wait for the broker in this process.", spool.queued),
            ("active_streams", "Open HTTP streams and WebSocket sessions of this process.", len(self._bridge.streams)),
            ("active_readers", "Streams and subscriptions of this process that follow channels.", readers),
            ("queue_depth", depth, max((_look(hub.behind) for hub in hubs), default=0)),
        ):
            yield GaugeMetricFamily(self._prefix + name, documentation, value=value)


class _Publishing:
    """The observer of a bridge's appends."""

    def __init__(self, prefix: str) -> None:
        self._published = Counter(
            prefix + "events_published",
            "Events that the log took (stored), that were only announced (ephemeral), or that wait for the broker (spooled).",
            ["kind"],
            registry=None,
        )
        self._failures = Counter(
            prefix + "publish_failures",
            "Appends that raised, by the name of the error; PublishUncertain may have been stored.",
            ["error"],
            registry=None,
        )
        self._seconds = Histogram(
            prefix + "event_publish_duration_seconds",
            "How long the backend took per publish; publish_many is one.",
            buckets=PUBLISH_BUCKETS_SECONDS,
            registry=None,
        )
        # no look-up per event
        self._spooled, self._stored, self._ephemeral = map(self._published.labels, ("spooled", "stored", "ephemeral"))

    def __call__(self, batches: Sequence[Append], outcomes: Sequence[Outcome], seconds: float) -> None:
        self._seconds.observe(seconds)
        for batch, outcome in zip(batches, outcomes, strict=True):
            if isinstance(outcome, Appended):
                if not outcome.recognised and not (outcome.spooled and batch.ephemeral):  # a dropped event
                    kind = self._ephemeral if batch.ephemeral else self._spooled if outcome.spooled else self._stored
                    kind.inc(len(batch.entries))
            else:
                known = isinstance(outcome, SSEBridgeError)
                self._failures.labels(type(outcome).__name__ if known else "other").inc()

    def collect(self) -> Iterator[Metric]:
        for metric in (self._published, self._failures, self._seconds):
            yield from metric.collect()


def _look(count: Callable[[], int]) -> int:
    """A count of a hub that may run on another thread, repeated if the hub changes meanwhile."""
    for _ in range(_LOOKS):
        try:
            return count()
        except RuntimeError:  # changed size during iteration
            continue
    return count()
