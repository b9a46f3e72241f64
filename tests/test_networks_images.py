"""Image-to-image networks: any size, the reach of a pixel, the papers' layers; patch discriminators."""

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
from sparring.networks import (
    EDSRGenerator,
    GatedGenerator,
    PatchDiscriminator,
    ResNetTranslator,
    RRDBGenerator,
    UNetGenerator,
)
from sparring.networks.critic import CriticOutput
from sparring.networks.gated import Gated
from sparring.networks.images import ImageGenerator, pad_to_multiple
from sparring.networks.layers import Upsample, reflection_pad

SIZES = [(1, 1), (1, 2), (3, 5), (17, 4), (33, 31), (32, 16)]
RGB = (3, 32, 32)
# (class, source shape, target shape, options)
BUILT: list[tuple[Any, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    *((UNetGenerator, RGB, (1, 32, 32), {"width": 4, "norm": norm}) for norm in ("instance", "batch", "none")),
    (UNetGenerator, RGB, RGB, {"width": 4, "depth": 1}),
    (UNetGenerator, RGB, RGB, {"width": 4, "depth": 5, "dropout": 0.5}),
    *((ResNetTranslator, RGB, RGB, {"width": 4, "blocks": 2, "norm": norm}) for norm in ("instance", "batch", "none")),
    (ResNetTranslator, (1, 32, 32), RGB, {"width": 4, "blocks": 1, "downsamplings": 0}),
    (ResNetTranslator, RGB, RGB, {"width": 4, "blocks": 1, "downsamplings": 3, "norm": "none"}),
    *((EDSRGenerator, (3, 24 // s, 48 // s), (3, 24, 48), {"width": 8, "blocks": 2}) for s in (1, 2, 3, 4, 8)),
    (EDSRGenerator, (1, 24, 24), (3, 24, 24), {"width": 8, "blocks": 3, "dilation": 3}),
    (EDSRGenerator, (4, 24, 24), (3, 24, 24), {"width": 8, "blocks": 1}),
    *((RRDBGenerator, (3, 24 // s, 48 // s), (3, 24, 48), {"width": 8, "blocks": 1, "growth": 4}) for s in (1, 3, 4)),
    (GatedGenerator, (4, 32, 32), RGB, {"width": 4}),
    (GatedGenerator, (2, 32, 32), (1, 32, 32), {"width": 4, "blocks": 0}),
]
IDS = [f"{kind.__name__}-{i}" for i, (kind, *_) in enumerate(BUILT)]
every_generator = pytest.mark.parametrize(("kind", "source", "target", "options"), BUILT, ids=IDS)


def test_all_image_generators_are_covered() -> None:
    kinds = {getattr(networks, name) for name in networks.__all__}
    assert {kind for kind, *_ in BUILT} == {kind for kind in kinds if issubclass(kind, ImageGenerator)}


@every_generator
def test_outputs_have_the_scaled_size(kind: Any, source: Any, target: Any, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = stirred(kind(source, target, **options)).eval()
    for height, width in SIZES:
        made = network(torch.randn(1, source[0], height, width))
        assert made.shape == (1, target[0], network.scale * height, network.scale * width)
        assert made.isfinite().all()


@every_generator
@pytest.mark.parametrize("channels_last", [False, True])
def test_every_weight_is_trained(
    kind: Any, source: Any, target: Any, options: dict[str, Any], channels_last: bool
) -> None:
    torch.manual_seed(0)
    network = stirred(kind(source, target, **options))
    images = torch.randn(2, *source)
    if channels_last:
        expected = network.eval()(images)
        network = network.to(memory_format=torch.channels_last)
        torch.testing.assert_close(network(images.to(memory_format=torch.channels_last)), expected)
        network.train()
    made = network(images)
    assert made.shape == (2, *target)
    made.pow(3).sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def measured_reach(
    network: Any, channels: int, height: int, width: int, row: int, column: int
) -> tuple[int, int, int, int]:
    """Reach of an output pixel above, below, left and right in source pixels, measured by its gradient."""
    source = torch.randn(1, channels, height, width, dtype=torch.double, requires_grad=True)
    made = network(source)
    weights = torch.randn(made.shape[1], dtype=torch.double)
    (gradient,) = torch.autograd.grad((made[0, :, row, column] * weights).sum(), source)
    seen = gradient[0].abs().sum(0) > 0
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    y, x = row // network.scale, column // network.scale
    return y - int(rows[0]), int(rows[-1]) - y, x - int(columns[0]), int(columns[-1]) - x


@pytest.mark.parametrize(
    ("network", "reach"),
    [
        (UNetGenerator(RGB, RGB, width=4, norm="none"), 21),
        (UNetGenerator(RGB, RGB, width=4, norm="batch", depth=2), 9),
        (UNetGenerator(RGB, RGB, width=4, depth=1), 3),  # has no normalisation
        (ResNetTranslator(RGB, RGB, width=4, blocks=1, norm="batch"), 23),
        (ResNetTranslator(RGB, RGB, width=4, blocks=2, norm="none", downsamplings=1), 17),
        (EDSRGenerator(RGB, RGB, width=8, blocks=2), 7),
        (EDSRGenerator(RGB, RGB, width=8, blocks=3, dilation=4), 13),
        (EDSRGenerator((3, 16, 16), (3, 64, 64), width=8, blocks=1), 5),
        (RRDBGenerator((3, 16, 16), (3, 32, 32), width=8, blocks=1, growth=4), 19),
        (RRDBGenerator((3, 16, 16), (3, 48, 48), width=8, blocks=1, growth=4), 18),
        (GatedGenerator((4, 32, 32), RGB, width=4, blocks=1), 33),
    ],
)
def test_reach_is_exact(network: Any, reach: int) -> None:
    torch.manual_seed(0)
    network = stirred(network).double().eval()
    assert network.reach == reach
    channels = next(m for m in network.modules() if isinstance(m, nn.Conv2d)).in_channels
    side, period = 2 * reach + 2 * network.stride + 8, network.scale * network.stride
    middle = side // 2 // network.stride * period
    farthest = 0
    for place in {0, 1 % period, period // 2, period - 1}:
        found = measured_reach(network, channels, side, side + 3, middle + place, middle + place)
        assert max(found) <= reach
        farthest = max(farthest, *found)
    assert farthest == reach


@pytest.mark.parametrize("at", [(0, 0), (0, -1), (-1, 0), (-1, -1)])
@pytest.mark.parametrize("kind", [UNetGenerator, ResNetTranslator])
def test_reach_holds_at_padded_borders(kind: Any, at: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = kind(RGB, RGB, width=4, norm="none").double().eval()
    side = 2 * network.reach + 7
    assert max(measured_reach(network, 3, side, side + 2, at[0] % side, at[1] % (side + 2))) <= network.reach


@pytest.mark.parametrize(
    "network", [UNetGenerator(RGB, RGB, width=4), ResNetTranslator(RGB, RGB, width=4, blocks=1)], ids=["UNet", "ResNet"]
)
def test_with_instance_normalisation_a_pixel_depends_on_the_whole_image(network: Any) -> None:
    assert network.reach is None
    assert measured_reach(network.double(), 3, 64, 64, 5, 60) == (5, 58, 60, 3)


@pytest.mark.parametrize(
    "network",
    [
        UNetGenerator(RGB, RGB, width=4, norm="none", depth=2),
        EDSRGenerator((3, 16, 16), (3, 32, 32), width=8, blocks=1),
        GatedGenerator((3, 32, 32), RGB, width=4, blocks=1),
    ],
    ids=["UNet", "EDSR", "Gated"],
)
def test_a_crop_that_begins_at_the_stride_gives_the_same_output(network: Any) -> None:
    torch.manual_seed(0)
    network = stirred(network).double().eval()
    image = torch.randn(1, 3, 101, 97, dtype=torch.double)
    margin = -(-network.reach // network.stride) * network.stride
    part = network(image[:, :, 8 : 8 + 2 * margin + 5, 12 : 12 + 2 * margin + 6])
    s = network.scale
    inner = part[:, :, s * margin : s * (margin + 5), s * margin : s * (margin + 6)]
    whole = network(image)[:, :, s * (8 + margin) : s * (13 + margin), s * (12 + margin) : s * (18 + margin)]
    torch.testing.assert_close(inner, whole)


@pytest.mark.parametrize(
    ("kind", "source", "target", "message"),
    [
        (UNetGenerator, RGB, (3, 64, 64), "as large as the source.*EDSRGenerator"),
        (ResNetTranslator, RGB, (3, 32, 31), "as large as the source"),
        (GatedGenerator, (2,), (2,), "translates images"),
        (EDSRGenerator, (3, 8, 8), (3, 40, 40), "1, 2, 3, 4, 8 times.*40x40 from 8x8"),
        (EDSRGenerator, RGB, (3, 16, 16), "times"),
        (RRDBGenerator, (3, 8, 8), (3, 16, 24), "times"),
    ],
)
def test_shapes_that_do_not_fit(kind: Any, source: Any, target: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        kind(source, target)


@pytest.mark.parametrize(
    "text",
    [
        *("UNetGenerator(width=0)", "UNetGenerator(depth=9)", "UNetGenerator(norm='layer')"),
        *("UNetGenerator(dropout=1.5)", "ResNetTranslator(blocks=0)", "ResNetTranslator(downsamplings=7)"),
        *("EDSRGenerator(blocks=0)", "EDSRGenerator(dilation=0)", "RRDBGenerator(growth=0)"),
        *("GatedGenerator(width=1)", "GatedGenerator(blocks=-1)"),
        *("PatchDiscriminator(layers=0)", "PatchDiscriminator(scales=0)", "PatchDiscriminator(norm='x')"),
    ],
)
def test_wrong_options(text: str) -> None:
    name, option = text.split("=")[0].split("(")
    with pytest.raises(UserError, match=f"{name}: {option}="):
        make(text, networks, context=(RGB,) if name == "PatchDiscriminator" else (RGB, RGB))


def test_upsampling_is_nearest_neighbour_before_a_convolution() -> None:
    layer = Upsample(5, 7).double()
    maps = torch.randn(2, 5, 9, 6, dtype=torch.double)
    expected = layer.convolution(F.interpolate(maps, scale_factor=2, mode="nearest"))
    torch.testing.assert_close(layer(maps), expected)


def test_reflection_padding_equals_torchs() -> None:
    maps = torch.randn(2, 3, 4, 7)
    assert torch.equal(reflection_pad(maps, 3), F.pad(maps, (3, 3, 3, 3), mode="reflect"))


def test_padding_repeats_the_last_row_and_column() -> None:
    image = torch.arange(6.0).view(1, 1, 2, 3)
    assert pad_to_multiple(image, 4)[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]
    assert pad_to_multiple(image, 1) is image
    assert pad_to_multiple(image, 1, least=4).shape == (1, 1, 4, 4)


@pytest.mark.parametrize(("side", "depth"), [(256, 6), (64, 4), (48, 4), (32, 3), (28, 3), (8, 1), (4, 1), (4096, 8)])
def test_how_deep_a_u_net_is(side: int, depth: int) -> None:
    assert UNetGenerator((1, side, side), (1, side, side), width=1).depth == depth


def test_pix2pixs_u_net() -> None:
    network = UNetGenerator((3, 256, 256), (3, 256, 256), depth=8, norm="batch", dropout=0.5)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    down, up = convolutions[:8], convolutions[8:]
    assert [m.out_channels for m in down] == [64, 128, 256, 512, 512, 512, 512, 512]
    assert [m.in_channels for m in up] == [512, 1024, 1024, 1024, 1024, 512, 256, 128]
    assert [m.out_channels for m in up] == [512, 512, 512, 512, 256, 128, 64, 3]
    assert [any(isinstance(m, nn.Dropout) for m in layer) for layer in network.up] == [True] * 3 + [False] * 5
    assert network.down[4][1].weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert network.eval()(torch.zeros(1, 3, 256, 256)).shape == (1, 3, 256, 256)


def test_cyclegans_translator() -> None:
    network = ResNetTranslator((3, 256, 256), (3, 256, 256), width=64, blocks=9)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [64, 128, 256, *[256] * 18, 128, 64, 3]
    assert [m.kernel_size[0] for m in convolutions] == [7, *[3] * 22, 7]
    assert network.stages[5].residual[1].weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert network.contrast_layers == (0, 2, 3, 4, 8)  # pixels, two halvings, the first block and the fifth


@pytest.mark.parametrize("norm", ["instance", "none"])
@pytest.mark.parametrize("text", ["UNetGenerator(depth=8", "UNetGenerator(", "ResNetTranslator(blocks=9"])
def test_initial_outputs_are_where_tanh_is_not_saturated(text: str, norm: str) -> None:
    torch.manual_seed(0)
    network: Any = make(f"{text}{', ' if '=' in text else ''}width=16, norm={norm!r})", networks, context=(RGB, RGB))
    assert 0.01 < network(torch.rand(4, *RGB) * 2 - 1).std() < 1  # seen: 0.08 to 0.4


@pytest.mark.parametrize(("blocks", "downsamplings"), [(1, 2), (2, 2), (4, 2), (6, 1), (3, 0)])
def test_features_of_the_encoder(blocks: int, downsamplings: int) -> None:
    network = ResNetTranslator(RGB, RGB, width=4, blocks=blocks, downsamplings=downsamplings)
    layers = network.contrast_layers
    assert len(layers) == 1 + downsamplings + min(blocks, 2)
    source = torch.randn(2, *RGB)
    found = network.encode(source, layers)
    assert [maps.shape[1] for maps in found] == list(network.encoder_channels(layers))
    assert torch.equal(found[0], source)
    assert [maps.shape[2] for maps in found[1:]] == [
        *(32 // 2 ** (i + 1) for i in range(downsamplings)),
        *[32 // 2**downsamplings] * min(blocks, 2),
    ]
    last = network.encode(source, [downsamplings + 1 + blocks])[0]
    assert torch.equal(network.rise(last), network(source)), "the encoder is the generator's own"
    with pytest.raises(UserError, match="stage 99"):
        network.encode(source, [0, 99])


def test_later_stages_are_not_run_for_features() -> None:
    network = ResNetTranslator(RGB, RGB, width=4, blocks=2)
    network.stages[3].register_forward_hook(lambda *_: pytest.fail("the first block was run"))
    assert [maps.shape[1] for maps in network.encode(torch.randn(1, *RGB), [3, 0])] == [16, 3]


@pytest.mark.parametrize("kind", [EDSRGenerator, RRDBGenerator])
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("channels", [1, 3])
def test_upscalers_start_as_interpolation(kind: Any, scale: int, channels: int) -> None:
    network = kind((channels, 8, 8), (3, 8 * scale, 8 * scale), width=4, blocks=1)
    source = torch.randn(2, channels, 7, 9)
    expected = F.interpolate(source, size=(7 * scale, 9 * scale), mode="bicubic", align_corners=False)
    torch.testing.assert_close(network(source), expected.expand(-1, 3, -1, -1), atol=1e-5, rtol=1e-5)


def test_variance_stays_bounded_over_many_residual_blocks() -> None:
    torch.manual_seed(0)
    network = EDSRGenerator(RGB, RGB, width=32, blocks=24)
    maps = torch.randn(2, 32, 16, 16)
    assert 1 < network.body[:-1](maps).square().mean() < 4  # (1 + 1 / 24)^24 is near e


def test_other_sources_are_not_added() -> None:
    network = EDSRGenerator((4, 8, 8), (3, 8, 8), width=4)
    assert network(torch.randn(2, 4, 8, 8)).std() > 0.05
    assert not network.adds_source


def test_pixel_shuffle_by_hand() -> None:
    network = EDSRGenerator((1, 4, 4), (1, 8, 8), width=4)
    nn.init.constant_(network.last.bias, 0.0)
    with torch.no_grad():
        network.last.bias.copy_(torch.tensor([1.0, 2, 3, 4]))
    assert network(torch.zeros(1, 1, 1, 1))[0, 0].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("layer", ["convolution", "upsampling"])
def test_a_gated_layer_by_hand_keeps_the_variance(layer: str) -> None:
    torch.manual_seed(0)
    gated = Gated(Upsample(64, 128) if layer == "upsampling" else nn.Conv2d(64, 128, 3, padding=1))
    maps = torch.randn(2, 64, 32, 32)
    features, gates = gated.convolution(maps).chunk(2, 1)
    expected = torch.where(features > 0, features, features.exp() - 1) / (1 + (-gates).exp())
    torch.testing.assert_close(gated(maps), expected)
    inner = gated(maps)[:, :, 8:-8, 8:-8]
    assert inner.square().mean().item() == pytest.approx(1, abs=0.15)  # seen: within 0.06


@pytest.mark.parametrize(
    ("side", "sizes"),
    [(256, [128, 64, 32, 31, 30]), (64, [32, 16, 8, 7, 6]), (32, [16, 8, 4, 3, 2]), (16, [8, 4, 3, 2]), (8, [4, 3, 2])],
)
def test_sizes_of_patch_maps(side: int, sizes: list[int]) -> None:
    network = PatchDiscriminator((3, side, side), width=4)
    output = network.judge(torch.randn(2, 3, side, side))
    assert [maps.shape[2] for maps in output.layers] == sizes[:-1]
    assert output.logits.shape == (2, sizes[-1] ** 2)


def test_pix2pixs_patches_have_70_pixels() -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator((3, 256, 256), width=8, norm="none").double()
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [8, 16, 32, 64, 1]
    images = torch.randn(1, 3, 256, 256, dtype=torch.double, requires_grad=True)
    logits = network(images).view(30, 30)
    (gradient,) = torch.autograd.grad(logits[15, 14], images)
    seen = gradient[0].abs().sum(0) > 0
    assert (int(seen.any(1).sum()), int(seen.any(0).sum())) == (70, 70)


@pytest.mark.parametrize("options", [{}, {"norm": "none", "spectral_norm": True}])
def test_initial_weights_of_normalised_critics(options: dict[str, Any]) -> None:
    network = PatchDiscriminator(RGB, width=32, **options)
    (weight,) = (w for n, w in network.named_parameters() if n.startswith("scales.0.hidden.2.0.") and w.dim() == 4)
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_initial_logits_of_unnormalised_critics() -> None:
    torch.manual_seed(0)
    bare = PatchDiscriminator((3, 64, 64), width=32, norm="none")
    assert 0.05 < bare(torch.rand(4, 3, 64, 64) * 2 - 1).std() < 1  # seen: 0.1; 0.0035 with weights of 0.02


def test_several_scales() -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator(RGB, width=4, scales=3, source_channels=2)
    images, source = torch.randn(2, *RGB), torch.randn(2, 2, 32, 32)
    parts = [critic.judge(images, source) for critic in network.critics()]
    assert [part.logits.shape[1] for part in parts] == [4, 4, 4]
    whole = network.judge(images, source)
    assert torch.equal(whole.logits, torch.cat([part.logits for part in parts], 1))
    assert [maps.shape[2] for maps in whole.layers] == [16, 8, 4, 3, 8, 4, 3, 4, 3]
    # the second critic equals a critic of one scale on halved images
    alone = PatchDiscriminator((3, 16, 16), width=4, source_channels=2)
    alone.critics()[0].load_state_dict(network.critics()[1].state_dict())
    halves = [F.avg_pool2d(x, 3, 2, 1, count_include_pad=False) for x in (images, source)]
    torch.testing.assert_close(alone(*halves), parts[1].logits)


def test_several_scales_need_large_images() -> None:
    with pytest.raises(UserError, match="scales=3.*20x40.*use scales=2"):
        PatchDiscriminator((3, 20, 40), scales=3)
    with pytest.raises(UserError, match="use an MLP"):
        PatchDiscriminator((2,))


def test_a_critic_with_source_channels_requires_a_source() -> None:
    network = PatchDiscriminator(RGB, width=4, source_channels=1)
    images, source = torch.randn(2, *RGB), torch.randn(2, 1, 32, 32)
    assert not torch.equal(network(images, source), network(images, -source))
    with pytest.raises(UserError, match="with their source"):
        network.judge(images)
    with pytest.raises(UserError, match="without a source"):
        PatchDiscriminator(RGB, width=4)(images, source)


def test_a_smaller_source_is_upsampled() -> None:
    network = PatchDiscriminator(RGB, width=4, source_channels=1)
    images, source = torch.randn(2, *RGB), torch.randn(2, 1, 8, 8)
    large = F.interpolate(source, scale_factor=4, mode="nearest")
    torch.testing.assert_close(network(images, source), network(images, large))


@pytest.mark.parametrize("options", [{"norm": "none", "spectral_norm": True}, {"scales": 2}, {"layers": 1}])
def test_every_weight_of_a_critic_is_trained(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator(RGB, width=4, **options)
    network(torch.randn(2, *RGB)).pow(3).sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_spectral_norm_bounds_every_layer_of_a_critic() -> None:
    network = PatchDiscriminator(RGB, width=4, norm="none", spectral_norm=True)
    for _ in range(50):  # power iterations
        network(torch.randn(2, *RGB))
    weights = [m.weight for m in network.eval().modules() if isinstance(m, nn.Conv2d)]
    assert len(weights) == 5
    for weight in weights:
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_critic_outputs_in_fp32() -> None:
    output = CriticOutput(torch.zeros(2).bfloat16(), layers=(torch.zeros(2, 3).bfloat16(), torch.zeros(2, 4).double()))
    found = output.float()
    assert found.logits.dtype == torch.float32
    assert [maps.dtype for maps in found.layers] == [torch.float32, torch.float64]
    assert found.features is None


@pytest.mark.parametrize("options", [{}, {"scales": 2, "spectral_norm": True}], ids=str)
def test_logits_of_patches_are_computed_in_fp32_under_autocast(options: dict[str, Any]) -> None:
    network = PatchDiscriminator(RGB, width=4, **options).eval()
    images = torch.randn(2, *RGB)
    with torch.autocast("cpu", torch.bfloat16):
        found = network.judge(images)
    assert found.logits.dtype == torch.float32
    assert not torch.equal(found.logits, found.logits.bfloat16().float())
    for critic in network.critics():
        with torch.autocast("cpu", torch.bfloat16):
            one = critic.judge(images)
        torch.testing.assert_close(one.logits, critic.logit(one.layers[-1].float()).flatten(1), rtol=1e-6, atol=1e-7)


def test_hidden_layers_of_a_critic_carry_gradients() -> None:
    network = PatchDiscriminator(RGB, width=4)
    images: Tensor = torch.randn(2, *RGB, requires_grad=True)
    for maps in network.judge(images).layers:
        (gradient,) = torch.autograd.grad(maps.square().sum(), images, retain_graph=True)
        assert gradient.abs().sum() > 0
