"""What bringing images to one size did to them, in words."""

from __future__ import annotations

from collections import Counter

from PIL import Image

from sparring.data.layout import IGNORED
from sparring.data.sources.decode import Size, Target

DONE = {"crop": "cropped", "pad": "padded", "stretch": "stretched"}


def usual_sizes(sizes: Counter[Size]) -> str:
    """The three most common, such as "20x10 (2 times), 8x8 (1 times)"."""
    return ", ".join(f"{w}x{h} ({n:,} times)" for (w, h), n in sizes.most_common(3))


def fitted_remarks(sizes: Counter[Size], target: Target, what: str = "images") -> tuple[str, ...]:
    """What bringing images of these sizes to the target's did to them, in one line, if any was changed."""
    size, fit = target.size, target.fit
    if size is None or not set(sizes) - {size}:
        return ()
    count = sizes.total()
    loss = sum(n * lost(before, size, fit) for before, n in sizes.items()) / count
    both = all if fit == "pad" else any  # padding enlarges what is smaller in both directions
    enlarged = sum(n for before, n in sizes.items() if both(b < s for b, s in zip(before, size)))
    loss_in_words = {
        "crop": f"{loss:.0%} of the area cut away on average",
        "pad": f"{loss:.0%} of the area is black border on average",
        "stretch": f"their shape changed by {loss:.0%} on average",
    }[fit]
    more = f"; {enlarged:,} were smaller and are enlarged" if enlarged else ""
    words = f"fitted: {count:,} {what} of {_kinds(sizes)} {DONE[fit]} to {size[0]}x{size[1]}; {loss_in_words}{more}"
    return (words,)


def patch_remarks(sizes: Counter[Size], target: Target, padded: int, what: str) -> tuple[str, ...]:
    """How patches are cut from images of these sizes, of which so many had to be padded, in a line or two."""
    assert target.size is not None
    size = f"{target.size[0]}x{target.size[1]}"
    common = f"{_kinds(sizes)}: {usual_sizes(sizes)}"
    line = f"patches: of {size}, cut from anywhere in {sizes.total():,} {what} of {common}"
    more = f"padded: {padded:,} {what} were smaller than a patch of {size}, and are enlarged by their reflection"
    return (line, more) if padded else (line,)


def _kinds(sizes: Counter[Size]) -> str:
    return f"{len(sizes)} size{'s' if len(sizes) > 1 else ''}"


def lost(before: Size, after: Size, fit: str) -> float:
    """The share of an image's area that a crop cuts away, or that is border after padding; else by how much the ratio
    of width to height changes."""
    wide, high = after[0] / before[0], after[1] / before[1]
    change = max(wide, high) / min(wide, high)
    return change - 1 if fit == "stretch" else 1 - 1 / change


def fit_alike(image: Image.Image, frame: Size, target: Target, ids: bool) -> Image.Image:
    """An image brought to the target's size just as one of size `frame` is, to whose pair it belongs: the same window
    of it, in shares of its sides. Of class ids the nearest is taken, and borders belong to no class."""
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
