"""From a log to the numbers that verdicts go by: medians over a stretch of the run, growth, trends."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparring.run.log import PROBE, Row

STRETCH = 0.2  # of the budget, over which medians are taken
LEAST_LOOKS = 4
FEWEST = 3  # looks that a median is of, at least
EARLIEST = 0.17  # share of the budget before which nothing is said
LATE = 0.6  # share of the budget from which on "still improving" excuses nothing
STEADY = 0.6  # rank correlation with time from which on a number is rising
MARKED = 0.15  # by how much of itself a number must change over half of the run to count as changing
TINY = 1e-30
WHOLE = ("step", "seconds", "progress", "event", "cost")  # what a look tells beside the numbers
OWN = "/finite"  # the number that each way beside the first has
LEAKS = ("range", "rounding", "channel", "border")  # the differences that a look repairs

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Signs:
    """A run at one of its looks, at a step and a share of the budget."""

    step: int
    share: float
    numbers: Numbers  # medians over the last fifth of the budget; `growth/...` is beside the first look
    recent: Numbers  # the same of the last three looks
    probes: Sequence[Numbers]  # of that stretch, each with the same `growth/...`
    improving: Sequence[str]  # the numbers of coverage that became better over the last half of the run
    early: bool  # too few looks, or too little of the budget, to say anything
    unpaired: bool  # it is of a direction that turns images into others without pairs


def probes_of(history: Sequence[Row]) -> list[Row]:
    """The looks in a log, one a step, in order, each with the gradients' norms of the row before it. Numbers that are
    not finite are left out: `finite` tells of them."""
    found: dict[int, Row] = {}
    gradients: dict[str, float] = {}
    for row in history:
        if "event" not in row:
            gradients = {n: v for n, v in row.items() if n.startswith("gradient/")}
        elif row["event"] == PROBE and isinstance(row.get("progress"), (int, float)):
            whole = {**gradients, **row}
            found[row["step"]] = {n: v for n, v in whole.items() if not isinstance(v, float) or math.isfinite(v)}
    return [found[step] for step in sorted(found)]


def directions_of(probes: Sequence[Row]) -> list[str]:
    """The names of the ways that looks tell of beside the first one, whose numbers have no name before them."""
    return [name.removesuffix(OWN) for name in (probes[-1] if probes else {}) if name.endswith(OWN)]


def in_direction(probe: Row, direction: str) -> Row:
    """The numbers of one of these ways as if it were the first, with those that are of the players as a whole."""
    shared = {n: v for n, v in probe.items() if n in WHOLE or n.startswith(("weights/", "gradient/"))}
    return shared | {n.removeprefix(f"{direction}/"): v for n, v in probe.items() if n.startswith(f"{direction}/")}


def last_position(history: Sequence[Row]) -> tuple[int, float]:
    """The last step of a log that tells how much of the budget is spent, and that share; (1, 0) where none does."""
    rows = [row for row in history if isinstance(row.get("progress"), (int, float))]
    return max(((row["step"], row["progress"]) for row in rows), default=(1, 0.0))


def signs_at(probes: Sequence[Row], index: int, step_now: int, share_now: float) -> Signs | None:
    """The signs at the look with an index, or None where there are too few looks for a median.

    Shares of looks follow from where the run stands at its end (`step_now`, `share_now`), since a run that was extended
    counted its shares anew.
    """
    if index + 1 < FEWEST:
        return None
    per_step = share_now / max(1, step_now)
    step = probes[index]["step"]
    share = step * per_step
    seen = probes[: index + 1]
    recent = sum(row["step"] * per_step > share - STRETCH for row in seen)
    stretch = seen[-max(recent, FEWEST) :]  # where looks are far apart, a few count whenever they were
    past = [row for row in seen if row["step"] * per_step >= share / 2]
    shared = _growth(seen)
    each = [{**numbers_of(row), **shared} for row in stretch]
    early = len(seen) < LEAST_LOOKS or share < EARLIEST
    unpaired = is_unpaired(probes[index])
    return Signs(step, share, _medians(each), _medians(each[-FEWEST:]), each, _improving(past), early, unpaired)


def is_unpaired(probe: Row) -> bool:
    """Is it of a way that turns images into others without pairs?"""
    return "effect/source" in probe and "effect/truth" not in probe


def numbers_of(row: Row) -> dict[str, float]:
    """The numbers of a look, with those that are made of two others."""
    found = {n: float(v) for n, v in row.items() if n not in WHOLE and isinstance(v, (int, float))}
    area = found.get("auc/held_out", found.get("auc/train"))
    if "auc/train" in found:  # a look without them had nothing to repair: D was not sure of unseen samples
        found |= {f"leak/{name}": found["auc/train"] for name in LEAKS if f"leak/{name}" not in found}
    if area is not None and "fresh_critic_auc" in found:
        found["fresh_critic_lead"] = found["fresh_critic_auc"] - area
    if is_unpaired(row) and "distance/reals" in found:  # there it stands for the cells, which are not looked at
        found["distance/targets"] = found["distance/reals"]
    if "effect/class" in found and "effect/latent" in found:
        found["effect/class share"] = found["effect/class"] / max(found["effect/latent"], TINY)
    if "gradient/generator" in found and "gradient/discriminator" in found:
        norms = [max(found[f"gradient/{side}"], TINY) for side in ("generator", "discriminator")]
        found["gradient/ratio"] = math.log(norms[0] / norms[1])
    return found


def _growth(probes: Sequence[Row]) -> dict[str, float]:
    """Weights' norms beside those of the first look."""
    names = [name for name in probes[0] if name.startswith("weights/") and name in probes[-1]]
    return {name.replace("weights", "growth"): probes[-1][name] / max(probes[0][name], TINY) for name in names}


def _improving(past: Sequence[Row]) -> list[str]:
    found = []
    for name, direction in {"distance/reals": -1, "mode_coverage": 1, "effective_rank": 1}.items():
        values = [row[name] for row in past if name in row]
        if len(values) < FEWEST:
            continue
        half = len(values) // 2
        first, second = statistics.median(values[:half]), statistics.median(values[half:])
        changed = direction * (second - first) > MARKED * abs(first)
        if changed and direction * rank_correlation(values) > STEADY:
            found.append(name)
    return found


def rank_correlation(values: Sequence[float]) -> float:
    """Spearman's rank correlation of values with their places; 0 where all are equal."""
    if min(values) == max(values):
        return 0.0
    from scipy import stats

    return float(stats.spearmanr(range(len(values)), values).statistic)


def _medians(probes: Sequence[Numbers]) -> Numbers:
    names = dict.fromkeys(name for probe in probes for name in probe)
    return {name: statistics.median(probe[name] for probe in probes if name in probe) for name in names}
