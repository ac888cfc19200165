"""One family of errors. Each class says who has to act."""

from ovnlet.core.plan import Plan


class OvnletError(Exception):
    """The base of all errors that ovnlet raises on purpose."""


class Invalid(OvnletError):
    """The user must act: a value cannot be used. The last valid one stays in force.

    The value is an annotation's or a Subnet's.
    """

    def __init__(self, key: str, value: str | None, allowed: str) -> None:
        self.key, self.value, self.allowed = key, value, allowed
        shown = (
            "missing"
            if value is None
            else repr(value if len(value) <= 200 else f"{value[:200]}...")
        )
        what = f"annotation {key}" if "/" in key else key
        super().__init__(f"{what} is {shown}; allowed: {allowed}")


class NotReady(OvnletError):
    """Wait: something that another component creates does not exist yet (CNI code 11)."""


class TermEnded(OvnletError):
    """This replica must stop leading: another one leads, or it cannot do a leader's work."""


class UnknownSandbox(OvnletError):
    """The runtime must act: the sandbox is gone, was replaced or is another pod's (CNI code 3)."""


class Taken(OvnletError):
    """A foreign object has the place or the name of ours. It is left untouched."""


class Unsafe(OvnletError):
    """The administrator must act: to move an uplink would not be safe. Nothing was changed."""


class NodeFault(OvnletError):
    """The node must act: the kernel or OVS refused a step."""


class NotConverged(OvnletError):
    """A defect of ovnlet: steps are still left after the last pass.

    ``plan`` has them.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        super().__init__("not converged, left to do: " + "; ".join(map(str, plan)))


class InUse(OvnletError):
    """The administrator must act before a removal: an agent, a controller or pods still run."""
