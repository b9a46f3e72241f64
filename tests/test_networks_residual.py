"""Residual networks: any size, the papers' formulas, and the initialisation of deep networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from stirring import stirred
from torch import Tensor, nn

from sparring import networks
from sparring.base.components import make
from sparring.base.errors import UserError
from sparring.networks import R3GANDiscriminator, R3GANGenerator, ResNetDiscriminator, ResNetGenerator
from sparring.networks.attention import SelfAttention, nearest_level
from sparring.networks.layers import pooled
from sparring.networks.r3gan import (
    SLOPE,
    Downsample,
    ResidualBlock,
    Upsample,
    _border_factors,
    _downsampled_by_matrices,
    downsampled,
    upsampled,
)
from sparring.networks.resnet import DiscriminatorBlock, GeneratorBlock, discriminator_sizes

SMALL = [(1, 8, 8), (3, 8, 8), (1, 16, 16), (1, 28, 28), (3, 32, 32), (3, 50, 37), (1, 9, 31)]
LARGE = [(3, 64, 64), (1, 128, 96), (3, 256, 256)]
GENERATORS: list[Any] = [ResNetGenerator, R3GANGenerator]
DISCRIMINATORS: list[Any] = [ResNetDiscriminator, R3GANDiscriminator]
OF_GENERATORS: list[tuple[Any, dict[str, Any]]] = [
    (ResNetGenerator, {}),
    (ResNetGenerator, {"attention": 8, "spectral_norm": True}),
    (ResNetGenerator, {"classes": 3}),
    (ResNetGenerator, {"classes": 3, "condition": "concatenation"}),
    (R3GANGenerator, {"blocks": 1}),
    (R3GANGenerator, {"classes": 3, "group": 3}),
]
OF_DISCRIMINATORS: list[tuple[Any, dict[str, Any]]] = [
    *((kind, {"classes": 3, "condition": c}) for kind in DISCRIMINATORS for c in ("projection", "concatenation")),
    *((kind, {"classes": 3, "condition": "classifier", "codes": 2}) for kind in DISCRIMINATORS),
    (ResNetDiscriminator, {"attention": 8, "deviation": 2}),
    (ResNetDiscriminator, {"spectral_norm": False, "attention": 4}),
    (R3GANDiscriminator, {"blocks": 1, "group": 8}),
]


def all_have_gradients(network: nn.Module) -> bool:
    missing = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not missing
    return True


def labels_of(network: Any, count: int) -> Tensor | None:
    return (
        torch.arange(count) % 3 if getattr(network, "class_count", 0) or getattr(network, "embedding", None) else None
    )


@pytest.mark.parametrize("shape", SMALL)
@pytest.mark.parametrize("kind", GENERATORS)
def test_generators_of_any_size(kind: Any, shape: tuple[int, ...]) -> None:
    network = stirred(kind(7, shape, width=4, most=8))
    samples = network(torch.randn(5, 7))
    assert samples.shape == (5, *shape)
    samples.square().sum().backward()
    assert all_have_gradients(network)


@pytest.mark.parametrize("shape", SMALL)
@pytest.mark.parametrize("kind", DISCRIMINATORS)
def test_discriminators_take_any_size(kind: Any, shape: tuple[int, ...]) -> None:
    network = stirred(kind(shape, width=4, most=8))
    logits = network(torch.randn(5, *shape))
    assert logits.shape == (5,)
    logits.square().sum().backward()
    assert all_have_gradients(network)


@pytest.mark.parametrize("shape", LARGE)
@pytest.mark.parametrize("pair", list(zip(GENERATORS, DISCRIMINATORS)), ids=["ResNet", "R3GAN"])
def test_large_images(pair: Any, shape: tuple[int, ...]) -> None:
    samples = pair[0](7, shape, width=2, most=4)(torch.randn(2, 7))
    assert samples.shape == (2, *shape)
    assert pair[1](shape, width=2, most=4)(samples).shape == (2,)


@pytest.mark.parametrize(("kind", "options"), OF_GENERATORS)
def test_options_of_generators(kind: Any, options: dict[str, Any]) -> None:
    network = stirred(kind(7, (3, 16, 24), width=8, **options))
    label = torch.arange(5) % 3 if "classes" in options else None
    latent = torch.randn(5, 7)
    samples = network(latent, label)
    assert samples.shape == (5, 3, 16, 24)
    samples.pow(3).sum().backward()
    assert all_have_gradients(network)
    if label is not None:
        assert not torch.equal(network(latent, label), network(latent, (label + 1) % 3))
        with pytest.raises(UserError, match="needs a label"):
            network(latent)


@pytest.mark.parametrize(("kind", "options"), OF_DISCRIMINATORS)
def test_options_of_discriminators(kind: Any, options: dict[str, Any]) -> None:
    network = stirred(kind((3, 16, 24), width=8, **options))
    label = torch.arange(6) % 3 if "classes" in options else None
    output = network.judge(torch.randn(6, 3, 16, 24), label)
    parts = [output.logits, output.classes, output.codes]
    assert [None if p is None else tuple(p.shape) for p in parts] == [
        (6,),
        (6, 3) if options.get("condition") == "classifier" else None,
        (6, 2) if "codes" in options else None,
    ]
    torch.stack([p.square().sum() for p in parts if p is not None]).sum().backward()
    assert all_have_gradients(network)


@pytest.mark.parametrize("kind", GENERATORS + DISCRIMINATORS)
def test_the_same_seed_gives_the_same_network_and_its_state_can_be_loaded(kind: Any) -> None:
    context = (7, (3, 16, 16)) if kind in GENERATORS else ((3, 16, 16),)
    inputs = torch.randn(3, 7) if kind in GENERATORS else torch.randn(3, 3, 16, 16)
    built = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        built.append(stirred(kind(*context, width=4)).eval())
    expected = built[0](inputs)
    assert torch.equal(built[1](inputs), expected)
    assert not torch.equal(built[2](inputs), expected)
    built[2].load_state_dict(built[0].state_dict())
    assert torch.equal(built[2](inputs), expected)


@pytest.mark.parametrize("kind", DISCRIMINATORS)
def test_discriminators_treat_samples_independently(kind: Any) -> None:
    network = stirred(kind((3, 16, 16), width=4)).eval()  # no power iterations
    samples = torch.randn(5, 3, 16, 16)
    torch.testing.assert_close(network(samples), torch.cat([network(s[None]) for s in samples]))


@pytest.mark.parametrize(("kind", "options"), [(ResNetDiscriminator, {"attention": 4}), (R3GANDiscriminator, {})])
def test_the_gradient_penalty_has_the_gradient_of_finite_differences(kind: Any, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = stirred(kind((1, 9, 8), width=4, **options)).double().eval()
    samples = torch.randn(2, 1, 9, 8, dtype=torch.double, requires_grad=True)

    def penalty() -> Tensor:
        (slope,) = torch.autograd.grad(network(samples).sum(), samples, create_graph=True)
        return slope.square().sum()

    penalty().backward()
    weights = dict(network.named_parameters())
    name = next(n for n in weights if n.startswith("layers") and weights[n].dim() == 4)
    direction = torch.randn_like(weights[name])
    expected = (weights[name].grad * direction).sum().item()
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weights[name].add_(sign * 1e-6 * direction)
        values.append(penalty().item())
        with torch.no_grad():
            weights[name].sub_(sign * 1e-6 * direction)
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(expected, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("kind", GENERATORS + DISCRIMINATORS)
@pytest.mark.parametrize(
    "text", ["width=0", "most=2.5", "attention=-1", "blocks=0", "group='16'", "classes=3, condition='x'"]
)
def test_wrong_options(kind: Any, text: str) -> None:
    context = (7, (3, 16, 16)) if kind in GENERATORS else ((3, 16, 16),)
    with pytest.raises(UserError, match=rf"{kind.__name__}.*{text.split(', ')[-1].split('=')[0]}") as caught:
        make(f"{kind.__name__}({text})", networks, context=context)  # also options of other networks
    assert "\n" not in str(caught.value)


def test_points_and_tiny_images_are_refused() -> None:
    for kind in DISCRIMINATORS:
        with pytest.raises(UserError, match="use an MLP"):
            kind((2,))
        with pytest.raises(UserError, match="8x8 and up"):
            kind((1, 7, 28))


def test_the_papers_layouts() -> None:
    def outputs(network: nn.Module) -> list[int]:
        return [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]

    assert outputs(ResNetGenerator(128, (3, 32, 32))) == [256] * 6 + [3]  # table 4
    assert outputs(ResNetDiscriminator((3, 32, 32))) == [128] * 8
    assert outputs(ResNetGenerator(128, (3, 48, 48), width=64, most=512))[1::2] == [256, 128, 64]  # table 5
    wide = outputs(ResNetDiscriminator((3, 48, 48), width=64, most=1024))
    assert wide[1::2] == [64, 128, 256, 512, 1024]
    heights = {side: [h for h, _ in discriminator_sizes((3, side, side))] for side in (8, 16, 28, 32, 48, 128)}
    assert heights[32] == [32, 16, 8, 8, 8]
    assert heights[48] == [48, 24, 12, 6, 3, 3]
    assert heights[128] == [128, 64, 32, 16, 8, 4, 4]
    assert (heights[8], heights[16], heights[28]) == ([8, 4, 4, 4], [16, 8, 8, 8], [28, 14, 7, 7, 7])


def test_pooling_halves_and_covers_every_row() -> None:
    even, odd = torch.randn(2, 3, 8, 6), torch.randn(2, 3, 9, 7, requires_grad=True)
    torch.testing.assert_close(pooled(even), F.interpolate(even, scale_factor=0.5, mode="area"))
    assert pooled(odd).shape == (2, 3, 4, 3)
    (gradient,) = torch.autograd.grad(pooled(odd).sum(), odd)
    assert gradient.min() > 0


@pytest.mark.parametrize("size", [(10, 8), (10, 9), (11, 7)])
def test_generator_blocks_upsample_then_convolve(size: tuple[int, int]) -> None:
    block = GeneratorBlock(3, 4, size, 0, True).double().eval()  # no power iterations
    maps = torch.randn(2, 3, 5, 4, dtype=torch.double)
    inner, large = (F.interpolate(each, size=size, mode="nearest") for each in (block.first(maps), maps))
    torch.testing.assert_close(block(maps, None), block.second(inner) + block.shortcut(large))


@pytest.mark.parametrize("size", [(8, 6), (8, 7), (9, 6), (7, 7)])
def test_discriminator_blocks_convolve_then_pool(size: tuple[int, int]) -> None:
    block = DiscriminatorBlock(3, 4, True, False, True).double().eval()
    maps = torch.randn(2, 3, *size, dtype=torch.double)
    torch.testing.assert_close(block(maps), pooled(block.residual(maps) + block.shortcut(maps)))


@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 9), ({"classes": 3, "attention": 8}, 14), ({"classes": 3, "condition": "classifier"}, 10)],
)
def test_spectral_norm_makes_every_largest_singular_value_one(options: dict[str, Any], count: int) -> None:
    torch.manual_seed(0)
    network = ResNetDiscriminator((3, 16, 16), width=8, most=16, **options)
    for _ in range(100):
        network(torch.randn(2, 3, 16, 16), torch.tensor([0, 1]) if options else None)
    network.eval()
    layers = [m for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.Embedding))]
    assert len(layers) == count
    for layer in layers:
        largest = torch.linalg.svdvals(layer.weight.flatten(1))[0].item()
        assert largest == pytest.approx(1, rel=0.01)


def test_the_projection_logit_by_hand() -> None:
    network = ResNetDiscriminator((3, 16, 16), width=4, classes=3, spectral_norm=False)
    samples, label = torch.randn(4, 3, 16, 16), torch.tensor([0, 2, 1, 2])
    features = network.layers(samples).sum((2, 3))
    psi = features @ network.logit.weight[0] + network.logit.bias
    expected = psi + torch.stack([network.embedding.weight[k] @ f for k, f in zip(label, features)])
    torch.testing.assert_close(network(samples, label), expected)
    assert not torch.equal(network(samples, label), network(samples, (label + 1) % 3))


def test_a_discriminator_block_by_hand() -> None:
    network = ResNetDiscriminator((3, 16, 16), width=4, most=8, spectral_norm=False)
    first, second = network.layers[0], network.layers[1]
    samples = torch.randn(2, 3, 16, 16)
    c = [m for m in first.modules() if isinstance(m, nn.Conv2d)]
    expected = F.avg_pool2d(c[1](c[0](samples).relu()), 2) + F.avg_pool2d(c[2](samples), 2)
    torch.testing.assert_close(first(samples), expected)
    c = [m for m in second.modules() if isinstance(m, nn.Conv2d)]
    torch.testing.assert_close(second(expected), c[1](c[0](expected.relu()).relu()) + c[2](expected))


def test_attention_by_hand() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(16)
    maps = torch.randn(2, 16, 2, 3)
    assert torch.equal(layer(maps), maps), "the gate starts at 0"
    nn.init.constant_(layer.gate, 0.7)
    f, g, h, v = (m.weight[:, :, 0, 0] for m in (layer.key, layer.query, layer.value, layer.out))
    expected = maps.clone()
    for n in range(2):
        places = maps[n].flatten(1)  # [16, 6]
        for j in range(6):
            scores = torch.stack([(f @ places[:, i]) @ (g @ places[:, j]) for i in range(6)])
            weights = scores.exp() / scores.exp().sum()
            attended = v @ sum(weights[i] * (h @ places[:, i]) for i in range(6))
            expected[n, :, j // 3, j % 3] += 0.7 * attended
    torch.testing.assert_close(layer(maps), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("side", "size"), [(0, None), (8, 8), (9, 8), (16, 16), (100, 32)])
def test_the_size_of_maps_with_attention(side: int, size: int | None) -> None:
    seen: list[int] = []
    network = ResNetGenerator(7, (3, 32, 32), width=8, attention=side)
    for layer in network.modules():
        if isinstance(layer, SelfAttention):
            layer.register_forward_hook(lambda _, inputs, output: seen.append(output.shape[2]))
    network(torch.randn(2, 7))
    assert seen == ([] if size is None else [size])
    assert nearest_level([(64, 48), (32, 24), (16, 12)], 24) == 1


def test_r3gans_blocks_are_the_identity_at_the_start() -> None:
    maps = torch.randn(2, 8, 5, 4)
    assert torch.equal(ResidualBlock(8, 16, 4)(maps), maps)
    block = stirred(ResidualBlock(8, 16, 4))
    w = [m for m in block.layers if isinstance(m, nn.Conv2d)]
    assert [(m.bias is not None, m.groups) for m in w] == [(True, 1), (True, 1), (False, 1)]
    inner = F.leaky_relu(w[1](F.leaky_relu(w[0](maps), SLOPE)), SLOPE)
    torch.testing.assert_close(block(maps), maps + w[2](inner))
    groups = [[m.groups for m in ResidualBlock(c, g, 1).modules() if isinstance(m, nn.Conv2d)][1] for c, g in
              [(768, 16), (32, 16), (12, 16), (4, 16)]]  # fmt: skip
    assert groups == [96, 4, 3, 1]


@pytest.mark.parametrize("count", [4, 64])
def test_variance_does_not_grow_with_the_depth(count: int) -> None:
    """Blocks whose last layers weigh 1 multiply the variance by about (1 + 1 / L)^L: 2.44 for 4, 2.70 for 64."""
    torch.manual_seed(0)
    maps = start = torch.randn(8, 32, 8, 8)
    for _ in range(count):
        block = ResidualBlock(32, 64, count)  # one group, so that fans are large
        nn.init.normal_(block.layers[-1].weight, std=64**-0.5)
        with torch.no_grad():
            maps = block(maps)
    growth = (maps.var() / start.var()).item()
    assert 1.7 < growth < 3.5  # zero padding reduces it slightly; without the factor it is 2^L


@pytest.mark.parametrize("blocks", [1, 16])
def test_variance_of_r3gans_outputs_at_the_start(blocks: int) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        images = R3GANGenerator(64, (3, 32, 32), width=8, blocks=blocks)(torch.randn(64, 64))
        smooth = F.interpolate(torch.randn(64, 3, 4, 4), size=(32, 32), mode="bilinear")
        logits = R3GANDiscriminator((3, 32, 32), width=8, blocks=blocks)(smooth)
    assert 0.2 < images.std() < 1.5  # each upsampling averages, which reduces the variance
    assert 0.2 < logits.std() < 1.5


def test_downsampling_is_the_transpose_of_upsampling() -> None:
    maps = torch.randn(2, 3, 9, 12, dtype=torch.double, requires_grad=True)
    small = torch.randn(2, 3, 4, 6, dtype=torch.double)
    large = upsampled(small, (9, 12))
    torch.testing.assert_close((downsampled(maps, (4, 6)) * small).sum() * 108 / 24, (maps * large).sum())
    assert torch.autograd.gradgradcheck(lambda m: downsampled(m, (4, 6)).square(), maps)


@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
def test_downsampling_by_matrices_is_the_same(size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, 9, 12)
    torch.testing.assert_close(_downsampled_by_matrices(maps, size), downsampled(maps, size))


def test_border_factors_have_the_layout_of_maps() -> None:
    maps = torch.randn(2, 3, 8, 6).contiguous(memory_format=torch.channels_last)
    factors = _border_factors((4, 3), (8, 6), maps)
    assert factors.stride()[1:] == maps.stride()[1:]
    assert torch.equal(factors, factors[:, :1].expand(1, 3, -1, -1))


TAPS = torch.tensor([1.0, 3, 3, 1], dtype=torch.double)
FILTER = TAPS[:, None] * TAPS / TAPS.sum() ** 2


def published_upsampling(maps: Tensor) -> Tensor:
    """Zeros between the values and beyond the borders, then the filter with a gain of 4."""
    n, channels, height, width = maps.shape
    spread = maps.new_zeros(n, channels, 2 * height, 2 * width)
    spread[:, :, ::2, ::2] = maps
    spread = F.pad(spread, (2, 1, 2, 1))
    return F.conv2d(spread.flatten(0, 1)[:, None], 4 * FILTER[None, None]).unflatten(0, (n, channels))[:, :, 0]


def published_downsampling(maps: Tensor) -> Tensor:
    """Zeros beyond the borders, the filter, then every second value."""
    smooth = F.conv2d(F.pad(maps, (1, 1, 1, 1)).flatten(0, 1)[:, None], FILTER[None, None])
    return smooth[:, 0, ::2, ::2].unflatten(0, maps.shape[:2])


def test_resampling_by_two_is_the_published_filter() -> None:
    maps = torch.randn(2, 3, 8, 6, dtype=torch.double)
    torch.testing.assert_close(upsampled(maps, (16, 12)), published_upsampling(maps), rtol=0, atol=1e-12)
    torch.testing.assert_close(downsampled(maps, (4, 3)), published_downsampling(maps), rtol=0, atol=1e-12)
    assert downsampled(torch.ones(1, 1, 8, 8), (4, 4))[0, 0, 0].tolist() == [0.875**2, 0.875, 0.875, 0.875**2]


def test_networks_resample_as_published() -> None:
    generator = stirred(R3GANGenerator(5, (3, 16, 16), width=4, group=4)).double()
    found = images = torch.randn(2, 5, dtype=torch.double)
    for layer in generator.layers:
        found = published_upsampling(layer.change(found)) if isinstance(layer, Upsample) else layer(found)
    torch.testing.assert_close(generator(images), found, rtol=0, atol=1e-12)
    discriminator = stirred(R3GANDiscriminator((3, 16, 16), width=4, group=4)).double()
    samples = found.detach()
    for layer in discriminator.layers:
        found = layer.change(published_downsampling(found)) if isinstance(layer, Downsample) else layer(found)
    torch.testing.assert_close(discriminator.features(samples), found, rtol=0, atol=1e-12)


def test_r3gans_bases_by_hand() -> None:
    torch.manual_seed(0)
    generator = R3GANGenerator(5, (3, 8, 8), width=4, classes=3)
    latent, label = torch.randn(2, 5), torch.tensor([2, 0])
    basis = generator.layers[0]
    conditioned = torch.cat([latent, generator.embedding.weight[label]], 1)
    scales = conditioned @ basis.scale.weight.T
    expected = torch.stack([torch.stack([s * b for s, b in zip(row, basis.basis)]) for row in scales])
    torch.testing.assert_close(basis(conditioned), expected)
    discriminator = R3GANDiscriminator((3, 8, 8), width=4, classes=3)
    maps = torch.randn(2, 8, 4, 4)
    features = F.conv2d(maps, discriminator.layers[-1].basis[:, None], groups=8).flatten(1)
    torch.testing.assert_close(discriminator.layers[-1](maps), features)
    assert discriminator.logit.bias is None
