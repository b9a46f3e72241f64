"""Seeds derived from the run's seed and a place in the run, so that checkpoints need no random state."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *place: object) -> int:
    """A seed in [0, 2**63) for one place of a run, such as `derive_seed(0, "step", rank, step)`."""
    text = "/".join(map(str, (seed, *place)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
