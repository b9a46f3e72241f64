"""Losses against values computed by hand, and their gradients against finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sparring.base.errors import UserError
from sparring.game import losses
from sparring.game.losses import (
    Hinge,
    LeastSquares,
    Loss,
    Minimax,
    NonSaturating,
    RelativisticAverage,
    RelativisticPairing,
    TopK,
    Wasserstein,
    equilibrium,
)
from sparring.game.schedules import Linear, at

R = torch.tensor([-5, 1.4, 12.5, 2.7], dtype=torch.float64)
F = torch.tensor([10, 4.4, -5.5, 3.6], dtype=torch.float64)

# loss, discriminator(R, F).mean(), generator(R, F).mean()
EXPECTED = [
    (Minimax(), 5.83387, -4.51082),
    (Minimax(smoothing=0.25), 6.19637, -4.51082),
    (NonSaturating(), 5.83387, 1.38582),
    (NonSaturating(smoothing=0.25), 6.19637, 1.38582),
    (LeastSquares(), 41.73375, 17.69625),
    (Wasserstein(), 0.225, -3.125),
    (Hinge(), 6.75, -3.125),
    # softplus of F - R = [15, 3, -18, 0.9], and of its negative
    (RelativisticPairing(), (15 + 3.0485873 + 1.523e-8 + 1.2411539) / 4, (3.06e-7 + 0.0485873 + 18 + 0.3411539) / 4),
]
ALL = [at(getattr(losses, name)(), 0.5) for name in losses.__all__]


def name_of(case: object) -> str:
    return repr(case) if not isinstance(case, float) else ""


@pytest.mark.parametrize(("loss", "of_discriminator", "of_generator"), EXPECTED, ids=name_of)
def test_value(loss: Loss, of_discriminator: float, of_generator: float) -> None:
    assert loss.discriminator(R, F).mean().item() == pytest.approx(of_discriminator, rel=2e-6)
    assert loss.generator(R, F).mean().item() == pytest.approx(of_generator, rel=2e-6)


def test_relativistic_average_is_the_cross_entropy_against_the_other_sides_mean() -> None:
    real, fake = R - F.mean(), F - R.mean()
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    ones, zeros = torch.ones_like(R), torch.zeros_like(R)
    loss = RelativisticAverage()
    assert loss.discriminator(R, F).mean() == pytest.approx((bce(real, ones) + bce(fake, zeros)).item())
    assert loss.generator(R, F).mean() == pytest.approx((bce(real, zeros) + bce(fake, ones)).item())


@pytest.mark.parametrize(
    ("loss", "of_discriminator", "of_generator"),
    [
        (Minimax(), 1.386294, -0.693147),
        (NonSaturating(), 1.386294, 0.693147),
        (Hinge(), 2.0, 0.0),
        (Wasserstein(), 0.0, 0.0),
        (RelativisticPairing(), 0.693147, 0.693147),
        (RelativisticAverage(), 1.386294, 1.386294),
        (LeastSquares(), 0.25, 0.125),
    ],
    ids=name_of,
)
def test_equilibrium(loss: Loss, of_discriminator: float, of_generator: float) -> None:
    assert equilibrium(loss) == pytest.approx((of_discriminator, of_generator), abs=1e-6)


@pytest.mark.parametrize("loss", [Minimax(), NonSaturating(smoothing=0.25), LeastSquares(), Hinge()], ids=repr)
def test_undecided_is_the_best_single_logit_for_equal_distributions(loss: Loss) -> None:
    logits = torch.linspace(-2, 2, 4001, dtype=torch.float64)
    values = loss.discriminator(logits, logits)
    assert loss.undecided is not None
    at_undecided = loss.discriminator(*[torch.tensor(loss.undecided, dtype=torch.float64)] * 2)
    assert at_undecided.item() == pytest.approx(values.min().item(), abs=1e-6)


@pytest.mark.parametrize("loss", ALL, ids=repr)
@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 1, 2, 3)])
def test_one_value_per_logit_of_any_shape(loss: Loss, shape: tuple[int, ...]) -> None:
    real, fake = torch.randn(shape), torch.randn(shape)
    assert loss.discriminator(real, fake).shape == shape
    assert loss.generator(real, fake).shape == shape
    if not loss.relative:
        assert torch.equal(loss.generator(None, fake), loss.generator(real, fake))


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_gradient(loss: Loss) -> None:
    real = torch.tensor([-3.0, 0.2, 2.5], dtype=torch.float64, requires_grad=True)
    fake = torch.tensor([1.7, -0.4, -2.1], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss.discriminator, (real, fake))
    assert torch.autograd.gradcheck(loss.generator, (real, fake))


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_huge_logits_give_finite_values_and_gradients(loss: Loss) -> None:
    real = torch.tensor([1e4, -1e4], requires_grad=True)
    fake = torch.tensor([-1e4, 1e4], requires_grad=True)
    total: Tensor = loss.discriminator(real, fake).sum() + loss.generator(real, fake).sum()
    total.backward()
    assert math.isfinite(total.item())
    assert fake.grad is not None
    assert fake.grad.isfinite().all()


def test_minimax_saturates_and_the_non_saturating_loss_does_not() -> None:
    fake = torch.tensor([-12.0], dtype=torch.float64, requires_grad=True)  # D recognises the fake
    (saturated,) = torch.autograd.grad(Minimax().generator(None, fake).sum(), fake)
    (modified,) = torch.autograd.grad(NonSaturating().generator(None, fake).sum(), fake)
    assert abs(saturated.item()) == pytest.approx(1 / (1 + math.exp(12)))
    assert modified.item() == pytest.approx(-1 / (1 + math.exp(-12)))


@pytest.mark.parametrize("loss", [RelativisticPairing(), RelativisticAverage()], ids=repr)
def test_a_relative_loss_needs_the_real_logits(loss: Loss) -> None:
    with pytest.raises(ValueError, match="real logits"):
        loss.generator(None, F)


def test_top_k_uses_only_the_best_samples_for_the_generator() -> None:
    loss = TopK(loss=Wasserstein(), share=0.5)
    values = loss.generator(None, F)  # the highest logits are 10 and 4.4
    assert values.tolist() == [-20, -8.8, 0, 0]
    assert values.mean().item() == pytest.approx(-(10 + 4.4) / 2)
    assert torch.equal(loss.discriminator(R, F), Wasserstein().discriminator(R, F))
    assert torch.equal(TopK(loss=Hinge(), share=1).generator(None, F), Hinge().generator(None, F))


def test_top_k_selects_samples_by_the_mean_over_patches() -> None:
    logits = torch.tensor([[1.0, 1.0], [9.0, -9.0], [2.0, 2.0]])  # means 1, 0, 2
    values = TopK(loss=Wasserstein(), share=0.34).generator(None, logits)
    assert values.tolist() == [[0, 0], [0, 0], [-6, -6]]


def test_the_share_falls_over_the_run() -> None:
    loss = TopK(loss=Hinge(), share=Linear(1, 0.5))
    assert [at(loss, progress).share for progress in (0, 0.5, 1)] == [1, 0.75, 0.5]
    assert at(loss, 1).generator(None, F).count_nonzero() == 2
    assert at(Hinge(), 0.3) == Hinge()


@pytest.mark.parametrize(
    "fields", [{"loss": TopK()}, {"loss": 3}, {"share": 0}, {"share": 1.5}, {"share": Linear(1, 2)}]
)
def test_top_k_rejects_wrong_fields(fields: dict[str, object]) -> None:
    with pytest.raises(UserError, match="TopK: "):
        TopK(**fields)  # type: ignore[arg-type]
