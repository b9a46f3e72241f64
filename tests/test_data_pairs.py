"""Pairs of images, two sets of images, and maps of class ids."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from sparring.base.errors import UserError
from sparring.data import Data, Form, Pairs, Sets, load_data, load_held_out
from sparring.data.layout import class_names
from sparring.data.maps import coloured
from sparring.data.store.mapped import is_mapped
from sparring.run.directory import Run

WIDTH, HEIGHT = 12, 8


def noise(seed: int, mode: str = "RGB", size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def save(path: Path, image: Image.Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def folder(path: Path, names: tuple[str, str] = ("A", "B"), count: int = 4) -> str:
    """Pairs of a grey source and a coloured target; those of another folder differ."""
    for i in range(count):
        save(path / names[0] / f"{i}.png", noise(i, "L"))
        save(path / names[1] / f"{i}.bmp", noise(100 + i))
    return str(path)


def table(path: Path, **columns: list[Image.Image | bytes | None]) -> str:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    arrays = {}
    for name, images in columns.items():
        contents = [png(image) if isinstance(image, Image.Image) else image for image in images]
        arrays[name] = pa.array([{"bytes": content, "path": None} for content in contents], kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(arrays), path)
    return str(path)


def pixels(image: Image.Image) -> torch.Tensor:
    """[C, H, W]."""
    array = np.asarray(image)
    return torch.from_numpy(array.copy()).view(image.height, image.width, -1).movedim(-1, 0)


def check_members(data: Data, sources: list[Image.Image], targets: list[Image.Image]) -> None:
    assert data.source is not None
    assert data.paired
    assert data.form.source == data.source.form
    assert len(data) == len(data.source) == len(targets)
    for i, (source, target) in enumerate(zip(sources, targets)):
        assert torch.equal(data.source.samples[i], pixels(source))
        assert torch.equal(data.samples[i], pixels(target))


def sources(count: int = 4) -> list[Image.Image]:
    return [noise(i, "L") for i in range(count)]


def targets(count: int = 4) -> list[Image.Image]:
    return [noise(100 + i) for i in range(count)]


# ------------------------------------------------------------------------------------------------------ forms, palettes


def test_maps_become_one_hot_and_come_back() -> None:
    form = Form((1, 2, 3), ("sky", "road", "tree"), map=True)
    maps = torch.tensor([[[[0, 1, 2], [2, 255, 0]]]], dtype=torch.uint8)
    hot = form.to_input(maps)
    assert form.input_shape == hot.shape[1:] == (3, 2, 3)
    assert hot[0, :, 0, 1].tolist() == [0, 1, 0]
    assert hot[0, :, 1, 1].tolist() == [0, 0, 0], "no class"
    known = maps < 3
    assert torch.equal(form.to_stored(hot)[known], maps[known])
    assert form.to_stored(torch.randn(2, 3, 2, 3)).shape == (2, 1, 2, 3)
    assert Form((3, 2, 2)).input_shape == (3, 2, 2)


def test_colours_of_maps_are_distinct_and_none_is_black() -> None:
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    colours = coloured(every, 255)[0].flatten(1).T.tolist()
    assert len({tuple(c) for c in colours}) == 256
    assert colours[255] == [0, 0, 0]
    assert coloured(every, 3)[0].flatten(1).T.tolist()[2:5] == [colours[2], [0, 0, 0], [0, 0, 0]]
    assert colours[:3] == [[128, 0, 0], [0, 128, 0], [128, 128, 0]]
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    assert Form((3, 4, 4)).to_picture(images) is images


def test_forms_are_written_and_read(run_copy: Path) -> None:
    run = Run(run_copy)
    saved = json.loads((run_copy / "data.json").read_text())
    form = Form((1, 8, 8), ("a", "b"), map=True, source=Form((3, 8, 8), source=Form((1, 4, 4))))
    (run_copy / "data.json").write_text(json.dumps({**saved, "form": asdict(form)}))
    assert run.read_data()[1] == form
    old = {key: saved["form"][key] for key in ("shape", "classes", "centre", "scale", "low", "high")}
    (run_copy / "data.json").write_text(json.dumps({**saved, "form": old}))
    assert run.read_data()[1] == load_data("digits").form, "as runs were written before there were maps and sources"
    (run_copy / "data.json").write_text(json.dumps({**saved, "form": {**old, "source": {"shape": []}}}))
    with pytest.raises(UserError, match="is damaged"):
        run.read_data()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pairs(source="../up"), "must be the name of a column"),
        (lambda: Pairs(target_classes=("a", "a")), "different names"),
        (lambda: Pairs(target_classes=256), "at most 255"),
        (lambda: Pairs(target_classes=("a", 1)), "different names"),  # type: ignore[arg-type]
        (lambda: Pairs(target_classes=3, ignore=2), "ignore=2 is one of the class ids 0 to 2"),
        (lambda: Sets("A", "A"), "must be two different names"),
    ],
)
def test_layouts_refuse(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_a_number_of_classes_is_named() -> None:
    assert class_names(2) == ("class 0", "class 1")
    assert eval(repr(Pairs("a", "b", (), ("x",), 4))) == Pairs("a", "b", (), ("x",), 4)


# --------------------------------------------------------------------------------------------- batches, and what varies


def numbered(count: int, offset: int = 0) -> Data:
    """Images whose left half tells their number."""
    images = torch.zeros(count, 1, 2, 4, dtype=torch.uint8)
    images[..., :2] = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1) + offset
    return Data("numbered", images, Form((1, 2, 4)))


def number(batch: torch.Tensor) -> list[int]:
    return ((batch.amax((1, 2, 3)) + 1) * 127.5).round().int().tolist()


def test_plain_data_vary_by_todays_random_numbers() -> None:
    data, indices = load_data("digits"), torch.arange(32)
    torch.manual_seed(3)
    batch = data.varied(indices, mirror=True)
    after = torch.rand(1)
    torch.manual_seed(3)
    turned = torch.rand(32) < 0.5
    assert torch.equal(after, torch.rand(1))
    real = data.batch(indices)["real"]
    assert torch.equal(batch["real"], torch.where(turned.view(-1, 1, 1, 1), real.flip(-1), real))
    assert torch.equal(batch["label"], data.batch(indices)["label"])
    torch.manual_seed(3)
    assert torch.equal(data.varied(indices, mirror=False)["real"], real)
    assert torch.equal(after, torch.cat([torch.rand(32), torch.rand(1)])[-1:]), "nothing was drawn"
    torch.manual_seed(3)
    stored = data.stored(indices, mirror=True)
    assert stored["real"].dtype == torch.uint8
    assert torch.equal(data.to_input(stored)["real"], batch["real"])


def test_pairs_are_turned_alike() -> None:
    data = replace(numbered(50), source=numbered(50, 100))
    indices = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    batch = data.varied(indices, mirror=True)
    assert number(batch["source"]) == [i + 100 for i in number(batch["real"])] == (indices + 100).tolist()
    left = [batch[name][..., 0].amax((1, 2)) > -1 for name in ("real", "source")]
    has = batch["real"].amax((1, 2, 3)) > -1
    assert torch.equal(left[0][has], left[1][has])
    assert 10 < left[0].sum() < 40, "about half are turned; the chance of less is below 1e-4"
    assert torch.equal(data.batch(indices)["source"][:, 0, 0, 0] + 1, (indices + 100) / 127.5)


def test_two_sets_are_drawn_and_turned_by_themselves() -> None:
    data = replace(numbered(40), source=numbered(7, 100), paired=False)
    indices = torch.arange(1, 40)
    assert number(data.batch(indices)["source"]) == [100 + i % 7 for i in range(1, 40)], "always the same"
    torch.manual_seed(0)
    batch = data.varied(indices, mirror=True)
    assert number(batch["real"]) == indices.tolist()
    drawn = number(batch["source"])
    assert drawn != number(data.batch(indices)["source"])
    assert set(drawn) == set(range(100, 107)), (
        "the chance to miss one of 7 in 39 draws is below 2 %, and the seed fixed"
    )
    turned = [batch[name][:, 0, 0, 0] == -1 for name in ("real", "source")]
    assert not torch.equal(*turned)


def test_digests_cover_the_source() -> None:
    plain = load_data("digits")
    assert plain.digest == "d8ec853a95d46a12a5a9ae6ba24ee85e", "runs that were trained before still resume"
    pairs = replace(numbered(5), source=numbered(5, 100))
    digests = {
        numbered(5).digest,
        pairs.digest,
        replace(pairs, paired=False).digest,
        replace(pairs, source=numbered(5, 90)).digest,
        pairs.part(torch.tensor([0, 1, 2, 4])).digest,
    }
    assert len(digests) == 5
    assert replace(numbered(5), source=numbered(5, 100)).digest == pairs.digest


def test_parts_keep_pairs_together() -> None:
    part = replace(numbered(9), source=numbered(9, 100)).part(torch.tensor([7, 2]), "test")
    assert part.source is not None
    assert (part.split, part.source.split) == ("test", "test")
    assert part.samples[:, 0, 0, 0].tolist() == [7, 2]
    assert part.source.samples[:, 0, 0, 0].tolist() == [107, 102]
    assert part.image(1).tolist() == part.samples[1].tolist()


# ------------------------------------------------------------------------------------------------------ where pairs lie


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("A", "B"),
        ("source", "target"),
        ("input", "output"),
        ("images", "masks"),
        ("train/A", "train/B"),
        ("trainA", "trainB"),
        ("A/train", "B/train"),
    ],
)
def test_two_folders(source: str, target: str, tmp_path: Path) -> None:
    check_members(load_data(folder(tmp_path, (source, target)), layout=Pairs()), sources(), targets())


def test_named_folders_in_both_directions(tmp_path: Path) -> None:
    spec = folder(tmp_path, ("day", "night"))
    check_members(load_data(spec, layout=Pairs("day", "night")), sources(), targets())
    check_members(load_data(spec, layout=Pairs("night", "day")), targets(), sources())
    with pytest.raises(UserError, match="no sub-folders of images with these names: source='dawn', target='night'"):
        load_data(spec, layout=Pairs("dawn", "night"))
    back = folder(tmp_path / "usual")
    check_members(load_data(back, layout=Pairs(source="B")), targets(), sources())


def test_partners_that_are_missing_are_listed(tmp_path: Path) -> None:
    spec = folder(tmp_path, count=20)
    for i in range(12):
        (tmp_path / "A" / f"{i}.png").unlink()
    (tmp_path / "B" / "19.bmp").unlink()
    with pytest.raises(UserError) as error:
        load_data(spec, layout=Pairs())
    message = str(error.value)
    assert f"1 of 8 images in {tmp_path / 'A'} have no partner in {tmp_path / 'B'}: 19;" in message
    assert f"12 of 19 images in {tmp_path / 'B'} have no partner" in message
    assert ": 0, 1, 10, 11, 2, 3, 4, 5, 6, 7, and 2 more; partners have the same name" in message
    save(tmp_path / "A" / "18.jpg", noise(0))
    with pytest.raises(UserError, match=r"18\.jpg and .*18\.png have the same name"):
        load_data(spec, layout=Pairs())


@pytest.mark.parametrize("packed", ["", "train", "zip"])
def test_side_by_side(packed: str, tmp_path: Path) -> None:
    lefts, rights = [noise(i) for i in range(4)], targets()
    place = tmp_path / "set" / (packed if packed == "train" else "")
    for i, (left, right) in enumerate(zip(lefts, rights)):
        both = Image.new("RGB", (2 * WIDTH, HEIGHT))
        both.paste(left, (0, 0))
        both.paste(right, (WIDTH, 0))
        save(place / f"{i}.png", both)
    spec = str(tmp_path / "set")
    if packed == "zip":
        spec = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "set")
    check_members(load_data(spec, layout=Pairs()), lefts, rights)
    check_members(load_data(spec, layout=Pairs(source="right")), rights, lefts)
    check_members(load_data(spec, layout=Pairs(target="left")), rights, lefts)


def test_single_images_are_not_taken_for_halves(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / f"{i}.png", noise(i))
    with pytest.raises(UserError, match=r"seems to hold single images \(.*0\.png has 12x8 pixels\).*source='left'"):
        load_data(str(tmp_path), layout=Pairs())
    assert load_data(str(tmp_path), layout=Pairs(source="left")).form.shape == (3, 8, 6)


def test_an_archive_of_two_folders_is_to_be_unpacked(tmp_path: Path) -> None:
    spec = shutil.make_archive(str(tmp_path / "packed"), "zip", folder(tmp_path / "set"))
    with pytest.raises(UserError, match="holds pairs in two folders, .*; unpack it"):
        load_data(spec, layout=Pairs())


def test_two_columns(tmp_path: Path) -> None:
    spec = table(tmp_path / "a.parquet", image=targets(), conditioning_image=sources(), mask=sources(), other=targets())
    check_members(load_data(spec, layout=Pairs()), sources(), targets())
    check_members(load_data(spec, layout=Pairs(source="image", target="mask")), targets(), sources())
    spec = table(tmp_path / "b.parquet", photo=targets(), sketch=sources())
    with pytest.raises(
        UserError, match="these columns of images: photo, sketch; pairs need two of them: set their names"
    ):
        load_data(spec, layout=Pairs())
    check_members(load_data(spec, layout=Pairs("sketch", "photo")), sources(), targets())
    with pytest.raises(UserError, match="these columns of images: photo, sketch"):
        load_data(spec, layout=Pairs("sketch", "paint"))


def test_masks_are_the_target_where_that_is_a_map(tmp_path: Path) -> None:
    masks = [Image.fromarray(np.full((HEIGHT, WIDTH), i % 3, np.uint8)) for i in range(4)]
    spec = table(tmp_path / "a.parquet", image=targets(), mask=masks)
    check_members(load_data(spec, layout=Pairs(target_classes=3)), targets(), masks)
    check_members(load_data(spec, layout=Pairs(source_classes=3)), masks, targets())


@pytest.mark.parametrize("maps", [False, True])
def test_two_arrays(maps: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (5, 4, 6, 3)).astype(np.uint8), rng.integers(0, 3, (5, 4, 6))
    np.savez(tmp_path / "a.npz", source=first, target=second)
    data = load_data(str(tmp_path / "a.npz"), layout=Pairs(target_classes=3 if maps else ()))
    assert data.form.map == maps
    check_members(data, [*map(Image.fromarray, first)], [*map(Image.fromarray, second.astype(np.uint8))])
    np.savez(tmp_path / "b.npz", source=first, target=second[:3])
    with pytest.raises(UserError, match="5 sources and 3 targets"):
        load_data(str(tmp_path / "b.npz"), layout=Pairs())
    np.savez(tmp_path / "c.npz", images=first)
    with pytest.raises(UserError, match="pairs need two arrays: name them 'source' and 'target'"):
        load_data(str(tmp_path / "c.npz"), layout=Pairs())


def test_splits_of_pairs(tmp_path: Path) -> None:
    spec = folder(tmp_path / "set", ("train/A", "train/B"), count=10)
    assert load_held_out(spec, layout=Pairs()) is None
    folder(tmp_path / "set", ("test/A", "test/B"), count=2)
    held = load_held_out(spec, layout=Pairs())
    assert held is not None
    assert held.source is not None
    assert (len(held), held.split, held.source.split) == (2, "test", "test")
    assert len(load_data(spec, layout=Pairs())) == 10
    train, part = (load(spec, held_out=0.3, layout=Pairs()) for load in (load_data, load_held_out))
    assert part is not None
    assert part.source is not None
    assert (len(train), len(part)) == (7, 3)
    for a, b in zip(part.samples, part.source.samples):
        number = next(i for i in range(10) if torch.equal(a, pixels(noise(100 + i))))
        assert torch.equal(b, pixels(noise(number, "L")))


def test_a_test_split_has_as_many_channels_as_its_training_split(tmp_path: Path) -> None:
    table(tmp_path / "train.parquet", source=sources(), target=targets())
    table(tmp_path / "test.parquet", source=targets(2), target=sources(2))
    held = load_held_out(str(tmp_path), layout=Pairs())
    assert held is not None
    assert held.form == load_data(str(tmp_path), layout=Pairs()).form
    assert (held.form.shape[0], held.form.source and held.form.source.shape[0]) == (3, 1)


# ------------------------------------------------------------------------------------------------------------- decoding


def test_other_kinds_of_pixels(tmp_path: Path) -> None:
    sixteen = Image.fromarray(np.full((HEIGHT, WIDTH), 0x7F80, np.uint16))
    save(tmp_path / "A" / "1.png", sixteen)
    save(tmp_path / "B" / "1.jpg", Image.new("CMYK", (WIDTH, HEIGHT), (255, 0, 255, 0)))
    data = load_data(str(tmp_path), layout=Pairs())
    assert data.source is not None
    assert (data.source.samples == 0x7F).all()
    assert data.form.shape == (3, HEIGHT, WIDTH)
    assert data.samples[0, 1].float().mean() > 200 > 55 > data.samples[0, [0, 2]].float().mean(), "it is green"
    save(tmp_path / "one" / "A" / "1.png", Image.new("RGBA", (1, 1), (9, 9, 9, 0)))
    save(tmp_path / "one" / "B" / "1.png", Image.new("L", (1, 1), 7))
    tiny = load_data(str(tmp_path / "one"), layout=Pairs())
    assert tiny.source is not None
    assert (tiny.samples.tolist(), tiny.source.samples.tolist()) == ([[[[7]]]], [[[[255]], [[255]], [[255]]]])


@pytest.mark.parametrize("side", ["A", "B"])
def test_a_truncated_member_drops_its_pair(side: str, tmp_path: Path) -> None:
    spec = folder(tmp_path, count=12)
    whole = load_data(spec, layout=Pairs())
    broken = next((tmp_path / side).glob("3.*"))
    broken.write_bytes(broken.read_bytes()[:80])
    data = load_data(spec, layout=Pairs())
    assert len(data.notes) == 1
    assert data.notes[0].startswith(f"left out {broken}: ")
    kept = sorted(str(i) for i in range(12))
    kept.remove("3")
    check_members(data, [noise(int(i), "L") for i in kept], [noise(100 + int(i)) for i in kept])
    assert data.digest != whole.digest
    (tmp_path / side / broken.name).with_stem("5").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"2 of 12 pairs in .* cannot be read"):
        load_data(spec, layout=Pairs())


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", ["48", "80x32"])
def test_members_are_fitted_alike(fit: str, size: str, tmp_path: Path) -> None:
    """A photo that shows its own map still does when it is fitted; a member is fitted as by itself."""
    ids = 5 * np.random.default_rng(1).integers(0, 2, (6, 9)).repeat(24, 0).repeat(24, 1).astype(np.uint8)
    save(tmp_path / "A" / "x.png", Image.fromarray((ids * 32 + 40).astype(np.uint8)))
    save(tmp_path / "B" / "x.png", Image.fromarray(ids))
    data = load_data(str(tmp_path), size, fit=fit, layout=Pairs(target_classes=6))
    assert data.source is not None
    photo, map_ = data.source.samples[0, 0].int(), data.samples[0, 0].int()
    inside = map_ != 255
    assert set(map_[inside].unique().tolist()) == {0, 5}, "no ids that are between two"
    assert (fit == "pad") == bool((~inside).any())
    assert (photo[~inside] == 0).all()
    near = ((photo - 40) / 32 - map_)[inside].abs() < 2.5
    assert near.float().mean() > 0.9, "all but pixels at the borders of classes; of another window about a half"
    alone = load_data(str(tmp_path / "A"), size, fit=fit).samples[0, 0].int()
    assert (alone - photo).abs().max() <= 1


def test_super_resolution_pairs_keep_their_sizes(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / "A" / f"{i}.png", noise(i, size=(6, 4)))
        save(tmp_path / "B" / f"{i}.png", noise(i, size=(18, 12)))
    data = load_data(str(tmp_path), layout=Pairs())
    assert (data.form.shape, data.source and data.source.form.shape) == ((3, 12, 18), (3, 4, 6))
    save(tmp_path / "B" / "1.png", noise(1, size=(18, 13)))
    with pytest.raises(
        UserError, match=r"1 pairs .* of different sizes: .*1\.png \(source 6x4, target 18x13\); add --size"
    ):
        load_data(str(tmp_path), layout=Pairs())
    both = load_data(str(tmp_path), 8, layout=Pairs())
    assert (both.form.shape, both.source and both.source.form.shape) == ((3, 8, 8), (3, 8, 8))
    assert any("1 sources have another aspect ratio" in remark for remark in both.remarks)
    for side, size in (("A", (12, 8)), ("B", (36, 24))):
        save(tmp_path / side / "1.png", noise(1, size=size))
    with pytest.raises(
        UserError, match=r"the sources in .* have 2 sizes: 6x4 \(2 times\), 12x8 \(1 times\); add --size"
    ):
        load_data(str(tmp_path), layout=Pairs())


def test_pairs_that_outgrow_memory_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = folder(tmp_path / "set", count=12)
    plain = load_data(spec, layout=Pairs())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SPARRING_MEMORY", "1e-6")
    mapped = load_data(spec, layout=Pairs())
    assert mapped.source is not None
    assert is_mapped(mapped.samples)
    assert is_mapped(mapped.source.samples)
    assert (mapped.digest, mapped.form) == (plain.digest, plain.form)
    assert not [*(tmp_path / "cache").rglob("*.part")]


# ----------------------------------------------------------------------------------------------------------- class maps


def map_images() -> dict[str, Image.Image]:
    """The same ids, 0 to 2, one 7 and one 255, in each way to store them."""
    ids = np.array([[0, 1, 2, 7], [2, 1, 0, 255]], np.uint8)
    palette = Image.fromarray(ids).convert("P")
    palette.putdata(ids.ravel().tolist())
    palette.putpalette([255, 0, 0, 0, 255, 0, 9, 9, 9] + [200] * 759)
    grey = Image.fromarray(ids)
    return {
        "L": grey,
        "P": palette,
        "I;16": Image.fromarray(ids.astype(np.uint16)),
        "RGB": Image.merge("RGB", [grey] * 3),
        "RGBA": Image.merge("RGBA", [grey, grey, grey, Image.new("L", grey.size, 0)]),
        "LA": Image.merge("LA", [grey, Image.new("L", grey.size, 0)]),
    }


@pytest.mark.parametrize("mode", [*map_images()])
def test_ways_to_store_a_map(mode: str, tmp_path: Path) -> None:
    image = map_images()[mode]
    assert image.mode == mode
    spec = table(tmp_path / "a.parquet", image=[noise(0, size=(4, 2))], mask=[image])
    data = load_data(spec, layout=Pairs(target_classes=("a", "b", "c"), ignore=7))
    assert data.samples.tolist() == [[[[0, 1, 2, 255], [2, 1, 0, 255]]]]
    assert data.form == Form((1, 2, 4), ("a", "b", "c"), map=True, source=Form((3, 2, 4)))
    assert data.batch(torch.tensor([0]))["real"].sum() == 6
    assert "ignored: 25.0% of the target pixels belong to no class" in data.remarks
    with pytest.raises(UserError, match=r"class id 7 in .*row 0.* is out of range; allowed are 0 to 2; .*set ignore=7"):
        load_data(spec, layout=Pairs(target_classes=3))
    four = load_data(spec, layout=Pairs(target_classes=9))
    assert "warning: no target pixel has class 'class 3', 'class 4', 'class 5' and 2 more" in four.remarks


def test_a_colour_picture_is_no_map(tmp_path: Path) -> None:
    spec = table(tmp_path / "a.parquet", image=targets(1), mask=targets(1))
    with pytest.raises(UserError, match="is a colour image; a class map holds one id per pixel"):
        load_data(spec, layout=Pairs(target_classes=3))


# ------------------------------------------------------------------------------------------------------------- two sets


def two_sets(path: Path, names: tuple[str, str] = ("trainA", "trainB"), counts: tuple[int, int] = (5, 3)) -> str:
    for name, count, first in zip(names, counts, (0, 100)):
        for i in range(count):
            save(path / name / f"{first + i}.png", noise(first + i))
    return str(path)


def check_sets(data: Data, first: int = 5, second: int = 3) -> None:
    assert data.source is not None
    assert not data.paired
    assert (len(data.source), len(data)) == (first, second)
    assert all(torch.equal(data.source.samples[i], pixels(noise(i))) for i in range(first))
    assert all(torch.equal(data.samples[i], pixels(noise(100 + i))) for i in range(second))
    assert data.labels is data.source.labels is None
    assert data.form == Form((3, HEIGHT, WIDTH), source=Form((3, HEIGHT, WIDTH)))


@pytest.mark.parametrize("names", [("trainA", "trainB"), ("A", "B"), ("train/A", "train/B"), ("A/train", "B/train")])
def test_two_sets_in_folders(names: tuple[str, str], tmp_path: Path) -> None:
    check_sets(load_data(two_sets(tmp_path, names), layout=Sets()))


def test_two_sets_in_files(tmp_path: Path) -> None:
    a, b = [noise(i) for i in range(5)], [noise(100 + i) for i in range(3)]
    table(tmp_path / "trainA.parquet", image=a)
    table(tmp_path / "trainB.parquet", image=b)
    check_sets(load_data(str(tmp_path), layout=Sets()))
    spec = table(tmp_path / "columns" / "train.parquet", A=a[:3], B=b)
    check_sets(load_data(spec, layout=Sets()), 3)
    check_sets(load_data(str(tmp_path / "columns"), layout=Sets()), 3)
    for name, images in (("horse", a), ("zebra", b)):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for i, image in enumerate(images):
                archive.writestr(f"{i}.png", png(image))
    check_sets(load_data(str(tmp_path), layout=Sets("horse", "zebra")))


def test_sub_folders_of_sets_are_no_classes(tmp_path: Path) -> None:
    spec = two_sets(tmp_path, ("A/one", "B/two"))
    save(tmp_path / "A" / "zwei" / "x.png", noise(9))
    data = load_data(spec, layout=Sets())
    assert data.source is not None
    assert (len(data.source), data.source.form.classes, data.source.labels) == (6, (), None)


def test_splits_of_two_sets(tmp_path: Path) -> None:
    spec = two_sets(tmp_path, counts=(20, 10))
    assert load_held_out(spec, layout=Sets()) is None
    parts = [load(spec, held_out=0.2, layout=Sets()) for load in (load_data, load_held_out)]
    counts = [(len(part), len(part.source)) for part in parts if part is not None and part.source is not None]
    assert counts == [(8, 16), (2, 4)], "a fifth of each"
    assert parts[1] is not None
    assert parts[1].source is not None
    assert parts[1].source.split == "test"
    seen = {sample.numpy().tobytes() for part in parts if part and part.source for sample in part.source.samples}
    assert len(seen) == 20
    for name in ("testA", "testB"):
        save(tmp_path / name / "1.png", noise(1, "L"))
    held = load_held_out(spec, layout=Sets())
    assert held is not None
    assert held.source is not None
    assert (held.split, held.source.split, held.form) == ("test", "test", load_data(spec, layout=Sets()).form)


# ----------------------------------------------------------------------------------------------------------- named sets


def test_digit_edges() -> None:
    data = load_data("digit-edges", layout=Pairs())
    assert data.source is not None
    assert data.form == Form((1, 16, 16), source=Form((1, 16, 16)))
    assert len(data) == len(data.source) == 1797
    assert data.source.samples.unique().tolist() == [0, 255]
    bright = data.samples > 63
    assert bright[data.source.samples == 255].all(), "an outline lies on its digit"
    assert 0.1 < (data.source.samples == 255).float().mean() < 0.4
    enlarged = torch.nn.functional.interpolate(load_data("digits").samples.double(), scale_factor=2, mode="bilinear")
    assert (enlarged - data.samples).abs().max() <= 0.5
    train, held = (load("digit-edges", held_out=0.1, layout=Pairs()) for load in (load_data, load_held_out))
    assert held is not None
    assert (len(train), len(held)) == (1617, 180)


def test_digit_inverts() -> None:
    data = load_data("digit-inverts", layout=Sets())
    assert data.source is not None
    assert (len(data.source), len(data), data.paired) == (899, 898, False)
    edges = load_data("digit-edges", layout=Pairs()).samples
    assert torch.equal(data.source.samples, edges[::2])
    assert torch.equal(data.samples, 255 - edges[1::2])


def test_digit_colours() -> None:
    data, edges = load_data("digit-colours", layout=Sets()), load_data("digit-edges", layout=Pairs()).samples
    assert data.source is not None
    assert (len(data.source), len(data), data.paired) == (899, 898, False)
    assert torch.equal(data.source.samples, edges[::2].expand(-1, 3, -1, -1))
    ink = edges[1::2].double() / 255
    for channel, (paper, pen) in enumerate(((30, 255), (50, 190), (140, 60))):
        expected = paper + (pen - paper) * ink[:, 0]
        assert (data.samples[:, channel] - expected).abs().max() <= 1


@pytest.mark.parametrize(
    ("spec", "layout", "message"),
    [
        ("mnist", Pairs(), "data 'mnist' does not hold pairs of a source and a target.*A/1.png"),
        ("digit-inverts", Pairs(), "does not hold pairs"),
        ("digits", Sets(), "data 'digits' does not hold two sets of images.*trainA/ and trainB/"),
        ("digit-edges", None, "holds pairs or two sets, for image translation"),
        ("digit-edgs", Pairs(), "no data 'digit-edgs': did you mean 'digit-edges'"),
        ("digit-invert", Sets(), "no data 'digit-invert': did you mean 'digit-inverts'"),
        ("hub:owner/name", Pairs(), "for pairs of a source and a target, download it"),
    ],
)
def test_sets_of_another_kind(spec: str, layout: Pairs | Sets | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_data(spec) if layout is None else load_data(spec, layout=layout)


def test_files_of_another_kind(tmp_path: Path) -> None:
    spec = two_sets(tmp_path / "single", ("cat", "dog"))
    with pytest.raises(UserError, match="does not hold two sets, 'A' and 'B'; give a folder with trainA/"):
        load_data(spec, layout=Sets())
    check_sets(load_data(spec, layout=Sets("cat", "dog")))
    (tmp_path / "points.csv").write_text("1,2\n3,4\n")
    for layout in (Pairs(), Sets()):
        with pytest.raises(UserError, match="does not hold"):
            load_data(str(tmp_path / "points.csv"), layout=layout)
    for name in ("trainA", "trainB"):
        table(tmp_path / "tables" / f"{name}.parquet", image=targets())
    with pytest.raises(UserError, match="holds two sets, trainA and trainB, but this task needs pairs"):
        load_data(str(tmp_path / "tables"), layout=Pairs())


# ------------------------------------------------------------------------------------------------------------ real sets


@pytest.mark.slow
def test_real_edges(real_set: Callable[[str], Path]) -> None:
    data = load_data(str(real_set("edges2shoes_handbags")), 64, layout=Pairs())
    assert data.form == Form((3, 64, 64), source=Form((1, 64, 64)))
    assert len(data) == 2000
    held = load_held_out(str(real_set("edges2shoes_handbags")), 64, layout=Pairs())
    assert held is not None
    assert (len(held), held.form) == (400, data.form)


@pytest.mark.slow
def test_real_street_scenes(real_set: Callable[[str], Path]) -> None:
    spec = str(real_set("camvid"))
    with pytest.raises(UserError, match=r"class id 11 in .*row 0.* allowed are 0 to 10; .*set ignore=11"):
        load_data(spec, layout=Pairs(target_classes=11))
    layout = Pairs("image", "mask", target_classes=11, ignore=11)
    data = load_data(spec, layout=layout)
    assert data.form.input_shape == (11, 180, 240)
    assert data.form.source == Form((3, 180, 240))
    assert data.samples.unique().tolist() == [*range(11), 255]
    held = load_held_out(spec, layout=layout)
    assert held is not None
    assert (len(data), len(held)) == (367, 233)


def test_real_facades(real_set: Callable[[str], Path]) -> None:
    data = load_data(str(real_set("facades_artdeco")), 128, layout=Pairs("mask", "image", source_classes=7))
    assert data.source is not None
    assert data.source.samples.unique().tolist() == [*range(7), 255]
    assert (len(data), data.form.shape, data.source.form.map, data.form.map) == (144, (3, 128, 128), True, False)
    colours = load_data(str(real_set("facades_artdeco")), 128, layout=Pairs())
    assert torch.equal(colours.samples, data.samples)
    assert colours.form.source == Form((3, 128, 128))


@pytest.mark.slow
def test_real_faces_and_drawings(real_set: Callable[[str], Path]) -> None:
    data = load_data(str(real_set("face2genshin_unpaired")), 32, layout=Sets())
    assert data.source is not None
    assert (len(data.source), len(data), data.form.shape) == (736, 762, (3, 32, 32))
    held = load_held_out(str(real_set("face2genshin_unpaired")), 32, layout=Sets())
    assert held is not None
    assert held.source is not None
    assert (len(held.source), len(held)) == (100, 97)


def test_parts_of_maps_count_their_own_pixels() -> None:
    data = load_data("digit-maps", layout=Pairs("image", "mask", target_classes=("paper", "ink")))
    assert sum(data.form.counts) == data.samples.numel()
    assert data.form.counts[1] == int((data.samples == 1).sum())
    part = data.part(torch.arange(5))
    assert part.form.counts == (int((part.samples == 0).sum()), int((part.samples == 1).sum()))
