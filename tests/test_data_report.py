"""The report on a data set: dataset artifacts, and the proposed recipe."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from sparring import cli
from sparring.data.load import load_data
from sparring.data.samples import Data, image_data, point_data
from sparring.doctor.checkup.artifacts import checked_images, dataset_artifacts
from sparring.doctor.checkup.jpeg import grid_traces
from sparring.doctor.checkup.proposal import TESTED_RECIPES, Change, Proposal, propose, training_size
from sparring.doctor.checkup.report import describe_data
from sparring.game.penalties.slopes import suggested_gamma
from sparring.recipe import field_names, load_recipe, recipe_names

SOON = {"mirror", "fit"}  # fields that recipes are about to get


def natural(count: int = 64, size: int = 48, channels: int = 3, seed: int = 0) -> Tensor:
    """Images whose amplitudes fall as 1/f^1.5, as soft photographs' do, of different contrast: uint8 [n, C, H, W]."""
    rng = torch.Generator().manual_seed(seed)
    frequency = (torch.fft.fftfreq(size)[:, None] ** 2 + torch.fft.rfftfreq(size) ** 2).sqrt()
    frequency[0, 0] = 1
    noise = torch.randn(count, 1, size, size, generator=rng)
    noise = 0.8 * noise + 0.2 * torch.randn(count, channels, size, size, generator=rng)
    images = torch.fft.irfft2(torch.fft.rfft2(noise) / frequency**1.5, s=(size, size))
    images = (images - images.mean((1, 2, 3), keepdim=True)) / images.std((1, 2, 3), keepdim=True)
    contrast, brightness = torch.rand(2, count, 1, 1, 1, generator=rng)
    return (images * (35 + 30 * contrast) + 90 + 70 * brightness).round().clamp(0, 255).to(torch.uint8)


def smooth(count: int = 64, size: int = 32, channels: int = 3) -> Tensor:
    coarse = torch.rand(count, channels, 7, 7, generator=torch.Generator().manual_seed(1))
    images = interpolate(coarse, (size, size), mode="bicubic", align_corners=True)
    return (255 * images).round().clamp(0, 255).to(torch.uint8)


def jpeg(images: Tensor, quality: int) -> Tensor:
    stored = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
        stored.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1))
    return torch.stack(stored)


def enlarged(images: Tensor) -> Tensor:
    small = interpolate(images.float(), scale_factor=0.5, mode="area")
    return interpolate(small, scale_factor=2, mode="bicubic").round().clamp(0, 255).to(torch.uint8)


def framed(images: Tensor, top: int, right: int, value: int = 0) -> Tensor:
    """Bars: `top` rows at the top and the bottom, `right` columns at the right."""
    images = images.clone()
    height, width = images.shape[2:]
    for part in (images[:, :, :top], images[:, :, height - top :], images[..., width - right :]):
        part[:] = value
    return images


def some(images: Tensor, changed: Tensor, share: float) -> Tensor:
    count = round(share * len(images))
    return torch.cat([changed[:count], images[count:]])


def nearly_binary(images: Tensor) -> Tensor:
    kept = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) < 0.006
    return images.where(kept, (images > 127).byte() * 255)


def warnings(images: Tensor) -> list[str]:
    return [text for severity, text in dataset_artifacts(images) if severity == "warning"]


def notes(images: Tensor) -> list[str]:
    return [text for severity, text in dataset_artifacts(images) if severity == "note"]


