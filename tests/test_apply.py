"""Applying a trained generator to images: tiles, formats, masks, maps, files, and the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from profiles import cmyk_profile, grey_profile, linear_profile, p3_profile, srgb_profile
from torch import Tensor, nn
from torch.nn import functional as F

from sparring.apply import apply_image, apply_stored, apply_tensor
from sparring.apply.files import plan
from sparring.apply.generator import TrainedGenerator
from sparring.base.errors import UserError
from sparring.cli import main
from sparring.data.form import Form
from sparring.recipe import load_recipe
from sparring.tasks import Cycle, Generate, Translate
from sparring.tasks.base import Translator

Refused = Callable[..., str]

COLOUR, GREY = Form((3, 16, 16)), Form((1, 16, 16))
DARK_BRIGHT = Form((1, 16, 16), ("dark", "middle", "bright"), map=True)


def blur(source: Tensor, mask: Tensor | None) -> Tensor:
    """A fixed, lopsided 3x3 kernel, twice: reach 2; borders are reflected, as by the networks."""
    kernel = torch.tensor([[1.0, 2, 3], [0, 4, 1], [2, 1, 5]]).div(19).view(1, 1, 3, 3).repeat(source.shape[1], 1, 1, 1)
    for _ in range(2):
        source = F.conv2d(F.pad(source, (1, 1, 1, 1), mode="replicate"), kernel, groups=source.shape[1])
    return source


def strided(source: Tensor, mask: Tensor | None) -> Tensor:
    """Means of 8x8 blocks, put back in their places and blurred: it depends on where the blocks begin."""
    height, width = source.shape[-2:]
    padded = F.pad(source, (0, -width % 8, 0, -height % 8), mode="replicate")
    return blur(F.interpolate(F.avg_pool2d(padded, 8), scale_factor=8)[..., :height, :width], None)


def enlarge(source: Tensor, mask: Tensor | None) -> Tensor:
    return F.interpolate(blur(source, None), scale_factor=4)


def centred(source: Tensor, mask: Tensor | None) -> Tensor:
    """Like instance norm: each pixel depends on the whole image's mean."""
    return source - source.mean((-1, -2), keepdim=True)


def fill(source: Tensor, mask: Tensor | None) -> Tensor:
    """0.5 inside the mask; elsewhere the source with a small error, like a convolution."""
    assert mask is not None
    return torch.where(mask > 0.5, 0.5, source + 0.02)


def threshold(source: Tensor, mask: Tensor | None) -> Tensor:
    """Scores of three classes by brightness: below -0.5, between, above 0.5."""
    level = source.mean(1, keepdim=True)
    return torch.cat([-level, torch.full_like(level, 0.5), level], 1)


def from_map(source: Tensor, mask: Tensor | None) -> Tensor:
    """Class 0 black, 1 grey, 2 white; no class: 0."""
    return (source * torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def identity(source: Tensor, mask: Tensor | None) -> Tensor:
    return source


SAME = Translator(identity, COLOUR, COLOUR, reach=0)
SAME_GREY = Translator(identity, GREY, GREY, reach=0)
BLUR = Translator(blur, COLOUR, COLOUR, reach=2)
LARGER = Translator(enlarge, COLOUR, COLOUR, scale=4, reach=2)
FILL = Translator(fill, COLOUR, COLOUR, reach=0, wants_mask=True)
SEGMENT = Translator(threshold, COLOUR, DARK_BRIGHT, reach=0)
PAINT = Translator(from_map, DARK_BRIGHT, GREY, reach=0)


def pixels(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels)).astype(np.uint8)


