"""The whole table."""

from __future__ import annotations

from proofs.drift import kinds, limits

KINDS = [*kinds.KINDS, *limits.LIMITS]
