"""Findings from a log of losses that another program wrote, and which failures such a log cannot show.

A GAN's losses do not measure its samples, which may improve or collapse while the losses stay the same. So such a log
shows two failures at best, and never that a training is healthy: without a failure the finding is `no-sign`. The log
is divided into bins, which take the place of probes.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sparring.doctor.diagnosis.findings import Finding, Timeline
from sparring.doctor.diagnosis.report import plain, words
from sparring.doctor.diagnosis.rules import FAILURES, TOO_LARGE, Evidence, Limit, Rule
from sparring.doctor.diagnosis.signs import Signs
from sparring.doctor.logs.tables import Table, read_table

BINS = 100  # most bins of a log, each with the medians of its rows
LEAST_ROWS = 12
LEAST_BINS = 4  # in a stretch, which otherwise is a fifth of the log
GREW = 1000.0  # factor of growth that means divergence; a clamped cross-entropy reaches 100 at most
# What D's loss reaches at equilibrium: 2 log 2 or log 2 with logarithms, 0.25 with squares, 2 with hinge.
EQUILIBRIUM = 0.25
# D has won if its loss is below the first, its mean probability for real samples above the second, and that for
# generated ones below the third.
Won = tuple[float, float, float]
SATURATED: Won = (0.3, 0.85, 0.1)  # G's saturating loss has at most a fifth of its slope at equilibrium
CERTAIN: Won = (0.03, 0.95, 0.02)  # the non-saturating loss still is steep; only D's own slopes may be flat
ACCURATE = 0.9
STUCK = -0.1  # G's saturating loss, log(1 - D(G(z))): at most 0, and -0.7 at equilibrium
HUGE = 5.0  # G's non-saturating loss, -log D(G(z)): 5 is a probability below 0.01
FELL = 0.01  # share of its maximum below which a gradient norm counts as vanished
GROWING = ("d_loss", "g_loss", "d_gradient", "g_gradient")

MONITOR = "call sparring.doctor.Monitor in the training loop; it measures the samples"
CANNOT = {
    "discriminator-too-weak": "an accuracy of one half means a weak D or a perfect G; another critic has to decide",
    "non-convergence": "losses oscillate in healthy trainings, too; this needs samples of fixed latents over time",
    "discriminator-overfit": "this needs D's outputs for held-out real samples",
    "memorising": "this needs samples and the training data, to find copies",
    "mode-collapse": "losses look the same with one mode as with all modes; this needs samples and data",
    "ignored-condition": "this needs samples of several classes from the same latent",
}


@dataclass(frozen=True)
class Log:
    """A table in at most 100 bins of equally many rows."""

    table: Table

    @cached_property
    def ends(self) -> list[tuple[int, int]]:
        """The first row of each bin, and the first after it."""
        rows = len(self.table.steps)
        count = min(rows, BINS)
        edges = [rows * i // count for i in range(count + 1)] if count else [0]
        return list(zip(edges, edges[1:]))

    @cached_property
    def medians(self) -> Mapping[str, Sequence[float | None]]:
        """The median of the finite values, by column and bin."""
        columns = self.table.columns.items()
        return {name: [_median(values[first:last]) for first, last in self.ends] for name, values in columns}

    @property
    def width(self) -> int:
        """The number of bins in a stretch."""
        return max(LEAST_BINS, len(self.ends) // 5)

    @cached_property
    def stretches(self) -> Mapping[str, Sequence[float | None]]:
        """The medians of the stretches that end with each bin."""
        ends = range(1, len(self.ends) + 1)
        return {n: [_median(v[max(0, end - self.width) : end]) for end in ends] for n, v in self.medians.items()}

    def recent(self, name: str) -> float | None:
        """The median of a column over the last stretch."""
        return next(reversed(self.stretches.get(name, ())), None)

    def finite(self, name: str) -> list[float]:
        """All finite values of a column; none where there is no such column."""
        return [value for value in self.table.columns.get(name, ()) if value is not None and math.isfinite(value)]

    @cached_property
    def d_loss_shows_winner(self) -> bool:
        """D's loss is 0 where it has won, and was larger once; a Wasserstein critic's loss is different."""
        values = self.finite("d_loss")
        return bool(values) and min(values) >= -1e-6 and max(values) >= EQUILIBRIUM

    @cached_property
    def saturates(self) -> bool:
        """G's loss is the saturating log(1 - D(G(z))): never above 0, and well below at least once."""
        values = self.finite("g_loss")
        return bool(values) and max(values) <= 1e-6 and min(values) <= -EQUILIBRIUM

    @cached_property
    def outputs(self) -> str:
        """What D's outputs in the log are: "probabilities", "logits", or "" where that is unknown."""
        real, fake = self.finite("d_real"), self.finite("d_fake")
        if not real or not fake:
            return ""
        if all(0 <= value <= 1 for value in (*real, *fake)):
            return "probabilities"
        return "logits" if self.d_loss_shows_winner else ""

    def signs(self, index: int) -> Signs | None:
        """The signs at a bin, or None where fewer bins than a stretch precede it."""
        if index < self.width:
            return None
        metrics = self.metrics(self.stretches, index)
        alone = [self.metrics(self.medians, i) for i in range(index + 1 - self.width, index + 1)]
        step = int(self.table.steps[self.ends[index][1] - 1])
        return Signs(step, 1.0, metrics, metrics, alone, improving=(), early=False, unpaired=False)

    def metrics(self, medians: Mapping[str, Sequence[float | None]], index: int) -> dict[str, float]:
        """The medians at a bin by column name, with D's outputs as probabilities, and their growth and decay so far."""
        found: dict[str, float] = {}
        for name, own in self.table.names.items():
            value = medians[name][index]
            if value is None:
                continue
            if name in ("d_real", "d_fake") and self.outputs == "logits":
                value = 1 / (1 + math.exp(-max(-700.0, min(700.0, value))))
            elif name == "accuracy" and max(self.finite(name)) > 1:
                value /= 100
            found[own] = value
            before = [abs(each) for each in self.medians[name][:index] if each is not None]
            if before:
                found[f"growth of {own}"] = abs(value) / max(1.0, min(before))
            highest = max(each for each in medians[name][min(index, self.width - 1) : index + 1] if each is not None)
            if highest > 0:
                found[f"{own} relative to its maximum"] = value / highest
        return found


