"""What a log of losses tells of a training, and what it cannot: verdicts on logs of other people's programs.

A GAN's losses are no measure of its samples, which may become better or all alike while losses stay. So such a log
shows two illnesses at best, and no health: `no-sign` where neither is seen. Looks of the timeline are pieces of it.
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

BINS = 100  # pieces that a log is looked at in, each by its medians
LEAST_ROWS = 12
LEAST_BINS = 4  # in a stretch, which else is a fifth
GREW = 1000.0  # times: losses and gradients beyond are not of a game any more; a cross-entropy ends at 100
# A size that losses of an even game have: 2 log 2 or log 2 with logarithms, 0.25 with squares, 2 with hinge.
PLAYED = 0.25
# Where D has won: its loss is below the first, its mean probability for real samples above the second, that for
# generated ones below the third.
Won = tuple[float, float, float]
SURE: Won = (0.3, 0.85, 0.1)  # G's saturating loss is flat then: a fifth of its slope in an even game is left at most
CERTAIN: Won = (0.03, 0.95, 0.02)  # its other loss is steep still; D's own slopes are what may be flat
ACCURATE = 0.9
STUCK = -0.1  # G's saturating loss, log(1 - D(G(z))): at most 0, -0.7 in an even game
HUGE = 5.0  # G's other loss, -log D(G(z)): 5 is a probability below 0.01
FELL = 0.01  # of its highest, below which a gradient's norm has fallen by orders
GROWING = ("d_loss", "g_loss", "d_gradient", "g_gradient")

MONITOR = "sparring.doctor.Monitor, around the training's own loop, looks at the samples"
CANNOT = {
    "discriminator-too-weak": "an accuracy of one half is that of a weak D, and of the best G; it takes another critic",
    "non-convergence": "losses swing in a good training as well; it takes samples of the same latents through time",
    "discriminator-overfit": "it takes D's outputs on real samples that were not trained on",
    "memorising": "it takes samples and the training data, to look for copies",
    "mode-collapse": "losses look the same with one kind of sample as with all; it takes samples and data",
    "ignored-condition": "it takes samples of several classes from the same latent",
}


@dataclass(frozen=True)
class Log:
    """A table in at most 100 pieces of equally many rows."""

    table: Table

    @cached_property
    def ends(self) -> list[tuple[int, int]]:
        """From which row to which a piece goes."""
        rows = len(self.table.steps)
        count = min(rows, BINS)
        edges = [rows * i // count for i in range(count + 1)] if count else [0]
        return list(zip(edges, edges[1:]))

    @cached_property
    def medians(self) -> Mapping[str, Sequence[float | None]]:
        """Of each column and piece, of its finite values."""
        columns = self.table.columns.items()
        return {name: [_median(values[first:last]) for first, last in self.ends] for name, values in columns}

    @property
    def width(self) -> int:
        """How many pieces a stretch has."""
        return max(LEAST_BINS, len(self.ends) // 5)

    @cached_property
    def stretches(self) -> Mapping[str, Sequence[float | None]]:
        """The medians of the stretches that end with each piece."""
        ends = range(1, len(self.ends) + 1)
        return {n: [_median(v[max(0, end - self.width) : end]) for end in ends] for n, v in self.medians.items()}

    def recent(self, name: str) -> float | None:
        """The median of a column over the last stretch."""
        return next(reversed(self.stretches.get(name, ())), None)

    def finite(self, name: str) -> list[float]:
        """All finite values of a column; none where there is no such column."""
        return [value for value in self.table.columns.get(name, ()) if value is not None and math.isfinite(value)]

    @cached_property
    def adversarial_active(self) -> bool:
        """Is D's loss one that is 0 where it has won, and did it stand above that once? A critic's loss is not."""
        values = self.finite("d_loss")
        return bool(values) and min(values) >= -1e-6 and max(values) >= PLAYED

    @cached_property
    def saturates(self) -> bool:
        """Is G's loss log(1 - D(G(z))), which is never above 0, and was it well below once?"""
        values = self.finite("g_loss")
        return bool(values) and max(values) <= 1e-6 and min(values) <= -PLAYED

    @cached_property
    def says(self) -> str:
        """Are D's outputs in the log "probabilities", "logits", or "" where they cannot be read as either?"""
        real, fake = self.finite("d_real"), self.finite("d_fake")
        if not real or not fake:
            return ""
        if all(0 <= value <= 1 for value in (*real, *fake)):
            return "probabilities"
        return "logits" if self.adversarial_active else ""

    def signs(self, index: int) -> Signs | None:
        """The signs at a piece, or None where there is no whole stretch before it."""
        if index < self.width:
            return None
        numbers = self.numbers(self.stretches, index)
        alone = [self.numbers(self.medians, i) for i in range(index + 1 - self.width, index + 1)]
        step = int(self.table.steps[self.ends[index][1] - 1])
        return Signs(step, 1.0, numbers, numbers, alone, improving=(), early=False, unpaired=False)

    def numbers(self, medians: Mapping[str, Sequence[float | None]], index: int) -> dict[str, float]:
        """The columns' medians at a piece, by their names in the file, D's outputs as probabilities; and what they are
        beside those before."""
        found: dict[str, float] = {}
        for name, own in self.table.names.items():
            value = medians[name][index]
            if value is None:
                continue
            if name in ("d_real", "d_fake") and self.says == "logits":
                value = 1 / (1 + math.exp(-max(-700.0, min(700.0, value))))
            elif name == "accuracy" and max(self.finite(name)) > 1:
                value /= 100
            found[own] = value
            before = [abs(each) for each in self.medians[name][:index] if each is not None]
            if before:
                found[f"growth of {own}"] = abs(value) / max(1.0, min(before))
            highest = max(each for each in medians[name][min(index, self.width - 1) : index + 1] if each is not None)
            if highest > 0:
                found[f"{own} beside its highest"] = value / highest
        return found


