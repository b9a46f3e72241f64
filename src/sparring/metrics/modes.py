"""Which modes of a mixture with known centres do samples cover?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ModeCount:
    """`covered` of `total` modes; `high_quality` is the share of samples close to a centre."""

    covered: int
    total: int
    high_quality: float


def count_modes(samples: Tensor, centres: Tensor, deviation: float, within: float = 3.0) -> ModeCount:
    """Count modes and high-quality samples of a mixture of equal round Gaussians.

    Args:
        samples: [n, d].
        centres: [modes, d].
        deviation: the Gaussians' standard deviation along each axis.
        within: a sample is of high quality within so many deviations of a centre (a perfect sampler reaches
            1 - exp(-within^2 / 2) in the plane: 98.9 % at 3).

    A mode is covered if at least a quarter of its fair share of the samples is of high quality there. Source for the
    high-quality share: Srivastava et al. 2017 (VEEGAN), section 4.1, which counts a mode from its first sample on.
    """
    distance, nearest = torch.cdist(samples.double(), centres.double()).min(dim=1)
    good = distance <= within * deviation
    counts = torch.bincount(nearest[good], minlength=len(centres))
    covered = int((counts >= max(1.0, 0.25 * len(samples) / len(centres))).sum())
    return ModeCount(covered, len(centres), good.double().mean().item())
