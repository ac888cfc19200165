"""All faults of single pods."""

from __future__ import annotations

from proofs.drift import faults, forwarding, limits

FAULTS = [*faults.FAULTS, *limits.LIMITS, *forwarding.IN_PODS]
BY_NAME = {fault.name: fault for fault in FAULTS}
