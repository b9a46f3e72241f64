"""Smoothness of a generator: how much samples change along paths between latents."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from sparring.metrics.distribution import Estimate


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical interpolation from latents a to b [n, d] at t [n, 1] in [0, 1]. Source: White 2016."""
    lengths = [v.norm(dim=1, keepdim=True) for v in (a, b)]
    angle = ((a / lengths[0]) * (b / lengths[1])).sum(1, keepdim=True).clamp(-1, 1).acos().clamp(min=1e-7)
    between: Tensor = (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()
    return between


def path_length(
    describe: Callable[[Tensor], Tensor],
    starts: Tensor,
    ends: Tensor,
    places: Tensor,
    epsilon: float = 1e-4,
    between: Callable[[Tensor, Tensor, Tensor], Tensor] = slerp,
) -> Estimate:
    """Perceptual path length: E |f(z at t + epsilon) - f(z at t)|^2 / epsilon^2.

    Source: Karras et al. 2019, section 4.1, which uses the features of a VGG16.

    Args:
        describe: maps latents [n, d] to the features of their images [n, k].
        starts: latents [n, d] where the paths begin.
        ends: latents [n, d] where they end.
        places: position t of each pair on its path [n, 1], in [0, 1).
        epsilon: distance of a pair's two positions.
        between: interpolation: `slerp` for normal latents, `torch.lerp` for uniform ones.

    Returns:
        The mean and its standard error; lower is smoother.
    """
    features = [describe(between(starts, ends, places + shift)) for shift in (0.0, epsilon)]
    lengths = (features[1] - features[0]).double().square().sum(1) / epsilon**2
    return Estimate(lengths.mean().item(), (lengths.std() / len(lengths) ** 0.5).item())
