"""Networks: shapes, the lecture's layers, and gradients of every parameter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sparring import networks
from sparring.base.errors import UserError
from sparring.networks import DCGANDiscriminator, DCGANGenerator, MLPDiscriminator, MLPGenerator, PatchDiscriminator
from sparring.networks.images import ImageGenerator
from sparring.networks.layers import halvings

SHAPES = [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 32), (3, 50, 37), (1, 9, 31)]
GENERATORS: list[Any] = [MLPGenerator, DCGANGenerator]
DISCRIMINATORS: list[Any] = [MLPDiscriminator, DCGANDiscriminator]


def small(kind: Any) -> dict[str, Any]:
    return {"hidden": (12, 12)} if kind in (MLPGenerator, MLPDiscriminator) else {"width": 4}


# tested in other files
RESIDUAL = {"ResNetGenerator", "ResNetDiscriminator", "R3GANGenerator", "R3GANDiscriminator"}
IMAGES = {n for n in networks.__all__ if issubclass(getattr(networks, n), (ImageGenerator, PatchDiscriminator))}


def test_all_networks_are_covered() -> None:
    assert {kind.__name__ for kind in GENERATORS + DISCRIMINATORS} | RESIDUAL | IMAGES == set(networks.__all__)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", GENERATORS)
def test_generator(kind: Any, shape: tuple[int, ...]) -> None:
    network = kind(7, shape, **small(kind))
    samples = network(torch.randn(5, 7))
    assert samples.shape == (5, *shape)
    assert samples.abs().max() <= 1
    samples.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("options", [{"refine": 1}, {"refine": 1, "batch_norm": False}, {"most": 4}])
def test_options_of_the_convolutional_generator(options: dict[str, Any]) -> None:
    network = DCGANGenerator(7, (3, 16, 24), width=4, **options)
    samples = network(torch.randn(5, 7))
    assert samples.shape == (5, 3, 16, 24)
    samples.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_width_is_the_number_of_channels_before_the_last_layer() -> None:
    convolutions = [m for m in DCGANGenerator(7, (1, 32, 32), width=8, most=16).modules() if hasattr(m, "out_channels")]
    assert [m.in_channels for m in convolutions] == [16, 16, 8]
    assert convolutions[-1].out_channels == 1


@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", DISCRIMINATORS)
def test_discriminator(kind: Any, shape: tuple[int, ...], spectral_norm: bool) -> None:
    network = kind(shape, spectral_norm=spectral_norm, **small(kind))
    logits = network(torch.randn(5, *shape))
    assert logits.shape == (5,)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("kind", DISCRIMINATORS)
def test_discriminators_treat_samples_independently(kind: Any) -> None:
    network = kind((1, 8, 8), **small(kind))
    samples = torch.randn(5, 1, 8, 8)
    torch.testing.assert_close(network(samples), torch.cat([network(s[None]) for s in samples]))


def test_points() -> None:
    samples = MLPGenerator(4, (2,), hidden=(8,))(100 * torch.randn(64, 4))
    assert samples.shape == (64, 2)
    assert samples.abs().max() > 1  # no tanh
    assert MLPDiscriminator((2,), hidden=(8,))(samples).shape == (64,)


def test_the_lectures_networks() -> None:
    def layers(network: nn.Module) -> list[str]:
        return [type(m).__name__ + (f"({m.in_features}, {m.out_features})" if isinstance(m, nn.Linear) else "")
                for m in network.modules() if not list(m.children())]  # fmt: skip

    assert layers(MLPGenerator(100, (1, 28, 28))) == [
        *("Linear(100, 256)", "ReLU", "Linear(256, 512)", "ReLU", "Linear(512, 1024)", "ReLU"),
        *("Linear(1024, 784)", "Tanh"),
    ]
    discriminator = MLPDiscriminator((1, 28, 28))
    assert layers(discriminator) == [
        *("Flatten", "Linear(784, 1024)", "LeakyReLU", "Linear(1024, 512)", "LeakyReLU"),
        *("Linear(512, 256)", "LeakyReLU", "Linear(256, 1)"),
    ]
    assert {m.negative_slope for m in discriminator.modules() if isinstance(m, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize("kind", DISCRIMINATORS)
def test_spectral_norm_bounds_every_layer(kind: Any) -> None:
    network = kind((1, 8, 8), spectral_norm=True, **small(kind))
    for _ in range(50):  # power iterations
        network(torch.randn(2, 1, 8, 8))
    network.eval()
    weights = [m.weight for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    assert len(weights) > 1
    for weight in weights:
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((28, 28), [28, 14, 7]), ((8, 8), [8, 4]), ((64, 64), [64, 32, 16, 8, 4]), ((31, 31), [31, 15, 7])],
)
def test_halvings(size: tuple[int, int], expected: list[int]) -> None:
    assert [h for h, _ in halvings((3, *size))] == expected


@pytest.mark.parametrize("shape", [(1, 7, 28), (3, 64, 6)])
def test_too_small_for_convolutions(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="8x8 and up"):
        DCGANGenerator(4, shape)
    with pytest.raises(UserError, match="8x8 and up"):
        DCGANDiscriminator(shape)


def test_points_need_an_mlp() -> None:
    with pytest.raises(UserError, match="use an MLP"):
        DCGANGenerator(4, (2,))


@pytest.mark.parametrize("hidden", [(), (0,), "256", 256, (8, 2.5)])
def test_wrong_widths(hidden: Any) -> None:
    with pytest.raises(UserError, match="hidden"):
        MLPGenerator(4, (2,), hidden=hidden)
