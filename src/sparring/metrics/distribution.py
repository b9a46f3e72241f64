"""Distances between two sets of features [n, d] and [m, d]: pure functions, independent of the extractor."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sparring.base.errors import UserError

MAX_PAIRS = 2**25  # pairwise values in memory at a time
MAX_TRANSPORTED = 2000  # the time of exact transport is cubic in the number of samples
MAX_ASSIGNED = 2 * MAX_TRANSPORTED

Array = NDArray[np.float64]
Kernel = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error.

    Attributes:
        value: the estimate.
        error: its standard error, in the same unit; 0 where none is known.
    """

    value: float
    error: float


def check_features(*sets: ArrayLike, least: int = 2) -> list[Tensor]:
    """Convert sets of features to float64 tensors [n, d] on the CPU.

    Raises:
        UserError: a set has fewer than `least` samples, another dimension, or NaN or infinite values.
    """
    tensors = [torch.as_tensor(values) for values in sets]
    for tensor in tensors:
        if tensor.dim() != 2:
            raise UserError(f"features have shape {list(tensor.shape)}; give [samples, dimensions]")
        if len(tensor) < least:
            kinds = " of each kind" if len(sets) > 1 else ""
            raise UserError(f"{len(tensor)} samples are too few: this metric needs at least {least}{kinds}")
        if tensor.shape[1] != tensors[0].shape[1]:
            raise UserError(
                f"features of {tensors[0].shape[1]} and of {tensor.shape[1]} dimensions cannot be compared; "
                "take both from the same extractor"
            )
        if not tensor.isfinite().all():
            raise UserError("a feature is NaN or infinite, and all must be finite; remove that sample")
    return [tensor.detach().double().cpu() for tensor in tensors]


