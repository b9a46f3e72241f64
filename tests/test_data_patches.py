"""Images at their own sizes, of which patches are cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sparring.base.errors import UserError
from sparring.data import Data, Form, Pairs, Sets, load_data, load_held_out
from sparring.data.patches import reflected, shortfall
from sparring.data.store.mapped import is_mapped
from sparring.data.store.whole import Whole, at_random, middle

SIZES = ((40, 24), (24, 40), (24, 24), (33, 57))


def gradient(number: int, width: int, height: int) -> Image.Image:
    """Each pixel tells where it is: its red its column, its green its row, its blue its image."""
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([columns, rows, np.full_like(rows, number)], 2).astype(np.uint8))


def save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def folder(path: Path) -> str:
    for number, size in enumerate(SIZES):
        save(path / f"{number}.png", gradient(number, *size))
    return str(path)


def corners(patches: torch.Tensor) -> torch.Tensor:
    """(column, row, image) of each patch's upper left pixel, and that what follows is in order: [n, 3]."""
    patches = patches.int()
    columns, rows = torch.meshgrid(torch.arange(16), torch.arange(24), indexing="xy")
    steps = torch.stack([columns, rows, torch.zeros_like(rows)])
    assert patches.shape[1:] == (3, 24, 16)
    assert torch.equal(patches - patches[:, :, :1, :1], steps.expand_as(patches).int())
    return patches[:, :, 0, 0]


