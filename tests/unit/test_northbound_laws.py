"""The laws of the northbound database: one diff converges from any state, stopped anywhere."""

from hypothesis import given
from hypothesis import strategies as st

from kit.strict_northbound import StrictNorthbound
from ovnlet.core import topology
from ovnlet.core.ipam import subnets
from ovnlet.core.plan import diff
from ovnlet.core.resources.northbound import ABSENT, LoadBalancer, Router, Rows, SwitchPort
from ovnlet.core.topology import Member

ROUTER = "ovn-cluster"
JOIN = subnets.join("join", "100.64.0.0/16,fd00:100:64::/64")


def made(first: int, family: str, exclude: bool) -> subnets.Subnet:
    cidr = {
        "4": f"10.{first}.0.0/24",
        "6": f"fd00:{first}::/64",
        "d": f"10.{first}.0.0/24,fd00:{first}::/64",
    }[family]
    spec = {
        "cidrBlock": cidr,
        "excludeIps": [f"10.{first}.0.9"] if exclude and family != "6" else [],
        "enableLb": not exclude,
    }
    return subnets.read(f"s{first}", spec)


SUBNETS = st.lists(
    st.builds(made, st.integers(1, 4), st.sampled_from("46d"), st.booleans()),
    unique_by=lambda s: s.name,
    max_size=3,
)
MEMBERS = st.lists(
    st.builds(
        lambda n: Member(f"node-n{n}", (f"100.64.0.{n + 2}",), (f"192.0.2.{n + 1}",)),
        st.integers(0, 3),
    ),
    unique_by=lambda m: m.port,
    max_size=3,
)
PODS = st.lists(
    st.tuples(
        st.integers(0, 5), st.booleans(), st.sampled_from(["dynamic", "0a:00:00:00:00:01 10.1.0.7"])
    )
)


BALANCERS = st.lists(
    st.builds(
        lambda number, to, grouped: LoadBalancer(
            f"ovnlet/default/s{number}/tcp",
            "tcp",
            frozenset({(f"10.96.0.{number}:80", to)}),
            grouped=grouped,
        ),
        st.integers(1, 4),
        st.sampled_from(["", "10.1.0.7:80", "10.1.0.7:80,10.1.0.8:80"]),
        st.booleans(),
    ),
    unique_by=lambda row: row.name,
    max_size=3,
)


@st.composite
def networks(draw: st.DrawFn) -> Rows:
    """Draw all that the controller may desire: the router, subnets, node ports and pod ports."""
    made_of = draw(SUBNETS)
    rows = set(
        topology.network(ROUTER, made_of, JOIN, draw(MEMBERS)) | topology.subnet(JOIN, ROUTER)
    )
    for subnet in made_of:
        rows |= topology.subnet(subnet, ROUTER)
    rows |= set(draw(BALANCERS))
    switches = [subnet.name for subnet in made_of] or ["join"]
    for number, (name, enabled, addresses) in enumerate({p[0]: p for p in draw(PODS)}.values()):
        switch = switches[number % len(switches)]
        rows.add(SwitchPort(switch, f"p{name}.default", addresses, enabled=enabled))
    return frozenset(rows)


@given(networks())
def test_what_is_as_desired_needs_no_step(rows: Rows) -> None:
    assert Router(ROUTER) in rows
    assert diff(rows, rows) == ()


@given(networks(), networks(), st.data())
def test_stopped_anywhere_it_converges_and_then_writes_nothing(
    was: Rows, wanted: Rows, data: st.DataObject
) -> None:
    database = StrictNorthbound({row.key: row for row in was})
    plan = diff(wanted, database.all)
    for step in plan[: data.draw(st.integers(0, len(plan)))]:
        database.apply(step)
    for step in diff(wanted, database.all):
        database.apply(step)
    assert database.all == wanted
    assert diff(wanted, database.all) == ()


@given(networks())
def test_absent_leaves_nothing(rows: Rows) -> None:
    database = StrictNorthbound({row.key: row for row in rows})
    for step in diff(ABSENT, database.all):
        database.apply(step)
    assert database.all == ABSENT
