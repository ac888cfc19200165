"""The examples in the help of each command, which the page of the command line shows too."""

import os

from docs import blocks
from integration.cni.agent.inside import run
from integration.cni.agent.node import TESTS, AgentNode
from kit import measured
from ovnlet.cli.output import DIFFERENT, FAULTY

EXAMPLES = [
    typed.command
    for block in blocks.run_by("cli", blocks.DOCS / "reference/cli.md")
    for typed in block.typed
]
# The doctor finds faults of the test's node: no CNI files are installed there.
MAY_PRINT_NOTHING = {"plan", "apply", "events"}
GOOD = {"doctor": (0, FAULTY), "plan": (0, DIFFERENT)}


async def test_each_example_works_on_a_node_with_a_pod(node: AgentNode) -> None:
    sandbox = await node.sandbox()
    await node.add(sandbox)
    env = {
        "PYTHONPATH": f"{TESTS.parent / 'operator'}:{TESTS.parent / 'cni'}",
        "PATH": f"{TESTS.parent / '.venv/bin'}:{os.environ['PATH']}",
        "OVNLET_NODE_NAME": node.space.role,
        "OVNLET_KUBECONFIG": str(node.bed.inner_kubeconfig),
        **measured.environment(),
    }
    assert len(EXAMPLES) > 8
    for example in EXAMPLES:
        command = example.replace("default/web-0", f"default/{sandbox.pod.name}")
        script = f"here=$(mktemp -d); trap 'rm -r $here' EXIT; cd $here; {command}"
        outcome = await run(node.space.path("/"), ["bash", "-euo", "pipefail", "-c", script], env)
        allowed = GOOD.get(example.split()[1], (0,))
        assert outcome.exit_code in allowed, (example, outcome)
        assert outcome.stdout or example.split()[1] in MAY_PRINT_NOTHING, example
        print(example, outcome.exit_code, len(outcome.stdout))