def photo(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(pixels(height, width, seed=seed))


def source(height: int, width: int, channels: int = 3) -> Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def applied(translator: Translator, path: Path | Image.Image, mask: Image.Image | None = None) -> Image.Image:
    return apply_image(translator, path, mask).image


# ------------------------------------------------------------------------------------------------------------ tiles


@pytest.mark.parametrize("size", [(1, 1), (7, 301), (301, 7), (64, 64), (150, 203)])
@pytest.mark.parametrize("tile", [4, 16, 33])
@pytest.mark.parametrize("run", [blur, strided, enlarge])
def test_tiles_with_a_known_reach_are_the_whole_image(
    run: Callable[[Tensor, Tensor | None], Tensor], size: tuple[int, int], tile: int
) -> None:
    reach = {blur: 2, enlarge: 2, strided: 2 + 8}[run]
    translator = Translator(run, COLOUR, COLOUR, scale=4 if run is enlarge else 1, reach=reach)
    whole = run(source(*size), None)
    assert torch.allclose(apply_tensor(translator, source(*size), tile=tile), whole, rtol=0, atol=1e-6)


def test_tiles_begin_at_multiples_of_the_stride() -> None:
    def blocks(source: Tensor, mask: Tensor | None) -> Tensor:
        height, width = source.shape[-2:]
        padded = F.pad(source, (0, -width % 96, 0, -height % 96), mode="replicate")
        return F.interpolate(F.avg_pool2d(padded, 96), scale_factor=96)[..., :height, :width]

    translator = Translator(blocks, COLOUR, COLOUR, reach=96, stride=96)
    whole = blocks(source(250, 401), None)
    assert torch.allclose(apply_tensor(translator, source(250, 401), tile=50), whole, rtol=0, atol=1e-6)


def test_a_reach_that_is_too_small_shows_in_tiles() -> None:
    made = apply_tensor(Translator(blur, COLOUR, COLOUR, reach=1), source(150, 203), tile=16)
    assert not torch.allclose(made, blur(source(150, 203), None), atol=1e-3)


def test_tiles_are_small_and_few() -> None:
    seen: list[tuple[int, int]] = []

    def spy(source: Tensor, mask: Tensor | None) -> Tensor:
        seen.append((source.shape[-2], source.shape[-1]))
        return source

    apply_tensor(Translator(spy, COLOUR, COLOUR, reach=5), source(300, 700), tile=128)
    assert len(seen) == 3 * 6
    assert max(max(size) for size in seen) <= 128 + 2 * 5 + 63
    seen.clear()
    apply_tensor(Translator(spy, COLOUR, COLOUR, reach=5), source(512, 512))
    apply_tensor(Translator(spy, COLOUR, COLOUR), source(1024, 1024))
    assert seen == [(512, 512), (1024, 1024)]  # at once
    seen.clear()
    apply_tensor(Translator(spy, COLOUR, COLOUR, reach=5), source(512, 513))
    assert len(seen) == 2


@pytest.mark.parametrize("tile", [1, 5, 16, 50, 128])
@pytest.mark.parametrize("scale", [1, 3])
def test_blending_an_output_that_does_not_depend_on_the_tile_gives_the_whole(tile: int, scale: int) -> None:
    def run(source: Tensor, mask: Tensor | None) -> Tensor:
        return F.interpolate(source, scale_factor=scale)

    image = source(37, 61) if tile < 5 else source(137, 161)
    made = apply_tensor(Translator(run, COLOUR, COLOUR, scale=scale), image, tile=tile)
    assert torch.allclose(made, run(image, None), rtol=0, atol=1e-6)


def test_blending_has_no_seams_on_a_smooth_ramp() -> None:
    ramp = torch.linspace(-1, 1, 400).view(1, 1, 1, 400) + torch.linspace(-1, 1, 300).view(1, 1, 300, 1)
    ramp = ramp.repeat(1, 3, 1, 1) / 2
    hard = apply_tensor(Translator(centred, COLOUR, COLOUR, reach=0), ramp, tile=128)
    soft = apply_tensor(Translator(centred, COLOUR, COLOUR), ramp, tile=128)

    def largest_step(image: Tensor) -> float:
        return max(image.diff(dim=-1).abs().max().item(), image.diff(dim=-2).abs().max().item())

    assert largest_step(hard) > 0.2  # neighbours' means differ by a tile's slope
    assert largest_step(soft) < 0.02  # 32 pixels or more share that step, and the ramp's own slope is 0.003


def test_tiles_of_stored_images_equal_the_whole() -> None:
    stored = torch.from_numpy(pixels(150, 203)).permute(2, 0, 1)[None]
    for translator in (BLUR, LARGER, SEGMENT):
        whole = apply_stored(translator, stored, tile=1000)
        assert whole.dtype == torch.uint8
        assert torch.equal(apply_stored(translator, stored, tile=32), whole)
    blended = apply_stored(Translator(threshold, COLOUR, DARK_BRIGHT), stored, tile=32)
    assert torch.equal(blended, apply_stored(SEGMENT, stored))


def test_masks_are_cut_as_images_are() -> None:
    mask = (torch.rand(1, 1, 90, 70, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    made = apply_tensor(FILL, source(90, 70), mask, tile=16)
    assert torch.equal(made, fill(source(90, 70), mask))


@pytest.mark.parametrize("tile", [-1, 1.5, True])
def test_a_wrong_tile_size_is_refused(tile: Any) -> None:
    with pytest.raises(UserError, match="tile="):
        apply_tensor(SAME, source(4, 4), tile=tile)


# --------------------------------------------------------------------------------------------------- images as they are


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 301), (33, 20)])
def test_any_size(size: tuple[int, int]) -> None:
    image = photo(*size)
    assert np.array_equal(np.asarray(applied(SAME, image)), np.asarray(image))
    assert applied(LARGER, image).size == (4 * size[1], 4 * size[0])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_orientation(tmp_path: Path, kind: str) -> None:
    image = Image.new("RGB", (24, 16), "white")
    image.paste("black", (0, 0, 8, 8))  # stored at the top left: upright, after a turn to the right, at the top right
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "image", format=kind, exif=exif)
    made = applied(SAME, tmp_path / "image")
    made.save(tmp_path / "made.png")
    with Image.open(tmp_path / "made.png") as read:
        assert read.size == (16, 24)
        assert 0x0112 not in read.getexif()
        assert np.asarray(read)[:7, 9:].max() < 40
        assert np.asarray(read)[:7, :7].min() > 215


