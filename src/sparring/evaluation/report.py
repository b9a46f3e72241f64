"""Scores as text for reports."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sparring.evaluation.options import better
from sparring.evaluation.protocol import Scores, differences
from sparring.evaluation.similarity import BASELINE

# Values printed in parentheses after another value, to help read it: name -> (the other value, the text)
SHOWN_WITH = {
    "modes_there": ("modes", "of {}"),
    "kl_floor": ("kl", "expected of the true distribution: {}"),
    "different_bins_chance": ("different_bins", "expected by chance: {}"),
    "support_found": ("support", ""),
    "class_frechet_over": ("class_frechet", "mean over {} classes"),
    "near_duplicates": ("support", "{} near-duplicates"),
    "near_duplicates_real": ("support", "{} among real samples"),
    "grid_real": ("grid", "of real samples: {}"),
    "memorised_chance": ("memorised", "expected of new samples: {}"),
    "memorised_p": ("memorised", "p = {}"),
    "game_value_best_d": ("game_value", "best D: {}"),
    "game_value_worst_g": ("game_value", "best G: {}"),
}
ROUNDING = 1e-7  # errors below this share of a value are rounding errors
MOST_CLASSES = 20  # print a value per class up to so many classes
ARROWS = {-1: "lower is better", 0: "", 1: "higher is better"}


def number(value: float) -> str:
    """Format a value with four digits; whole values with all digits."""
    if abs(value) < 1e15 and value == int(value):
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 9999.5 else f"{value:,.0f}"


def with_error(value: float, error: float | None) -> str:
    """Format a value with its standard error of two digits; without it if the error is missing or negligible."""
    if not error or not math.isfinite(error) or error < ROUNDING * abs(value):
        return number(value)
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:,.{places}f} ± {error:,.{places}f}"


def lines(scores: Scores) -> list[str]:
    """Format scores: warnings, a line per value, notes and the protocol."""
    many = sum("/" in name for name in scores.values) > MOST_CLASSES
    hidden = [n for n in scores.values if n in SHOWN_WITH or n.endswith(BASELINE) or (many and "/" in n)]
    shown = {n: v for n, v in scores.values.items() if n not in hidden}
    width = max((len(name) for name in shown), default=0)
    found = []
    for name, value in shown.items():
        remarks = ["at least"] if name == "support" and not scores.values["support_found"] else []
        remarks += [
            text.format(number(scores.values[n]))
            for n, (of, text) in SHOWN_WITH.items()
            if of == name and text and n in scores.values
        ]
        if name + BASELINE in scores.values:
            remarks.append(f"baseline: {number(scores.values[name + BASELINE])}")
        remark = ", ".join([*remarks, *([ARROWS[better(name)]] if better(name) else [])])
        found.append(
            f"  {name:{width}}  {with_error(value, scores.errors.get(name)):>20}" + (f"   ({remark})" if remark else "")
        )
    warnings = [f"  {note}" for note in scores.notes if note.startswith("WARNING")]
    found = [*warnings, *found, *(f"  {note}" for note in scores.notes if not note.startswith("WARNING"))]
    found.append(f"  protocol: {scores.protocol.describe()}; scored in {scores.cost:.1f} s")
    return found


def heading(scores: Scores) -> str:
    """What was scored: the run and step, or the images."""
    return scores.subject if scores.step is None else f"{scores.subject}, step {scores.step:,}"


def kept_apart(all_scores: Sequence[Scores]) -> list[list[Scores]]:
    """Group scores by protocol; only the scores of one group are comparable."""
    groups: list[list[Scores]] = []
    for scores in all_scores:
        group = next((g for g in groups if not differences(g[0].protocol, scores.protocol)), None)
        if group is None:
            groups.append([scores])
        else:
            group.append(scores)
    return groups
