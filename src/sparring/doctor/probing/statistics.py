"""Statistics of samples and logits that a probe measures; pure functions.

Samples are compared as flat features (`flat_features`): images are reduced to at most 16 pixels per side, so that the
cost of a probe does not depend on their size. Ratios relate to what equally many real samples give, so limits need not
be chosen for each dataset.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.game.losses import Loss
from sparring.metrics.neighbours import distances
from sparring.metrics.ranking import ranking

SIDE = 16  # pixels
CLUSTERS = 20
LEAST_SHARE = 0.25  # of a cluster's share of the real samples, below which it counts as not covered
FOURIER = 200  # random features of the fresh critic
RIDGE = 1.0


def flat_features(samples: Tensor) -> Tensor:
    """Samples [n, ...] as float32 [n, d] on the CPU; images are averaged down to at most 16x16."""
    samples = samples.detach().float()
    if samples.dim() == 4 and max(samples.shape[2:]) > SIDE:
        height, width = samples.shape[2:]
        samples = F.adaptive_avg_pool2d(samples, (min(SIDE, height), min(SIDE, width)))
    return samples.flatten(1).cpu()


def spread(points: Tensor) -> float:
    """The mean distance between two different points of [n, d]."""
    count = len(points)
    return float(distances(points, points).sum() / max(1, count * (count - 1)))


def effective_rank(points: Tensor) -> float:
    """The number of directions in which points [n, d] vary: exp of the entropy of the normalised eigenvalues of their
    covariance.

    1 for points on a line or all equal; d for an isotropic distribution. Source: Roy and Vetterli 2007.
    """
    centred = points.double() - points.double().mean(0)
    wide = centred.shape[1] > centred.shape[0]
    values = torch.linalg.eigvalsh(centred @ centred.T if wide else centred.T @ centred).clamp_min(0)
    total = values.sum()
    if not total > 0:
        return 1.0
    shares = values / total
    return float((-(shares * shares.clamp_min(1e-300).log()).sum()).exp())


def signal(loss: Loss, real: Tensor, fake: Tensor) -> float:
    """The mean absolute derivative of the generator's loss with respect to each fake logit.

    At equilibrium it is 0.5 for losses with a logarithm, 1 for Wasserstein and hinge. It approaches 0 where the
    discriminator is so confident that the loss saturates.
    """
    with torch.enable_grad():
        logits = fake.detach().cpu().double().requires_grad_()  # not every device supports float64
        total = loss.generator(real.detach().cpu().double() if loss.relative else None, logits).sum()
        (slopes,) = torch.autograd.grad(total, logits)
    return float(slopes.abs().mean())


class FreshCritic:
    """A critic that is fitted in closed form: ridge regression on samples and random Fourier features.

    It is a lower bound for what a trained discriminator should separate. Source: Rahimi and Recht 2007.
    """

    def __init__(self, reals: Tensor) -> None:
        """Scale the features to flat real samples [n, d]."""
        generator = torch.Generator().manual_seed(0)
        self.middle, self.scale = reals.mean(0), float(reals.std(0).square().mean().sqrt()) or 1.0
        width = max(float(distances(reals, reals).flatten().median()), 1e-12) / self.scale
        self.directions = torch.randn(reals.shape[1], FOURIER, generator=generator) / width
        self.phases = torch.rand(FOURIER, generator=generator) * 2 * torch.pi

    def features(self, points: Tensor) -> Tensor:
        points = (points - self.middle) / self.scale
        waves = (points @ self.directions + self.phases).cos() * (2 / FOURIER) ** 0.5
        return torch.cat([waves, points / max(1.0, points.shape[1] ** 0.5)], 1)

    def auc(self, reals: Tensor, fakes: Tensor) -> float:
        """Fit the critic to the first half of both sets [n, d]; its AUC on the second half."""
        half = min(len(reals), len(fakes)) // 2
        known = self.features(torch.cat([reals[:half], fakes[:half]])).double()
        targets = torch.cat([torch.ones(half), -torch.ones(half)]).double()
        ridge = RIDGE * torch.eye(len(known), dtype=torch.float64)
        weights = known.T @ torch.linalg.solve(known @ known.T + ridge, targets)
        scores = [self.features(points[half : 2 * half]).double() @ weights for points in (reals, fakes)]
        return ranking(*scores)


class Clusters:
    """Clusters of real samples [n, d] by k-means, which stand for the modes of the data."""

    def __init__(self, reals: Tensor) -> None:
        from sklearn.cluster import KMeans

        count = max(2, min(CLUSTERS, len(reals) // 20))
        means = KMeans(count, n_init=1, random_state=0).fit(reals.numpy())
        self.centres = torch.from_numpy(means.cluster_centers_).float()
        self.shares = torch.bincount(torch.from_numpy(means.labels_).long(), minlength=count).double() / len(reals)

    def counts(self, points: Tensor) -> Tensor:
        """The number of points [n, d] in each cluster, int64 [clusters]."""
        return torch.bincount(distances(points, self.centres).argmin(1), minlength=len(self.centres))

    def covered(self, counts: Tensor) -> float:
        """The share of clusters with at least a quarter of the points that a sample of the data would have there."""
        expected = self.shares * counts.sum()
        return float((counts >= LEAST_SHARE * expected).double().mean())
