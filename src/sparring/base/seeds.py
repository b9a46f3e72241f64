"""Seeds: every random choice follows from the run's seed and its place, so nothing random needs saving."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *place: object) -> int:
    """A seed for one place of a run, such as `derive_seed(0, "step", rank, step)`: 0 <= result < 2**63."""
    text = "/".join(map(str, (seed, *place)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