def read_log(path: Path) -> Log:
    """Read somebody's log; see `read_table`."""
    return Log(read_table(path))


def diagnose_log(log: Log) -> list[Finding]:
    """What a log of losses says: `divergence`, `vanishing-gradient`, `too-early`, or `no-sign` where it shows none."""
    if (broken := _not_finite(log)) is not None:
        return [broken]
    if len(log.table.steps) < LEAST_ROWS:
        return [Finding("too-early", why=f"There are {len(log.table.steps)} rows; {LEAST_ROWS} are needed.")]
    steps = [int(log.table.steps[end - 1]) for _, end in log.ends]
    found = Timeline(steps, log.signs).found(rules_of(log))[:1]  # a game that diverges is not asked who wins
    return found or [Finding("no-sign", steps[-1], why="No sign of illness in what this log can show.")]


def can_show(log: Log) -> list[str]:
    """The illnesses that would show in a log with these columns."""
    return ["divergence"] + ([] if _unclear(log) else ["vanishing-gradient"])


def cannot_show(log: Log) -> dict[str, str]:
    """The other illnesses, each with what it takes to see it."""
    known = can_show(log)
    reasons = {**CANNOT, "vanishing-gradient": _unclear(log)}
    return {name: reasons.get(name, "it takes samples and data") for name in FAILURES if name not in known}


def as_json(log: Log, findings: Sequence[Finding]) -> dict[str, Any]:
    """As `report.as_json`, with `can_show` and `cannot_show`. There is no recipe, so remedies have no command; and such
    a log does not show health, so `healthy` is false always."""
    shown = {"can_show": can_show(log), "cannot_show": list(cannot_show(log))}
    return {"healthy": False, "findings": plain(findings), **shown}


def lines(name: str, log: Log, findings: Sequence[Finding]) -> list[str]:
    """The verdicts in words, and what such a log can and cannot show."""
    read = ", ".join(log.table.names.values())
    found = [*words(name, findings), f"read: {len(log.table.steps):,} rows of {read}"]
    found += [f"this log can show: {', '.join(can_show(log))}", "it cannot show:"]
    found += [f"  {failure}: {why}" for failure, why in cannot_show(log).items()]
    return [*found, f"to see them: {MONITOR}"]


