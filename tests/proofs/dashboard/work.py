"""What happens on the cluster while it is scraped: so that each panel has something to show."""

from __future__ import annotations

import time
from itertools import cycle

from testbed.bed import Bed
from testbed.workloads import Cluster, Running, pod

OURS = "ovn.kubernetes.io"
SECONDS, EVERY = 80, 5
STORM = "while :; do ip -4 address flush dev eth0; sleep 0.05; done"


def run(bed: Bed, cluster: Cluster) -> None:
    """Create and delete pods, break things and undo repairs for SECONDS."""
    names = ["one", "two", "reported", "restless"]
    cluster.apply(*(pod(name) for name in names))
    pods = {each.name: each for each in cluster.running(len(names))}
    storm = pods["restless"].popen("sh", "-c", STORM)
    _report_only(bed, pods["reported"])
    # An address that another pod has: the controller warns.
    taken = pod("taken", **{f"{OURS}/ip_address": pods["one"].ips[0]})
    cluster.apply(taken)
    end, numbers = time.monotonic() + SECONDS, cycle(range(1000))
    while time.monotonic() < end:
        began = time.monotonic()
        number = next(numbers)
        cluster.apply(pod(f"brief-{number}"), pod(f"short-{number}"))
        _break(pods["one"], pods["two"], number)
        bed.kubectl("annotate", "--overwrite", "pod", "two", f"{OURS}/ingress_rate={number + 1}")
        if number:
            old = (f"brief-{number - 1}", f"short-{number - 1}")
            bed.kubectl("delete", "pod", "--wait=false", *old)
        time.sleep(max(0.0, EVERY - (time.monotonic() - began)))
    storm.send_signal(15)


def _report_only(bed: Bed, pod: Running) -> None:
    """Let drift of this pod be reported and stay."""
    bed.kubectl("annotate", "pod", pod.name, "ovnlet.io/repair=report")
    time.sleep(1)  # the annotation is to be there before the fault
    pod.inside("ip", "route", "flush", "dev", "eth0")


def _break(one: Running, two: Running, number: int) -> None:
    """Break one thing of a pod or its node by a foreign tool."""
    match number % 3:
        case 0:
            one.space.run(["ovs-vsctl", "--if-exists", "del-port", "br-int", one.port])
        case 1:
            two.inside("sh", "-c", "ip route flush dev eth0 || [ $? = 255 ]")
        case _:
            two.space.sh("ip address flush dev ovn0 || [ $? = 255 ]")
