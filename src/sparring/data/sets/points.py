"""Sets of points in the plane: 50,000 training points, the same in every run, and 50,000 different test points."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sparring.data.samples import Data, Mixture, Split, point_data

COUNT = 50_000


def _rng(split: Split) -> torch.Generator:
    return torch.Generator().manual_seed(0 if split == "train" else 1)


def _mixture(name: str, centres: Tensor, deviation: float, split: Split) -> Data:
    rng = _rng(split)
    labels = torch.randint(len(centres), (COUNT,), generator=rng)
    points = centres[labels] + deviation * torch.randn(COUNT, 2, generator=rng)
    classes = tuple(f"mode {i}" for i in range(len(centres)))
    return point_data(name, points, labels, classes, Mixture(centres, deviation))


def load_ring(split: Split = "train") -> Data:
    """8 Gaussians of standard deviation 0.02 on a circle of radius 2. Source: Metz et al. 2017, section 3.1."""
    angle = torch.arange(8) * (2 * math.pi / 8)
    return _mixture("ring", 2 * torch.stack([angle.cos(), angle.sin()], 1), 0.02, split)


def load_grid(split: Split = "train") -> Data:
    """25 Gaussians of standard deviation 0.05 on a 5x5 grid, spacing 2. Source: Srivastava et al. 2017, section 4.1."""
    axis = torch.arange(-4.0, 5.0, 2.0)
    return _mixture("grid", torch.cartesian_prod(axis, axis), 0.05, split)


def load_spiral(split: Split = "train") -> Data:
    """A spiral of two turns with Gaussian noise of standard deviation 0.03."""
    rng = _rng(split)
    turn = torch.rand(COUNT, generator=rng).sqrt() * 4 * math.pi
    points = torch.stack([turn.cos(), turn.sin()], 1) * (turn / (2 * math.pi))[:, None]
    return point_data("spiral", points + 0.03 * torch.randn(COUNT, 2, generator=rng))


def load_moons(split: Split = "train") -> Data:
    """Two interleaved half circles with Gaussian noise of standard deviation 0.05."""
    rng = _rng(split)
    labels = torch.randint(2, (COUNT,), generator=rng)
    angle = torch.rand(COUNT, generator=rng) * math.pi
    upper = torch.stack([angle.cos(), angle.sin()], 1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], 1)
    points = torch.where(labels[:, None] == 0, upper, lower) + 0.05 * torch.randn(COUNT, 2, generator=rng)
    return point_data("moons", points, labels, ("upper", "lower"))


def load_checkerboard(split: Split = "train") -> Data:
    """A uniform distribution over 8 fields of a 4x4 checkerboard."""
    rng = _rng(split)
    labels = torch.randint(8, (COUNT,), generator=rng)
    row = labels // 2
    corner = torch.stack([2 * (labels % 2) + row % 2, row], 1) - 2.0
    points = corner + torch.rand(COUNT, 2, generator=rng)
    return point_data("checkerboard", points, labels, tuple(f"field {i}" for i in range(8)))


POINT_SETS: dict[str, Callable[[Split], Data]] = {
    "ring": load_ring,
    "grid": load_grid,
    "spiral": load_spiral,
    "moons": load_moons,
    "checkerboard": load_checkerboard,
}
