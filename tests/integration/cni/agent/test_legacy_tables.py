"""A firewall of iptables-legacy that comes while the agent runs: noticed though nothing tells."""

import pytest

from integration.cni.agent.node import AgentNode, until
from integration.cni.agent.test_probing import named

__all__ = ["named"]
pytestmark = pytest.mark.review2
PREFIXES = "--cluster-cidrs=10.16.0.0/16,fd00:10:16::/64"
# `-w`: the agent may have the lock of the tables at that moment.
TOOLS = {"iptables-legacy -w": "10.16.0.0/16", "ip6tables-legacy -w": "fd00:10:16::/64"}
# Each as soon as the last was repaired: within the second between two looks, the table is then as
# the last look had seen it.
CLEARED = 4


async def test_accepts_come_into_tables_that_come_and_come_back(named: AgentNode) -> None:
    named.start(PREFIXES)
    for tool, prefix in TOOLS.items():
        await named.sh(f"{tool} -P FORWARD DROP; {tool} -A FORWARD -p tcp --dport 9 -j ACCEPT")

        async def accepted(tool: str = tool, prefix: str = prefix) -> bool:
            rules = (await named.sh(f"{tool} -S FORWARD")).splitlines()
            ours = [f"-{side} {prefix} -m comment --comment ovnlet -j ACCEPT" for side in "sd"]
            return rules[1:] == [
                *(f"-A FORWARD {each}" for each in ours),
                "-A FORWARD -p tcp -m tcp --dport 9 -j ACCEPT",
            ]

        try:
            await until(accepted, f"accepts of {tool}", 20)
            for number in range(CLEARED):
                await named.sh(f"{tool} -F FORWARD; {tool} -A FORWARD -p tcp --dport 9 -j ACCEPT")
                await until(accepted, f"accepts of {tool}, cleared {number} times before", 20)
        except AssertionError:
            print(await named.sh(f"{tool} -S; cat /proc/net/ip*_tables_names"), named.logged())
            raise
    await named.sh("; ".join(f"{tool} -P FORWARD ACCEPT; {tool} -F" for tool in TOOLS))
