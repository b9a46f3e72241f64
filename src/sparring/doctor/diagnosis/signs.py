"""From the probes in a log to the metrics that rules read: medians over part of the run, growth, trends."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparring.run.log import PROBE, Row

STRETCH = 0.2  # share of the budget that medians cover
LEAST_PROBES = 4  # before the first finding
FEWEST = 3  # probes that a median covers at least
EARLIEST = 0.17  # share of the budget before the first finding
LATE = 0.6  # share of the budget after which "still improving" no longer defers a finding
STEADY = 0.6  # rank correlation with time above which a metric counts as rising
MARKED = 0.15  # least relative change over half of the run that counts as a change
TINY = 1e-30
NOT_METRICS = ("step", "seconds", "progress", "event", "cost")
IN_EACH_DIRECTION = "/finite"  # ends the name of a metric that each direction after the first has
LEAKS = ("range", "rounding", "channel", "border")  # differences that a probe repairs

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Signs:
    """The state of a run at one probe, as rules see it.

    Attributes:
        step: The step of the probe.
        share: The share of the budget spent by then.
        metrics: Medians over the last fifth of the budget; `growth/...` is relative to the first probe.
        recent: Medians over the last three probes.
        probes: The metrics of each probe in the last fifth of the budget, all with the same `growth/...`.
        improving: The coverage metrics that improved over the last half of the run.
        early: There are too few probes, or too little of the budget is spent, for a finding.
        unpaired: The direction translates images without pairs.
    """

    step: int
    share: float
    metrics: Metrics
    recent: Metrics
    probes: Sequence[Metrics]
    improving: Sequence[str]
    early: bool
    unpaired: bool


def probes_of(history: Sequence[Row]) -> list[Row]:
    """The probes in a log, one per step, in order, each with the gradient norms of the row before it.

    Values that are not finite are left out: the metric `finite` reports them.
    """
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
    """The names of the task's directions after the first; metrics of the first have no prefix."""
    last = probes[-1] if probes else {}
    return [name.removesuffix(IN_EACH_DIRECTION) for name in last if name.endswith(IN_EACH_DIRECTION)]


def in_direction(probe: Row, direction: str) -> Row:
    """The metrics of a named direction without its prefix, and those that all directions share."""
    shared = {n: v for n, v in probe.items() if n in NOT_METRICS or n.startswith(("weights/", "gradient/"))}
    return shared | {n.removeprefix(f"{direction}/"): v for n, v in probe.items() if n.startswith(f"{direction}/")}


def last_position(history: Sequence[Row]) -> tuple[int, float]:
    """The last step with a known share of the budget, and that share; (1, 0) where no row has one."""
    rows = [row for row in history if isinstance(row.get("progress"), (int, float))]
    return max(((row["step"], row["progress"]) for row in rows), default=(1, 0.0))


def signs_at(probes: Sequence[Row], index: int, step_now: int, share_now: float) -> Signs | None:
    """The signs at probe `index`, or None where there are too few probes for a median.

    Shares of the budget are computed from the end of the log (`step_now`, `share_now`): a run that was extended has
    earlier rows whose `progress` refers to the shorter budget.
    """
    if index + 1 < FEWEST:
        return None
    per_step = share_now / max(1, step_now)
    step = probes[index]["step"]
    share = step * per_step
    so_far = probes[: index + 1]
    recent = sum(row["step"] * per_step > share - STRETCH for row in so_far)
    stretch = so_far[-max(recent, FEWEST) :]
    past = [row for row in so_far if row["step"] * per_step >= share / 2]
    shared = _growth(so_far)
    each = [{**metrics_of(row), **shared} for row in stretch]
    early = len(so_far) < LEAST_PROBES or share < EARLIEST
    unpaired = is_unpaired(probes[index])
    return Signs(step, share, _medians(each), _medians(each[-FEWEST:]), each, _improving(past), early, unpaired)


def is_unpaired(probe: Row) -> bool:
    """The probe is of a direction that translates images without pairs."""
    return "effect/source" in probe and "effect/truth" not in probe


def metrics_of(row: Row) -> dict[str, float]:
    """The metrics of a probe, and those derived from them."""
    found = {n: float(v) for n, v in row.items() if n not in NOT_METRICS and isinstance(v, (int, float))}
    auc = found.get("auc/held_out", found.get("auc/train"))
    if "auc/train" in found:  # a probe repairs nothing while D separates unseen samples poorly
        found |= {f"leak/{name}": found["auc/train"] for name in LEAKS if f"leak/{name}" not in found}
    if auc is not None and "fresh_critic_auc" in found:
        found["fresh_critic_lead"] = found["fresh_critic_auc"] - auc
    if is_unpaired(row) and "distance/reals" in found:  # replaces mode_coverage, which such a direction does not have
        found["distance/targets"] = found["distance/reals"]
    if "effect/class" in found and "effect/latent" in found:
        found["effect/class share"] = found["effect/class"] / max(found["effect/latent"], TINY)
    if "gradient/generator" in found and "gradient/discriminator" in found:
        norms = [max(found[f"gradient/{side}"], TINY) for side in ("generator", "discriminator")]
        found["gradient/ratio"] = math.log(norms[0] / norms[1])
    return found


def _growth(probes: Sequence[Row]) -> dict[str, float]:
    """Norms of the weights relative to the first probe."""
    names = [name for name in probes[0] if name.startswith("weights/") and name in probes[-1]]
    return {name.replace("weights", "growth"): probes[-1][name] / max(probes[0][name], TINY) for name in names}


def _improving(past: Sequence[Row]) -> list[str]:
    found = []
    for name, sign in {"distance/reals": -1, "mode_coverage": 1, "effective_rank": 1}.items():
        values = [row[name] for row in past if name in row]
        if len(values) < FEWEST:
            continue
        half = len(values) // 2
        first, second = statistics.median(values[:half]), statistics.median(values[half:])
        changed = sign * (second - first) > MARKED * abs(first)
        if changed and sign * rank_correlation(values) > STEADY:
            found.append(name)
    return found


def rank_correlation(values: Sequence[float]) -> float:
    """Spearman's rank correlation of values with their positions; 0 where all are equal."""
    if min(values) == max(values):
        return 0.0
    from scipy import stats

    return float(stats.spearmanr(range(len(values)), values).statistic)


def _medians(probes: Sequence[Metrics]) -> Metrics:
    names = dict.fromkeys(name for probe in probes for name in probe)
    return {name: statistics.median(probe[name] for probe in probes if name in probe) for name in names}
