"""What a pod reaches, and the rates that `tc` shows for it."""

from __future__ import annotations

import subprocess

from proofs.drift.observe import Target

RATES = "rates"
ANSWER_SECONDS = 0.3  # for one ping, on a node that is not slower


def is_met(target: Target, expected: str, wait: float) -> bool:
    """Return whether the pod has its rates, or the address answers it within ``wait`` seconds."""
    return _limited(target) if expected == RATES else _ping(target.netns, expected, wait)


def _limited(target: Target) -> bool:
    """Return whether `tc` shows the pod's rates in both directions. It has a decoder of its own."""
    in_netns = ["nsenter", f"--net={target.netns}"]
    expectations = (
        (
            f" ceil {target.ingress}Mbit ",
            ["tc", "-s", "class", "show", "dev", target.port, "classid", "1:1"],
        ),
        (
            f" rate {target.egress}Mbit ",
            [*in_netns, "tc", "-s", "qdisc", "show", "dev", target.ifname, "root"],
        ),
    )
    return all(
        word in subprocess.run(argv, capture_output=True, text=True, check=False).stdout
        for word, argv in expectations
    )


def _ping(netns: str, address: str, wait: float) -> bool:
    words = ["nsenter", f"--net={netns}", "ping", "-n", "-c1", f"-W{wait:g}", address]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
