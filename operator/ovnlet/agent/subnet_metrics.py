"""What this node forwarded for each Subnet, by Kube-OVN's metric names."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_LABELS = ("hostname", "subnet_name", "cidr", "direction", "protocol")


class SubnetCount(NamedTuple):
    """Bytes and packets of one direction and family; the labels have Kube-OVN's spelling."""

    hostname: str
    subnet: str
    cidr: str
    direction: str
    protocol: str
    size: int
    packets: int

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the label values."""
        name = f"{self.subnet}/{self.direction}/{self.protocol}"
        return (self.hostname, name, self.cidr, self.direction, self.protocol)


class SubnetCounts(Collector):
    """Reads the counters at each scrape. A table that was deleted begins at zero again.

    Kube-OVN's dashboards know the names without the suffix of a counter.
    """

    def __init__(self, counts: Callable[[], Iterable[SubnetCount]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield both families."""
        sizes = GaugeMetricFamily(
            "ovn_subnet_gateway_packet_bytes",
            "Bytes of a Subnet that this node forwarded since the table was made",
            labels=_LABELS,
        )
        packets = GaugeMetricFamily(
            "ovn_subnet_gateway_packets",
            "Packets of a Subnet that this node forwarded since the table was made",
            labels=_LABELS,
        )
        for each in self._counts():
            sizes.add_metric(each.labels, each.size)
            packets.add_metric(each.labels, each.packets)
        yield sizes
        yield packets