def test_display_p3_becomes_srgb(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8), (200, 100, 50))
    image.save(tmp_path / "p3.png", icc_profile=p3_profile())
    made = applied(SAME, tmp_path / "p3.png")
    assert "icc_profile" not in made.info
    expected = p3_to_srgb(np.array([200, 100, 50]))
    assert np.abs(np.asarray(made)[0, 0].astype(int) - expected).max() <= 1
    assert np.abs(expected - [200, 100, 50]).max() > 10


def p3_to_srgb(colour: Any) -> Any:
    """8-bit Display P3 -> 8-bit sRGB. Source: the primaries of SMPTE EG 432-1 and of IEC 61966-2-1, both with D65."""
    encoded = colour / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[1.22494, -0.22494, 0.0], [-0.04206, 1.04206, 0.0], [-0.01964, -0.07864, 1.09828]])
    linear = (matrix @ linear).clip(0, 1)
    return np.rint(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def test_srgb_profiles_change_nothing(tmp_path: Path) -> None:
    image = photo(200, 300)
    for profile in (ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), srgb_profile()):
        image.save(tmp_path / "a.png", icc_profile=profile)
        assert np.array_equal(np.asarray(applied(SAME, tmp_path / "a.png")), np.asarray(image))
        image.convert("L").save(tmp_path / "b.png", icc_profile=profile)
        assert np.array_equal(np.asarray(applied(SAME_GREY, tmp_path / "b.png")), np.asarray(image.convert("L")))


def test_profiles_that_are_damaged_or_of_another_mode_are_ignored(tmp_path: Path) -> None:
    image = photo(20, 30)
    for profile in (b"no profile", p3_profile()[:200], grey_profile(1.0)):
        image.save(tmp_path / "a.png", icc_profile=profile)
        assert np.array_equal(np.asarray(applied(SAME, tmp_path / "a.png")), np.asarray(image))


@pytest.mark.parametrize("profile", [grey_profile(1.0), linear_profile()])
def test_grey_images_with_a_profile(tmp_path: Path, profile: bytes) -> None:
    """Linear light of 55 of 255 is level 128 in sRGB."""
    Image.new("L", (5, 5), 55).save(tmp_path / "grey.png", icc_profile=profile)
    made = applied(SAME_GREY, tmp_path / "grey.png")
    assert abs(int(np.asarray(made)[0, 0]) - 128) <= 1


