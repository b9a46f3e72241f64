"""Changed behaviour since earlier versions, which `sparring resume` reports for a run of such a version."""

from __future__ import annotations

import re

CHANGES = {
    "0.2": {
        r"R3GAN\w+": "R3GAN's networks resample with zeros beyond the borders (before: with repeated edges)",
        r"PairedFeatureMatching": "PairedFeatureMatching weighs 4 times as much with one scale, twice with two",
        r"minutes = (?!0\.0\b)": "budgets in minutes count training alone (before: also evaluations, pictures, ...)",
        r"(Cycle|Contrast)\b": "the default weights of Cycle are 1/2 of the earlier ones, those of Contrast 1/4",
    }
}
"""Version that made the change -> pattern of the recipe's text -> report."""


def changes_since(version: str, recipe: str) -> list[str]:
    """Reports of the changes since a version that affect a recipe.

    Args:
        version: the version that began the run, such as "0.1.0".
        recipe: the recipe's text (TOML).
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
