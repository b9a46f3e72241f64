"""Extractors with published weights, tested without them: shapes, resizers, files, downloads and small models."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from conftest import TINY
from PIL import Image
from safetensors.torch import save_file
from test_data import Breaks, Quiet, _serve
from torch import Tensor, nn

import sparring
from sparring.base.download import fetch, sha256
from sparring.base.errors import UserError
from sparring.data.load import load_data
from sparring.data.samples import Data, image_data, point_data
from sparring.metrics.extractors import inception
from sparring.metrics.extractors.inception import FILE, SHA256, Inception, InceptionNetwork
from sparring.metrics.extractors.pretrained import resize_bicubic, resize_tensorflow, to_levels
from sparring.metrics.extractors.transformers import CLIP, DINOv2, TransformerFeatures

CPU = torch.device("cpu")
GREY = image_data("grey", torch.arange(3 * 12 * 9).mul(37).remainder(256).byte().view(3, 1, 12, 9))
UNUSED = "num_batches_tracked"


@pytest.fixture(scope="module")
def network() -> InceptionNetwork:
    """The network with random weights whose features depend on the image and on every kind of tensor."""
    torch.manual_seed(0)
    network = InceptionNetwork().eval()
    for name, tensor in network.state_dict().items():
        if name.endswith("conv.weight"):
            nn.init.kaiming_normal_(tensor)  # torch's default would let the image fade within a few layers
        elif ".bn." in name and not name.endswith(UNUSED):
            tensor.uniform_(0.8, 1.2) if name.endswith(("weight", "var")) else tensor.normal_(0, 0.1)
    return network


@pytest.fixture(scope="module")
def weights(network: InceptionNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights in a file of the published form."""
    path = tmp_path_factory.mktemp("weights") / FILE
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Path of the weights in an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sparring" / "weights" / FILE


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Refuse all connections and record the attempts."""
    tried: list[Any] = []

    def refuse(*arguments: object, **_: object) -> None:
        tried.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tried


# ---------------------------------------------------------------------------------------------- Inception's network


def test_inception_has_the_known_number_of_parameters(network: InceptionNetwork) -> None:
    # torchvision's inception_v3 without the auxiliary head, and 8 classes more, each with 2048 weights and a bias
    assert sum(p.numel() for p in network.parameters()) == 23_834_568 + 8 * 2049


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("Conv2d_1a_3x3.conv.weight", [32, 3, 3, 3]),
        ("Conv2d_1a_3x3.bn.running_var", [32]),
        ("Conv2d_4a_3x3.conv.weight", [192, 80, 3, 3]),
        ("Mixed_5b.branch5x5_2.conv.weight", [64, 48, 5, 5]),
        ("Mixed_5d.branch_pool.conv.weight", [64, 288, 1, 1]),
        ("Mixed_6a.branch3x3dbl_3.bn.bias", [96]),
        ("Mixed_6b.branch7x7_2.conv.weight", [128, 128, 1, 7]),
        ("Mixed_6c.branch7x7dbl_2.conv.weight", [160, 160, 7, 1]),
        ("Mixed_6e.branch7x7dbl_5.conv.weight", [192, 192, 1, 7]),
        ("Mixed_7a.branch7x7x3_4.conv.weight", [192, 192, 3, 3]),
        ("Mixed_7b.branch3x3_2a.conv.weight", [384, 384, 1, 3]),
        ("Mixed_7c.branch3x3dbl_3b.conv.weight", [384, 384, 3, 1]),
        ("Mixed_7c.branch_pool.bn.running_mean", [192]),
        ("fc.weight", [1008, 2048]),
        ("fc.bias", [1008]),
    ],
)
def test_inception_names_its_tensors_as_the_file_does(name: str, shape: list[int], network: InceptionNetwork) -> None:
    assert list(network.state_dict()[name].shape) == shape


def test_inception_has_94_convolutions(network: InceptionNetwork) -> None:
    names = [name for name in network.state_dict() if not name.endswith(UNUSED)]
    assert len(names) == 94 * 5 + 2
    assert all(m.eps == 0.001 for m in network.modules() if isinstance(m, nn.BatchNorm2d))


def test_inception_gives_features_and_logits_without_the_bias(weights: Path, network: InceptionNetwork) -> None:
    prepared = Inception(weights=str(weights)).prepare(GREY, CPU)
    seen = prepared(GREY.samples)
    assert seen.features.shape == (3, 2048)
    assert seen.logits is not None
    torch.testing.assert_close(seen.logits, seen.features @ network.fc.weight.detach().T)
    assert network.fc.bias.abs().max() > 0.01
    assert seen.features.std(0).mean() > 0.003 * seen.features.mean(), "images must matter"
    assert (prepared.classes, prepared.labels) == (1008, False)
    assert prepared.resizer == "bilinear to 299x299, as TensorFlow 1"
    assert not any(p.requires_grad for p in prepared.network.parameters())
    assert not any(m.training for m in prepared.network.modules())


def test_inception_agrees_with_torch_fidelity(network: InceptionNetwork) -> None:
    # what torch-fidelity 0.4.0 gives for these weights and images
    images = torch.arange(2 * 3 * 40 * 33).mul(37).remainder(251).byte().view(2, 3, 40, 33)
    with torch.no_grad():
        features, logits = network(images.float() / 127.5 - 1)
    assert (features @ torch.linspace(0, 1, 2048)).tolist() == pytest.approx([786.2097, 786.0887], abs=0.01)
    assert (logits @ torch.linspace(0, 1, 1008)).tolist() == pytest.approx([-4.07600, -4.08056], abs=0.001)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("Conv2d_1a_3x3", (32, 149, 149)),
        ("Conv2d_2b_3x3", (64, 147, 147)),
        ("Conv2d_4a_3x3", (192, 71, 71)),
        ("Mixed_5d", (288, 35, 35)),
        ("Mixed_6e", (768, 17, 17)),
        ("Mixed_7c", (2048, 8, 8)),
    ],
)
def test_inceptions_grids(name: str, shape: tuple[int, ...], network: InceptionNetwork) -> None:
    given: list[Tensor] = []
    hook = network.get_submodule(name).register_forward_hook(lambda *arguments: given.append(arguments[2]))
    with torch.no_grad():
        network(torch.zeros(1, 1, 8, 8))
    hook.remove()
    assert given[0].shape == (1, *shape)


def test_preparing_inception_draws_no_random_numbers(weights: Path) -> None:
    before = torch.get_rng_state()
    Inception(weights=str(weights)).prepare(GREY, CPU)
    assert torch.equal(torch.get_rng_state(), before)


def _input_of(layer: nn.Module, run: Callable[[], object]) -> Tensor:
    """The input of a layer during a call."""
    given: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].clone()))
    with torch.no_grad():
        run()
    hook.remove()
    return given[0]


def test_inception_scales_levels_as_the_original(network: InceptionNetwork) -> None:
    levels = torch.tensor([0, 1, 128, 255]) / 127.5 - 1
    images = levels.view(4, 1, 1, 1).expand(4, 1, 5, 7)
    first = _input_of(network.Conv2d_1a_3x3, lambda: network(images))
    assert first.shape == (4, 3, 299, 299)
    for image, expected in zip(first, (-1, -127 / 128, 0, 127 / 128)):
        assert torch.equal(image, torch.full_like(image, expected))


def test_inception_means_leave_the_padding_out(network: InceptionNetwork) -> None:
    for block, channels, size in (
        (network.Mixed_5b, 192, 35),
        (network.Mixed_6e, 768, 17),
        (network.Mixed_7b, 1280, 8),
    ):
        x = torch.randn(1, channels, size, size)
        pooled = _input_of(block.branch_pool, partial(block, x))
        torch.testing.assert_close(pooled[..., 0, 0], x[..., :2, :2].mean((2, 3)))
        torch.testing.assert_close(pooled[..., 3, 0], x[..., 2:5, :2].mean((2, 3)))
        torch.testing.assert_close(pooled[..., 3, 4], x[..., 2:5, 3:6].mean((2, 3)))


def test_inceptions_last_block_uses_maximum_pooling(network: InceptionNetwork) -> None:
    x = -torch.rand(1, 2048, 8, 8)
    pooled = _input_of(network.Mixed_7c.branch_pool, lambda: network.Mixed_7c(x))
    assert torch.equal(pooled[..., 0, 0], x[..., :2, :2].amax((2, 3)))
    assert torch.equal(pooled[..., 3, 4], x[..., 2:5, 3:6].amax((2, 3)))


def test_grey_is_rgb_with_equal_channels(network: InceptionNetwork) -> None:
    grey = torch.rand(1, 1, 20, 20) * 2 - 1
    with torch.no_grad():
        assert torch.equal(network(grey)[0], network(grey.repeat(1, 3, 1, 1))[0])


# -------------------------------------------------------------------------------------------------------- resizers


def test_levels_are_whole_and_bounded() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_levels(levels.float() / 127.5 - 1)[:, 2], levels[:, 0].float())
    values = torch.tensor([-7.0, -1.001, 0.1, 1.001, 7.0]).view(5, 1, 1, 1)
    assert to_levels(values)[:, 0].flatten().tolist() == [0, 0, 140, 255, 255]
    assert to_levels(torch.full((1, 3, 2, 2), float("nan"))).isnan().all(), "not hidden"


def test_tensorflows_resizer_keeps_a_ramp_until_the_edge() -> None:
    ramp = torch.arange(10.0).expand(1, 2, 10, 10)
    expected = (torch.arange(25) * 10 / 25).clamp(max=9).expand(1, 2, 25, 25)
    torch.testing.assert_close(resize_tensorflow(ramp, 25), expected)
    torch.testing.assert_close(resize_tensorflow(ramp.mT, 25), expected.mT)
    shrunk = resize_tensorflow(ramp, 4)
    torch.testing.assert_close(shrunk, torch.tensor([0, 2.5, 5, 7.5]).expand(1, 2, 4, 4))


def test_tensorflows_resizer_doubles_four_pixels() -> None:
    image = torch.tensor([[0.0, 1], [2, 3]]).view(1, 1, 2, 2)
    expected = [[0, 0.5, 1, 1], [1, 1.5, 2, 2], [2, 2.5, 3, 3], [2, 2.5, 3, 3]]
    assert resize_tensorflow(image, 4)[0, 0].tolist() == expected


def test_tensorflows_resizer_leaves_the_right_size_alone() -> None:
    image = torch.randn(2, 3, 9, 9)
    assert torch.equal(resize_tensorflow(image, 9), image)


@pytest.mark.parametrize(("height", "width", "size"), [(7, 5, 13), (17, 23, 6), (1, 4, 5)])
def test_tensorflows_resizer_pixel_by_pixel(height: int, width: int, size: int) -> None:
    image = torch.rand(1, 1, height, width) * 255
    pixels, expected = image[0, 0].double().numpy(), np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            y, x = i * height / size, j * width / size
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            above = pixels[top, left] * (left + 1 - x) + pixels[top, right] * (x - left)
            below = pixels[bottom, left] * (left + 1 - x) + pixels[bottom, right] * (x - left)
            expected[i, j] = above * (top + 1 - y) + below * (y - top)
    torch.testing.assert_close(resize_tensorflow(image, size)[0, 0].double().numpy(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [(40, 40), (31, 40), (9, 12), (24, 24)])
def test_the_bicubic_resizer_is_pillows(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    theirs = np.asarray(Image.fromarray(pixels).resize((24, 24), Image.Resampling.BICUBIC)).astype(float)
    ours = resize_bicubic(torch.from_numpy(pixels).permute(2, 0, 1)[None].float(), 24)
    difference = np.abs(ours[0].permute(1, 2, 0).numpy() - theirs)
    assert difference.max() <= 2
    assert (difference > 0).mean() < 0.01, "Pillow rounds fixed-point numbers"


# ----------------------------------------------------------------------------------------------- Inception's weights


@pytest.mark.slow
def test_a_files_format_does_not_matter(weights: Path, network: InceptionNetwork, tmp_path: Path) -> None:
    tensors = {name: t for name, t in network.state_dict().items() if not name.endswith(UNUSED)}
    old, other = tmp_path / "old.pth", tmp_path / "other.safetensors"
    torch.save(network.state_dict(), old, _use_new_zipfile_serialization=False)  # as the published file is
    save_file(tensors, other)
    prepared = [Inception(weights=str(path)).prepare(GREY, CPU) for path in (weights, old, other)]
    assert len({p.digest for p in prepared}) == 1
    with torch.no_grad():
        expected = network(GREY.form.to_input(GREY.samples))[0]
    for p in prepared:
        assert torch.equal(p(GREY.samples).features, expected)
    tensors["fc.weight"] = tensors["fc.weight"] * 1.001
    save_file(tensors, other)
    assert Inception(weights=str(other)).prepare(GREY, CPU).digest != prepared[0].digest


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("damage", ["empty", "other", "short", "flipped"])
def test_damaged_weights(name: str, damage: str, tmp_path: Path) -> None:
    path = tmp_path / name
    tensors = {"fc.bias": torch.zeros(1008)}
    torch.save(tensors, path) if name.endswith("pth") else save_file(tensors, path)
    whole = path.read_bytes()
    changed = {"empty": b"", "other": b"<html>not found</html>", "short": whole[:-400], "flipped": b"\xff" + whole[1:]}
    path.write_bytes(changed[damage])
    with pytest.raises(UserError, match=rf"{name} cannot be read as weights.*damaged.*take the file of https://") as e:
        Inception(weights=str(path)).prepare(GREY, CPU)
    assert "\n" not in str(e.value)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    for path, write in (
        (tmp_path / "a.pth", lambda p, o: torch.save(o, p)),
        (tmp_path / "b.pth", lambda p, o: p.write_bytes(pickle.dumps(o, protocol=2))),
    ):
        write(path, {"fc.bias": _Evil(tmp_path / "made")})
        with pytest.raises(UserError, match="more than weights") as e:
            Inception(weights=str(path)).prepare(GREY, CPU)
        assert "weights_only" not in str(e.value), "torch's advice would run it"
        assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("Mixed_6b.branch1x1.conv.weight"), r"Mixed_6b.branch1x1.conv.weight is missing, .*\[192, 768"),
        (lambda t: t.update({"AuxLogits.fc.bias": torch.zeros(3)}), r"AuxLogits.fc.bias is \[3\], it must be absent"),
        (lambda t: t.update({"fc.bias": torch.zeros(1000)}), r"fc.bias is \[1000\], it must be \[1008\]"),
        (dict.clear, "Conv2d_1a_3x3.bn.bias is missing"),
    ],
    ids=["missing", "more", "torchvision's", "none"],
)
def test_weights_of_another_network(
    change: Callable[[dict[str, Tensor]], object], message: str, network: InceptionNetwork, tmp_path: Path
) -> None:
    tensors = dict(network.state_dict())
    change(tensors)
    torch.save(tensors, tmp_path / "a.pth")
    with pytest.raises(UserError, match=f"a.pth is not the Inception of FID: {message}.*take the file of https://"):
        Inception(weights=str(tmp_path / "a.pth")).prepare(GREY, CPU)


@pytest.mark.parametrize("content", [torch.zeros(3), {"fc.bias": 3}, [torch.zeros(3)]])
def test_a_file_of_something_else(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match="a.pth does not hold named tensors"):
        Inception(weights=str(tmp_path / "a.pth")).prepare(GREY, CPU)


def test_a_file_with_another_ending(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(b"x")
    with pytest.raises(UserError, match=r"has the ending '.ckpt', allowed are .pth and .safetensors"):
        Inception(weights=str(tmp_path / "a.ckpt")).prepare(GREY, CPU)


@pytest.mark.parametrize("path", ["/no/such/file.pth", ".", "x" * 5000])
def test_no_such_weights(path: str) -> None:
    with pytest.raises(UserError, match=r'no file .*Inception\(weights="..."\).*Inception\(download=True\)'):
        Inception(weights=path).prepare(GREY, CPU)


def test_weights_are_not_fetched_without_download(cache: Path, connections: list[Any]) -> None:
    with pytest.raises(UserError, match=r'write Inception\(download=True\).*Inception\(weights="..."\).*https://'):
        Inception().prepare(GREY, CPU)
    assert not connections


@pytest.mark.parametrize("fields", [{"weights": 3}, {"download": "yes"}, {"weights": None}])
@pytest.mark.parametrize("extractor", [Inception, DINOv2, CLIP])
def test_fields_of_another_type(extractor: type, fields: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"{extractor.__name__}: {next(iter(fields))}=.* must be"):
        extractor(**fields)


@pytest.mark.parametrize("extractor", [Inception(), DINOv2(), CLIP()])
@pytest.mark.parametrize(
    ("data", "fix"),
    [(point_data("ring", torch.randn(5, 2)), r"Pixels\(\)"), (image_data("a", torch.zeros(2, 4, 8, 8)), r"Random\(\)")],
)
def test_data_other_than_grey_or_rgb_images_are_refused(
    extractor: Inception | DINOv2 | CLIP, data: Data, fix: str
) -> None:
    with pytest.raises(UserError, match=rf"{type(extractor).__name__}\(\) needs images.*take {fix}"):
        extractor.prepare(data, CPU)


# -------------------------------------------------------------------------------------------------------- downloads


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[..., BaseHTTPRequestHandler]], str]]:
    """Starts servers on the loopback interface, which answer until the test ends; each gives its address."""
    with ExitStack() as running:
        yield lambda handler: running.enter_context(contextmanager(_serve)(handler))


@pytest.mark.slow
def test_weights_are_fetched_with_download(
    weights: Path, cache: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inception, "URL", f"{serve(partial(Quiet, directory=str(weights.parent)))}/{FILE}")
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(weights.read_bytes()).hexdigest())
    fetched = Inception(download=True).prepare(GREY, CPU)
    assert [path.name for path in cache.parent.iterdir()] == [FILE]
    assert fetched.digest == Inception(weights=str(weights)).prepare(GREY, CPU).digest
    monkeypatch.setattr(inception, "URL", "http://127.0.0.1:9/nobody-listens")
    for again in (Inception(), Inception(download=True)):
        prepared = again.prepare(GREY, CPU)
        assert (prepared.name, prepared.digest) == (fetched.name, fetched.digest), "loaded from the cache"


def test_other_bytes_than_published_are_not_kept(
    tmp_path: Path, cache: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrong").write_bytes(b"something else")
    monkeypatch.setattr(inception, "URL", f"{serve(partial(Quiet, directory=str(tmp_path)))}/wrong")
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(
        UserError, match=rf'cannot fetch {FILE} .*SHA-256 sum is {found}, not {SHA256}.*Inception\(weights="..."\)'
    ):
        Inception(download=True).prepare(GREY, CPU)
    assert not list(cache.parent.iterdir())


def test_the_files_name_begins_its_checksum() -> None:
    assert FILE.removesuffix(".pth").endswith(f"-{SHA256[:8]}")
    assert len(SHA256) == 64


def test_a_damaged_file_in_the_cache(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"x")
    with pytest.raises(UserError, match=r"cannot be read.*remove it and write Inception\(download=True\)"):
        Inception().prepare(GREY, CPU)


def test_a_download_that_breaks_off_is_reported_and_not_kept(tmp_path: Path, serve: Callable[..., str]) -> None:
    address = serve(Breaks)
    with pytest.raises(
        UserError, match=f"cannot fetch a.pth .{address}: the connection ended after 1000 of 1000000 bytes.; x"
    ):
        fetch([address], tmp_path / "a.pth", sha256("0"), "x")
    assert not list(tmp_path.iterdir())


def test_a_download_is_streamed_and_replaces_what_was_there(tmp_path: Path, serve: Callable[..., str]) -> None:
    content = os.urandom(3_000_000)  # more than a block
    (tmp_path / "served").write_bytes(content)
    (tmp_path / "a.pth").write_bytes(b"old")
    address = serve(partial(Quiet, directory=str(tmp_path)))
    fetch([f"{address}/served"], tmp_path / "a.pth", sha256(hashlib.sha256(content).hexdigest()), "")
    assert (tmp_path / "a.pth").read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pth", "served"]


def test_a_full_disk_is_not_the_networks_fault(
    tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served").write_bytes(b"x")
    address = serve(partial(Quiet, directory=str(tmp_path)))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match="cannot write .*a.pth: No space left on device; free some space"):
        fetch([f"{address}/served"], tmp_path / "a.pth", lambda _: "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["served"]


# -------------------------------------------------------------------------------------------------- DINOv2 and CLIP


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small DINOv2 of random weights."""
    torch.manual_seed(1)
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=42, patch_size=14
    )
    folder = tmp_path_factory.mktemp("dino")
    transformers.Dinov2Model(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small CLIP of random weights, for texts and images, as on the hub."""
    torch.manual_seed(2)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**small, "vocab_size": 50, "max_position_embeddings": 8, "projection_dim": 6},
        vision_config={**small, "image_size": 30, "patch_size": 10, "projection_dim": 6},
        projection_dim=6,
    )
    folder = tmp_path_factory.mktemp("clip")
    transformers.CLIPModel(config).save_pretrained(folder)
    return folder


def _images(size: int) -> Tensor:
    return torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def test_dinov2_is_the_class_token(dino: Path, connections: list[Any]) -> None:
    prepared = DINOv2(weights=str(dino)).prepare(GREY, CPU)
    images = _images(224)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    inputs = (images / 255 - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    model = transformers.Dinov2Model.from_pretrained(dino)
    with torch.no_grad():
        expected = model(pixel_values=inputs).pooler_output
    seen = prepared(images)
    torch.testing.assert_close(seen.features, expected, rtol=1e-4, atol=1e-5)
    assert expected.std(0).mean() > 0.001, "images must matter"
    assert seen.logits is None
    assert prepared.resizer == "antialiased bicubic to 224x224, as Pillow"
    assert prepared.name == f"DINOv2(weights={str(dino)!r})"
    assert (prepared.classes, prepared.labels) == (0, False)
    assert not connections


def test_clip_is_the_projected_embedding_of_length_1(clip: Path, connections: list[Any]) -> None:
    prepared = CLIP(weights=str(clip)).prepare(GREY, CPU)
    images = _images(30)
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    inputs = (images / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(deviation).view(3, 1, 1)
    model = transformers.CLIPModel.from_pretrained(clip)
    with torch.no_grad():
        embedding = model.visual_projection(model.vision_model(pixel_values=inputs).pooler_output)
    features = prepared(images).features
    assert features.shape == (2, 6)
    torch.testing.assert_close(features, embedding / embedding.norm(dim=1, keepdim=True), rtol=1e-4, atol=1e-5)
    assert prepared.resizer == "antialiased bicubic to 30x30, as Pillow"
    assert not connections


def test_cmmd_is_measured_of_clips_embeddings_and_of_no_others(clip: Path, dino: Path, tmp_path: Path) -> None:
    digits = load_data("digits")
    np.save(tmp_path / "made.npy", digits.samples[:40, 0].numpy())
    options: dict[str, Any] = {"against": "digits", "metrics": "cmmd", "device": TINY["device"]}
    scores = sparring.evaluate_images(tmp_path / "made.npy", extractor=repr(CLIP(weights=str(clip))), **options)
    assert scores.values["cmmd"] > 0
    for other in (repr(DINOv2(weights=str(dino))), "Random()"):
        with pytest.raises(UserError, match=r"cmmd cannot be computed for .*embeddings of length 1: --extractor CLIP"):
            sparring.evaluate_images(tmp_path / "made.npy", extractor=other, **options)


@pytest.mark.parametrize("extractor", [DINOv2, CLIP])
def test_transformers_see_resized_grey_images(
    extractor: type[DINOv2 | CLIP], request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = request.getfixturevalue("dino" if extractor is DINOv2 else "clip")
    before = torch.get_rng_state()
    capfd.readouterr()
    prepared = extractor(weights=str(folder)).prepare(GREY, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert capfd.readouterr() == ("", ""), "no bars"
    assert isinstance(prepared.network, TransformerFeatures)
    inputs = prepared.network.inputs(GREY.form.to_input(GREY.samples))
    assert inputs.shape == (3, 3, prepared.network.size, prepared.network.size)
    features = prepared(GREY.samples).features
    assert torch.equal(features, prepared(GREY.samples.repeat(1, 3, 1, 1)).features)
    assert not torch.equal(features[0], features[1])
    assert not any(p.requires_grad for p in prepared.network.parameters())
    assert extractor(weights=str(folder)).prepare(GREY, CPU).digest == prepared.digest


def test_clips_unused_text_model_is_not_reported(clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger, settings = logging.getLogger("transformers"), transformers.logging
    logger.addHandler(caplog.handler)
    settings.enable_progress_bar()
    try:
        transformers.CLIPVisionModelWithProjection.from_pretrained(clip)
        assert "text_model" in caplog.text, "transformers reports it by default"
        caplog.clear()
        before = settings.get_verbosity()
        CLIP(weights=str(clip)).prepare(GREY, CPU)
    finally:
        logger.removeHandler(caplog.handler)
    assert not caplog.text
    assert settings.get_verbosity() == before
    assert settings.is_progress_bar_enabled()


def test_other_weights_have_another_digest(dino: Path, tmp_path: Path) -> None:
    model = transformers.Dinov2Model.from_pretrained(dino)
    with torch.no_grad():
        model.layernorm.bias[0] += 0.001
    model.save_pretrained(tmp_path)
    one, other = (DINOv2(weights=str(folder)).prepare(GREY, CPU).digest for folder in (dino, tmp_path))
    assert one != other


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hugging Face's cache, empty."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("extractor", [DINOv2(), CLIP(), CLIP(weights="nobody/nothing"), DINOv2(weights="not a name!")])
def test_models_are_not_fetched_without_download(
    extractor: DINOv2 | CLIP, hub_cache: Path, connections: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    name, weights = type(extractor).__name__, extractor.weights
    with pytest.raises(
        UserError,
        match=rf"'{weights}' is no folder, and not in Hugging Face's cache.*{name}\(weights='{weights}', "
        rf'download=True\) to fetch it, or {name}\(weights="..."\) with a folder',
    ) as e:
        extractor.prepare(GREY, CPU)
    assert not connections
    assert "\n" not in str(e.value)
    assert capfd.readouterr() == ("", "")


def test_a_model_in_the_hubs_cache(dino: Path, hub_cache: Path, connections: list[Any]) -> None:
    model = hub_cache / "models--nobody--small"
    shutil.copytree(dino, model / "snapshots" / "0123abcd")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0123abcd")
    prepared = DINOv2(weights="nobody/small").prepare(GREY, CPU)
    assert prepared.digest == DINOv2(weights=str(dino)).prepare(GREY, CPU).digest
    assert prepared.name == "DINOv2(weights='nobody/small')"
    (model / "snapshots" / "0123abcd" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"write DINOv2\(weights='nobody/small', download=True\)"):
        DINOv2(weights="nobody/small").prepare(GREY, CPU)
    assert not connections


def test_models_are_fetched_with_download(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def from_pretrained(name: str, **_: object) -> None:
        asked.append(name)
        raise OSError("the hub\nis closed")

    monkeypatch.setattr(transformers.CLIPVisionModelWithProjection, "from_pretrained", from_pretrained)
    message = r"CLIP: 'nobody/small' cannot be fetched \(the hub is closed\); check the name and the network"
    with pytest.raises(UserError, match=message):
        CLIP(weights="nobody/small", download=True).prepare(GREY, CPU)
    assert asked == ["nobody/small"], "the hub, by name"


@pytest.mark.parametrize("extractor", [DINOv2, CLIP])
def test_without_transformers(extractor: type[DINOv2 | CLIP], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r'needs the package transformers.*pip install "sparring\[features\]"'):
        extractor().prepare(GREY, CPU)


def test_transformers_that_refuse_this_torch(dino: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ImportError("Dinov2Model requires PyTorch >= 99")

    monkeypatch.setattr(transformers.Dinov2Model, "from_pretrained", refuse)
    message = r"DINOv2: .* with torch \d.* \(Dinov2Model requires PyTorch >= 99\); .*pip install 'transformers<5'"
    with pytest.raises(UserError, match=message):
        DINOv2(weights=str(dino)).prepare(GREY, CPU)


def test_a_folder_of_another_model(dino: Path, clip: Path) -> None:
    with pytest.raises(UserError, match=r"DINOv2: .* is not such a model \(.*\); write DINOv2\(weights=\"...\"\)"):
        DINOv2(weights=str(clip)).prepare(GREY, CPU)
    with pytest.raises(UserError, match="CLIP: .* is not such a model"):
        CLIP(weights=str(dino)).prepare(GREY, CPU)


@pytest.mark.parametrize("damage", ["no folder", "no config", "no weights", "half the weights", "config", "layer"])
def test_a_damaged_folder(damage: str, dino: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    model = transformers.Dinov2Model.from_pretrained(dino)
    state = model.state_dict()
    if damage == "layer":
        state.pop("layernorm.bias")
    model.save_pretrained(folder, state_dict=state)
    file, config = folder / "model.safetensors", folder / "config.json"
    if damage == "no folder":
        folder = file
    elif damage == "no config":
        config.unlink()
    elif damage == "no weights":
        file.unlink()
    elif damage == "half the weights":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif damage == "config":
        config.write_text('{"model_type": "dinov2"')
    reason = "it lacks 1 of its tensors, such as layernorm.bias" if damage == "layer" else ".+"
    with pytest.raises(UserError, match=rf"DINOv2: .* is not such a model \(.*{reason}.*\); write DINOv2") as e:
        DINOv2(weights=str(folder)).prepare(GREY, CPU)
    assert "\n" not in str(e.value)