def test_images_stay_whole_and_patches_are_cut(tmp_path: Path) -> None:
    data = load_data(folder(tmp_path), "16x24", fit="patch")
    assert data.form == Form((3, 24, 16))
    assert data.whole is not None
    assert len(data) == len(data.whole) == 4
    for number, (width, height) in enumerate(SIZES):
        assert torch.equal(
            data.image(number), torch.from_numpy(np.array(gradient(number, width, height))).movedim(2, 0)
        )
    middles = [[(w - 16) // 2, (h - 24) // 2, i] for i, (w, h) in enumerate(SIZES)]
    assert corners(data.samples).tolist() == middles
    assert torch.equal(data.batch(torch.tensor([2, 1]))["real"], data.form.to_input(data.samples[[2, 1]]))
    (remark,) = data.remarks
    assert remark.startswith("patches: 16x24, cut at random places from 4 images of 4 sizes: ")


def test_patches_come_from_everywhere_alike(tmp_path: Path) -> None:
    data = load_data(folder(tmp_path), "16x24", fit="patch")
    indices = torch.arange(4).repeat(4000)
    torch.manual_seed(0)
    patches = data.form.to_stored(data.varied(indices, mirror=False)["real"])
    found = corners(patches)
    assert torch.equal(found[:, 2], indices.int())
    for number, (width, height) in enumerate(SIZES):
        places, counts = found[indices == number].unique(dim=0, return_counts=True)
        rooms = (width - 15) * (height - 23)
        assert len(places) == pytest.approx(rooms, rel=0.02), "4,000 draws of at most 612 places miss one in a thousand"
        assert counts.max() < 4000 / rooms + 6 * (4000 / rooms) ** 0.5, "a Poisson number, six deviations at most"
    torch.manual_seed(0)
    again = data.varied(indices, mirror=False)["real"]
    assert torch.equal(data.form.to_stored(again), patches), "by the seed"


def test_mirrored_patches(tmp_path: Path) -> None:
    data = load_data(folder(tmp_path), "16x24", fit="patch")
    indices = torch.full((200,), 2)
    torch.manual_seed(0)
    patches = data.form.to_stored(data.varied(indices, mirror=True)["real"]).int()
    rising = patches[:, 0, 0, 1] > patches[:, 0, 0, 0]
    assert 60 < rising.sum() < 140, "of 200 about half; the chance of less is below 1e-7"
    corners(torch.where(rising.view(-1, 1, 1, 1), patches, patches.flip(-1)))


def test_places() -> None:
    whole = Whole((torch.zeros(1, 10, 9, dtype=torch.uint8), torch.zeros(1, 4, 4, dtype=torch.uint8)))
    rooms = whole.rooms(torch.tensor([0, 1]), (4, 4))
    assert rooms.tolist() == [[7, 6], [1, 1]]
    assert middle(rooms).tolist() == [[3, 2], [0, 0]]
    assert (at_random(torch.full((10_000, 2), 3)).unique().tolist()) == [0, 1, 2]


# ------------------------------------------------------------------------------------------------- small ones, refusals


def test_small_images_are_reflected_or_left_out(tmp_path: Path) -> None:
    save(tmp_path / "a.png", gradient(1, 12, 20))
    save(tmp_path / "b.png", gradient(2, 7, 40))
    save(tmp_path / "c.png", gradient(3, 16, 16))
    (tmp_path / "d.png").write_bytes(b"torn")
    for number in range(20):
        save(tmp_path / f"e{number}.png", gradient(9, 20, 20))
    data = load_data(str(tmp_path), 16, fit="patch")
    assert [note.split(": ")[0] for note in data.notes] == [f"left out {tmp_path / name}.png" for name in "db"]
    assert data.notes[1].endswith("its 7x40 pixels are less than half a patch of 16x16")
    assert len(data) == 22
    assert data.image(0)[0, 0].tolist() == [1, 0, *range(12), 11, 10]
    assert data.image(0)[1, :, 0].tolist() == [*range(20)]
    assert data.remarks[1].startswith("padded: 1 images were smaller than a patch of 16x16")
    with pytest.raises(UserError, match=r"holds no image that is large enough \(left out .*; choose a smaller --size"):
        load_data(str(tmp_path), 100, fit="patch")


@pytest.mark.parametrize("step", [1, 3])
def test_reflection_keeps_scales_in_step(step: int) -> None:
    small = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    large = small.repeat(step, 1).repeat(step, 2)
    for missing in ((1, 0), (3, 2), (4, 3)):
        padded = reflected(large, (missing[0] * step, missing[1] * step), step)
        assert np.array_equal(padded, reflected(small, missing).repeat(step, 1).repeat(step, 2))
    assert shortfall((8, 40), (16, 16)) == (8, 0)
    assert shortfall((7, 40), (16, 16)) is None


def test_refusals(tmp_path: Path) -> None:
    spec = folder(tmp_path)
    with pytest.raises(UserError, match="fit='patch' needs the size of the patches; add --size 64"):
        load_data(spec, fit="patch")
    with pytest.raises(UserError, match="fit='patch' needs the size"):
        load_data("nowhere", fit="patch")
    with pytest.raises(UserError, match="ring holds points, but --fit patch is for images"):
        load_data("ring", 8, fit="patch")
    with pytest.raises(UserError, match="digits has images of 8x8; patches of 9x9 must fit inside"):
        load_data("digits", 9, fit="patch")


# ---------------------------------------------------------------------------------------------------- whatever they are


def test_patches_of_images_that_are_in_memory() -> None:
    digits, data = load_data("digits"), load_data("digits", 6, fit="patch")
    assert torch.equal(data.samples, digits.samples[..., 1:7, 1:7])
    assert (data.form.shape, data.form.classes, data.form.counts) == (
        (1, 6, 6),
        digits.form.classes,
        digits.form.counts,
    )
    assert torch.equal(data.image(5), digits.samples[5])
    pairs, edges = (
        load_data("digit-edges", size, fit=fit, layout=Pairs()) for size, fit in ((8, "patch"), ("", "crop"))
    )
    torch.manual_seed(0)
    batch = pairs.varied(torch.arange(50), mirror=False)
    assert batch["real"].shape == batch["source"].shape == (50, 1, 8, 8)
    assert pairs.form.source == Form((1, 8, 8))
    assert edges.source is not None
    both = torch.cat([edges.batch(torch.arange(50))[n] for n in ("real", "source")], 1)
    cut = torch.cat([batch["real"], batch["source"]], 1)
    places = both.unfold(2, 8, 1).unfold(3, 8, 1)  # [50, 2, 9, 9, 8, 8]
    assert (places == cut[:, :, None, None]).all(-1).all(-1).all(1).flatten(1).any(1).all(), "cut at one place"


def test_grey_and_colour(tmp_path: Path) -> None:
    save(tmp_path / "a.png", Image.new("L", (20, 20), 7))
    assert load_data(str(tmp_path), 8, fit="patch").form.shape == (1, 8, 8)
    save(tmp_path / "b.png", gradient(1, 20, 30))
    data = load_data(str(tmp_path), 8, fit="patch")
    assert data.form.shape == (3, 8, 8)
    assert data.image(0).shape == (3, 20, 20)
    assert (data.samples[0] == 7).all()


def test_classes_stay(tmp_path: Path) -> None:
    for number, name in enumerate(("cat", "cat", "dog", "dog")):
        save(tmp_path / name / f"{number}.png", gradient(number, 20 + number, 20))
    data = load_data(str(tmp_path), 8, fit="patch")
    assert data.form.classes == ("cat", "dog")
    assert data.varied(torch.tensor([3, 0]), mirror=True)["label"].tolist() == [1, 0]


def test_parts_hold_whole_images_out(tmp_path: Path) -> None:
    spec = folder(tmp_path)
    train, held = load_data(spec, 16, 0.25, "patch"), load_held_out(spec, 16, 0.25, "patch")
    assert held is not None
    assert held.whole is not None
    assert (len(train), len(held), len(held.whole), held.split) == (3, 1, 1, "test")
    numbers = [data.image(i)[2, 0, 0].item() for data in (train, held) for i in range(len(data))]
    assert sorted(map(int, numbers)) == [0, 1, 2, 3]
    assert held.samples[0, 2, 0, 0] == numbers[3]
    assert load_held_out(spec, 16, 0.25, "patch").digest == held.digest  # type: ignore[union-attr]


def test_digests_cover_what_is_not_in_the_middle(tmp_path: Path) -> None:
    spec = folder(tmp_path)
    first = load_data(spec, 16, fit="patch")
    image = gradient(3, *SIZES[3])
    image.putpixel((0, 0), (9, 9, 9))
    save(tmp_path / "3.png", image)
    second = load_data(spec, 16, fit="patch")
    assert torch.equal(first.samples, second.samples)
    assert first.digest != second.digest
    assert load_data(spec, 16, fit="patch").digest == second.digest


def test_images_that_outgrow_memory_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = folder(tmp_path / "set")
    save(tmp_path / "set" / "9.png", Image.new("L", (30, 30), 5))
    plain = load_data(spec, 16, fit="patch")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SPARRING_MEMORY", "4e-6")  # 4 KiB: reached in the midst of the images
    mapped = load_data(spec, 16, fit="patch")
    assert mapped.whole is not None
    assert is_mapped(mapped.whole.images[0])
    assert is_mapped(mapped.samples)
    assert mapped.digest == plain.digest
    torch.manual_seed(0)
    first = plain.varied(torch.arange(5).repeat(9), mirror=True)["real"]
    torch.manual_seed(0)
    assert torch.equal(mapped.varied(torch.arange(5).repeat(9), mirror=True)["real"], first)
    part = mapped.part(torch.tensor([4, 1]))
    assert torch.equal(part.image(1), plain.image(1))
    kept = [path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert sorted(kept) == [".json", ".lock", ".pixels"], "the cut patches leave no files"


# ---------------------------------------------------------------------------------------------------------------- pairs


def scaled_pairs(path: Path, source: int, target: int) -> str:
    """Pairs whose members are so many times as large as a gradient of their own."""
    for number, (width, height) in enumerate(SIZES):
        image = np.asarray(gradient(number, width, height))
        for name, times in (("A", source), ("B", target)):
            save(path / name / f"{number}.png", Image.fromarray(image.repeat(times, 0).repeat(times, 1)))
    return str(path)


@pytest.mark.parametrize(("source", "target"), [(1, 1), (1, 3), (2, 1)])
def test_pairs_are_cut_at_the_same_place(source: int, target: int, tmp_path: Path) -> None:
    data = load_data(
        scaled_pairs(tmp_path, source, target), f"{16 * target}x{24 * target}", fit="patch", layout=Pairs()
    )
    assert data.source is not None
    assert data.form.shape == (3, 24 * target, 16 * target)
    assert data.form.source == Form((3, 24 * source, 16 * source))
    indices = torch.arange(4).repeat(50)
    torch.manual_seed(0)
    varied = data.varied(indices, mirror=False)
    mirrored = data.varied(indices, mirror=True)
    for batch, where in ((data.batch(indices), 1), (varied, 20), (mirrored, 20)):
        sources = data.source.form.to_stored(batch["source"])[..., ::source, ::source]
        targets = data.form.to_stored(batch["real"])[..., ::target, ::target]
        assert torch.equal(sources, targets)
        turned = targets[:, 0, 0, 1] < targets[:, 0, 0, 0]
        found = corners(torch.where(turned.view(-1, 1, 1, 1), targets.flip(-1), targets))
        assert len(found[indices == 3].unique(dim=0)) >= where
    assert data.image(1).shape == (3, 40 * target, 24 * target)
    assert data.source.image(1).shape == (3, 40 * source, 24 * source)


def test_small_pairs_are_reflected_alike(tmp_path: Path) -> None:
    data = load_data(scaled_pairs(tmp_path, 1, 2), 66, fit="patch", layout=Pairs())
    assert data.source is not None
    for number in range(4):
        small, large = data.source.image(number), data.image(number)
        assert torch.equal(large[:, ::2, ::2], small)
    assert data.image(2).shape == (3, 66, 66)
    assert any(remark.startswith("padded: 3 pairs were smaller") for remark in data.remarks)


def test_pairs_that_cannot_be_cut(tmp_path: Path) -> None:
    spec = scaled_pairs(tmp_path / "a", 1, 3)
    with pytest.raises(
        UserError, match="targets 3 times as large as sources; patches of 16x16 must be a multiple of 3"
    ):
        load_data(spec, 16, fit="patch", layout=Pairs())
    save(tmp_path / "a" / "A" / "1.png", gradient(1, 25, 40))
    with pytest.raises(
        UserError, match=r"1 pairs .* have images of different sizes: .*1\.png .*; patches are cut from both"
    ):
        load_data(spec, 15, fit="patch", layout=Pairs())
    save(tmp_path / "a" / "A" / "1.png", gradient(1, 72, 120))
    with pytest.raises(
        UserError,
        match=r"differ in size by 3 times \(3\), 1 times \(1\); keep only pairs that differ by the same factor",
    ):
        load_data(spec, 15, fit="patch", layout=Pairs())


def test_maps_are_cut_with_their_photos(tmp_path: Path) -> None:
    for number, (width, height) in enumerate(SIZES):
        image = gradient(number, width, height)
        save(tmp_path / "images" / f"{number}.png", image)
        save(tmp_path / "masks" / f"{number}.png", Image.fromarray((np.asarray(image)[..., 0] % 5).astype(np.uint8)))
    data = load_data(str(tmp_path), 16, fit="patch", layout=Pairs(target_classes=4, ignore=4))
    torch.manual_seed(0)
    batch = data.varied(torch.arange(4).repeat(10), mirror=True)
    assert batch["real"].shape == (40, 4, 16, 16)
    ids = ((batch["source"][:, 0] + 1) * 127.5).round().long() % 5
    assert torch.equal(batch["real"].argmax(1)[ids < 4], ids[ids < 4])
    assert (batch["real"].sum(1) == (ids < 4)).all()
    assert any(remark.startswith("ignored: 18.0%") for remark in data.remarks), data.remarks


def test_patches_of_two_sets(tmp_path: Path) -> None:
    folder(tmp_path / "trainA")
    save(tmp_path / "trainB" / "x.png", gradient(50, 60, 60))
    data = load_data(str(tmp_path), 16, fit="patch", layout=Sets())
    assert data.source is not None
    assert (len(data.source), len(data), data.form.source) == (4, 1, Form((3, 16, 16)))
    torch.manual_seed(0)
    batch = data.varied(torch.zeros(64, dtype=torch.int64), mirror=True)
    assert set(data.form.to_stored(batch["source"])[:, 2, 0, 0].tolist()) == {0, 1, 2, 3}
    assert (data.form.to_stored(batch["real"])[:, 2] == 50).all()


# ------------------------------------------------------------------------------------------------------------ real ones


def check_photo(data: Data) -> None:
    torch.manual_seed(0)
    batch = data.varied(torch.arange(16) % len(data), mirror=True)["real"]
    assert batch.shape == (16, 3, 96, 96)
    assert batch.flatten(1).std(1).median() > 0.1, "there is something to see"


def test_photos() -> None:
    data = load_data("photos", 96, fit="patch")
    assert len(data) == 2
    assert data.image(0).shape == data.image(1).shape == (3, 427, 640)
    check_photo(data)
    assert load_held_out("photos", 96, fit="patch") is None
    assert load_data("photos", 32).form.shape == (3, 32, 32)
    assert load_data("photos").form.shape == (3, 427, 640)


def test_real_photos_of_several_sizes(real_set: Callable[[str], Path]) -> None:
    path = real_set("super_resolution")
    data = load_data(str(path / "train.parquet"), 96, fit="patch")
    assert (len(data), data.image(0).shape) == (200, (3, 321, 481))
    check_photo(data)
    held = load_held_out(str(path), 96, fit="patch")
    assert held is not None
    assert (len(held), held.form.shape) == (19, (3, 96, 96))
