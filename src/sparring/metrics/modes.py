"""Which modes do samples cover: those of a mixture with known centres, those a classifier knows, cells of a space?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from sparring.metrics.distribution import check_features


@dataclass(frozen=True)
class ModeCount:
    """`covered` of `total` modes; `high_quality` is the share of samples close to a centre."""

    covered: int
    total: int
    high_quality: float


def count_modes(samples: Tensor, centres: Tensor, deviation: float, within: float = 3.0) -> ModeCount:
    """Count modes and high-quality samples of a mixture of equal round Gaussians.

    Samples [n, d] are of high quality `within` so many standard deviations (along each axis) of a centre [modes, d]; a
    perfect sampler reaches 1 - exp(-within^2 / 2) in the plane: 98.9 % at 3. A mode is covered if at least a quarter of
    its fair share of the samples is of high quality there. Source for the high-quality share: Srivastava et al. 2017
    (VEEGAN), section 4.1, which counts a mode from its first sample on.
    """
    distance, nearest = torch.cdist(samples.double(), centres.double()).min(dim=1)
    good = distance <= within * deviation
    counts = torch.bincount(nearest[good], minlength=len(centres))
    covered = int((counts >= max(1.0, 0.25 * len(samples) / len(centres))).sum())
    return ModeCount(covered, len(centres), good.double().mean().item())


@dataclass(frozen=True)
class ClassModes:
    """Which classes samples cover, and how evenly."""

    covered: int  # classes with at least one sample
    total: int  # classes that the data has
    divergence: float  # KL(samples || data) of the class shares, in nats
    floor: float  # a perfect sampler's divergence on average, (total - 1) / (2 n), for n well above `total`


def class_modes(found: Tensor, shares: Tensor) -> ClassModes:
    """Count the classes that a classifier found, int64 [n], as on StackedMNIST with its 1,000.

    `shares` [classes] are each class's share of the data, above 0 where the data has the class.
    Source: Metz et al. 2017, section 3.3.1; Srivastava et al. 2017, section 4.1.
    """
    counts = torch.bincount(found, minlength=len(shares)).double()
    seen = counts > 0
    q = counts[seen] / len(found)
    known = torch.where(shares > 0, shares.double(), 0.5 / len(found))  # what the data lack must not give infinity
    p = known[seen]
    total = int((shares > 0).sum())
    divergence = (q * (q / p).log()).sum().item()
    return ClassModes(int((seen & (shares > 0)).sum()), total, divergence, (total - 1) / (2 * len(found)))


@dataclass(frozen=True)
class Bins:
    """How many bins of the feature space hold a different share of reals and of fakes."""

    different: float  # the share of bins that differ significantly ("NDB / K")
    expected: float  # what chance alone gives: the level of the test
    divergence: float  # Jensen-Shannon divergence of the bins' shares, in nats
    total: int  # the number of bins


def different_bins(real: ArrayLike, fake: ArrayLike, bins: int = 100, level: float = 0.05) -> Bins:
    """The number of statistically different bins (NDB): k-means cells of the reals, and a two-sample test in each.

    There are fewer `bins` where that would leave fewer than 20 reals a cell. `level` is that of the two-sided test of
    two proportions. No labels are needed.
    Source: Richardson and Weiss 2018, section 3.
    """
    from scipy import stats
    from sklearn.cluster import KMeans

    real, fake = check_features(real, fake, least=40)
    bins = max(2, min(bins, len(real) // 20))
    means = KMeans(bins, n_init=1, random_state=0).fit(real.numpy())
    counts = [np.bincount(labels, minlength=bins) for labels in (means.labels_, means.predict(fake.numpy()))]
    p, q = counts[0] / len(real), counts[1] / len(fake)
    pooled = (counts[0] + counts[1]) / (len(real) + len(fake))
    error = np.sqrt(pooled * (1 - pooled) * (1 / len(real) + 1 / len(fake)))
    different = np.abs(p - q) > stats.norm.ppf(1 - level / 2) * error
    middle = (p + q) / 2
    halves = [np.where(s > 0, s * np.log(np.where(s > 0, s, 1) / np.where(s > 0, middle, 1)), 0).sum() for s in (p, q)]
    return Bins(float(different.mean()), level, float(sum(halves) / 2), bins)