def test_cmyk(tmp_path: Path) -> None:
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    image.save(tmp_path / "plain.jpg", quality=100)
    made = np.asarray(applied(SAME, tmp_path / "plain.jpg"))
    assert made.shape == (16, 16, 3)
    assert np.abs(made[8, 8].astype(int) - [0, 255, 255]).max() <= 3
    image.save(tmp_path / "profile.tif", icc_profile=cmyk_profile())
    made = np.asarray(applied(SAME, tmp_path / "profile.tif"))
    assert np.abs(made[8, 8].astype(int) - [119, 119, 119]).max() <= 2  # in this profile cyan is grey: L* = 50


def test_sixteen_bits_keep_the_upper_eight(tmp_path: Path) -> None:
    values = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(applied(SAME_GREY, tmp_path / "a.png")), values >> 8)
    made = np.asarray(applied(SAME, tmp_path / "a.png"))
    assert np.array_equal(made, np.repeat((values >> 8)[..., None], 3, 2))


def test_palettes_and_grey(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 10, 90])
    image.save(tmp_path / "a.png")
    assert applied(SAME, tmp_path / "a.png").getpixel((2, 2)) == (200, 10, 90)
    assert applied(SAME_GREY, photo(9, 9)).tobytes() == photo(9, 9).convert("L").tobytes()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_kept(tmp_path: Path, mode: str) -> None:
    channels = len(mode)
    image = Image.fromarray(pixels(11, 14, channels))
    image.save(tmp_path / "a.png")
    translator = SAME if mode == "RGBA" else SAME_GREY
    made = applied(translator, tmp_path / "a.png")
    assert made.mode == mode
    assert np.array_equal(np.asarray(made), np.asarray(image))  # also the colours of transparent pixels
    larger = applied(LARGER, tmp_path / "a.png")
    assert larger.mode == "RGBA"
    expected = image.getchannel("A").resize((56, 44), Image.Resampling.LANCZOS)
    assert np.array_equal(np.asarray(larger.getchannel("A")), np.asarray(expected))


def test_transparent_palette_and_key_colour(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 10, 90])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "palette.png", transparency=0)
    made = applied(SAME, tmp_path / "palette.png")
    assert (made.getpixel((0, 0)), made.getpixel((1, 1))) == ((0, 0, 0, 0), (200, 10, 90, 255))
    image.convert("RGB").save(tmp_path / "key.png", transparency=(200, 10, 90))
    made = applied(SAME, tmp_path / "key.png")
    assert (made.getpixel((0, 0)), made.getpixel((1, 1))) == ((0, 0, 0, 255), (200, 10, 90, 0))


# ------------------------------------------------------------------------------------------------------- maps and masks