def pieces(points: Tensor, others: Tensor) -> Sequence[Tensor]:
    """Split points into chunks whose pairs with all others fit in memory."""
    return points.split(max(1, MAX_PAIRS // max(1, len(others))))  # type: ignore[no-any-return]


def frechet(x: ArrayLike, y: ArrayLike) -> float:
    """Frechet distance |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two Gaussians; FID with Inception features.

    m and C are each set's mean and unbiased covariance, in float64. The estimate is biased upwards, more so for fewer
    samples: compare only scores of equal counts. Source: Dowson and Landau 1982; Heusel et al. 2017.

    Args:
        x: features [n, d].
        y: features [m, d].

    Returns:
        The distance, at least 0; lower is better.
    """
    x, y = check_features(x, y)
    return _frechet(*_rooted(x), y)


def frechet_infinity(real: ArrayLike, fake: ArrayLike, points: int = 15, seed: int = 0) -> float:
    """Frechet distance extrapolated to infinitely many generated samples, against the same real samples.

    A line in 1 / size is fitted to the distances at `points` sizes, from a tenth of the generated samples (but more
    than the dimension) to all of them. The bias from the real samples remains.
    Source: Chong and Forsyth 2020, section 4.

    Returns:
        The line's value at 1 / size = 0; lower is better. It may be slightly negative.
    """
    x, y = check_features(real, fake, least=20)
    least = min(max(len(y) // 10, y.shape[1] + 1), max(len(y) // 2, 2))
    sizes = np.unique(np.linspace(least, len(y), points).astype(int))
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    reference = _rooted(x)
    starts = np.random.default_rng(seed).integers(0, len(y) - sizes + 1)
    distances = [_frechet(*reference, y[order[start : start + n]]) for start, n in zip(starts, sizes)]
    return float(np.polyfit(1 / sizes, distances, 1)[1])


def _rooted(x: Tensor) -> tuple[Array, Array]:
    """Mean and matrix square root of the covariance."""
    values, vectors = np.linalg.eigh(_covariance(x))
    return x.numpy().mean(0), (vectors * _roots(values)) @ vectors.T


def _covariance(x: Tensor) -> Array:
    return np.atleast_2d(np.cov(x.numpy(), rowvar=False))


def _frechet(mean: Array, root: Array, y: Tensor) -> float:
    """tr((C1 C2)^(1/2)) is the sum of the roots of the eigenvalues of the symmetric R C2 R, where R R = C1."""
    covariance = _covariance(y)
    root_trace = _roots(np.linalg.eigvalsh(root @ covariance @ root)).sum()
    means = np.square(mean - y.numpy().mean(0)).sum()
    return max(float(means + np.square(root).sum() + np.trace(covariance) - 2 * root_trace), 0.0)


def _roots(eigenvalues: NDArray[np.floating[Any]]) -> Array:
    """Square roots of eigenvalues. Values within rounding error of the largest count as 0: many small roots add up."""
    least = eigenvalues.max() * len(eigenvalues) * np.finfo(np.float64).eps
    return np.sqrt(np.where(eigenvalues > least, eigenvalues, 0))


def class_frechet(x: ArrayLike, x_labels: Tensor, y: ArrayLike, y_labels: Tensor) -> dict[int, float]:
    """Frechet distance within each class, by class index, for classes with at least two samples in both sets.

    Args:
        x: features [n, d].
        x_labels: class indices, int64 [n].
        y: features [m, d].
        y_labels: class indices, int64 [m].
    """
    x, y = check_features(x, y)
    shared = [c for c in torch.unique(x_labels).tolist() if min((x_labels == c).sum(), (y_labels == c).sum()) >= 2]
    return {c: frechet(x[x_labels == c], y[y_labels == c]) for c in shared}


def kernel_distance(x: ArrayLike, y: ArrayLike) -> Estimate:
    """Kernel distance: unbiased squared MMD under the kernel (<a, b> / d + 1)^3; KID with Inception features.

    All pairs count, not subsets. Source: Binkowski et al. 2018, section 4.

    Returns:
        The estimate and the standard error of all of it (other libraries report the spread over subsets). Lower is
        better. The expectation is 0 for equal distributions, so single values may be negative.
    """
    x, y = check_features(x, y)
    return _squared_mmd(x, y, lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3)


def mmd(x: ArrayLike, y: ArrayLike, bandwidth: float = 0.0) -> Estimate:
    """Unbiased squared maximum mean discrepancy under the kernel exp(-|a - b|^2 / (2 bandwidth^2)), over all pairs.

    Source: Gretton et al. 2012, equation 3.

    Args:
        x: features [n, d].
        y: features [m, d].
        bandwidth: width of the Gaussian kernel. 0 uses the square root of the trace of x's covariance (half the mean
            squared distance of two samples); the estimate is then only nearly unbiased.

    Returns:
        The estimate and its standard error; lower is better, and negative values are possible.
    """
    x, y = check_features(x, y)
    square = bandwidth**2 or x.var(0).sum().item() or 1.0
    return _squared_mmd(x, y, lambda a, b: torch.cdist(a, b).square().div(-2 * square).exp())


def cmmd(x: ArrayLike, y: ArrayLike) -> float:
    """CMMD: 1000 times the biased squared MMD of CLIP's embeddings under a Gaussian kernel of bandwidth 10.

    Each sample's pair with itself counts, so values are never negative and equal sets give 0. The bandwidth suits
    embeddings of length 1; features are not normalised here.
    Source: Jayasumana et al. 2024, section 4, and their code.

    Returns:
        The distance, at least 0; lower is better.
    """
    x, y = check_features(x, y)
    xx, yy, xy = (_mean_kernel(a, b, bandwidth=10.0) for a, b in ((x, x), (y, y), (x, y)))
    return 1000 * max(xx + yy - 2 * xy, 0.0)


def _mean_kernel(x: Tensor, y: Tensor, bandwidth: float) -> float:
    """Mean of the Gaussian kernel over all pairs."""
    sums = [torch.cdist(part, y).square().div(-2 * bandwidth**2).exp().sum() for part in pieces(x, y)]
    return torch.stack(sums).sum().item() / (len(x) * len(y))


def _squared_mmd(x: Tensor, y: Tensor, kernel: Kernel) -> Estimate:
    """mean k(x, x') - 2 mean k(x, y) + mean k(y, y') over pairs of different samples.

    The error is the jackknife's: the variance is 4 / n times the variance over x of x's contribution, plus the same
    over y. For equal distributions this variance is twice too large.
    """
    xx, yy = _other_means(x, kernel), _other_means(y, kernel)
    xy, yx = _cross_means(x, y, kernel)
    value = xx.mean() + yy.mean() - 2 * xy.mean()
    variance = 4 * (xx - xy).var() / len(x) + 4 * (yy - yx).var() / len(y)
    return Estimate(value.item(), variance.sqrt().item())


def _other_means(x: Tensor, kernel: Kernel) -> Tensor:
    """Mean of k(x, x') over all x' other than x, for each x."""
    sums = torch.cat([kernel(part, x).sum(1) for part in pieces(x, x)])
    itself = torch.cat([kernel(part, part).diagonal() for part in x.split(256)])
    return (sums - itself) / (len(x) - 1)


def _cross_means(x: Tensor, y: Tensor, kernel: Kernel) -> tuple[Tensor, Tensor]:
    """Means of k(x, y) over y for each x, and over x for each y."""
    rows, columns = [], x.new_zeros(len(y))
    for part in pieces(x, y):
        values = kernel(part, y)
        rows.append(values.mean(1))
        columns += values.sum(0)
    return torch.cat(rows), columns / len(x)


def inception_score(logits: ArrayLike, splits: int = 1) -> Estimate:
    """Inception score exp(E KL(p(y|x) || p(y))). Source: Salimans et al. 2016, section 4.

    Args:
        logits: a classifier's logits of generated samples [n, classes].
        splits: number of equal parts whose scores are averaged.

    Returns:
        The mean over splits, in [1, classes], and its standard error (0 for one split); higher is better.
    """
    (scores,) = check_features(logits, least=splits)
    logs = scores.log_softmax(1)
    values = []
    for part in logs.tensor_split(splits):
        marginal = part.logsumexp(0) - np.log(len(part))
        values.append((part.exp() * (part - marginal)).sum(1).mean().exp())
    found = torch.stack(values)
    return Estimate(found.mean().item(), found.std().item() / splits**0.5 if splits > 1 else 0.0)


def agreement(logits: Tensor, labels: Tensor) -> float:
    """Share of samples that a classifier assigns to the class they were generated for; in [0, 1], higher is better.

    Source: Odena et al. 2017.

    Args:
        logits: the classifier's logits [n, classes].
        labels: the requested classes, int64 [n].
    """
    return (logits.argmax(1) == labels).double().mean().item()


def sliced_wasserstein(x: Tensor, y: Tensor, directions: int = 512, seed: int = 0) -> float:
    """Sliced Wasserstein distance: root mean square of the 2-Wasserstein distances along random directions.

    Source: Rabin et al. 2011; Bonneel et al. 2015.

    Args:
        x: samples or features [n, ...]; all axes but the first are flattened.
        y: as many samples of the same shape.
        directions: number of random directions.
        seed: seed of the directions.

    Returns:
        The distance in the samples' unit, at least 0; lower is better.

    Raises:
        UserError: the counts differ.
    """
    if len(x) != len(y):
        raise UserError(f"sliced_wasserstein got {len(x)} and {len(y)} samples; take {min(len(x), len(y))} of each")
    rng = torch.Generator().manual_seed(seed)
    line = torch.randn(x[0].numel(), directions, generator=rng)
    line = (line / line.norm(dim=0)).to(x.device)
    projections = [(samples.flatten(1).float() @ line).sort(dim=0).values for samples in (x, y)]
    return float((projections[0] - projections[1]).square().mean().sqrt())


def wasserstein(x: ArrayLike, y: ArrayLike) -> float:
    """Exact 2-Wasserstein distance of two sets, for points in a few dimensions.

    All samples have equal weight, so the optimal transport is an assignment. Sets of different counts are repeated up
    to the least common multiple. Source: Peyre and Cuturi 2019, section 2 and proposition 2.1.

    Args:
        x: points [n, d].
        y: points [m, d].

    Returns:
        The distance in the points' unit, at least 0; lower is better. Two finite sets of one distribution are not at 0.

    Raises:
        UserError: the least common multiple of n and m is more than `MAX_ASSIGNED`.
    """
    from scipy import optimize
    from scipy.spatial import distance

    x, y = check_features(x, y, least=1)
    total = math.lcm(len(x), len(y))
    if total > MAX_ASSIGNED:
        least = min(len(x), len(y), MAX_ASSIGNED)
        raise UserError(f"wasserstein of {len(x)} and {len(y)} samples takes too long; take {least} of each")
    cost = distance.cdist(x.numpy(), y.numpy(), "sqeuclidean")
    cost = cost.repeat(total // len(x), 0).repeat(total // len(y), 1)
    return float(np.sqrt(cost[optimize.linear_sum_assignment(cost)].mean()))
