"""Degradations against Pillow, scipy and hand-computed values, and properties of all of them."""

from __future__ import annotations

import dataclasses
import inspect
import io
import math
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from torch import Tensor

from sparring.base.components import make
from sparring.base.errors import UserError
from sparring.game import schedules
from sparring.tasks import degrade
from sparring.tasks.degrade import (
    Blur,
    Chain,
    Degradation,
    Downscale,
    Grey,
    Jpeg,
    Mask,
    Noise,
    chained,
    cropped,
    mask_of,
)

ALL: tuple[Any, ...] = (
    Downscale(4),
    Downscale(3),
    Grey(),
    Noise(25),
    Blur(2),
    Jpeg(30),
    Mask(),
    Mask(size=3),
    Mask("centre"),
    Mask("centre", size=5),
    Mask("random"),
    Mask("random", size=7),
    (Blur(2), Downscale(4), Noise(25)),
    (Grey(), Noise(15), Mask("random")),
    (Downscale(2), Jpeg(50), Mask(size=2)),
)
RANDOM = [d for d in ALL if any(word in repr(d) for word in ("Noise", "free-form", "random"))]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stored(count: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    """uint8 images with edges and noise, some values at the ends of the range."""
    coarse = torch.randint(0, 256, (count, channels, height // 4 + 1, width // 4 + 1), generator=seeded(seed))
    images = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)[:, :, :height, :width]
    noise = torch.randint(-40, 41, images.shape, generator=seeded(seed + 1))
    return (images + noise).clamp(0, 255).to(torch.uint8)


def as_input(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


def as_levels(images: Tensor) -> Tensor:
    return (images + 1) * 127.5


@pytest.mark.parametrize("name", degrade.__all__)
def test_default_text_and_documentation(name: str) -> None:
    component = make(name, degrade)
    assert make(repr(component), degrade, schedules) == component
    assert isinstance(component, Degradation)
    assert len(inspect.getdoc(type(component)) or "") > 20
    for field in dataclasses.fields(component):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(component, field.name, 3)


# properties of all degradations


@pytest.mark.parametrize("degradation", ALL, ids=repr)
@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(1, 3),
    channels=st.sampled_from([1, 3]),
    height=st.integers(16, 40),
    width=st.integers(16, 40),
    seed=st.integers(0, 9),
)
def test_the_shape_is_that_of_the_source(
    degradation: Any, count: int, channels: int, height: int, width: int, seed: int
) -> None:
    made_by = chained(degradation)
    images = as_input(stored(count, channels, height, width, seed))
    try:
        shape = made_by.shape((channels, height, width))
    except UserError:
        if height % made_by.scale == width % made_by.scale == 0:  # rejected, not cropped
            with pytest.raises(UserError):
                made_by(images)
        return
    made = made_by(images, seeded(seed))
    assert made.source.shape == (count, *shape)
    assert made.source.dtype == torch.float32
    assert shape[1:] == (height // made_by.scale, width // made_by.scale)
    assert "Noise" in repr(degradation) or made.source.abs().max() <= 1
    if mask_of(made_by) is None:
        assert made.mask is None
    else:
        assert made.mask is not None
        assert made.mask.shape == (count, 1, *shape[1:])
        assert set(made.mask.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("degradation", ALL, ids=repr)
def test_a_seed_repeats_it_and_samples_differ(degradation: Any) -> None:
    made_by = chained(degradation)
    images = as_input(stored(1, 3, 24, 36)).repeat(6, 1, 1, 1)
    before = images.clone()
    one, again, other = made_by(images, seeded(1)), made_by(images, seeded(1)), made_by(images, seeded(2))
    assert torch.equal(images, before), "inputs are not modified"
    assert torch.equal(one.source, again.source)
    torch.manual_seed(1)
    assert torch.equal(made_by(images).source, one.source), "without a generator, torch's global one is used"
    state = torch.get_rng_state()
    made_by(images, seeded(3))
    assert torch.equal(torch.get_rng_state(), state), "with a generator, the global one is not used"
    random = degradation in RANDOM
    assert torch.equal(one.source, other.source) != random
    pairs = [(i, j) for i in range(6) for j in range(i)]
    assert all(torch.equal(one.source[i], one.source[j]) != random for i, j in pairs)
    if one.mask is not None and random and degradation != (Grey(), Noise(15), Mask("random")):
        assert all(not torch.equal(one.mask[i], one.mask[j]) for i, j in pairs)


# each degradation


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_downscaling_equals_pillow(factor: int) -> None:
    height, width = 5 * factor, 7 * factor
    images = stored(2, 3, height + 1, width + factor - 1)  # not multiples: cropped at the right and bottom
    made = as_levels(Downscale(factor)(as_input(images)).source)
    assert made.shape == (2, 3, 5, 7)
    torch.testing.assert_close(made, made.round(), rtol=0, atol=1e-4)
    for image, mine in zip(images[..., :height, :width], made):
        theirs = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).resize((7, 5), Image.Resampling.BICUBIC)
        apart = np.abs(np.array(theirs).astype(float) - mine.permute(1, 2, 0).numpy()).round()
        assert apart.max() <= 2  # Pillow rounds after the columns and again after the rows
        assert apart.mean() < 0.25
        for channel, plane in zip(image.float().numpy(), mine):  # floats are not rounded
            exact = np.array(Image.fromarray(channel).resize((7, 5), Image.Resampling.BICUBIC)).clip(0, 255)
            assert np.abs(exact - plane.numpy()).max() <= 0.501


def test_grey_is_the_luminance() -> None:
    primaries = as_input(torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [90, 90, 90]]))
    made = Grey()(primaries.float()[:, :, None, None]).source
    assert as_levels(made).flatten().round().tolist() == [76, 150, 29, 255, 90]  # 255 * (0.299, 0.587, 0.114)
    images = stored(1, 3, 20, 20)
    theirs = np.array(Image.fromarray(images[0].permute(1, 2, 0).contiguous().numpy()).convert("L")).astype(float)
    assert np.abs(as_levels(Grey()(as_input(images)).source)[0, 0].numpy() - theirs).max() <= 1.01


def test_noise_is_normal_and_not_clipped() -> None:
    images = as_input(stored(4, 3, 100, 100))
    noise = (as_levels(Noise(25)(images, seeded(0)).source) - as_levels(images)).double()
    # 120,000 numbers: the mean's standard error is 0.072, the deviation's 0.051; five of them
    assert abs(noise.mean()) < 0.36
    assert abs(noise.std() - 25) < 0.26
    assert Noise(25)(torch.ones(1, 1, 50, 50), seeded(0)).source.max() > 1.1


@pytest.mark.parametrize(("sigma", "size"), [(0.5, (9, 12)), (2.0, (30, 21)), (6.0, (10, 7)), (3.0, (1, 1))])
def test_blur_equals_scipy(sigma: float, size: tuple[int, int]) -> None:
    images = stored(2, 2, *size)
    made = as_levels(Blur(sigma)(as_input(images)).source).numpy()
    for i in range(2):
        for c in range(2):
            theirs = ndimage.gaussian_filter(images[i, c].double().numpy(), sigma, mode="mirror", truncate=4)
            assert np.abs(theirs - made[i, c]).max() <= 0.501
    torch.testing.assert_close(made, made.round(), rtol=0, atol=1e-4)


def test_jpeg_equals_pillow() -> None:
    images = stored(2, 3, 24, 32)
    made = as_levels(Jpeg(30)(as_input(images)).source)
    file = io.BytesIO()
    Image.fromarray(images[1].permute(1, 2, 0).contiguous().numpy()).save(file, "JPEG", quality=30)
    assert np.array_equal(np.array(Image.open(file)), made[1].round().byte().permute(1, 2, 0).numpy())
    worse, better = (
        (as_levels(Jpeg(quality)(as_input(images)).source) - images).square().mean() for quality in (5, 95)
    )
    assert worse > 3 * better


# masks


@pytest.mark.parametrize("kind", ["free-form", "centre", "random"])
def test_masks_cover_their_share_and_keep_known_pixels(kind: str) -> None:
    images = as_input(stored(200, 3, 48, 32))
    for share in (0.1, 0.25, 0.6):
        made = Mask(kind, share)(images, seeded(0))
        assert made.mask is not None
        missing = made.mask.bool().expand_as(images)
        assert torch.equal(made.source[~missing], images[~missing])
        assert made.source[missing].abs().max() == 0
        shares = made.mask.mean((1, 2, 3))
        if kind == "free-form":  # a line is at most 16 long and, with its round ends, 4 wide: 80 of 1,536 pixels
            assert shares.min() >= share
            assert shares.max() <= share + 100 / (48 * 32)
        else:
            # sides are rounded to pixels: half of one in the shortest side
            shortest = {"centre": math.sqrt(share * 48 * 32), "random": 32 * math.sqrt(max(0.5, share) * share)}[kind]
            assert (shares / share - 1).abs().max() <= 1.2 / shortest
            assert kind == "centre" or shares.mean().item() == pytest.approx(share, rel=0.02)


def test_the_centre_is_in_the_middle() -> None:
    mask = Mask("centre", size=4).draw(2, 10, 8)
    expected = torch.zeros(10, 8)
    expected[3:7, 2:6] = 1
    assert torch.equal(mask, expected.expand(2, 1, 10, 8))
    assert Mask("centre", share=0.25).draw(1, 64, 64).sum() == 32**2


def test_rectangles_are_rectangles_anywhere() -> None:
    masks = Mask("random", size=5).draw(3000, 12, 9, seeded(0))
    corners = set()
    for mask in masks[:, 0]:
        rows, columns = mask.amax(1).nonzero()[:, 0], mask.amax(0).nonzero()[:, 0]
        assert mask.sum() == 25 == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        corners.add((int(rows[0]), int(columns[0])))
    # each of the 8 * 5 places, which 3,000 draws miss with a chance of 40 * exp(-75)
    assert corners == {(y, x) for y in range(8) for x in range(5)}
    wide = Mask("random", share=0.25).draw(500, 40, 40, seeded(0))[:, 0]
    ratios = wide.amax(1).sum(1) / wide.amax(2).sum(1)
    assert 0.45 < ratios.min() < 0.6
    assert 1.7 < ratios.max() < 2.2


def test_strokes_cover_all_places_and_are_connected() -> None:
    masks = Mask(share=0.2).draw(2000, 32, 32, seeded(0))[:, 0]
    assert masks.mean(0).min() > 0.03  # also in the corners
    for side in (masks[:, :, :16], masks[:, :16]):  # no side is preferred; standard error 0.0035 to 0.004, three of it
        half = 2 * (side.mean((1, 2)) - masks.mean((1, 2)))
        assert abs(half.mean()) < 0.012
    pieces = [ndimage.label(mask.numpy(), np.ones((3, 3)))[1] for mask in masks[:100]]
    assert np.mean(pieces) < 8  # 205 missing pixels form few connected strokes
    lines = list(islice(Mask()._lines(32, 32, seeded(0)), 300))
    connected = [line[0] == before[1] for before, line in zip(lines, lines[1:])]
    assert 0.5 < np.mean(connected) < 0.8  # 3 lines per stroke on average, so two in three begin at the end of the last
    broad, narrow = (Mask(share=0.2, size=size).draw(50, 64, 64, seeded(0))[:, 0] for size in (16, 2))
    eroded = [ndimage.binary_erosion(m.numpy(), np.ones((5, 5))).mean() for m in (*broad, *narrow)]
    assert np.mean(eroded[:50]) > 4 * np.mean(eroded[50:])


@settings(max_examples=60, deadline=None)
@example(kind="random", share=0.9, height=8, width=8, size=0)
@example(kind="free-form", share=0.9, height=8, width=8, size=4)
@given(
    kind=st.sampled_from(["free-form", "centre", "random"]),
    share=st.floats(0.01, 0.9),
    height=st.integers(8, 20),
    width=st.integers(8, 20),
    size=st.integers(0, 10),
)
def test_some_pixels_are_known_and_some_missing(kind: str, share: float, height: int, width: int, size: int) -> None:
    mask = Mask(kind, share, size)
    try:
        mask.shape((1, height, width))
    except UserError:
        return
    shares = mask.draw(100, height, width, seeded(0)).mean((1, 2, 3))
    assert 0 < shares.min() <= shares.max() < 1


def test_filling_keeps_known_pixels_bit_by_bit() -> None:
    images, made = as_input(stored(3, 3, 16, 16)), torch.randn(3, 3, 16, 16, generator=seeded(5), requires_grad=True)
    mask = Mask("random").draw(3, 16, 16, seeded(0))
    corrupted = torch.where(mask.bool(), made.detach(), math.nan)
    assert Mask().fill(corrupted, images, mask).isfinite().all(), "outputs at known pixels are ignored"
    filled = Mask().fill(made, images, mask)
    missing = mask.bool().expand_as(images)
    assert torch.equal(filled[~missing], images[~missing])
    assert torch.equal(filled[missing], made[missing])
    filled.sum().backward()  # type: ignore[no-untyped-call]
    assert made.grad is not None
    assert torch.equal(made.grad, missing.float()), "only filled pixels have a gradient"


# chains


def test_a_chain_equals_its_steps() -> None:
    images = as_input(stored(3, 3, 34, 41))
    chain = chained((Blur(2), Downscale(4), Noise(25), Mask("random")))
    made = chain(images, seeded(4))
    rng = seeded(4)
    small = Downscale(4)(Blur(2)(images[..., :32, :40]).source).source
    noisy = small + 25 / 127.5 * torch.randn(small.shape, generator=rng)
    mask = Mask("random").draw(3, 8, 10, rng)
    assert made.mask is not None
    assert torch.equal(made.mask, mask)
    assert torch.equal(made.source, torch.where(mask.bool(), 0.0, noisy))
    assert (chain.scale, chain.shape((3, 32, 40))) == (4, (3, 8, 10))
    twice = chained((Downscale(2), Downscale(3)))
    assert (twice.scale, twice.shape((1, 12, 18))) == (6, (1, 2, 3))
    assert torch.equal(twice(images).source, twice(cropped(images, 6)).source)


def test_a_single_degradation_is_no_chain() -> None:
    assert chained(Noise(3)) == chained((Noise(3),)) == Noise(3)
    assert isinstance(chained((Grey(), Noise(3))), Chain)
    assert mask_of(chained((Noise(3), Mask(share=0.5)))) == Mask(share=0.5) == mask_of(Mask(share=0.5))
    assert mask_of(Noise(3)) is None
    assert mask_of(chained((Grey(), Noise(3)))) is None


MISTAKES: dict[str, tuple[Any, str]] = {
    "not divisible": (lambda: Downscale(4).shape((3, 31, 50)), r"Downscale\(factor=4\): 50x31.*write --size 48x28"),
    "a chain that is not": (
        lambda: chained((Downscale(3), Downscale(2))).shape((1, 27, 30)),
        r"\(Downscale\(factor=3\), Downscale\(factor=2\)\): 30x27 cannot be divided by 6; write --size 30x24",
    ),
    "too small for a chain": (lambda: chained((Downscale(4), Blur()))(torch.zeros(1, 1, 3, 9)), "9x3 are too small"),
    "too small to downscale": (lambda: Downscale(8)(torch.zeros(1, 3, 4, 20)), "20x4 are too small.*larger --size"),
    "grey of grey": (lambda: Grey().shape((1, 8, 8)), "these have 1"),
    "grey twice": (lambda: chained((Grey(), Grey())).shape((3, 8, 8)), "these have 1"),
    "grey of four": (lambda: Grey()(torch.zeros(1, 4, 8, 8)), "these have 4"),
    "jpeg of four": (lambda: Jpeg().shape((4, 8, 8)), "1 or 3 channels, these have 4"),
    "points": (lambda: Noise().shape((2,)), r"Noise needs images \(C, H, W\), not samples of shape \[2\]"),
    "mask of few pixels": (lambda: Mask().shape((3, 7, 9)), "9x7 are too small, each side must have at least 8"),
    "mask after downscaling": (lambda: chained((Downscale(4), Mask())).shape((3, 28, 28)), "7x7 are too small"),
    "hole as large as the image": (lambda: Mask("centre", size=16).shape((3, 16, 16)), "size=15.* or less"),
    "hole of too much": (
        lambda: Mask("centre", share=0.6).shape((3, 10, 40)),
        "15 pixels is too large.*40x10.*size=10",
    ),
    "broad brush": (lambda: Mask(size=9).shape((3, 16, 20)), "a brush of 9 pixels.*size=8"),
    "kind": (lambda: Mask("center"), "did you mean 'centre'"),
    "share": (lambda: Mask(share=1.0), "share=1.0 must be a number, above 0 and at most 0.9"),
    "factor": (lambda: Downscale(1.5), "whole number"),  # type: ignore[arg-type]
    "sigma": (lambda: Blur(0), "sigma=0 must be"),
    "quality": (lambda: Jpeg(96), "at most 95"),
    "two masks": (lambda: chained((Mask(), Mask())), r"at most one Mask, and it comes last; write \(Mask\(\)\)"),
    "mask first": (lambda: chained((Mask(), Grey())), r"write \(Grey\(\), Mask\(\)\)"),
    "no steps": (lambda: chained(()), "at least one"),
    "a number": (lambda: chained((Grey(), 4)), "4 is no degradation"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_rejected(name: str) -> None:
    work, message = MISTAKES[name]
    with pytest.raises(UserError, match=message):
        work()