def _unclear(log: Log) -> str:
    """Why it cannot be told whether D has won and G's gradient vanishes; "" where it can."""
    if not log.finite("g_loss") and not log.finite("g_gradient"):
        return "there is nothing of G: neither its loss nor its gradient's norm"
    if log.adversarial_active or log.says == "probabilities":
        return ""
    if not log.finite("d_loss"):
        return "there is neither D's loss nor its mean probability for real and generated samples (d_real, d_fake)"
    if min(log.finite("d_loss")) < -1e-6:
        return "D's loss is negative at times, as a critic's is, whose value does not tell who wins"
    return f"D's loss never was above {PLAYED:g}, so it cannot be told where it stands in an even game"


def rules_of(log: Log) -> list[Rule]:
    """What a log's columns allow to ask."""
    grown = [f"growth of {log.table.names[name]}" for name in GROWING if name in log.table.names]
    limits = [Limit(name, "about 1", "its size beside the smallest that it had", high=GREW) for name in grown]
    return [Rule("divergence", TOO_LARGE, any_of=tuple(limits)), *_vanishing(log)]


def _vanishing(log: Log) -> list[Rule]:
    """D has won, and G's loss is flat, its gradient has gone, or it is refused whatever it does."""
    own, signs, limits, why = log.table.names, [], SURE, WON
    losses = [loss for loss in log.stretches.get("g_loss", ())[log.width - 1 :] if loss is not None]
    if log.recent("g_gradient") is not None:
        signs += [Limit(f"{own['g_gradient']} beside its highest", "0.1 to 1", "norm of G's gradient", low=FELL)]
    if log.saturates:
        signs += [Limit(own["g_loss"], "-0.7, in an even game", "log(1 - D(G(z))): flat near 0", high=STUCK)]
    if not signs and min(losses, default=-1.0) >= 0:  # a loss below 0 is no -log D(G(z)): hinge's, say
        signs += [Limit(own["g_loss"], "0.7 to 3", "-log D(G(z)): all of G's samples are refused", high=HUGE)]
        limits, why = CERTAIN, WON + STEEP
    won = _winning(log, limits)
    return [Rule("vanishing-gradient", why, all_of=won, any_of=tuple(signs))] if won and signs else []


def _winning(log: Log, limits: Won) -> tuple[Limit, ...]:
    """The numbers that say that D has won, of those that there are."""
    own, found, (loss, real, fake) = log.table.names, [], limits
    if log.adversarial_active:
        found += [Limit(own["d_loss"], "1.4 or 0.7, in an even game", "0: D has won", low=loss)]
    if log.says and log.recent("d_real") is not None and log.recent("d_fake") is not None:
        kind = "" if log.says == "probabilities" else ", from its mean logit"
        means = [f"D's probability for {each}{kind}" for each in ("real samples", "generated ones")]
        found += [Limit(own["d_real"], "0.5 to 0.85", means[0], high=real)]
        found += [Limit(own["d_fake"], "0.15 to 0.5", means[1], low=fake)]
    if found and log.recent("accuracy") is not None:
        found += [Limit(own["accuracy"], "0.5 to 0.85", "what D gets right", high=ACCURATE)]
    return tuple(found)


WON = "D has won: it tells real from generated so surely that G has little or nothing to learn by."
STEEP = (
    " Where G minimises -log D(G(z)), it may learn all the same: the norm of its gradient, or a Monitor, would tell."
)


def _not_finite(log: Log) -> Finding | None:
    """A log that ends in NaN or infinity: longer than ever before, since some programs write NaN for no value."""
    for name in [name for name in ("d_loss", "g_loss") if name in log.table.columns]:
        values = log.table.columns[name]  # not of gradients: a loss scaler skips such steps
        known = [value for value in values if value is not None]
        gaps = [len(gap) for gap in "".join("." if math.isfinite(v) else "x" for v in known).split(".")]
        last, before = (gaps[-1], max(gaps[:-1], default=0)) if gaps else (0, 0)
        if last > before and last < len(known):
            steps = [step for step, value in zip(log.table.steps, values) if value is not None]
            reported = Evidence(
                log.table.names[name], float("nan"), "finite numbers", "NaN or infinity to the log's end"
            )
            return Finding("divergence", int(steps[-last]), 1.0, (reported,), TOO_LARGE)
    return None


def _median(values: Sequence[float | None]) -> float | None:
    """Of the values that are there and finite."""
    found = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.median(found) if found else None