def read_log(path: Path) -> Log:
    """Read the log of another program; see `read_table`."""
    return Log(read_table(path))


def diagnose_log(log: Log) -> list[Finding]:
    """The finding from a log of losses: `divergence`, `vanishing-gradient`, `too-early`, or `no-sign` of these."""
    if (broken := _not_finite(log)) is not None:
        return [broken]
    if len(log.table.steps) < LEAST_ROWS:
        return [Finding("too-early", why=f"The log has {len(log.table.steps)} rows; {LEAST_ROWS} are needed.")]
    steps = [int(log.table.steps[end - 1]) for _, end in log.ends]
    found = Timeline(steps, log.signs).found(rules_of(log))[
        :1
    ]  # in a training that diverges, the second is no evidence
    return found or [Finding("no-sign", steps[-1], why="Nothing in this log indicates a failure that it can show.")]


def can_show(log: Log) -> list[str]:
    """The failures that a log with these columns can show."""
    return ["divergence"] + ([] if _unclear(log) else ["vanishing-gradient"])


def cannot_show(log: Log) -> dict[str, str]:
    """The other failures, each with what is needed to find it."""
    known = can_show(log)
    reasons = {**CANNOT, "vanishing-gradient": _unclear(log)}
    return {name: reasons.get(name, "this needs samples and data") for name in FAILURES if name not in known}


def as_json(log: Log, findings: Sequence[Finding]) -> dict[str, Any]:
    """As `report.as_json`, with `can_show` and `cannot_show`. Fixes have no command, since there is no recipe, and
    `healthy` is always false, since such a log cannot show that."""
    shown = {"can_show": can_show(log), "cannot_show": list(cannot_show(log))}
    return {"healthy": False, "findings": plain(findings), **shown}


def lines(name: str, log: Log, findings: Sequence[Finding]) -> list[str]:
    """The report: findings, and the failures that such a log can and cannot show."""
    read = ", ".join(log.table.names.values())
    found = [*words(name, findings), f"read: {len(log.table.steps):,} rows with {read}"]
    found += [f"this log can show: {', '.join(can_show(log))}", "it cannot show:"]
    found += [f"  {failure}: {why}" for failure, why in cannot_show(log).items()]
    return [*found, f"to find these: {MONITOR}"]


