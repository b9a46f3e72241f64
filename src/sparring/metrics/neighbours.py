"""Metrics of nearest neighbours in features [n, d] and [m, d]: precision, recall, density, coverage, memorisation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from sparring.base.errors import UserError
from sparring.metrics.distribution import check_features, pieces

FEW_DIMENSIONS = 32  # up to here, distances are computed by exact subtraction, which is cheap enough
MAX_REFERENCE_DISTANCES = 10_000  # distances that the memorisation threshold is estimated from
SIGNIFICANT = 3  # ratio of near-duplicates to those among real samples that is more than chance


def distances(points: Tensor, others: Tensor) -> Tensor:
    """Euclidean distances [n, m]. In many dimensions a matrix product is used; close pairs far from 0 lose digits."""
    exact = points.shape[1] <= FEW_DIMENSIONS
    mode = "donot_use_mm_for_euclid_dist" if exact else "use_mm_for_euclid_dist"
    return torch.cdist(points, others, compute_mode=mode)


def radii(points: Tensor, k: int) -> Tensor:
    """Distance of each point to its k-th nearest other point [n]; UserError: there are at most k points."""
    if len(points) <= k:
        raise UserError(f"{len(points)} samples are too few for k={k} neighbours; take at least {k + 1}")
    return torch.cat([distances(p, points).topk(k + 1, largest=False).values[:, k] for p in pieces(points, points)])


def precision_recall(real: ArrayLike, fake: ArrayLike, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall. Source: Kynkäänniemi et al. 2019.

    Each set's manifold is the union of balls around its samples that reach to the k-th nearest neighbour. Precision is
    the share of generated samples in the real manifold, recall the share of real samples in the generated manifold.
    Both depend on the number of samples: compare only scores of equal counts.

    Args:
        real: features [n, d].
        fake: features [m, d].
        k: neighbour that sets the radius.

    Returns:
        Precision and recall, each in [0, 1]; higher is better.

    Raises:
        UserError: a set has at most k samples.
    """
    real, fake = _centred(*check_features(real, fake))

    def inside(points: Tensor, centres: Tensor) -> float:
        reach = radii(centres, k)
        hits = [(distances(p, centres) <= reach).any(1) for p in pieces(points, centres)]
        return float(torch.cat(hits).float().mean())

    return inside(fake, real), inside(real, fake)


def density_coverage(real: ArrayLike, fake: ArrayLike, k: int = 5) -> tuple[float, float]:
    """Density and coverage. Source: Naeem et al. 2020.

    The balls are those of the real samples, up to their k-th nearest real neighbour. Density is the mean number of
    balls around a generated sample, divided by k. Coverage is the share of balls that contain a generated sample.

    Args:
        real: features [n, d].
        fake: features [m, d].
        k: neighbour that sets the radius.

    Returns:
        Density, at least 0 and about 1 for equal distributions, and coverage, in [0, 1] and about 1 - 1 / 2^k for equal
        distributions and counts. Higher is better.

    Raises:
        UserError: there are at most k real samples.
    """
    real, fake = _centred(*check_features(real, fake))
    reach = radii(real, k)
    hits, covered = 0, torch.zeros(len(real), dtype=torch.bool)
    for part in pieces(fake, real):
        inside = distances(part, real) <= reach
        hits += int(inside.sum())
        covered |= inside.any(0)
    return hits / (k * len(fake)), covered.double().mean().item()


def _centred(first: Tensor, *others: Tensor) -> list[Tensor]:
    """Convert all sets to float32 after subtracting the first set's mean, which saves digits."""
    middle = first.mean(0)
    return [(points - middle).float() for points in (first, *others)]


