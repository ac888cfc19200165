"""Where the agent spends its time during 100 ADDs, one at a time and then at once."""

from __future__ import annotations

import pstats
import signal
import sys

from proofs.bench.comparison import GROW
from proofs.bench.environment import BUILD, ROOT, build, provisioned
from proofs.bench.implementations import AGENT, all_implementations
from testbed import progress

ADDS, TOP = 100, 25


def run(name: str, ports: int, seed: int) -> None:
    """Run the agent under cProfile and print its statistics.

    cProfile slows the agent by half: read the shares and the counts, not the times.
    """
    floor, _ = build()
    plugin = all_implementations(ROOT / "cni" / "plugin" / "ovnlet", floor)[AGENT]
    path = BUILD / "agent.profile"
    path.unlink(missing_ok=True)
    words = [sys.executable, "-m", "cProfile", "-o", str(path), "-m", "ovnlet"]
    with provisioned(name, ports + ADDS, seed, python=words) as env:
        standing = env.pods[:ports]
        for start in range(0, ports, GROW):
            env.run(plugin.add([(pod, env.sandbox()) for pod in standing[start : start + GROW]]))
        with progress.step(f"{ADDS} ADDs and DELs at {ports} ports") as step:
            for number, pod in enumerate(env.pods[ports:]):
                step.note(str(number))
                alone = [(pod, env.sandbox())]
                env.run(plugin.add(alone))
                env.run(plugin.delete(alone))
        env.agent.stop(signal.SIGTERM, timeout=20)
    stats = pstats.Stats(str(path))
    print(f"{ports} ADDs in bursts of {GROW}, then {ADDS} ADDs and DELs one at a time")
    stats.strip_dirs().sort_stats("tottime").print_stats(TOP)
    stats.sort_stats("cumulative").print_stats(
        "ovnlet|attaching|reconcil|host|netlink|ovs|queue|watch|server", TOP
    )
