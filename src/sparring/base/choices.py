"""Allowed values of options: devices, precisions, image sizes, numbers of threads. Imports no torch."""

from __future__ import annotations

import re

from sparring.base.errors import UserError, check_choice, shortened

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")
DOCTORS = ("off", "watch", "treat")
FITS = ("crop", "pad", "stretch", "patch")
LARGEST_SIDE = 4096
MOST_THREADS = 1024


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


def threads_text(threads: object) -> str:
    """A number of threads as a recipe stores it: 2 -> "2", "auto" unchanged. UserError: as `parse_threads`."""
    text = str(threads) if isinstance(threads, int) and not isinstance(threads, bool) else threads
    return str(parse_threads(text) or "auto")


def parse_threads(text: object) -> int:
    """The number of threads of a text: "2" -> 2, "auto" -> 0. UserError: the text is neither auto nor 1 to 1024."""
    if text == "auto":
        return 0
    found = re.fullmatch(r"\d{1,9}", text, re.ASCII) if isinstance(text, str) else None
    threads = int(found[0]) if found else 0
    if not 1 <= threads <= MOST_THREADS:
        raise UserError(
            f"threads={shortened(repr(text))} is no number of threads; write auto, or a whole number of at least 1 and "
            f"at most {MOST_THREADS}"
        )
    return threads


def check_fit(owner: str, fit: object) -> None:
    """Raise UserError unless `fit` is one of `FITS`."""
    check_choice(owner, "fit", fit, FITS)
