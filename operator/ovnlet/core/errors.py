"""One family of errors; each class says who must act."""

from ovnlet.core.plan import Plan


class OvnletError(Exception):
    """Whatever ovnlet itself raises on purpose."""


class Invalid(OvnletError):
    """The user must act: a value of an annotation or a Subnet cannot be used. The last good one stays in force."""

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
    """Time must pass: something that others make is not there yet (CNI code 11)."""


class UnknownSandbox(OvnletError):
    """The runtime must act: the sandbox is dead, was replaced or is another pod's (CNI code 3)."""


class Taken(OvnletError):
    """A foreign thing stands where ours should be; it is left untouched."""


class NodeFault(OvnletError):
    """The node must act: the kernel or OVS refused a step."""


class NotConverged(OvnletError):
    """We must act: after all passes this plan is still left."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        super().__init__("not converged, left to do: " + "; ".join(str(step) for step in plan))
