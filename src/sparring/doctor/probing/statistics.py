"""What a look at a training measures: pure functions of samples and logits, each with its value where all is well.

Samples are compared as `seen`: flat, images shrunk to at most 16 pixels a side, so that a look costs little whatever
the size. Ratios are to what equally many real samples give, so no number needs a threshold for each data set.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.game.losses import Loss
from sparring.metrics.neighbours import distances
from sparring.metrics.ranking import ranking

SIDE = 16
BINS = 20
LEAST_SHARE = 0.25  # of a bin's share of the reals, below which it counts as empty
FOURIER = 200  # random features of the fresh critic
RIDGE = 1.0


def seen(samples: Tensor) -> Tensor:
    """Samples [n, ...] as they are compared: float32 [n, d] on the CPU."""
    samples = samples.detach().float()
    if samples.dim() == 4 and max(samples.shape[2:]) > SIDE:
        height, width = samples.shape[2:]
        samples = F.adaptive_avg_pool2d(samples, (min(SIDE, height), min(SIDE, width)))
    return samples.flatten(1).cpu()


def spread(points: Tensor) -> float:
    """The mean distance between two different samples, [n, d]."""
    count = len(points)
    return float(distances(points, points).sum() / max(1, count * (count - 1)))


def effective_rank(points: Tensor) -> float:
    """How many directions the samples [n, d] spread in: exp of the entropy of the covariance's eigenvalues' shares.

    1 for samples on a line, and for equal ones; d for a round cloud. Source: Roy and Vetterli 2007.
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
    """The mean size of the slope of G's loss at each fake logit, all that G can learn by. At equilibrium 0.5 for the
    losses with a logarithm, 1 for Wasserstein and hinge; towards 0 where D is so sure that the loss saturates."""
    with torch.enable_grad():
        logits = fake.detach().cpu().double().requires_grad_()  # not every device knows float64
        total = loss.generator(real.detach().cpu().double() if loss.relative else None, logits).sum()
        (slopes,) = torch.autograd.grad(total, logits)
    return float(slopes.abs().mean())


class FreshCritic:
    """A discriminator that is solved for, not trained: ridge regression on samples and random Fourier features (Rahimi
    and Recht 2007). It sees what the run's discriminator should have learnt long ago."""

    def __init__(self, reals: Tensor) -> None:
        """From seen samples [n, d], whose scale sets that of the features."""
        generator = torch.Generator().manual_seed(0)
        self.middle, self.scale = reals.mean(0), float(reals.std(0).square().mean().sqrt()) or 1.0
        width = max(float(distances(reals, reals).flatten().median()), 1e-12) / self.scale
        self.directions = torch.randn(reals.shape[1], FOURIER, generator=generator) / width
        self.phases = torch.rand(FOURIER, generator=generator) * 2 * torch.pi

    def features(self, points: Tensor) -> Tensor:
        points = (points - self.middle) / self.scale
        waves = (points @ self.directions + self.phases).cos() * (2 / FOURIER) ** 0.5
        return torch.cat([waves, points / max(1.0, points.shape[1] ** 0.5)], 1)

    def area(self, reals: Tensor, fakes: Tensor) -> float:
        """How well it tells reals from fakes that it was not fitted to: half of each is for fitting."""
        half = min(len(reals), len(fakes)) // 2
        known = self.features(torch.cat([reals[:half], fakes[:half]])).double()
        wanted = torch.cat([torch.ones(half), -torch.ones(half)]).double()
        strength = RIDGE * torch.eye(len(known), dtype=torch.float64)
        weights = known.T @ torch.linalg.solve(known @ known.T + strength, wanted)
        judged = [self.features(points[half : 2 * half]).double() @ weights for points in (reals, fakes)]
        return ranking(*judged)


class Cells:
    """Cells of the data's space, by k-means of real samples: which of them do fakes fall into?"""

    def __init__(self, reals: Tensor) -> None:
        from sklearn.cluster import KMeans

        count = max(2, min(BINS, len(reals) // 20))
        means = KMeans(count, n_init=1, random_state=0).fit(reals.numpy())
        self.centres = torch.from_numpy(means.cluster_centers_).float()
        self.shares = torch.bincount(torch.from_numpy(means.labels_).long(), minlength=count).double() / len(reals)

    def counts(self, points: Tensor) -> Tensor:
        """int64 [cells]: how many of the points fall into each."""
        return torch.bincount(distances(points, self.centres).argmin(1), minlength=len(self.centres))

    def filled(self, counts: Tensor) -> float:
        """The share of the cells that hold at least a quarter of their due."""
        due = self.shares * counts.sum()
        return float((counts >= LEAST_SHARE * due).double().mean())
