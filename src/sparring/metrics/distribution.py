"""Distances between two sets of features, [n, d] and [m, d]."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import linalg
from torch import Tensor


def frechet(x: ArrayLike, y: ArrayLike) -> float:
    """Frechet distance of the Gaussians with both sets' means and (unbiased) covariances, in float64.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). Its floor for equal distributions falls with the number of samples, so
    compare only equal counts. Source: Dowson and Landau 1982; Heusel et al. 2017.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    # tr((C1 C2)^(1/2)) is the sum of the roots of the eigenvalues of C1 C2, which are real and not negative
    eigenvalues = linalg.eigvals(np.atleast_2d(cov_x) @ np.atleast_2d(cov_y)).real
    root_trace = np.sqrt(np.clip(eigenvalues, 0, None)).sum()
    means = np.square(x.mean(0) - y.mean(0)).sum()
    return float(means + np.trace(np.atleast_2d(cov_x)) + np.trace(np.atleast_2d(cov_y)) - 2 * root_trace)


def sliced_wasserstein(x: Tensor, y: Tensor, directions: int = 512, seed: int = 0) -> float:
    """Root mean square over random directions of the 2-Wasserstein distance of the projections; equal counts.

    Source: Rabin et al. 2011; Bonneel et al. 2015.
    """
    if len(x) != len(y):
        raise ValueError(f"sliced_wasserstein compares equal counts, not {len(x)} with {len(y)}")
    rng = torch.Generator().manual_seed(seed)
    line = torch.randn(x[0].numel(), directions, generator=rng)
    line = (line / line.norm(dim=0)).to(x.device)
    projections = [(samples.flatten(1).float() @ line).sort(dim=0).values for samples in (x, y)]
    return float((projections[0] - projections[1]).square().mean().sqrt())


def precision_recall(real: Tensor, fake: Tensor, k: int = 3, chunk: int = 1024) -> tuple[float, float]:
    """Share of fakes within the reals' manifold, and of reals within the fakes': balls to the k-th neighbour.

    Source: Kynkäänniemi et al. 2019.
    """
    real, fake = torch.as_tensor(real).float(), torch.as_tensor(fake).float()

    def inside(points: Tensor, centres: Tensor) -> float:
        radii = torch.cat([torch.cdist(c, centres).kthvalue(k + 1).values for c in centres.split(chunk)])
        hits = [(torch.cdist(p, centres) <= radii).any(1) for p in points.split(chunk)]
        return float(torch.cat(hits).float().mean())

    return inside(fake, real), inside(real, fake)
