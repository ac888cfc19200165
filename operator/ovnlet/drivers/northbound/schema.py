"""The tables and columns of the northbound database that the controller uses."""

from collections.abc import Mapping

from ovnlet.core.resources.northbound import (
    LoadBalancer,
    LoadBalancerGroup,
    Policy,
    Router,
    RouterPort,
    Row,
    StaticRoute,
    Switch,
    SwitchPort,
)

SWITCH, PORT = "Logical_Switch", "Logical_Switch_Port"
ROUTER, ROUTER_PORT = "Logical_Router", "Logical_Router_Port"
BALANCER, GROUP = "Load_Balancer", "Load_Balancer_Group"
# The columns of each table that the controller reads.
TABLES: Mapping[str, tuple[str, ...]] = {
    ROUTER: ("name", "ports", "static_routes", "policies", "external_ids"),
    ROUTER_PORT: ("name", "mac", "networks", "external_ids"),
    "Logical_Router_Static_Route": ("ip_prefix", "nexthop", "external_ids"),
    "Logical_Router_Policy": ("priority", "match", "action", "nexthops", "external_ids"),
    GROUP: ("name", "load_balancer"),
    BALANCER: ("name", "protocol", "vips", "options", "external_ids"),
    SWITCH: ("name", "ports", "load_balancer_group", "other_config", "external_ids"),
    PORT: (
        "name",
        "type",
        "addresses",
        "dynamic_addresses",
        "port_security",
        "enabled",
        "tag",
        "options",
        "external_ids",
    ),
}
TABLE_OF: Mapping[type[Row], str] = {
    Router: ROUTER,
    RouterPort: ROUTER_PORT,
    StaticRoute: "Logical_Router_Static_Route",
    Policy: "Logical_Router_Policy",
    LoadBalancerGroup: GROUP,
    LoadBalancer: BALANCER,
    Switch: SWITCH,
    SwitchPort: PORT,
}
# The tables with a name for each row. A switch comes before its ports.
NAMED = (SWITCH, ROUTER, ROUTER_PORT, PORT, GROUP, BALANCER)
# For a row that belongs to another: the parent's table, and its column of references.
PARENT: Mapping[type[Row], tuple[str, str]] = {
    RouterPort: (ROUTER, "ports"),
    StaticRoute: (ROUTER, "static_routes"),
    Policy: (ROUTER, "policies"),
    SwitchPort: (SWITCH, "ports"),
}
