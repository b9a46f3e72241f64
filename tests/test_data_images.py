"""Images of any kind, size and shape: decoding, fitting and labels."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from PIL import Image

from sparring import train
from sparring.base.choices import parse_size, size_text
from sparring.base.errors import UserError
from sparring.data.form import Form
from sparring.data.labels import class_labels, single_image_classes
from sparring.data.load import load_data
from sparring.data.samples import image_data
from sparring.data.sources.decode import NotDecodedError, Target, decode, read_header
from sparring.recipe import Recipe, parse_recipe
from sparring.run.directory import Run


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def pixel(content: bytes | Image.Image) -> tuple[str, object]:
    image, _ = decode(content, Target())
    return image.mode, image.getpixel((1, 1))


# --------------------------------------------------------------------------------------------------------- pixels


def png16(channels: int, value: int) -> bytes:
    """A PNG of 16 bits a channel, which Pillow cannot write for colours."""
    import struct
    import zlib

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", 4, 4, 16, {1: 0, 3: 2}[channels], 0, 0, 0)
    rows = (b"\0" + struct.pack(">H", value) * 4 * channels) * 4
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def clear_grey() -> bytes:
    return encoded(Image.new("L", (4, 4), 7), "PNG", transparency=7)


SHORT = Image.fromarray(np.full((4, 4), 0xABCD, np.uint16))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png16(1, 0xABCD), ("L", 0xAB)),
        (png16(3, 0xABCD), ("RGB", (0xAB, 0xAB, 0xAB))),
        (encoded(SHORT, "TIFF"), ("L", 0xAB)),
        (Image.frombytes("I;16B", (4, 4), b"\xab\xcd" * 16), ("L", 0xAB)),
        (encoded(Image.fromarray(np.full((4, 4), 0xABCD, np.int32)), "TIFF"), ("L", 0xAB)),
        (b"P5 4 4 65535\n" + b"\xab\xcd" * 16, ("L", 0xAB)),
        (encoded(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF"), ("L", 128)),
        (encoded(Image.new("CMYK", (4, 4), (255, 0, 0, 0)), "TIFF"), ("RGB", (0, 255, 255))),
        (encoded(Image.new("PA", (4, 4)).convert("LA"), "PNG"), ("L", 255)),
        (Image.new("PA", (4, 4), (0, 0)), ("RGB", (255, 255, 255))),
        (clear_grey(), ("L", 255)),
        (encoded(Image.new("RGBA", (4, 4), (0, 0, 100, 51)), "WEBP", lossless=True), ("RGB", (204, 204, 224))),
    ],
    ids=[
        "16-bit PNG",
        "16-bit colours",
        "I;16",
        "I;16B",
        "I",
        "16-bit PGM",
        "F",
        "CMYK",
        "LA",
        "PA",
        "clear grey",
        "WebP",
    ],
)
def test_kinds_of_pixels(content: bytes | Image.Image, expected: tuple[str, object]) -> None:
    assert pixel(content) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((4, 4), 70_000, np.int32), "pixels span 70000 to 70000; allowed are 0 to 65535"),
        (np.full((4, 4), -1, np.int32), "pixels span -1 to -1"),
        (np.full((4, 4), 1.5, np.float32), "floating-point pixels span 1.5 to 1.5; allowed are 0 to 1"),
        (np.full((4, 4), np.nan, np.float32), "floating-point pixels span nan"),
    ],
)
def test_numbers_that_are_no_levels(values: np.ndarray, message: str, tmp_path: Path) -> None:
    content = encoded(Image.fromarray(values), "TIFF")
    with pytest.raises(NotDecodedError, match=message):
        decode(content, Target())
    (tmp_path / "1.tif").write_bytes(content)
    with pytest.raises(UserError, match=f"1 of 1 images in .* cannot be read .*1.tif: {message}"):
        load_data(str(tmp_path))


def test_the_first_frame_of_several() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixel(content) == ("RGB", (255, 0, 0))


def test_the_head_tells_the_upright_size_and_whether_it_is_grey() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.new("L", (12, 8)), "JPEG", exif=exif)
    assert read_header(content) == ((8, 12), True)
    assert decode(content, Target())[1] == (8, 12)
    assert read_header(encoded(Image.new("P", (3, 5)), "PNG")) == ((3, 5), False)


# -------------------------------------------------------------------------------------------------------- fitting


@pytest.mark.parametrize(
    ("text", "sides"),
    [("", None), ("64", (64, 64)), ("96x64", (96, 64)), ("1x4096", (1, 4096))],
)
def test_sizes(text: str, sides: tuple[int, int] | None) -> None:
    assert parse_size(text) == sides


@pytest.mark.parametrize(
    "text", ["64x", "x64", "0x5", "5x0", "-3", "4097", "6.4", "64X64", "64x64x3", " 64", "٦٤", None]
)
def test_no_sizes(text: object) -> None:
    with pytest.raises(UserError, match=r"size=.* is no image size; write 64 \(square\) or 96x64"):
        parse_size(text)


def test_numbers_become_text() -> None:
    assert [size_text(size) for size in (64, 0, "0", "8x9")] == ["64", "", "", "8x9"]
    assert parse_recipe("size = 64", "test") == Recipe(size="64") == Recipe().replace(size=64)
    assert Recipe(size=0) == Recipe()  # type: ignore[arg-type]


@pytest.fixture
def halves(tmp_path: Path) -> str:
    """Two images, of 40x10 and 10x40, whose first half is 50 and whose second half is 200."""
    wide = np.full((10, 40), 50, np.uint8)
    wide[:, 20:] = 200
    Image.fromarray(wide).save(tmp_path / "1.png")
    Image.fromarray(wide.T).save(tmp_path / "2.png")
    return str(tmp_path)


def test_crop(halves: str) -> None:
    data = load_data(halves, size="20x10")
    assert data.form.shape == (1, 10, 20)
    assert data.samples[0, 0, 5, [0, 19]].tolist() == [50, 200]
    top, bottom = data.samples[1, 0, [0, 9], 5].tolist()
    assert (abs(top - 50) < 5, abs(bottom - 200) < 5) == (True, True)
    assert data.remarks == (
        "fitted: 2 images of 2 sizes cropped to 20x10; 69% of the area cut away on average; 1 were smaller and are "
        "enlarged",
    )  # 1/2 of the one, 7/8 of the other


def test_pad(halves: str) -> None:
    data = load_data(halves, size="40x40", fit="pad")
    assert data.samples[0, 0, :, 3].tolist() == [0] * 15 + [50] * 10 + [0] * 15
    assert data.samples[1, 0, 3].tolist() == [0] * 15 + [50] * 10 + [0] * 15
    assert "padded to 40x40; 75% of the area is black border" in data.remarks[0]


def test_stretch(halves: str) -> None:
    data = load_data(halves, size="30x20", fit="stretch")
    assert (data.samples[0, 0, :, :12] == 50).all()
    assert (data.samples[0, 0, :, -12:] == 200).all()
    assert "stretched to 30x20; the aspect ratio changed by 333% on average" in data.remarks[0]  # 8/3 and 6 times


def test_what_fits_already_is_left_alone(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "1.png")
    for fit in ("crop", "pad", "stretch"):
        data = load_data(str(tmp_path), "9x6", fit=fit)
        assert data.samples[0].permute(1, 2, 0).tolist() == pixels.tolist()
        assert data.remarks == ()


def test_only_images_that_are_smaller_both_ways_are_enlarged_by_padding(tmp_path: Path) -> None:
    for name, size in (("1", (200, 50)), ("2", (30, 20))):
        Image.new("L", size).save(tmp_path / f"{name}.png")
    (remark,) = load_data(str(tmp_path), "64", fit="pad").remarks
    assert remark.endswith("; 1 were smaller and are enlarged")


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_an_array_are_fitted_like_files(channels: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 9, 12, channels), np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels, labels=[0, 1, 1, 0])
    (tmp_path / "set").mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image.squeeze(2) if channels == 1 else image).save(tmp_path / "set" / f"{i}.png")
    for fit in ("crop", "pad", "stretch"):
        array, files = (load_data(str(tmp_path / name), "8x4", fit=fit) for name in ("a.npz", "set"))
        assert torch.equal(array.samples, files.samples)
        assert (array.remarks, array.form.counts) == (files.remarks, (2, 2))
    np.savez(tmp_path / "points.npz", samples=np.zeros((5, 2)))
    with pytest.raises(UserError, match="holds points, but --size is for images"):
        load_data(str(tmp_path / "points.npz"), "8")


def test_an_unknown_fit(halves: str) -> None:
    with pytest.raises(UserError, match="fit='padd'; did you mean 'pad'"):
        load_data(halves, "8", fit="padd")


def test_images_that_are_not_square_are_trained_and_sampled(halves: str, tmp_path: Path) -> None:
    from sparring.apply.generator import load

    run = train(
        "digits",
        out=tmp_path / "run",
        data=halves,
        size="12x8",
        fit="pad",
        generator="MLPGenerator(hidden=(8,))",
        discriminator="MLPDiscriminator(hidden=(8,))",
        steps=2,
        batch_size=2,
        device=TINY["device"],
    )
    assert load(run).sample_stored(3).shape == (3, 1, 8, 12)
    assert Run.open(run).read_recipe().fit == "pad"


# --------------------------------------------------------------------------------------------------------- labels


def test_labels() -> None:
    labels, classes = class_labels("x", [10, 2, 10])
    assert (labels.tolist(), classes) == ([1, 0, 1], ("2", "10"))  # type: ignore[union-attr]
    labels, classes = class_labels("x", ["b", "a"], ("b", "a"))
    assert (labels.tolist(), classes) == ([0, 1], ("b", "a"))  # type: ignore[union-attr]
    labels, classes = class_labels("x", [1, 1, 0], ("b", "a"))
    assert (labels.tolist(), classes) == ([1, 1, 0], ("b", "a"))  # type: ignore[union-attr]
    assert class_labels("x", [None, None]) == (None, ())
    assert class_labels("x", [-1, -1], ("b", "a")) == (None, ())


@pytest.mark.parametrize(
    ("found", "names", "message"),
    [
        ([1, None, 1], (), r"x.parquet: 1 of 3 samples have no label \(first: sample 1, counted from 0\)"),
        ([1, -1], ("a", "b"), "1 of 2 samples have no label"),
        ([1, -1], (), "sample 1 has label -1; labels are names or whole numbers of at least 0"),
        ([0, 2], ("a", "b"), r"sample 1 has label 2, which is not one of the 2 classes \(a, b ...\)"),
        (["a", "z"], ("a", "b"), "sample 1 has label 'z', which is not one of"),
        ([0, 1], ("a", "b", "c"), "has 3 classes but only 2 samples; .*remove the labels or add samples"),
    ],
)
def test_bad_labels(found: list[int | None], names: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=f"^x.parquet.*{message}|^{message}") as caught:
        class_labels("x.parquet", found, names)
    assert "\n" not in str(caught.value)


def test_a_part_need_not_have_all_classes() -> None:
    assert class_labels("x", [2], ("a", "b", "c"), part=True)[1] == ("a", "b", "c")


def test_negative_labels_of_an_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8), np.uint8), labels=np.array([0, -1]))
    with pytest.raises(UserError, match="a.npz: label -1 is negative"):
        load_data(str(tmp_path / "a.npz"))


def test_a_class_of_one_image_is_reported(tmp_path: Path) -> None:
    for name in ("cat/1", "cat/2", "dog/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / f"{name}.png")
    assert load_data(str(tmp_path)).remarks == ("warning: class 'dog' has only one image",)
    assert single_image_classes([1, 1, 2, 1, 1], "abcde") == (
        "warning: classes 'a', 'b', 'd' and 1 more have only one image each",
    )


def test_a_form_counts_its_classes() -> None:
    data = image_data("x", torch.zeros(5, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 2, 2, 0, 2]), ("a", "b", "c"))
    assert data.form.counts == (2, 0, 3)
    assert data.part(torch.tensor([0, 1, 2])).form.counts == (1, 0, 2)
    assert load_data("ring").form.counts == tuple(load_data("ring").labels.bincount().tolist())  # type: ignore[union-attr]
    assert load_data("spiral").form.counts == ()


def test_a_run_keeps_the_counts_and_older_runs_have_none(tiny_run: Path, run_copy: Path) -> None:
    _, form = Run.open(tiny_run).read_data()
    assert form.counts == (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
    saved = json.loads((run_copy / "data.json").read_text())
    del saved["form"]["counts"]
    (run_copy / "data.json").write_text(json.dumps(saved))
    _, old = Run.open(run_copy).read_data()
    assert old.counts == ()
    assert old == form
    assert asdict(Form((1, 8, 8)))["counts"] == ()
