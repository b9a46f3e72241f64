"""Remarks on how images were resized, and resizing both images of a pair in the same way."""

from __future__ import annotations

from collections import Counter

from PIL import Image

from sparring.data.layout import IGNORED
from sparring.data.sources.decode import Size, Target

DONE = {"crop": "cropped", "pad": "padded", "stretch": "stretched"}


def usual_sizes(sizes: Counter[Size]) -> str:
    """The three most common sizes, such as "20x10 (2 times), 8x8 (1 times)"."""
    return ", ".join(f"{w}x{h} ({n:,} times)" for (w, h), n in sizes.most_common(3))


def fitted_remarks(sizes: Counter[Size], target: Target, what: str = "images") -> tuple[str, ...]:
    """One line on how images of these sizes were resized to the target; empty if none changed."""
    size, fit = target.size, target.fit
    if size is None or not set(sizes) - {size}:
        return ()
    count = sizes.total()
    loss = sum(n * lost(before, size, fit) for before, n in sizes.items()) / count
    both = all if fit == "pad" else any  # padding enlarges what is smaller in both directions
    enlarged = sum(n for before, n in sizes.items() if both(b < s for b, s in zip(before, size)))
    effect = {
        "crop": f"{loss:.0%} of the area cut away on average",
        "pad": f"{loss:.0%} of the area is black border on average",
        "stretch": f"the aspect ratio changed by {loss:.0%} on average",
    }[fit]
    more = f"; {enlarged:,} were smaller and are enlarged" if enlarged else ""
    return (f"fitted: {count:,} {what} of {_kinds(sizes)} {DONE[fit]} to {size[0]}x{size[1]}; {effect}{more}",)


def patch_remarks(sizes: Counter[Size], target: Target, padded: int, what: str) -> tuple[str, ...]:
    """One line on the images that patches are cut from, and one on those that were padded, if any."""
    assert target.size is not None
    size = f"{target.size[0]}x{target.size[1]}"
    common = f"{_kinds(sizes)}: {usual_sizes(sizes)}"
    line = f"patches: {size}, cut at random places from {sizes.total():,} {what} of {common}"
    more = f"padded: {padded:,} {what} were smaller than a patch of {size} and are padded by reflection"
    return (line, more) if padded else (line,)


def _kinds(sizes: Counter[Size]) -> str:
    return f"{len(sizes)} size{'s' if len(sizes) > 1 else ''}"


def lost(before: Size, after: Size, fit: str) -> float:
    """The share of the area that a crop removes or padding adds; for "stretch", the change of the aspect ratio."""
    wide, high = after[0] / before[0], after[1] / before[1]
    change = max(wide, high) / min(wide, high)
    return change - 1 if fit == "stretch" else 1 - 1 / change


def fit_alike(image: Image.Image, frame: Size, target: Target, ids: bool) -> Image.Image:
    """Resize a pair's image to the target with the relative window that an image of size `frame` gets.

    Class ids are resized by nearest neighbour; their borders get id 255, no class.
    """
    assert target.size is not None
    if image.size == frame == target.size:
        return image
    method = Image.Resampling.NEAREST if ids else Image.Resampling.LANCZOS
    (wide, high), (width, height) = target.size, frame
    if target.fit == "stretch":
        return image.resize(target.size, method)
    if target.fit == "pad":
        ratio = min(wide / width, high / height)
        inner = image.resize((max(1, round(width * ratio)), max(1, round(height * ratio))), method)
        canvas = Image.new(image.mode, target.size, IGNORED if ids else 0)
        canvas.paste(inner, (round((wide - inner.width) / 2), round((high - inner.height) / 2)))
        return canvas
    ratio = max(wide / width, high / height)
    cut = [(1 - wide / (width * ratio)) / 2, (1 - high / (height * ratio)) / 2]
    left, top = cut[0] * image.width, cut[1] * image.height
    return image.resize(target.size, method, (left, top, image.width - left, image.height - top))
