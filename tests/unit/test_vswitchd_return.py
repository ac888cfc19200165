"""ovs-vswitchd is back without flows: who may make ovn-controller connect."""

import pytest

from kit.memory import Recorded
from ovnlet.core.chassis import ChassisIdentity
from ovnlet.core.settings import Repair
from ovnlet.reconcile.scopes.chassis import ChassisScope
from unit.test_node_wide_scopes import Inputs, Things

pytestmark = pytest.mark.review2


@pytest.mark.parametrize(
    ("observes", "repair", "repairs"),
    [(False, "fix", True), (False, "report", False), (True, "fix", False)],
)
def test_ovn_controller_is_called_only_where_the_chassis_is_ours_k10(
    observes: bool, repair: Repair, repairs: bool
) -> None:
    """K10: after a crash of ovs-vswitchd its remote is respelled, which `observe` may not do."""
    scope = ChassisScope(
        Things(),
        Inputs(),
        Recorded("chassis"),
        identity=ChassisIdentity("br-int"),
        given={},
        mode="observe" if observes else "manage",
        repair=repair,
    )
    assert scope.repairs is repairs
