"""What nearest neighbours tell of two sets of features: precision, recall, density, coverage, copies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from sparring.errors import UserError
from sparring.metrics.distribution import check_features, pieces

MANY = 3  # times as many near-duplicates as among real samples are no chance


def radii(points: Tensor, k: int) -> Tensor:
    """The distance of each point to its k-th nearest other point."""
    if len(points) <= k:
        raise UserError(f"{len(points)} samples are too few for k={k} neighbours; take at least {k + 1}")
    return torch.cat([torch.cdist(p, points).topk(k + 1, largest=False).values[:, k] for p in pieces(points, points)])


def precision_recall(real: ArrayLike, fake: ArrayLike, k: int = 3) -> tuple[float, float]:
    """Share of fakes within the reals' manifold, and of reals within the fakes': balls to the k-th neighbour.

    Source: Kynkäänniemi et al. 2019.
    """
    real, fake = _centred(*check_features(real, fake))

    def inside(points: Tensor, centres: Tensor) -> float:
        reach = radii(centres, k)
        hits = [(torch.cdist(p, centres) <= reach).any(1) for p in pieces(points, centres)]
        return float(torch.cat(hits).float().mean())

    return inside(fake, real), inside(real, fake)


def density_coverage(real: ArrayLike, fake: ArrayLike, k: int = 5) -> tuple[float, float]:
    """In how many reals' balls a fake lies, over k (about 1 for equal distributions, not bounded); share of reals whose
    ball holds a fake (1 - 1 / 2^k for equal distributions).

    Source: Naeem et al. 2020.
    """
    real, fake = _centred(*check_features(real, fake))
    reach = radii(real, k)
    hits, covered = 0, torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for part in pieces(fake, real):
        inside = torch.cdist(part, real) <= reach
        hits += int(inside.sum())
        covered |= inside.any(0)
    return hits / (k * len(fake)), covered.double().mean().item()


def _centred(first: Tensor, *others: Tensor) -> list[Tensor]:
    """All sets in float32, moved together so that the first one's mean is 0: distances far from 0 lose digits."""
    middle = first.mean(0)
    return [(points - middle).float() for points in (first, *others)]


def nearest(points: Tensor, centres: Tensor, itself: bool = False) -> tuple[Tensor, Tensor]:
    """Distance and index of the nearest of `centres` for each point.

    Args:
        points: [n, d].
        centres: [m, d].
        itself: the points are the centres, so the nearest other one is meant.
    """
    near, far = _centred(centres, points)
    found, start = [], 0
    for part in pieces(far, near):
        distances = torch.cdist(part, near)
        if itself:
            rows = torch.arange(len(part))
            distances[rows, start + rows] = torch.inf
        found.append(distances.argmin(1))
        start += len(part)
    index = torch.cat(found)
    return (points - centres[index]).norm(dim=1), index  # cdist loses the last digits of small distances


@dataclass(frozen=True)
class Memorising:
    """Are samples copies of training samples?

    Attributes:
        share: of the samples that lie closer to a training sample than all but `expected` of the held-out ones do.
        expected: the share that fresh samples of the data's distribution have.
        p_value: of the hypothesis that the samples lie no closer to the training set than held-out ones do.
        distance, index: of each sample's nearest training sample.
        threshold: the distance below which a sample counts.
    """

    share: float
    expected: float
    p_value: float
    distance: Tensor
    index: Tensor
    threshold: float


def memorising(fake: Tensor, train: Tensor, held_out: Tensor | None = None, expected: float = 0.01) -> Memorising:
    """Compare samples' distances to their nearest training samples with those of held-out samples.

    Without held-out samples, those between each training sample and its nearest other one take their place.

    Args:
        fake, train, held_out: features [n, d], [m, d], [h, d].
        expected: the share of held-out samples that the threshold is set to.

    Source: Meehan et al. 2020 (data-copying: a Mann-Whitney test of these distances).
    """
    from scipy import stats

    check_features(fake, train, *([] if held_out is None else [held_out]))
    distance, index = nearest(fake, train)
    usual = nearest(train, train, itself=True)[0] if held_out is None else nearest(held_out, train)[0]
    threshold = usual.double().quantile(expected).item() if len(usual) < 2**24 else usual.kthvalue(1).values.item()
    share = (distance <= threshold).double().mean().item()
    p_value = float(stats.mannwhitneyu(distance.numpy(), usual.numpy(), alternative="less").pvalue)
    return Memorising(share, expected, p_value, distance, index, threshold)


@dataclass(frozen=True)
class Support:
    """How many different samples a generator can make.

    Attributes:
        size: the estimate; a lower bound unless `found`.
        found: were there more near-duplicates than among as many real samples?
        duplicates: pairs of samples closer than the `expected`-th closest pair of real ones.
        expected: how many such pairs real samples have.
    """

    size: float
    found: bool
    duplicates: int
    expected: int


def birthday(fake: Tensor, real: Tensor, expected: int = 10) -> Support:
    """Estimate the support's size from near-duplicates among samples, as the birthday paradox does.

    n samples drawn uniformly of N different ones hold about n (n - 1) / (2 N) pairs of equals. Arora et al. look for
    them by eye; here a pair counts as equal if it is closer than the `expected`-th closest pair of as many real
    samples. So a generator like the data gives about `expected` pairs, which only bounds its support from below.

    Args:
        fake, real: features [n, d] and [m, d], of which as many are compared.

    Source: Arora, Risteski and Zhang 2018.
    """
    fake, real = check_features(fake, real, least=20)
    count = min(len(fake), len(real))
    closest = _closest_pairs(real[:count], expected)
    threshold = closest[-1].item()
    duplicates = _pairs_within(fake[:count], threshold)
    pairs = count * (count - 1) / 2
    found = duplicates > MANY * expected  # Poisson counts of mean 10 stay below 30
    return Support(pairs / max(duplicates, expected), found, duplicates, expected)


def _closest_pairs(points: Tensor, count: int) -> Tensor:
    """The distances of the `count` closest pairs, ascending."""
    found = points.new_zeros(0)
    for distances in _pairs(points):
        best = distances.flatten().topk(min(count, distances.numel()), largest=False).values
        found = torch.cat([found, best]).sort().values[:count]
    return found


def _pairs_within(points: Tensor, threshold: float) -> int:
    return sum(int((distances <= threshold).sum()) for distances in _pairs(points))


def _pairs(points: Tensor) -> Iterator[Tensor]:
    """Distances of each chunk's points to all later points; infinite elsewhere."""
    start = 0
    for part in pieces(points, points):
        distances = torch.cdist(part, points)
        rows = torch.arange(start, start + len(part))[:, None]
        yield distances.masked_fill_(torch.arange(len(points)) <= rows, torch.inf)
        start += len(part)
