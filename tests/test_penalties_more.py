"""Penalties on logits, classes, codes and weights, against values computed by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparring.base.errors import UserError
from sparring.game.augment import DiffAugment
from sparring.game.condition import Condition
from sparring.game.inputs import Categorical, Continuous
from sparring.game.losses import Hinge
from sparring.game.match import Match
from sparring.game.penalties import (
    AuxiliaryClassifier,
    Consistency,
    Dragan,
    FeatureMatching,
    LeCam,
    MutualInformation,
    Orthogonal,
)
from sparring.game.schedules import Cosine
from sparring.networks.critic import CriticOutput

GENERATED_CLASSES = torch.tensor(
    [[10, 4.4, -5.5, 3.6], [-4, 4.4, 5.2, 4.6], [1.1, 2.4, -3.5, 5.6], [1.1, 2.4, -3.5, 5.6]]
)
REAL_CLASSES = torch.tensor(
    [[-2, 0.4, 12.5, 2.7], [-1.2, 1.9, 12.3, 2.6], [-2.4, -1.7, 2.5, 2.7], [1.1, 2.4, -3.5, 5.6]]
)
LABELS = Condition(label=torch.tensor([1, 2, 0, 0]))


def linear(images: Tensor, condition: Tensor | None = None) -> Tensor:
    """D(x) = 3 x1 + 4 x2: its gradient is (3, 4), of norm 5, everywhere."""
    return images @ images.new_tensor([3.0, 4.0])


def test_auxiliary_classifier() -> None:
    real, fake = torch.zeros(4, 1), torch.ones(4, 1)

    def critic(samples: Tensor, label: Tensor | None) -> CriticOutput:
        return CriticOutput(samples[:, 0], classes=GENERATED_CLASSES if samples.sum() else REAL_CLASSES)

    match = Match(critic, real, fake, LABELS, LABELS)
    assert AuxiliaryClassifier()(match, "generator").mean().item() == pytest.approx(3.84974, rel=2e-6)
    assert AuxiliaryClassifier()(match, "discriminator").mean().item() == pytest.approx(9.43950, rel=2e-6)
    with pytest.raises(UserError, match="condition='classifier'"):
        AuxiliaryClassifier()(Match(linear, torch.zeros(4, 2), torch.zeros(4, 2), LABELS, LABELS))


def test_dragan_is_computed_near_each_real_sample() -> None:
    def quadratic(samples: Tensor, condition: Tensor | None) -> Tensor:
        return samples.square().sum(1) / 2  # its gradient at x is x

    real = 5 * torch.randn(6, 3, dtype=torch.float64)
    match = Match(quadratic, real, real + 100)
    torch.manual_seed(1)
    values = Dragan(sigma=0.3, target=2)(match)
    torch.manual_seed(1)
    near = real + 0.3 * torch.randn_like(real)
    torch.testing.assert_close(values, (near.norm(dim=1) - 2).square())
    assert Dragan()(Match(linear, torch.randn(7, 2), torch.zeros(7, 2))).tolist() == pytest.approx([16.0] * 7)


def test_dragan_has_the_right_gradient() -> None:
    real = torch.randn(3, 4, dtype=torch.float64)

    def of_weights(first: Tensor, second: Tensor) -> Tensor:
        torch.manual_seed(0)
        return Dragan()(Match(lambda x, c: torch.tanh(x @ first) @ second, real, real))

    first = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(of_weights, (first, torch.randn(5, dtype=torch.float64, requires_grad=True)))


def test_lecam_by_hand() -> None:
    penalty = LeCam(decay=0.75)
    real, fake = torch.tensor([2.0, 4.0]), torch.tensor([-1.0, 1.0])
    match = Match(lambda x, c: x[:, 0], real[:, None], fake[:, None])
    assert penalty(match).tolist() == [0, 0], "0 before the first turn"
    penalty.observe({"": (torch.tensor([1.0, 3.0]), torch.tensor([-2.0, 0.0]))}, Hinge(), 2)  # means 2 and -1
    assert penalty(match).tolist() == [(2 + 1) ** 2 + (-1 - 2) ** 2, (4 + 1) ** 2 + (1 - 2) ** 2]
    penalty.observe({"": (torch.tensor([6.0]), torch.tensor([3.0]))}, Hinge(), 1)
    averages = {name: penalty.memory[name].item() for name in ("real/", "fake/")}
    assert averages == {"real/": 0.75 * 2 + 0.25 * 6, "fake/": 0.75 * -1 + 0.25 * 3}
    assert LeCam().memory is not penalty.memory
    assert repr(penalty) == "LeCam(weight=0.3, every=1, decay=0.75)"


def test_lecam_resumes_from_the_single_pair_of_an_older_checkpoint() -> None:
    penalty, old = LeCam(decay=0.75), {"real": 2.0, "fake": -1.0, "turns": 8.0}
    assert penalty.memory.keys() <= old.keys(), "older checkpoints hold all that is required"
    penalty.memory.update({name: torch.tensor(number) for name, number in old.items()})
    match = Match(lambda x, c: x[:, 0], torch.tensor([[1.0]]), torch.tensor([[0.0]]), name="first")
    for name in ("first", "second"):
        assert penalty(replace(match, name=name)).tolist() == [(1 + 1) ** 2 + (0 - 2) ** 2]
    logits = {
        "first": (torch.tensor([4.0]), torch.tensor([3.0])),
        "second": (torch.tensor([-2.0]), torch.tensor([5.0])),
    }
    penalty.observe(logits, Hinge(), 1)
    assert {name: value.item() for name, value in penalty.memory.items()} == {
        "turns": 9,
        "real/first": 0.75 * 2 + 0.25 * 4,
        "fake/first": 0.75 * -1 + 0.25 * 3,
        "real/second": 0.75 * 2 + 0.25 * -2,
        "fake/second": 0.75 * -1 + 0.25 * 5,
    }


def test_consistency_by_hand() -> None:
    class Doubled:
        def __call__(self, images: Tensor, progress: float) -> Tensor:
            return 2 * images

    real, fake = torch.tensor([[1.0], [3.0]]), torch.tensor([[-2.0], [0.5]])
    match = Match(lambda x, c: x[:, 0], real, fake)
    assert Consistency(augment=Doubled(), fakes=False)(match).tolist() == [1, 9]  # (x - 2 x)^2
    assert Consistency(augment=Doubled())(match).tolist() == [1 + 4, 9 + 0.25]


def test_consistency_augments_a_source_with_its_image() -> None:
    def alignment(images: Tensor, source: Tensor | None) -> Tensor:
        assert source is not None
        return (images - source).flatten(1).abs().amax(1)

    images = torch.rand(8, 1, 16, 16)
    match = Match(alignment, images, images, Condition(image=images), Condition(image=images))
    for augment in (DiffAugment(color=False, cutout=0.0), DiffAugment(color=False)):
        assert Consistency(augment=augment)(match).tolist() == [0] * 8, "an aligned pair stays aligned"
    labels = Condition(label=torch.arange(8))
    labelled = Match(lambda x, label: x.flatten(1).mean(1) + label, images, images, labels, labels)
    assert Consistency()(labelled).shape == (8,)


def test_consistency_follows_its_augmentations_schedule() -> None:
    class Scaled:
        def __call__(self, images: Tensor, progress: float) -> Tensor:
            return (1 + progress) * images

    match = Match(lambda x, c: x[:, 0], torch.ones(2, 1), torch.ones(2, 1), progress=0.5)
    assert Consistency(augment=Scaled(), fakes=False)(match).tolist() == [0.25, 0.25]


def test_consistency_does_not_reach_the_generator() -> None:
    weight = torch.ones(1, requires_grad=True)
    made = torch.tensor([[1.0], [2.0]], requires_grad=True)
    match = Match(lambda x, c: (x * weight)[:, 0], torch.ones(2, 1), made.detach())
    Consistency()(Match(match.critic, torch.ones(2, 1, 8, 8), torch.ones(2, 1, 8, 8))).sum().backward()
    assert made.grad is None
    assert weight.grad is not None


def test_feature_matching_by_hand() -> None:
    def critic(samples: Tensor, condition: Tensor | None) -> CriticOutput:
        return CriticOutput(samples[:, 0], features=samples)

    real, fake = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0], [2.0, 2.0]], requires_grad=True)
    value = FeatureMatching()(Match(critic, real, fake))
    assert value.tolist() == [(2 - 1) ** 2 + (3 - 1) ** 2]
    value.sum().backward()
    assert fake.grad is not None
    assert fake.grad.tolist() == [[-1, -2], [-1, -2]]  # -2 (mean difference) / n
    with pytest.raises(UserError, match="outputs its features"):
        FeatureMatching()(Match(linear, torch.zeros(4, 2), torch.zeros(4, 2)))


def test_mutual_information_by_hand() -> None:
    output = torch.tensor([[0.0, math.log(3), 0.5], [2.0, 2.0, -1.0]])
    codes = (Categorical(2), Continuous(1, weight=0.1))
    code = torch.tensor([[0.0, 1.0, 0.1], [1.0, 0.0, 0.0]])
    match = Match(
        lambda x, c: CriticOutput(x[:, 0], codes=output), torch.zeros(2, 1), torch.zeros(2, 1), codes=codes, code=code
    )
    expected = [math.log(4 / 3) + 0.1 * 0.16 / 2, math.log(2) + 0.1 * 1 / 2]
    assert MutualInformation()(match, "generator").tolist() == pytest.approx(expected)
    assert MutualInformation()(match, "discriminator").tolist() == pytest.approx(expected)
    with pytest.raises(UserError, match="MutualInformation needs codes"):
        MutualInformation()(Match(linear, torch.zeros(4, 2), torch.zeros(4, 2)))


def test_mutual_information_of_a_uniform_and_of_a_correct_prediction() -> None:
    code = Categorical(10)(200)
    assert Categorical(10).surprise(torch.zeros(200, 10), code).tolist() == pytest.approx([math.log(10)] * 200)
    assert Categorical(10).surprise(50 * code, code).max().item() < 1e-6


@pytest.mark.parametrize("code", [Categorical(4), Continuous(3)], ids=repr)
def test_codes(code: Categorical | Continuous) -> None:
    values = code(20_000, torch.Generator().manual_seed(0))
    assert values.shape == (20_000, code.width)
    if isinstance(code, Categorical):
        assert values.sum(1).tolist() == [1] * 20_000
        assert values.mean(0).tolist() == pytest.approx([0.25] * 4, abs=0.015)  # 5 standard errors
    else:
        assert values.abs().max() <= 1
        assert values.mean(0).tolist() == pytest.approx([0] * 3, abs=0.021)
    parameters = torch.randn(5, code.parameters, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: code.surprise(p, values[:5].double()), (parameters,))


def test_orthogonal_by_hand() -> None:
    layer = nn.Linear(2, 2)
    convolution = nn.Conv2d(1, 2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))  # product of its rows 11
        convolution.weight.copy_(torch.tensor([[1.0, 0, 0, 2], [5, 9, 9, 1]]).view(2, 1, 2, 2))  # 7
    network = nn.Sequential(layer, nn.BatchNorm1d(2), convolution)
    assert Orthogonal()(network).item() == pytest.approx(2 * 11**2 + 2 * 7**2)
    orthogonal = nn.Linear(3, 3)
    nn.init.orthogonal_(orthogonal.weight, gain=7)
    assert Orthogonal()(orthogonal).item() == pytest.approx(0, abs=1e-6 * 49**2)


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_orthogonal_compares_rows_of_the_same_group(kind: Any) -> None:
    torch.manual_seed(0)
    grouped, parts = kind(4, 6, 3, groups=2), [kind(2, 3, 3), kind(2, 3, 3)]
    with torch.no_grad():
        for part, weight in zip(parts, grouped.weight.chunk(2)):
            part.weight.copy_(weight)
    torch.testing.assert_close(Orthogonal()(grouped), Orthogonal()(nn.Sequential(*parts)))


def test_orthogonal_uses_the_outputs_of_a_transposed_convolution_as_rows() -> None:
    layer = nn.ConvTranspose2d(1, 2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([3.0, 5.0]).view(1, 2, 1, 1))
    assert Orthogonal()(layer).item() == pytest.approx(2 * 15**2)


@pytest.mark.parametrize("penalty", [LeCam, Consistency, FeatureMatching, MutualInformation, Orthogonal, Dragan])
def test_weights_are_checked(penalty: type) -> None:
    assert penalty(weight=Cosine(2, 1)).weight(0) == 2
    for fields in ({"weight": -1}, {"every": 0}):
        with pytest.raises(UserError, match=f"{penalty.__name__}: "):
            penalty(**fields)
