"""A runtime on a node whose administrator installed no plugin ``loopback`` (E3)."""

import pytest

from testbed.service import wait_for
from testbed.workloads import Cluster, pod

LOOPBACK, REFERENCE = "/opt/cni/bin/loopback", "/usr/lib/cni/loopback"


@pytest.mark.review2
def test_e3_pods_start_on_a_node_without_a_loopback_plugin(cluster: Cluster) -> None:
    """Then an administrator installs one: it replaces ours and stays."""
    node = cluster.bed.node()
    plugin = node.path(LOOPBACK)
    plugin.unlink()
    try:
        wait_for(plugin.exists, "our loopback in place of the removed one", timeout=10)
        assert plugin.read_bytes() == node.path("/opt/cni/bin/ovnlet").read_bytes()
        cluster.apply(pod("bare"))
        cluster.running(1)
        flags = cluster.bed.kubectl("exec", "bare", "--", "ip", "link", "show", "dev", "lo")
        assert "UP" in flags
        cluster.clear()
    finally:
        node.run(["cp", REFERENCE, f"{LOOPBACK}.new"])
        node.run(["mv", f"{LOOPBACK}.new", LOOPBACK])
    kept = plugin.read_bytes()
    cluster.apply(pod("equipped"))
    cluster.running(1)
    assert plugin.read_bytes() == kept, "a plugin that is not ours stays"