def _unclear(log: Log) -> str:
    """Why the log cannot show a vanishing gradient; "" where it can."""
    if not log.finite("g_loss") and not log.finite("g_gradient"):
        return "the log has nothing of G, neither its loss nor its gradient norm"
    if log.d_loss_shows_winner or log.outputs == "probabilities":
        return ""
    if not log.finite("d_loss"):
        return "the log has neither D's loss nor its mean probabilities for real and generated samples (d_real, d_fake)"
    if min(log.finite("d_loss")) < -1e-6:
        return (
            "D's loss is sometimes negative, as for a Wasserstein critic, so its value does not show whether D has won"
        )
    return f"D's loss was never above {EQUILIBRIUM:g}, so its value at equilibrium is unknown"


def rules_of(log: Log) -> list[Rule]:
    """The rules for which a log has columns."""
    grown = [f"growth of {log.table.names[name]}" for name in GROWING if name in log.table.names]
    limits = [Limit(name, "about 1", "its size, relative to the smallest so far", high=GREW) for name in grown]
    return [Rule("divergence", TOO_LARGE, any_of=tuple(limits)), *_vanishing(log)]


def _vanishing(log: Log) -> list[Rule]:
    """D has won, and G's loss is flat, its gradient is tiny, or D rejects all of its samples."""
    own, signs, limits, why = log.table.names, [], SATURATED, WON
    losses = [loss for loss in log.stretches.get("g_loss", ())[log.width - 1 :] if loss is not None]
    if log.recent("g_gradient") is not None:
        signs += [Limit(f"{own['g_gradient']} relative to its maximum", "0.1 to 1", "norm of G's gradient", low=FELL)]
    if log.saturates:
        signs += [Limit(own["g_loss"], "-0.7 at equilibrium", "log(1 - D(G(z))): flat near 0", high=STUCK)]
    if not signs and min(losses, default=-1.0) >= 0:  # negative losses, such as hinge, are not -log D(G(z))
        signs += [Limit(own["g_loss"], "0.7 to 3", "-log D(G(z)): D rejects all of G's samples", high=HUGE)]
        limits, why = CERTAIN, WON + STEEP
    won = _winning(log, limits)
    return [Rule("vanishing-gradient", why, all_of=won, any_of=tuple(signs))] if won and signs else []


def _winning(log: Log, limits: Won) -> tuple[Limit, ...]:
    """The limits that are violated where D has won, for the columns that the log has."""
    own, found, (loss, real, fake) = log.table.names, [], limits
    if log.d_loss_shows_winner:
        found += [Limit(own["d_loss"], "1.4 or 0.7 at equilibrium", "0 means that D has won", low=loss)]
    if log.outputs and log.recent("d_real") is not None and log.recent("d_fake") is not None:
        kind = "" if log.outputs == "probabilities" else ", from its mean logit"
        means = [f"D's probability for {each}{kind}" for each in ("real samples", "generated ones")]
        found += [Limit(own["d_real"], "0.5 to 0.85", means[0], high=real)]
        found += [Limit(own["d_fake"], "0.15 to 0.5", means[1], low=fake)]
    if found and log.recent("accuracy") is not None:
        found += [Limit(own["accuracy"], "0.5 to 0.85", "share of samples that D classifies correctly", high=ACCURATE)]
    return tuple(found)


WON = "D has won: it separates real from generated samples so confidently that G gets little or no gradient."
STEEP = " If G minimises -log D(G(z)), it may still learn; the norm of its gradient, or a Monitor, would show that."


def _not_finite(log: Log) -> Finding | None:
    """The divergence of a log that ends in NaN or infinity.

    The last gap must be the longest, since some programs write NaN for a missing value.
    """
    for name in [name for name in ("d_loss", "g_loss") if name in log.table.columns]:
        values = log.table.columns[name]  # no gradients: a loss scaler skips steps where they are not finite
        known = [value for value in values if value is not None]
        gaps = [len(gap) for gap in "".join("." if math.isfinite(v) else "x" for v in known).split(".")]
        last, before = (gaps[-1], max(gaps[:-1], default=0)) if gaps else (0, 0)
        if last > before and last < len(known):
            steps = [step for step, value in zip(log.table.steps, values) if value is not None]
            evidence = Evidence(
                log.table.names[name], float("nan"), "finite values", "NaN or infinity up to the end of the log"
            )
            return Finding("divergence", int(steps[-last]), 1.0, (evidence,), TOO_LARGE)
    return None


def _median(values: Sequence[float | None]) -> float | None:
    """The median of the finite values; None where there are none."""
    found = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.median(found) if found else None
