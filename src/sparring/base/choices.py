"""Allowed values of options: devices, precisions, image sizes. Imports no torch."""

from __future__ import annotations

import re

from sparring.base.errors import UserError, check_choice, shortened

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")
DOCTORS = ("off", "watch", "treat")
FITS = ("crop", "pad", "stretch", "patch")
LARGEST_SIDE = 4096


def size_text(size: object) -> str:
    """A size as a recipe stores it: 64 -> "64", 0 and "0" -> "", other text unchanged. UserError: as `parse_size`."""
    text = str(size) if isinstance(size, int) and not isinstance(size, bool) else size
    text = "" if text == "0" else text
    parse_size(text)
    assert isinstance(text, str)
    return text


def parse_size(text: object) -> tuple[int, int] | None:
    """(width, height) in pixels of a size: "64" -> (64, 64), "96x64" -> (96, 64); "" -> None, which keeps the size.

    Raises:
        UserError: the text is not a size, or a side is not 1 to 4096 pixels.
    """
    if text == "":
        return None
    found = re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", text, re.ASCII) if isinstance(text, str) else None
    sides = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not all(1 <= side <= LARGEST_SIDE for side in sides):
        raise UserError(
            f"size={shortened(repr(text))} is no image size; write 64 (square) or 96x64 (width x height), "
            f"each side 1 to {LARGEST_SIDE}"
        )
    return sides


def check_fit(owner: str, fit: object) -> None:
    """Raise UserError unless `fit` is one of `FITS`."""
    check_choice(owner, "fit", fit, FITS)