def test_maps_of_classes_are_made(tmp_path: Path) -> None:
    image = Image.fromarray(np.repeat(np.array([[0, 63, 128, 192, 255]], np.uint8)[..., None], 3, 2))
    made = apply_image(SEGMENT, image)
    assert (made.image.mode, np.asarray(made.image).tolist()) == ("L", [[0, 0, 1, 2, 2]])
    assert made.colours is not None
    expected = DARK_BRIGHT.to_picture(torch.tensor([[[[0, 0, 1, 2, 2]]]], dtype=torch.uint8))[0]
    assert np.array_equal(np.asarray(made.colours), expected.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("mode", ["L", "P"])
def test_maps_of_classes_are_read(tmp_path: Path, mode: str) -> None:
    ids = Image.fromarray(np.array([[0, 1, 2, 255]], np.uint8))
    if mode == "P":
        ids.putpalette([9, 9, 9, 80, 0, 0, 7, 200, 0, *[1] * 759])
    ids.save(tmp_path / "ids.png")
    assert np.asarray(applied(PAINT, tmp_path / "ids.png")).tolist() == [[0, 128, 255, 128]]
    Image.fromarray(np.array([[0, 1, 7]], np.uint8)).save(tmp_path / "wrong.png")
    with pytest.raises(UserError, match="class id 7 in the image is out of range; allowed are 0 to 2; give a map"):
        applied(PAINT, tmp_path / "wrong.png")


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_known_pixels_are_kept_to_the_bit(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(pixels(40, 50, len(mode)))
    holes = np.zeros((40, 50), bool)
    holes[10:20, 5:40] = True
    made = np.asarray(applied(FILL, image, Image.fromarray(holes)))
    assert np.array_equal(made[~holes], np.asarray(image)[~holes])
    assert (made[holes][:, :3] == 191).all()
    assert np.array_equal(made[..., 3:], np.asarray(image)[..., 3:])


def test_masks(tmp_path: Path) -> None:
    image = photo(4, 6)
    levels = np.array([[0, 127, 128, 255, 0, 0]] * 4, np.uint8)
    made = np.asarray(applied(FILL, image, Image.fromarray(levels)))
    assert (made == np.where((levels > 127)[..., None], 191, np.asarray(image))).all()
    with pytest.raises(UserError, match="has 5x4 pixels, the image 6x4"):
        applied(FILL, image, Image.new("L", (5, 4)))
    with pytest.raises(UserError, match="brightest pixel of the mask .* is 1 of 255"):
        applied(FILL, image, Image.new("L", (6, 4), 1))
    with pytest.raises(UserError, match="--mask FILE"):
        applied(FILL, image)
    with pytest.raises(UserError, match="leave --mask out"):
        applied(SAME, image, Image.new("L", (6, 4)))
    clear = Image.new("RGBA", (6, 4), (255, 255, 255, 0))  # fully transparent
    assert applied(FILL, image, clear).tobytes() == image.tobytes()


# ------------------------------------------------------------------------------------------------------------ Python


class Toy(Translate):
    """A task with a given translator."""

    def __init__(self, translator: Translator) -> None:
        super().__init__()
        object.__setattr__(self, "given", translator)

    def translator(self, network: nn.Module) -> Translator:
        given: Translator = self.given  # type: ignore[attr-defined]
        return given


def generator(translator: Translator) -> TrainedGenerator:
    task: Any = Toy(translator)
    return TrainedGenerator(nn.Linear(1, 1), task, load_recipe("digits"), translator.target, 7)


def test_apply_takes_paths_images_arrays_and_tensors(tmp_path: Path) -> None:
    array = pixels(9, 12)
    image = Image.fromarray(array)
    image.save(tmp_path / "a.png")
    channels_first = array.transpose(2, 0, 1)
    given = [tmp_path / "a.png", str(tmp_path / "a.png"), image, array, channels_first]
    given += [torch.from_numpy(array), torch.from_numpy(channels_first.copy())]
    for form in given:
        made = generator(SAME).apply(form)
        assert np.array_equal(np.asarray(made), array)
    square = pixels(3, 3)  # 3x3 pixels: the channel axis is ambiguous
    assert np.array_equal(np.asarray(generator(SAME).apply(square)), square)
    tensor = torch.from_numpy(square.transpose(2, 0, 1).copy())
    assert np.array_equal(np.asarray(generator(SAME).apply(tensor)), square)
    assert generator(SAME_GREY).apply(array[..., 0]).tobytes() == array[..., 0].tobytes()
    assert generator(SAME_GREY).apply(torch.from_numpy(array[..., :1].copy())).tobytes() == array[..., 0].tobytes()
    ids = generator(SEGMENT).apply(array, tile=4)
    assert (ids.mode, ids.size) == ("L", (12, 9))


def test_apply_with_a_mask_in_memory() -> None:
    array, holes = pixels(9, 12), np.zeros((9, 12), bool)
    holes[2:4] = True
    expected = np.where(holes[..., None], 191, array)
    for mask in (holes, holes[None], torch.from_numpy(holes), holes.astype(np.uint8) * 255, Image.fromarray(holes)):
        assert np.array_equal(np.asarray(generator(FILL).apply(array, mask)), expected)


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 3)), np.zeros((2, 4, 4, 3), np.uint8), np.zeros((5, 7, 2), np.uint8)]
)
def test_apply_refuses_other_arrays(wrong: Any) -> None:
    with pytest.raises(UserError, match="image has shape"):
        generator(SAME).apply(wrong)


