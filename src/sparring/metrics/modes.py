"""Mode coverage: modes of a mixture with known centres, classes of a classifier, and cells of the feature space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from sparring.metrics.distribution import check_features


@dataclass(frozen=True)
class ModeCount:
    """Mode coverage of samples of a mixture of Gaussians.

    Attributes:
        covered: modes with enough samples; higher is better.
        total: modes of the mixture.
        high_quality: share of samples close to a centre, in [0, 1].
    """

    covered: int
    total: int
    high_quality: float


def count_modes(samples: Tensor, centres: Tensor, deviation: float, within: float = 3.0) -> ModeCount:
    """Count the covered modes and high-quality samples of a mixture of isotropic Gaussians of equal weight.

    A sample is of high quality if its distance to the nearest centre is at most `within` standard deviations. Samples
    of the true distribution in the plane reach a share of 1 - exp(-within^2 / 2): 98.9 % at 3. A mode is covered if its
    high-quality samples are at least a quarter of n / modes. Source: Srivastava et al. 2017 (VEEGAN), section 4.1,
    where one sample is enough to cover a mode.

    Args:
        samples: points [n, d].
        centres: the modes' centres [modes, d].
        deviation: standard deviation of each mode along each axis.
        within: largest distance to a centre, in standard deviations.
    """
    distance, nearest = torch.cdist(samples.double(), centres.double()).min(dim=1)
    good = distance <= within * deviation
    counts = torch.bincount(nearest[good], minlength=len(centres))
    covered = int((counts >= max(1.0, 0.25 * len(samples) / len(centres))).sum())
    return ModeCount(covered, len(centres), good.double().mean().item())


@dataclass(frozen=True)
class ClassModes:
    """Coverage of classes, and the divergence of the class shares from the data's.

    Attributes:
        covered: classes with at least one sample.
        total: classes in the data.
        divergence: KL(samples || data) of the class shares, in nats.
        floor: expected divergence of samples of the data's distribution: (total - 1) / (2 n) for n >> total.
    """

    covered: int
    total: int
    divergence: float
    floor: float


def class_modes(found: Tensor, shares: Tensor) -> ClassModes:
    """Count the classes among generated samples, as on StackedMNIST with its 1,000 modes.

    Source: Metz et al. 2017, section 3.3.1; Srivastava et al. 2017, section 4.1.

    Args:
        found: the classifier's class of each sample, int64 [n].
        shares: each class's share of the data [classes]; 0 for classes that the data does not have.
    """
    counts = torch.bincount(found, minlength=len(shares)).double()
    seen = counts > 0
    q = counts[seen] / len(found)
    known = torch.where(
        shares > 0, shares.double(), 0.5 / len(found)
    )  # keeps the divergence finite for classes without data
    p = known[seen]
    total = int((shares > 0).sum())
    divergence = (q * (q / p).log()).sum().item()
    return ClassModes(int((seen & (shares > 0)).sum()), total, divergence, (total - 1) / (2 * len(found)))


@dataclass(frozen=True)
class Bins:
    """Bins of the feature space whose shares of real and generated samples differ (NDB).

    Attributes:
        different: share of bins that differ significantly (NDB / K), in [0, 1]; lower is better.
        expected: the same for samples of the data's distribution: the level of the test.
        divergence: Jensen-Shannon divergence of the bins' shares, in nats.
        total: number of bins.
    """

    different: float
    expected: float
    divergence: float
    total: int


def different_bins(real: ArrayLike, fake: ArrayLike, bins: int = 100, level: float = 0.05) -> Bins:
    """Statistically different bins (NDB): k-means cells of the real samples, with a two-proportion test in each.

    Needs no labels. Source: Richardson and Weiss 2018, section 3.

    Args:
        real: features [n, d].
        fake: features [m, d].
        bins: number of cells; reduced to leave at least 20 real samples per cell on average.
        level: significance level of the two-sided test.

    Raises:
        UserError: a set has fewer than 40 samples.
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
