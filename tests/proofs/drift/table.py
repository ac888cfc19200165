"""All faults of single pods."""

from __future__ import annotations

from proofs.drift import faults, limits

FAULTS = [*faults.FAULTS, *limits.LIMITS]
BY_NAME = {fault.name: fault for fault in FAULTS}