def test_apply_refuses_missing_files_and_files_that_are_no_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        generator(SAME).apply(tmp_path / "nothing.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(UserError, match=r"text.png cannot be read: not an image"):
        generator(SAME).apply(tmp_path / "text.png")


def test_a_run_on_noise_is_no_translator() -> None:
    noise = TrainedGenerator(nn.Linear(1, 1), Generate(), load_recipe("digits"), COLOUR, 7)
    with pytest.raises(UserError, match="use sparring sample RUN"):
        noise.apply(pixels(4, 4))


# -------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Translator], None]:
    """`run(translator)`: every loaded run has this translator."""

    def stand_in(translator: Translator) -> None:
        monkeypatch.setattr("sparring.apply.generator.load", lambda *_, **__: generator(translator))

    return stand_in


def apply(source: Path, out: Path, *more: object) -> int:
    return main(["apply", "RUN", "--input", str(source), "--out", str(out), *map(str, more)])


def written(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_file(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(LARGER)
    photo(6, 8).save(tmp_path / "a.b.jpg")
    assert apply(tmp_path / "a.b.jpg", tmp_path / "out") == 0
    assert written(tmp_path / "out") == ["a.b.png"]
    assert capsys.readouterr().out == f"1 image by step 7: {tmp_path / 'out'}\n"


def test_a_folder_with_folders_and_equal_names(run: Any, tmp_path: Path) -> None:
    run(SAME)
    (tmp_path / "in/deep").mkdir(parents=True)
    names = ["a.jpg", "a.png", "A-jpg.png", "b.PNG", "deep/a.png"]
    for i, name in enumerate(names):
        photo(5, 5, seed=i).save(tmp_path / "in" / name)
    (tmp_path / "in/notes.txt").write_text("no image")
    assert apply(tmp_path / "in", tmp_path / "out") == 0
    assert written(tmp_path / "out") == ["A-jpg.png", "a-jpg-2.png", "a-png.png", "b.png", "deep/a.png"]
    for name, seed in (("a-png", 1), ("A-jpg", 2), ("b", 3), ("deep/a", 4)):
        with Image.open(tmp_path / f"out/{name}.png") as made:
            assert np.array_equal(np.asarray(made), pixels(5, 5, seed=seed))


def test_broken_files_are_named_and_the_others_processed(
    run: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(SAME)
    (tmp_path / "in").mkdir()
    for i in range(12):
        photo(20, 20, seed=i).save(tmp_path / f"in/{i:02d}.png")
    whole = (tmp_path / "in/05.png").read_bytes()
    (tmp_path / "in/05.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in/07.png").write_text("text")
    assert apply(tmp_path / "in", tmp_path / "out") == 1
    assert written(tmp_path / "out") == [f"{i:02d}.png" for i in range(12) if i not in (5, 7)]
    output = capfd.readouterr()
    assert output.out == f"10 images by step 7: {tmp_path / 'out'}; 2 failed\n"
    lines = output.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"sparring: failed: {tmp_path / 'in/05.png'} cannot be read: ")
    assert lines[1] == f"sparring: failed: {tmp_path / 'in/07.png'} cannot be read: not an image"


def test_mistakes(run: Any, tmp_path: Path, refused: Refused) -> None:
    run(SAME)
    (tmp_path / "in").mkdir()
    (tmp_path / "empty").mkdir()
    photo(5, 5).save(tmp_path / "in/a.png")
    before = (tmp_path / "in/a.png").read_bytes()

    def refusal(source: str, out: str, *more: object) -> str:
        return refused("apply", "RUN", "--input", tmp_path / source, "--out", tmp_path / out, *more)

    assert "does not exist" in refusal("nothing", "out")
    assert "holds no images" in refusal("empty", "out")
    assert "lies in the input folder" in refusal("in", "in")
    assert "lies in the input folder" in refusal("in", "in/made")
    assert "lies in the input folder" in refusal("in/a.png", "in")
    assert "lies in the input folder" in refusal("in/a.png", "empty/../in")
    assert "is an image; give a folder" in refusal("in/a.png", "made.png")
    assert "tile=-3" in refusal("in/a.png", "out", "--tile", -3)
    photo(5, 5).save(tmp_path / "empty/a.png")
    photo(5, 5).save(tmp_path / "empty/b.png")
    assert "tile=-3" in refusal("empty", "out", "--tile", -3)
    assert "leave --mask out" in refusal("in/a.png", "out", "--mask", tmp_path / "in/a.png")
    (tmp_path / "broken.png").write_text("text")
    assert "broken.png cannot be read: not an image" in refusal("broken.png", "out")
    (tmp_path / "file").write_text("text")
    assert "cannot write" in refusal("in/a.png", "file")
    assert (tmp_path / "in/a.png").read_bytes() == before
    assert written(tmp_path / "in") == ["a.png"]


def test_an_image_too_large_for_the_device(run: Any, tmp_path: Path, refused: Refused) -> None:
    def outgrow(source: Tensor, mask: Tensor | None) -> Tensor:
        raise torch.cuda.OutOfMemoryError("out of memory")

    run(Translator(outgrow, COLOUR, COLOUR, reach=0))
    photo(5, 5).save(tmp_path / "a.png")
    message = refused("apply", "RUN", "--input", tmp_path / "a.png", "--out", tmp_path / "out")
    assert "choose a smaller --tile" in message


def test_no_input_is_overwritten_by_another_name(run: Any, tmp_path: Path, refused: Refused) -> None:
    run(SAME)
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    photo(5, 5).save(tmp_path / "in/a.png")
    (tmp_path / "out/a.png").hardlink_to(tmp_path / "in/a.png")
    assert "would overwrite" in refused("apply", "RUN", "--input", tmp_path / "in", "--out", tmp_path / "out")


def test_out_may_lie_beside_a_single_image(run: Any, tmp_path: Path) -> None:
    run(SAME)
    photo(5, 5).save(tmp_path / "a.png")
    assert apply(tmp_path / "a.png", tmp_path / "made") == 0
    assert apply(tmp_path / "a.png", tmp_path / "made") == 0  # results may be overwritten
    assert written(tmp_path) == ["a.png", "made/a.png"]


def test_masks_of_a_folder(run: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(FILL)
    for folder in ("in/deep", "masks/deep"):
        (tmp_path / folder).mkdir(parents=True)
    for i, name in enumerate(("a", "deep/b")):
        photo(6, 6, seed=i).save(tmp_path / f"in/{name}.png")
        holes = np.zeros((6, 6), bool)
        holes[i] = True
        Image.fromarray(holes).save(tmp_path / f"masks/{name}.gif")
    assert apply(tmp_path / "in", tmp_path / "out", "--mask", tmp_path / "masks") == 0
    for i, name in enumerate(("a", "deep/b")):
        expected = pixels(6, 6, seed=i)
        expected[i] = 191
        with Image.open(tmp_path / f"out/{name}.png") as made:
            assert np.array_equal(np.asarray(made), expected)
    photo(6, 7).save(tmp_path / "in/a.png")  # one mask for all is too small for this one
    assert apply(tmp_path / "in", tmp_path / "one", "--mask", tmp_path / "masks/a.gif") == 1
    assert "masks/a.gif has 6x6 pixels" in capfd.readouterr().err
    assert written(tmp_path / "one") == ["deep/b.png"]


def test_missing_masks(run: Any, tmp_path: Path, refused: Refused) -> None:
    run(FILL)
    (tmp_path / "masks").mkdir()
    photo(6, 6).save(tmp_path / "a.png")
    command = ("apply", "RUN", "--input", tmp_path / "a.png", "--out", tmp_path / "out")
    assert "--mask FILE" in refused(*command)
    assert "does not exist" in refused(*command, "--mask", tmp_path / "nothing.png")
    assert "holds no mask for a.png" in refused(*command, "--mask", tmp_path / "masks")
    for ending in ("gif", "bmp"):
        Image.new("L", (6, 6), 255).save(tmp_path / f"masks/a.{ending}")
    assert "holds 2 masks for a.png, a.bmp and a.gif" in refused(*command, "--mask", tmp_path / "masks")
    Image.new("L", (6, 6), 255).save(tmp_path / "masks/a.png")
    assert plan(tmp_path / "a.png", tmp_path / "out", tmp_path / "masks")[0].mask == tmp_path / "masks/a.png"


def test_maps_and_side_by_side_pictures(run: Any, tmp_path: Path) -> None:
    run(SEGMENT)
    photo(6, 9).save(tmp_path / "a.png")
    assert apply(tmp_path / "a.png", tmp_path / "out", "--side-by-side") == 0
    assert written(tmp_path / "out") == ["a-beside.png", "a-colours.png", "a.png"]
    with Image.open(tmp_path / "out/a.png") as ids, Image.open(tmp_path / "out/a-colours.png") as colours:
        assert ids.mode == "L"
        assert np.asarray(ids).max() <= 2
        with Image.open(tmp_path / "out/a-beside.png") as sheet:
            assert np.array_equal(np.asarray(sheet), np.hstack([pixels(6, 9), np.asarray(colours)]))


def test_side_by_side_pictures_are_enlarged_by_whole_pixels(run: Any, tmp_path: Path) -> None:
    run(LARGER)
    image = Image.fromarray(pixels(6, 9, 4))
    image.putalpha(Image.new("L", image.size, 255))
    image.putpixel((0, 0), (10, 20, 30, 0))
    image.save(tmp_path / "a.png")
    assert apply(tmp_path / "a.png", tmp_path / "out", "--side-by-side") == 0
    with Image.open(tmp_path / "out/a-beside.png") as sheet:
        left = np.asarray(sheet)[:, : 9 * 4]
        assert sheet.size == (2 * 9 * 4, 6 * 4)
    expected = np.asarray(image.convert("RGB")).repeat(4, 0).repeat(4, 1)
    assert np.array_equal(left[4:], expected[4:])
    assert (left[:4, :4] == 255).all()  # transparent pixels become white


def test_a_run_on_noise(tiny_run: Path, tmp_path: Path, refused: Refused) -> None:
    photo(6, 9).save(tmp_path / "a.png")
    message = refused("apply", tiny_run, "--input", tmp_path / "a.png", "--out", tmp_path / "out")
    assert "use sparring sample RUN" in message


class Constant(nn.Module):
    """One colour everywhere, by its level before the tanh."""

    def __init__(self, level: float, channels: int) -> None:
        super().__init__()
        self.level, self.channels = nn.Parameter(torch.tensor(level)), channels

    def forward(self, images: Tensor) -> Tensor:
        return self.level.expand(len(images), self.channels, *images.shape[2:])


def test_translating_from_b_to_a() -> None:
    form = replace(COLOUR, source=GREY)
    network = nn.ModuleDict({"there": Constant(9.0, 3), "back": Constant(-9.0, 1)})
    trained = TrainedGenerator(network, Cycle().for_data(form), load_recipe("cyclegan"), form, 1)
    there, back = trained.apply(Image.new("L", (5, 4))), trained.apply(Image.new("RGB", (5, 4), "white"), back=True)
    assert (there.mode, there.size, there.getpixel((0, 0))) == ("RGB", (5, 4), (255, 255, 255))
    assert (back.mode, back.size, back.getpixel((0, 0))) == ("L", (5, 4), 0)


def test_no_generator_from_b_to_a() -> None:
    form = replace(COLOUR, source=COLOUR)
    trained = TrainedGenerator(Constant(0.0, 3), Translate().for_data(form), load_recipe("pix2pix"), form, 1)
    with pytest.raises(UserError, match="from A to B only"):
        trained.apply(pixels(4, 4), back=True)


def test_the_id_that_a_task_ignores_is_no_class() -> None:
    form = replace(COLOUR, source=DARK_BRIGHT)
    task = Translate(source_classes=DARK_BRIGHT.classes, ignore=7, conditional=False).for_data(form)
    trained = TrainedGenerator(Constant(9.0, 3), task, load_recipe("pix2pix"), form, 1)
    ids = np.array([[0, 1], [7, 255]], np.uint8)
    assert trained.apply(Image.fromarray(ids)).size == (2, 2)
    with pytest.raises(UserError, match="class id 8 in the image is out of range"):
        trained.apply(Image.fromarray(ids + 1))
