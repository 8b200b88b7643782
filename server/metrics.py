"""Figures in Prometheus' form, for `/metrics` over HTTP. Labels have few values: never a name that a caller chose."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from kernelevolve.evaluation.platform import known_platforms
from kernelevolve.evaluation.version import VERSION
from kernelevolve.server.access import TOOL_SCOPES
from kernelevolve.server.logs import event

if TYPE_CHECKING:
    from kernelevolve.evaluation.verdict import Verdict
    from kernelevolve.search.store import Store
    from kernelevolve.tools.judges import JudgePool

_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_OTHER = "other"
_REASONS = ("rate", "address", "size")
_MOST_WALLS = 32


class Metrics:
    """The figures of one server.

    Everything that is counted begins at zero when the server starts; what the store holds is asked for at each look.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._calls = self._counter("tool_calls", "Calls of tools.", "tool", "outcome")
        self._refused = self._counter("rate_limited", "Requests refused for being too many or too large.", "reason")
        self._strangers = self._counter("auth_failures", "Requests without a right token.")
        self._verdicts = self._counter("verdicts", "Verdicts of the judge.", "status", "platform")
        self._seconds = Histogram(
            "kernelevolve_tool_call_seconds", "How long calls of tools took.", ["tool"], buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self._running = self._gauge("tool_calls_in_flight", "Calls of tools that are under way.")
        self._walls = self._gauge("sandbox_wall", "1 where the wall stood around the last candidate.", "wall")
        self._gauge("build_info", "Always 1.", "version").labels(VERSION).set(1)
        for reason in _REASONS:
            self._refused.labels(reason)
        self._platforms = frozenset(known_platforms())
        self._standing: set[str] = set()
        self._lock = threading.Lock()

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"kernelevolve_{name}", what, labels, registry=self._registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"kernelevolve_{name}", what, labels, registry=self._registry)

    def watch(self, pool: JudgePool, store: Callable[[], Store]) -> None:
        """Also show what judges do and what the store holds; both are asked at each look."""
        pool.on_verdict = self.verdict
        self._registry.register(_Present(pool, store))

    def text(self) -> bytes:
        """All figures, in Prometheus' text format. Asks the store, so it belongs off the event loop."""
        return generate_latest(self._registry)

    def call_began(self) -> None:
        """A call of a tool is under way."""
        self._running.inc()

    def call_ended(self, tool: str, outcome: str, seconds: float) -> None:
        """It ended.

        Args:
            tool: one of the server's tools; anything else is counted as `other`.
            outcome: `ok`, `error`, `refused`, `cancelled` or `failed`.
            seconds: how long it took.
        """
        tool = tool if tool in TOOL_SCOPES else _OTHER
        self._running.dec()
        self._calls.labels(tool, outcome).inc()
        self._seconds.labels(tool).observe(seconds)

    def refused(self, reason: str) -> None:
        """A request over HTTP was not let through; `reason` is that of `limits.Refused`."""
        if reason == "token":
            self._strangers.inc()
        else:
            self._refused.labels(reason).inc()

    def verdict(self, verdict: Verdict) -> None:
        """A candidate was judged."""
        for entry in verdict.platforms:
            # A platform that does not exist is a name that a caller made up.
            platform = entry.platform if entry.platform in self._platforms else _OTHER
            self._verdicts.labels(entry.status.value, platform).inc()
        stood = set(verdict.receipt.protection)
        if not stood:
            return  # Nothing ran, so there was nothing to stand around.
        with self._lock:
            self._standing |= set(sorted(stood)[: _MOST_WALLS - len(self._standing)])
            for wall in self._standing:
                self._walls.labels(wall).set(wall in stood)


class _Present(Collector):
    """What is so now: judges and store."""

    def __init__(self, pool: JudgePool, store: Callable[[], Store]) -> None:
        self._pool = pool
        self._store = store

    def describe(self) -> Iterable[Metric]:
        """Nothing: else the store would be asked when the server starts."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Ask both."""
        from kernelevolve.search.errors import SearchError

        load = self._pool.load()
        yield GaugeMetricFamily("kernelevolve_judges_busy", "Judges that work for a call.", load.busy)
        yield GaugeMetricFamily("kernelevolve_judge_queue", "Judges that wait for their device.", load.waiting)
        yield GaugeMetricFamily("kernelevolve_judges_idle", "Judges that are kept warm for the next call.", load.idle)
        up = GaugeMetricFamily("kernelevolve_store_up", "1 where the store of searches answers.")
        try:
            found = self._store().totals()
        except SearchError as error:
            # A look at the figures must still work then: that is when they are wanted.
            event("store_down", error=type(error).__name__)
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        by_state = GaugeMetricFamily("kernelevolve_searches", "Searches in the store.", labels=["state"])
        for state, count in sorted(found.searches.items()):
            by_state.add_metric([state], count)
        yield by_state
        yield GaugeMetricFamily("kernelevolve_nodes", "Candidates in the store.", found.nodes)
        yield GaugeMetricFamily("kernelevolve_orders_open", "Orders whose author is at work.", found.orders_open)
