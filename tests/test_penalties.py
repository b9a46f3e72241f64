"""Penalties against closed forms, per sample, and their gradients against finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sparring.game.augment import InstanceNoise
from sparring.game.match import Match
from sparring.game.penalties import R1, R2, GradientPenalty, WeightClip
from sparring.game.penalties.base import Penalty
from sparring.game.penalties.slopes import differentiable
from sparring.game.schedules import Linear

GRADIENT_PENALTIES = [R1(), R2(), GradientPenalty()]


def linear(images: Tensor, condition: Tensor | None = None) -> Tensor:
    """D(x) = 3 x1 + 4 x2: its gradient is (3, 4), of norm 5, everywhere."""
    return images @ images.new_tensor([3.0, 4.0])


def match_of(critic: object, real: Tensor, fake: Tensor) -> Match:
    return Match(critic, differentiable(real), differentiable(fake))  # type: ignore[arg-type]


@pytest.mark.parametrize(("penalty", "expected"), [(R1(), 12.5), (R2(), 12.5), (GradientPenalty(), 16.0)], ids=repr)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_linear_critic(penalty: Penalty, expected: float, count: int) -> None:
    values = penalty(match_of(linear, torch.randn(count, 2), torch.randn(count, 2)))
    torch.testing.assert_close(values, torch.full((count,), expected))


@pytest.mark.parametrize("penalty", [R1(), R2(), GradientPenalty(target=0)], ids=repr)
def test_patches_without_overlap_are_averaged_like_samples(penalty: Penalty) -> None:
    def square(images: Tensor, condition: Tensor | None = None) -> Tensor:
        return (images.square() / 2).sum(1)

    def critic(images: Tensor, condition: Tensor | None = None) -> Tensor:
        return torch.stack([square(images[:, 2 * i : 2 * i + 2]) for i in range(3)], 1)

    real = torch.randn(5, 6)
    whole = penalty(match_of(critic, real, real))
    each = [penalty(match_of(square, part, part)) for part in real.split(2, 1)]
    torch.testing.assert_close(whole, torch.stack(each).mean(0))


def test_r1_of_weight_10_is_125() -> None:
    penalty = R1(weight=10)
    values = penalty(match_of(linear, torch.randn(5, 2), torch.randn(5, 2)))
    assert penalty.weight * values.mean().item() == pytest.approx(125)  # type: ignore[operator]


def test_a_target_of_zero() -> None:
    values = GradientPenalty(target=0)(match_of(linear, torch.randn(3, 2), torch.randn(3, 2)))
    torch.testing.assert_close(values, torch.full((3,), 25.0))


@pytest.mark.parametrize("penalty", GRADIENT_PENALTIES, ids=repr)
def test_quadratic_critic_shows_where_the_gradient_is_computed(penalty: Penalty) -> None:
    def critic(images: Tensor, condition: Tensor | None) -> Tensor:
        return images.square().flatten(1).sum(1) / 2  # gradient x

    real, fake = torch.randn(6, 1, 4, 4, dtype=torch.float64), torch.randn(6, 1, 4, 4, dtype=torch.float64)
    torch.manual_seed(3)
    values = penalty(match_of(critic, real, fake))
    torch.manual_seed(3)
    share = torch.rand(6, 1, 1, 1, dtype=torch.float64)
    expected = {
        R1: real.square().flatten(1).sum(1) / 2,
        R2: fake.square().flatten(1).sum(1) / 2,
        GradientPenalty: ((real + share * (fake - real)).flatten(1).norm(dim=1) - 1).square(),
    }[type(penalty)]
    torch.testing.assert_close(values, expected)


@pytest.mark.parametrize("penalty", GRADIENT_PENALTIES, ids=repr)
def test_the_value_of_a_sample_is_independent_of_the_batch(penalty: Penalty) -> None:
    critic = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Softplus(), nn.Linear(8, 1), nn.Flatten(0)).double()
    real, fake = torch.randn(5, 3, 2, 2).double(), torch.randn(5, 3, 2, 2).double()

    def values(rows: slice) -> Tensor:
        torch.manual_seed(0)
        shares = torch.rand(5, 1, 1, 1, dtype=torch.float64)[rows]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "rand", lambda *size, **options: shares)
            return penalty(match_of(lambda x, c: critic(x), real[rows], fake[rows]))

    torch.testing.assert_close(values(slice(0, 5)), torch.cat([values(slice(i, i + 1)) for i in range(5)]))


@pytest.mark.parametrize("penalty", GRADIENT_PENALTIES, ids=repr)
def test_gradient_with_respect_to_the_weights(penalty: Penalty) -> None:
    real, fake = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)

    def of_weights(first: Tensor, second: Tensor) -> Tensor:
        torch.manual_seed(0)
        return penalty(match_of(lambda x, c: torch.tanh(x @ first) @ second, real, fake))

    first = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    second = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(of_weights, (first, second))


def test_a_flat_critic_has_a_finite_gradient() -> None:
    weight = torch.zeros(2, requires_grad=True)
    match = match_of(lambda x, c: x @ weight, torch.randn(4, 2), torch.randn(4, 2))
    GradientPenalty()(match).sum().backward()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


def test_weight_clip() -> None:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[5.0, -5.0], [0.001, -0.002]]))
    WeightClip(limit=0.01).project(layer)
    torch.testing.assert_close(layer.weight.detach(), torch.tensor([[0.01, -0.01], [0.001, -0.002]]))


def test_instance_noise_follows_its_schedule() -> None:
    noise = InstanceNoise(sigma=Linear(start=0.5, end=0.0))
    torch.manual_seed(0)
    images = torch.zeros(200_000)
    assert noise(images, 0.0).std().item() == pytest.approx(0.5, rel=0.02)
    assert noise(images, 0.5).std().item() == pytest.approx(0.25, rel=0.02)
    assert torch.equal(noise(images, 1.0), images)
