"""The node floor's own tests on a stock kernel: run and counted in the guest, with a report."""

import sys
from xml.etree import ElementTree

import pytest

from integration.kernel.conftest import EVIDENCE
from integration.kernel.node import GuestNode
from testbed import guest

pytestmark = pytest.mark.whole

# These use no kernel, so another kernel makes no difference.
COMPUTING = (
    "tests/integration/node/test_netlink_codec.py",
    "tests/integration/node/ovs/test_ovs_framing.py",
)
MINUTES = 20


def test_the_node_floor_passes_on_a_stock_kernel(node: GuestNode) -> None:
    """No test fails, and none is skipped for lack of something that a stock kernel has."""
    report, output = node.space.directory / "node-floor.xml", node.space.log("node-floor")
    words = [
        sys.executable,
        "-m",
        "pytest",
        "tests/integration/node",
        "-m",
        "'not long'",
        "-v",
        "-p no:cacheprovider",
    ]
    words += [f"--ignore={path}" for path in COMPUTING] + [f"--junitxml={report}", "--durations=10"]
    env = "PYTHONDONTWRITEBYTECODE=1 OVNLET_TEST_PATIENCE=10"
    node.kill()  # the tests start their own switches, and need the whole processor
    try:
        script = f"cd {guest.PROJECT}; {env} {' '.join(words)} >{output} 2>&1 || :"
        guest.run(node.bed, script, timeout=60 * MINUTES)
    finally:
        node.start()
    assert report.exists(), output.read_text()[-5000:]
    EVIDENCE.mkdir(parents=True, exist_ok=True)
    (EVIDENCE / "node-floor.xml").write_bytes(report.read_bytes())
    suite = next(ElementTree.parse(report).iter("testsuite"))
    counted = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    print(f"the node floor in the guest: {counted}, {float(suite.get('time', 0)):.0f} s")
    wrong = [
        case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None
    ]
    assert (counted["failures"], counted["errors"], counted["skipped"]) == (0, 0, 0), (
        wrong,
        output.read_text()[-8000:],
    )
    assert counted["tests"] > 50