# ---------------------------------------------------------------------------------------------- dataset artifacts


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("size", [24, 48, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_without_artifacts(size: int, channels: int, seed: int) -> None:
    assert dataset_artifacts(natural(size=size, channels=channels, seed=seed)) == []


def test_smooth_images_have_no_artifacts() -> None:
    assert dataset_artifacts(smooth()) == []
    assert dataset_artifacts(smooth(channels=1)) == []


def test_few_levels_and_a_flat_background_are_notes() -> None:
    digits = load_data("digits").samples
    assert warnings(digits) == []
    assert [text[:18] for text in notes(digits)] == ["only 17 of 256 lev", "49% of the values "]


FAULTS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "0..1 as bytes": (lambda x: x // 128, r"span only 0 to 1 of.* \(perhaps 0..1 stored as bytes\).*: x \* 255;"),
    "low contrast": (lambda x: 100 + x // 5, r"span only 100 to 151 of .*Rescale them: \(x - 100\) \* 5$"),
    "half the range": (lambda x: x // 2, r"span only 0 to 127 of .*: x \* 2.008$"),
    "binarised": (
        lambda x: (x > 127).byte() * 255,
        r"100.0% of the values have one of two levels \(2 levels .*\'InstanceNoise",
    ),
    "nearly binarised": (nearly_binary, r"99.4% of the values have one of two levels \(\d\d+ levels"),
    "constant channel": (
        lambda x: x * torch.tensor([1, 0, 1]).byte()[:, None, None],
        "channel 1 has one value in all images",
    ),
    "grey as RGB": (lambda x: x[:, :1].expand(-1, 3, -1, -1), r"grey images are stored as RGB.*convert\(\"L\"\)"),
    "frame of one pixel": (lambda x: framed(x, 1, 1), r"frame of .*\(1 at the top, 1 at the bottom, 1 at the right\)"),
    "white frame": (lambda x: framed(x, 1, 1, 255), r"frame of .*\(1 at the top, 1 at the bottom, 1 at the right\)"),
    "letterbox": (lambda x: framed(x, 6, 0), r"frame of .*\(6 at the top, 6 at the bottom\)"),
    "one column": (lambda x: framed(x, 0, 2, 128), r"frame of .*\(2 at the right\)"),
    "stored letterbox": (lambda x: jpeg(framed(x, 8, 0), 90), r"frame of .*\(8 at the top, 8 at the bottom\)"),
    "some letterboxed": (lambda x: some(x, framed(x, 6, 0), 0.25), "^25% of the images have bars of one colour"),
    "some stored letterboxes": (lambda x: some(jpeg(x, 90), framed(jpeg(x, 90), 8, 0), 0.3), "^30% of the images have"),
    "JPEG 75": (lambda x: jpeg(x, 75), r"the 8x8 grid of JPEG is visible \(steps .* (\d|1\d)% larger"),
    "JPEG 50": (lambda x: jpeg(x, 50), r"the 8x8 grid of JPEG is visible \(steps .* \d\d% larger .*has to copy it"),
    "JPEG 30": (lambda x: jpeg(x, 30), r"the 8x8 grid of JPEG is visible \(steps .* [2-9]\d% larger"),
    "JPEG, then cropped": (
        lambda x: jpeg(x, 50)[..., 3:, 5:],
        r"the 8x8 grid of JPEG is visible \(steps .* \d\d% larger",
    ),
    "half JPEG 75": (lambda x: some(x, jpeg(x, 75), 0.5), "grid of JPEG .*in 50% of the images.*two sources"),
    "half JPEG 50": (lambda x: some(x, jpeg(x, 50), 0.5), "grid of JPEG .*in 50% of the images.*two sources"),
    "a third enlarged": (lambda x: some(x, enlarged(x), 0.34), r"^(2\d|3\d)% of the images have no detail finer"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_injected_faults(fault: str) -> None:
    inject, message = FAULTS[fault]
    found = warnings(inject(natural()))
    assert len(found) == 1, found
    assert re.search(message, found[0]), found[0]


def test_weak_compression_is_a_note() -> None:
    assert [severity for severity, _ in dataset_artifacts(jpeg(natural(), 95))] in ([], ["note"])
    found = dataset_artifacts(jpeg(natural(), 90))
    assert [severity for severity, _ in found] == ["note"]
    assert found[0].text.startswith("the images were stored as JPEG of high quality")


def test_halving_the_size_removes_a_grid() -> None:
    images = jpeg(natural(size=128, count=48), 50)
    [found] = warnings(images)
    assert "halve the size (--size 64x64), which nearly removes it" in found
    halved = [Image.fromarray(i.permute(1, 2, 0).numpy()).resize((64, 64), Image.Resampling.LANCZOS) for i in images]
    assert dataset_artifacts(torch.from_numpy(np.stack(halved)).permute(0, 3, 1, 2)) == []


def test_traces_separate_compressed_images() -> None:
    images = some(natural(), jpeg(natural(), 90), 0.5)[:, :3].float().mean(1)
    traces = grid_traces(images, (0, 0))
    assert traces[:32].min() > 0.25 > traces[32:].max()
    assert grid_traces(torch.full((1, 48, 48), 7.0), (0, 0)).isnan().all(), "flat images have no trace"


def test_a_background_is_not_padding() -> None:
    """Discs on white, as icons and shoes are; and the same with a frame of the same white, which changes nothing."""
    y, x = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    inside = ((x - 23.5) ** 2 + (y - 23.5) ** 2).sqrt() < torch.linspace(12, 21, 64)[:, None, None]
    discs = natural().where(inside[:, None], torch.tensor(255, dtype=torch.uint8))
    assert warnings(discs) == []
    assert warnings(framed(discs, 2, 2, 255)) == []
    assert warnings(some(discs, framed(discs, 12, 0), 0.4))[0].startswith("41% of the images have bars"), "not on black"
    assert len(warnings(some(discs, framed(discs, 12, 0), 0.4))) == 1
    assert "white" in warnings(some(discs, natural().where(inside[:, None], torch.tensor(0).byte()), 0.4))[0]


def test_an_alpha_channel_is_named() -> None:
    images = torch.cat([natural(), torch.full((64, 1, 48, 48), 255, dtype=torch.uint8)], 1)
    assert warnings(images) == [
        "channel 3 has one value in all images, so it holds no information: remove the alpha channel"
    ]


def test_a_few_images_give_no_findings() -> None:
    assert dataset_artifacts(framed(natural(5), 6, 0)) == []
    assert dataset_artifacts((natural(5) > 127).byte() * 255) == []


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 5), (1, 8, 8), (3, 64, 16), (3, 100, 30), (4, 40, 40)])
@pytest.mark.parametrize("count", [1, 5, 16])
def test_any_shape_and_number(count: int, shape: tuple[int, int, int]) -> None:
    rng = torch.Generator().manual_seed(0)
    dataset_artifacts(torch.randint(0, 256, (count, *shape), generator=rng).byte())
    found = warnings(torch.full((count, *shape), 9, dtype=torch.uint8))
    assert [text.partition(",")[0] for text in found] == [
        f"channel {c} has one value in all images" for c in range(shape[0])
    ]


def test_at_most_2000_images_are_checked() -> None:
    """A set whose samples would fill 150 GB if all were read."""
    samples = torch.zeros(1, 3, 256, 256, dtype=torch.uint8).expand(800_000, -1, -1, -1)
    assert checked_images(samples).nbytes <= 64_000_000
    numbers = torch.arange(100_000).view(-1, 1, 1, 1)
    assert len(checked_images(numbers)) == 2000
    assert torch.equal(checked_images(numbers), checked_images(numbers)), "always the same"
    assert len(checked_images(numbers).unique()) == 2000
    assert checked_images(numbers)[1000] > 40_000, "from everywhere"


def test_mnist_has_no_warnings(real_set: Callable[[str], Path]) -> None:
    real_set("mnist")
    found = dataset_artifacts(checked_images(load_data("mnist").samples))
    assert [severity for severity, _ in found] == ["note"]
    assert found[0].text.startswith("81% of the values are exactly 0: a flat background")


# ------------------------------------------------------------------------------------------------------ proposals


def images_of(shape: tuple[int, int, int], count: int, classes: int = 0) -> Data:
    """A set in which only numbers and shapes are right: its samples are one value."""
    labels = torch.arange(count) % classes if classes else None
    samples = torch.zeros(1, *shape, dtype=torch.uint8).expand(count, -1, -1, -1)
    return image_data("my pictures", samples, labels, tuple(map(str, range(classes))))


CASES: dict[str, tuple[Data, str, dict[str, Change]]] = {
    "short": (images_of((3, 64, 64), 4999), "small-data", {"minutes": 27}),
    "long": (images_of((3, 64, 64), 5000), "mnist", {"penalties": "R1(weight=0.0256, every=8)", "batch_size": 32}),
    "large": (images_of((3, 256, 256), 9000), "mnist", {"size": "64", "penalties": "R1(weight=0.0256, every=8)"}),
    "wide": (images_of((3, 180, 240), 9000), "mnist", {"size": "64x48", "penalties": "R1(weight=0.0192, every=8)"}),
    "tall": (images_of((3, 481, 321), 200), "small-data", {"size": "44x64"}),
    "strip": (images_of((1, 10, 999), 9000), "mnist", {"size": "64x16"}),
    "labelled": (
        images_of((1, 28, 28), 9000, classes=10),
        "mnist-conditional",
        {"task": "Generate(latent=Normal(64), classes=True)", "minutes": 5},
    ),
    "short and labelled": (
        images_of((3, 32, 32), 300, classes=3),
        "small-data",
        {"task": "Generate(latent=Normal(64), classes=True)"},
    ),
    "small": (images_of((1, 15, 40), 99), "digits", {}),
    "points": (point_data("a.csv", torch.randn(50, 3)), "ring", {"data": "a.csv"}),
}


@pytest.mark.parametrize("case", CASES)
def test_proposals(case: str) -> None:
    data, recipe, expected = CASES[case]
    proposal = propose(data)
    assert proposal.recipe == recipe
    assert proposal.changes["data"] == data.name
    assert {k: proposal.changes.get(k) for k in expected} == expected
    assert set(proposal.changes) <= {*field_names(), *SOON}
    assert ("size" in proposal.changes) == (not data.form.is_points and max(data.form.shape[1:]) > 64)
    trained = load_recipe(recipe).replace(**proposal.changes)
    assert trained.held_out == 0, "all of the user's images are trained on"
    assert ("ADA" in trained.augment) == (recipe == "small-data")
    assert ("task" in proposal.changes) == ("labelled" in case)
    assert any("--mirror" in reason for reason in proposal.reasons) == (recipe not in ("digits", "ring"))
    assert {"ring", "mnist", "digits"} <= set(recipe_names())


def test_rare_classes_are_not_a_condition() -> None:
    proposal = propose(images_of((3, 32, 32), 60, classes=6))
    assert "task" not in proposal.changes
    assert any(
        r == "labels are not used: at least half of the 6 classes have fewer than 20 images" for r in proposal.reasons
    )
    assert "task" not in propose(images_of((3, 32, 32), 60, classes=1)).changes


@pytest.mark.parametrize("name", ["digits", "ring", "grid"])
def test_a_named_set_has_its_own_recipe(name: str) -> None:
    assert propose(load_data(name)).command == f"sparring train {name}"


def test_what_the_data_was_loaded_with_is_proposed() -> None:
    assert propose(images_of((3, 32, 32), 60), {"size": 32, "fit": ""}).changes["size"] == 32
    assert propose(images_of((3, 128, 128), 60), {"size": 128, "fit": "pad"}).changes["size"] == "64"
    assert "--fit pad" in propose(images_of((3, 128, 128), 60), {"fit": "pad"}).command


def test_the_command_can_be_pasted() -> None:
    changes: dict[str, Change] = {"data": "it's mine", "batch_size": 4, "minutes": 2.5, "mirror": True, "no": False}
    command = Proposal("mnist", {**changes, "augment": "ADA()"}, ()).command
    assert (
        command
        == """sparring train mnist --data 'it'"'"'s mine' --batch-size 4 --minutes 2.5 --mirror --augment 'ADA()'"""
    )
    words = shlex.split(propose(images_of((3, 100, 100), 9000)).command)
    assert words[:5] == ["sparring", "train", "mnist", "--data", "my pictures"]
    chosen = cli._parser().parse_args(words[1:])
    assert (chosen.recipe, chosen.penalties, chosen.batch_size) == ("mnist", "R1(weight=0.0256, every=8)", 32)


def test_sizes_keep_their_shape() -> None:
    for height in (8, 50, 64, 65, 100, 333, 2000):
        for width in (8, 50, 64, 65, 100, 333, 2000):
            size = training_size(height, width)
            assert size == (height, width) if max(height, width) <= 64 else max(size) == 64
            ratio = (size[0] / size[1]) / (height / width)
            assert 0.85 < ratio < 1.18 or min(size) == 16


def test_gamma() -> None:
    assert suggested_gamma(256, 256, 64) == pytest.approx(0.2048)  # by hand: 0.0002 * 65536 / 64


# --------------------------------------------------------------------------------------------------- the whole report


def test_a_report_in_order() -> None:
    images = some(natural(), natural()[:, :1].expand(-1, 3, -1, -1), 0.25)
    data = image_data("set", framed(images, 6, 0), notes=("left out x.png: torn",))
    report = describe_data(data, {"size": 48})
    names = [name for name, _ in report.lines]
    assert names[:8] == ["data", "samples", "size", "channels", "values", "grey images", "classes", "duplicates"]
    assert names[8:12] == ["left out", "warning", "next step", "command"]
    assert set(names[12:]) == {"reason"}
    assert dict(report.lines)["grey images"] == "25.0%"
    assert dict(report.lines)["command"] == report.proposal.command
    assert "--size 48" in report.proposal.command
    clean = [name for name, _ in describe_data(image_data("set", natural())).lines]
    assert "warning" not in clean
    assert "next step" not in clean


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_reports_of_tiny_sets(count: int) -> None:
    lines = describe_data(image_data("set", natural(count))).lines
    assert [text for name, text in lines if name == "warning"] == []
    assert dict(lines)["samples"] == str(count)
    points = [name for name, _ in describe_data(point_data("a.csv", torch.randn(count, 2))).lines]
    assert {"warning", "note", "values"}.isdisjoint(points)
    assert "command" in points


def test_the_command_line_prints_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "my images.npz"
    np.savez(path, images=framed(natural(), 2, 2).permute(0, 2, 3, 1).numpy())
    assert cli.main(["data", str(path), "--out", str(tmp_path / "sheet.png")]) == 0
    printed = capsys.readouterr().out
    assert re.search(
        r"^warning +the images have a frame .*\(2 at the top, 2 at the bottom, 2 at the right\)", printed, re.M
    )
    command = re.search(r"^command +(sparring train .*)$", printed, re.M)
    assert command is not None
    words = shlex.split(command[1])
    assert words[words.index("--data") + 1] == str(path)
    assert words[2] == "small-data"


def test_the_recipes_of_named_sets_exist() -> None:
    assert set(TESTED_RECIPES.values()) <= set(recipe_names())
