"""Nearest neighbours in two sets of features [n, d] and [m, d]: precision, recall, density, coverage, copies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from sparring.base.errors import UserError
from sparring.metrics.distribution import check_features, pieces

FEW_DIMENSIONS = 32  # up to here, differences are taken one by one, which is exact and costs little
MOST_USUAL = 10_000  # samples whose distances tell what is usual
MANY = 3  # times as many near-duplicates as among real samples are no chance


def distances(points: Tensor, others: Tensor) -> Tensor:
    """Euclidean distances [n, m]. In many dimensions by a matrix product, so close pairs far from 0 lose digits."""
    exact = points.shape[1] <= FEW_DIMENSIONS
    mode = "donot_use_mm_for_euclid_dist" if exact else "use_mm_for_euclid_dist"
    return torch.cdist(points, others, compute_mode=mode)


def radii(points: Tensor, k: int) -> Tensor:
    """The distance of each point to its k-th nearest other point."""
    if len(points) <= k:
        raise UserError(f"{len(points)} samples are too few for k={k} neighbours; take at least {k + 1}")
    return torch.cat([distances(p, points).topk(k + 1, largest=False).values[:, k] for p in pieces(points, points)])


def precision_recall(real: ArrayLike, fake: ArrayLike, k: int = 3) -> tuple[float, float]:
    """Share of fakes within the reals' manifold, and of reals within the fakes': balls to the k-th neighbour.

    Both depend on the counts; compare equal ones. Source: Kynkäänniemi et al. 2019.
    """
    real, fake = _centred(*check_features(real, fake))

    def inside(points: Tensor, centres: Tensor) -> float:
        reach = radii(centres, k)
        hits = [(distances(p, centres) <= reach).any(1) for p in pieces(points, centres)]
        return float(torch.cat(hits).float().mean())

    return inside(fake, real), inside(real, fake)


def density_coverage(real: ArrayLike, fake: ArrayLike, k: int = 5) -> tuple[float, float]:
    """In how many reals' balls a fake lies, over k (about 1 for equal distributions, not bounded); share of reals whose
    ball holds a fake (1 - 1 / 2^k for equal distributions and equal counts).

    Source: Naeem et al. 2020.
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
    """All sets in float32, moved together so that the first one's mean is 0."""
    middle = first.mean(0)
    return [(points - middle).float() for points in (first, *others)]


def nearest(points: ArrayLike, centres: ArrayLike, without: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Distance and index [n] of each point's nearest centre, but the one at index `without` [n]: the point itself."""
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
    return (points - centres[index]).norm(dim=1), index  # with all digits


def usual_distances(train: ArrayLike, held_out: ArrayLike | None = None) -> Tensor:
    """How far samples that were not copied lie from their nearest training sample.

    Of held-out samples or, where there are none, of training samples from their nearest other one; of 10,000 at most.
    """
    (points,) = check_features(train if held_out is None else held_out)
    chosen = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:MOST_USUAL]
    return nearest(points[chosen], train, without=chosen if held_out is None else None)[0]


@dataclass(frozen=True)
class Memorising:
    """How many samples are copies of training samples."""

    share: float  # of the samples closer to a training sample than all but about 1 % of the held-out ones are
    expected: float  # the share that fresh samples of the data's distribution have, on average
    p_value: float  # of the hypothesis that samples lie no closer to the training set than held-out ones do
    distance: Tensor  # from each sample to its nearest training sample
    index: Tensor  # of that training sample
    threshold: float  # the distance up to which a sample counts


def memorising(fake: ArrayLike, train: ArrayLike, usual: Tensor, level: float = 0.01) -> Memorising:
    """Compare samples' distances to their nearest training samples with those of samples that were not copied.

    Their quantile `level` is the threshold; `usual_distances` gives them. Source: Meehan et al. 2020 (data-copying: a
    Mann-Whitney test of these distances).
    """
    from scipy import stats

    distance, index = nearest(fake, train)
    rank = (len(usual) - 1) * level  # between two order statistics, as quantiles usually are
    parts = torch.tensor([1 - (rank - int(rank)), rank - int(rank)], dtype=torch.float64)
    threshold = float(usual.double().sort().values[[int(rank), min(int(rank) + 1, len(usual) - 1)]] @ parts)
    p_value = float(stats.mannwhitneyu(distance.numpy(), usual.double().numpy(), alternative="less").pvalue)
    share = (distance <= threshold).double().mean().item()
    return Memorising(share, (rank + 1) / (len(usual) + 1), p_value, distance, index, threshold)


@dataclass(frozen=True)
class Support:
    """How many different samples a generator can make."""

    size: float  # the estimate; a lower bound unless `found`
    found: bool  # there were many more near-duplicates than among as many real samples
    duplicates: int  # pairs of samples closer than the `expected`-th closest pair of real ones
    expected: int  # how many such pairs real samples have


def birthday(fake: ArrayLike, real: ArrayLike, expected: int = 10) -> Support:
    """Estimate the support's size from near-duplicates among samples, as the birthday paradox does.

    n samples drawn uniformly of N different ones hold about n (n - 1) / (2 N) pairs of equals. Arora et al. look for
    them by eye; here a pair counts as equal if it is closer than the `expected`-th closest pair of as many real
    samples. So a generator like the data gives about `expected` pairs (10 with a deviation of 4.5, for the threshold is
    random, too), which only bounds its support from below. Three times as many are taken for a finding. The first
    min(n, m) samples are compared.

    Source: Arora, Risteski and Zhang 2018.
    """
    fake, real = check_features(fake, real, least=20)
    count = min(len(fake), len(real))
    threshold = _closest_pairs(real[:count], expected)[-1].item()
    duplicates = sum(int((apart <= threshold).sum()) for apart in _pairs(fake[:count]))
    pairs = count * (count - 1) / 2
    return Support(pairs / max(duplicates, expected), duplicates > MANY * expected, duplicates, expected)


def _closest_pairs(points: Tensor, count: int) -> Tensor:
    """The distances of the `count` closest pairs, ascending."""
    found = points.new_zeros(0)
    for apart in _pairs(points):
        best = apart.flatten().topk(min(count, apart.numel()), largest=False).values
        found = torch.cat([found, best]).sort().values[:count]
    return found


def _pairs(points: Tensor) -> Iterator[Tensor]:
    """Distances of each chunk's points to all later points; infinite elsewhere."""
    start = 0
    for part in pieces(points, points):
        apart = distances(part, points)
        rows = torch.arange(start, start + len(part))[:, None]
        yield apart.masked_fill_(torch.arange(len(points)) <= rows, torch.inf)
        start += len(part)