def nearest(points: ArrayLike, centres: ArrayLike, without: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Find each point's nearest centre.

    Args:
        points: features [n, d].
        centres: features [m, d].
        without: index [n] of a centre that is skipped for each point, such as the point itself.

    Returns:
        Distances, float64 [n], and the centres' indices, int64 [n].
    """
    points, centres = check_features(points, centres, least=1)
    near, far = _centred(centres, points)
    found, start = [], 0
    for part in pieces(far, near):
        apart = distances(part, near)
        if without is not None:
            apart[torch.arange(len(part)), without[start : start + len(part)]] = torch.inf
        found.append(apart.argmin(1))
        start += len(part)
    index = torch.cat(found)
    return (points - centres[index]).norm(dim=1), index  # recomputed in float64


def reference_distances(train: ArrayLike, held_out: ArrayLike | None = None) -> Tensor:
    """Distances of uncopied samples to their nearest training sample: the reference for `memorising`.

    Uses held-out samples or, without any, each training sample's distance to the nearest other training sample.

    Args:
        train: features of the training set [n, d].
        held_out: features of held-out samples [m, d].

    Returns:
        Distances, float64 [at most 10,000].
    """
    (points,) = check_features(train if held_out is None else held_out)
    chosen = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:MAX_REFERENCE_DISTANCES]
    return nearest(points[chosen], train, without=chosen if held_out is None else None)[0]


@dataclass(frozen=True)
class Memorising:
    """Share of generated samples that copy training samples.

    Attributes:
        share: share of samples below the threshold distance, in [0, 1]; lower is better.
        expected: mean share for new samples of the data's distribution.
        p_value: p-value of the hypothesis that generated samples are no closer to the training set than held-out ones.
        distance: distance of each sample to its nearest training sample [n].
        index: index of that training sample [n].
        threshold: distance up to which a sample counts as a copy.
    """

    share: float
    expected: float
    p_value: float
    distance: Tensor
    index: Tensor
    threshold: float


def memorising(fake: ArrayLike, train: ArrayLike, usual: Tensor, level: float = 0.01) -> Memorising:
    """Find generated samples that are closer to a training sample than nearly all held-out samples are.

    Source: Meehan et al. 2020 (data-copying: a Mann-Whitney test of these distances).

    Args:
        fake: features of generated samples [n, d].
        train: features of the training set [m, d].
        usual: distances of uncopied samples, from `reference_distances`.
        level: quantile of `usual` that is the threshold.
    """
    from scipy import stats

    distance, index = nearest(fake, train)
    rank = (len(usual) - 1) * level  # interpolates between two order statistics
    parts = torch.tensor([1 - (rank - int(rank)), rank - int(rank)], dtype=torch.float64)
    threshold = float(usual.double().sort().values[[int(rank), min(int(rank) + 1, len(usual) - 1)]] @ parts)
    p_value = float(stats.mannwhitneyu(distance.numpy(), usual.double().numpy(), alternative="less").pvalue)
    share = (distance <= threshold).double().mean().item()
    return Memorising(share, (rank + 1) / (len(usual) + 1), p_value, distance, index, threshold)


@dataclass(frozen=True)
class Support:
    """Estimated number of distinct samples that a generator can output (its support).

    Attributes:
        size: the estimate; only a lower bound unless `found`. Higher is better.
        found: there are significantly more near-duplicates than among as many real samples.
        duplicates: generated pairs at most as far apart as the `expected`-th closest real pair.
        expected: number of such pairs among real samples.
    """

    size: float
    found: bool
    duplicates: int
    expected: int


def birthday(fake: ArrayLike, real: ArrayLike, expected: int = 10) -> Support:
    """Estimate the size of a generator's support by the birthday paradox.

    n uniform draws from N distinct samples contain about n (n - 1) / (2 N) equal pairs. Arora et al. find these pairs
    by eye. Here a pair counts as equal if it is at most as far apart as the `expected`-th closest pair among equally
    many real samples. A generator that matches the data gives about `expected` pairs (10 ± 4.5, because the threshold
    is random, too), which only bounds the support from below. More than three times as many are significant.

    Source: Arora, Risteski and Zhang 2018.

    Args:
        fake: features of generated samples [n, d]; the first min(n, m) of each set are compared.
        real: features of real samples [m, d].
        expected: rank of the closest real pair that sets the threshold.

    Raises:
        UserError: a set has fewer than 20 samples.
    """
    fake, real = check_features(fake, real, least=20)
    count = min(len(fake), len(real))
    threshold = _closest_pairs(real[:count], expected)[-1].item()
    duplicates = sum(int((apart <= threshold).sum()) for apart in _pairs(fake[:count]))
    pairs = count * (count - 1) / 2
    return Support(pairs / max(duplicates, expected), duplicates > SIGNIFICANT * expected, duplicates, expected)


def _closest_pairs(points: Tensor, count: int) -> Tensor:
    """Distances of the `count` closest pairs, ascending."""
    found = points.new_zeros(0)
    for apart in _pairs(points):
        best = apart.flatten().topk(min(count, apart.numel()), largest=False).values
        found = torch.cat([found, best]).sort().values[:count]
    return found


def _pairs(points: Tensor) -> Iterator[Tensor]:
    """Yield distances of each chunk's points to all later points; infinity elsewhere."""
    start = 0
    for part in pieces(points, points):
        apart = distances(part, points)
        rows = torch.arange(start, start + len(part))[:, None]
        yield apart.masked_fill_(torch.arange(len(points)) <= rows, torch.inf)
        start += len(part)
