"""Figures for monitoring, in Prometheus' form. Read when asked for; nothing is counted twice."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PREFIX = "armoire_fleet_"


@dataclass(frozen=True, slots=True)
class Figures:
    """One reading of everything worth watching."""

    counters: dict[str, float]
    gauges: dict[str, float]
    rejections: dict[str, int]
    links: dict[str, int]
    refused: dict[str, int] = field(default_factory=dict)


_HELP = {
    "batches": "Links stored, durable",
    "samples": "Point changes stored, durable",
    "events": "Events of gateways stored, durable",
    "duplicates": "Links that were stored before",
    "ahead": "Links left out because one before them was missing",
    "received_bytes": "Bytes of messages judged",
    "dropped": "Messages dropped because the writer was behind; gateways send them again",
    "commits": "Transactions",
    "commit_seconds": "Time spent judging and committing",
    "acks": "Signed acks published",
    "reconnects": "Connections to the broker",
    "waiting": "Messages not committed yet",
    "browsers": "Consoles listening",
    "leading": "1 while this manager leads",
    "term": "The term it leads under",
    "broker_connected": "1 while connected",
    "store_healthy": "1 while commits succeed",
}


class Metrics(Collector):
    """What ``GET /metrics`` says."""

    def __init__(self, read: Callable[[], Figures]) -> None:
        self._read = read
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: names come with their values."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Read all figures once."""
        figures = self._read()
        for name, value in figures.counters.items():
            yield CounterMetricFamily(PREFIX + name, _HELP[name], value=value)
        for name, value in figures.gauges.items():
            yield GaugeMetricFamily(PREFIX + name, _HELP[name], value=value)
        rejections = CounterMetricFamily(
            PREFIX + "rejections", "Messages not believed or not understood", labels=["reason"]
        )
        for reason, count in sorted(figures.rejections.items()):
            rejections.add_metric([reason], count)
        yield rejections
        refused = CounterMetricFamily(PREFIX + "refused", "Messages a broker did not take from us", labels=["topic"])
        for topic, count in sorted(figures.refused.items()):
            refused.add_metric([topic], count)
        yield refused
        links = GaugeMetricFamily(PREFIX + "gateways", "Gateways by the state of their link", labels=["link"])
        for link, count in sorted(figures.links.items()):
            links.add_metric([link], count)
        yield links

    def text(self) -> bytes:
        """The whole page."""
        return generate_latest(self._registry)
