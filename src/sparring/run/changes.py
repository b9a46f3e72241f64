"""What a recipe of an earlier version means now: changes that a run of that version shows when it goes on."""

from __future__ import annotations

import re

CHANGES = {
    "0.2": {
        r"R3GAN\w+": "R3GAN's networks resample with zeros around the maps (before: with repeated edges)",
        r"PairedFeatureMatching": "PairedFeatureMatching counts 4 times as much with one scale, twice with two",
        r"(Cycle|Contrast)\b": "the default weights of Cycle are 1/2 of those before, those of Contrast 1/4",
    }
}
"""By the version that brought them, and by a pattern of the recipe's text."""


def changes_since(version: str, recipe: str) -> list[str]:
    """What has changed for a recipe since a version of Sparring.

    Args:
        version: such as "0.1.0".
        recipe: its text (TOML).
    """
    made = _numbers(version)
    return [
        reported
        for since, patterns in CHANGES.items()
        if made < _numbers(since)
        for pattern, reported in patterns.items()
        if re.search(rf"\b{pattern}", recipe)
    ]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
