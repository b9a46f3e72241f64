"""What a log of losses tells of a training, and what it cannot: verdicts on logs of other people's programs.

A GAN's losses are no measure of its samples: they stay where they are while samples become better, and while they
become all alike. So such a log shows two illnesses at best, and no health: where none of them is seen, the verdict is
`no-sign`. As in `verdicts`, a rule reads medians over the last fifth, and has to hold there twice in a row.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sparring.doctor.diagnosis.report import general, words
from sparring.doctor.diagnosis.rules import ILLNESSES, Evidence
from sparring.doctor.diagnosis.verdicts import IN_A_ROW, Verdict
from sparring.doctor.logs.tables import Table, read_table

BINS = 100  # pieces that a log is looked at in, each by its medians
LEAST_ROWS = 12
LEAST_BINS = 4  # in a stretch, which else is a fifth
GREW = 1000.0  # times: losses and gradients beyond are not of a game any more; a cross-entropy ends at 100
PLAYED = (
    0.25  # a size that losses of an even game have: 2 log 2 or log 2 with logarithms, 0.25 with squares, 2 with hinge
)


@dataclass(frozen=True)
class Won:
    """Where D has won: its loss below `loss`, its mean probability for real samples above `real`, for generated ones
    below `fake`."""

    loss: float
    real: float
    fake: float


SURE = Won(0.3, 0.85, 0.1)  # G's saturating loss is flat then: a fifth of its slope in an even game is left at most
CERTAIN = Won(0.03, 0.95, 0.02)  # its other loss is steep still; D's own slopes are what may be flat
ACCURATE = 0.9
STUCK = -0.1  # G's saturating loss, log(1 - D(G(z))): at most 0, -0.7 in an even game
HUGE = 5.0  # G's other loss, -log D(G(z)): 5 is a probability below 0.01
FELL = 0.01  # of its highest, below which a gradient's norm has fallen by orders

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
    """A table in at most 100 pieces of equally many rows.

    Attributes:
        table: as it was read.
    """

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

    def recent(self, name: str, end: int) -> float | None:
        """The median of a column over the stretch that ends with a piece."""
        values = self.medians.get(name, ())
        return _median(values[max(0, end + 1 - self.width) : end + 1])

    def past(self, name: str, end: int) -> list[float]:
        """Those medians over all stretches up to there."""
        found = [self.recent(name, i) for i in range(min(self.width, end + 1) - 1, end + 1)]
        return [value for value in found if value is not None]

    def finite(self, name: str) -> list[float]:
        """All finite values of a column; none where there is no such column."""
        return [value for value in self.table.columns.get(name, ()) if value is not None and math.isfinite(value)]

    @cached_property
    def plays(self) -> bool:
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
        both = [*self.finite("d_real"), *self.finite("d_fake")]
        if not self.finite("d_real") or not self.finite("d_fake"):
            return ""
        if all(0 <= value <= 1 for value in both):
            return "probabilities"
        return "logits" if self.plays else ""

    def said(self, name: str, end: int) -> float | None:
        """D's mean probability that real (`d_real`) or generated samples (`d_fake`) are real."""
        value = self.recent(name, end) if self.says else None
        if value is None or self.says == "probabilities":
            return value
        return 1 / (1 + math.exp(-max(-700.0, min(700.0, value))))


def read_log(path: Path) -> Log:
    """Read somebody's log; see `read_table`."""
    return Log(read_table(path))


def diagnose_log(log: Log) -> list[Verdict]:
    """What a log of losses says: `divergence`, `vanishing-gradient`, `too-early`, or `no-sign` where it shows none."""
    broken = _not_finite(log)
    if broken is not None:
        return [broken]
    if len(log.table.steps) < LEAST_ROWS:
        return [Verdict("too-early", why=f"There are {len(log.table.steps)} rows; {LEAST_ROWS} are needed.")]
    found = [_verdict(log, illness, rule) for illness, rule in FINDERS.items() if _holds(log, rule, IN_A_ROW)]
    if found:
        return found[:1]  # a game that diverges is not asked who wins
    return [Verdict("no-sign", int(log.table.steps[-1]), why="No sign of illness in what this log can show.")]


def can_show(log: Log) -> list[str]:
    """The illnesses that would show in a log with these columns."""
    return ["divergence"] + ([] if _unclear(log) else ["vanishing-gradient"])


def cannot_show(log: Log) -> dict[str, str]:
    """The other illnesses, each with what it takes to see it."""
    known = can_show(log)
    reasons = {**CANNOT, "vanishing-gradient": _unclear(log)}
    return {name: reasons.get(name, "it takes samples and data") for name in ILLNESSES if name not in known}


def as_json(log: Log, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """As `report.as_json`, with `can_show` and `cannot_show`; there is no recipe, so remedies have no command.

    `healthy` is false always: such a log does not show health.
    """
    told = []
    for verdict in verdicts:
        remedies = [{"about": about, "command": None} for about, _ in general(verdict)]
        told.append({**verdict.to_json(), "remedies": remedies})
    shown = {"can_show": can_show(log), "cannot_show": list(cannot_show(log))}
    return {"healthy": False, "verdicts": told, **shown}


def lines(name: str, log: Log, verdicts: Sequence[Verdict]) -> list[str]:
    """The verdicts in words, and what such a log can and cannot show."""
    read = ", ".join(log.table.names.values())
    found = [*words(name, verdicts), f"read: {len(log.table.steps):,} rows of {read}"]
    found += [f"this log can show: {', '.join(can_show(log))}", "it cannot show:"]
    found += [f"  {illness}: {why}" for illness, why in cannot_show(log).items()]
    return [*found, f"to see them: {MONITOR}"]


def _unclear(log: Log) -> str:
    """Why it cannot be told whether D has won and G's gradient vanishes; "" where it can."""
    if not log.finite("g_loss") and not log.finite("g_gradient"):
        return "there is nothing of G: neither its loss nor its gradient's norm"
    if log.plays or log.says == "probabilities":
        return ""
    if not log.finite("d_loss"):
        return "there is neither D's loss nor its mean probability for real and generated samples (d_real, d_fake)"
    if min(log.finite("d_loss")) < -1e-6:
        return "D's loss is negative at times, as a critic's is, whose value does not tell who wins"
    return f"D's loss never was above {PLAYED:g}, so it cannot be told where it stands in an even game"


def _winning(log: Log, end: int, limits: Won) -> list[Evidence]:
    """The numbers that say that D has won; none where one of them says that it has not."""
    found: list[tuple[str, float | None, bool, str, str]] = []
    if log.plays:
        loss = log.recent("d_loss", end)
        found.append(("d_loss", loss, (loss or 0.0) < limits.loss, "1.4 or 0.7, in an even game", "0: D has won"))
    real, fake = log.said("d_real", end), log.said("d_fake", end)
    if real is not None and fake is not None:
        kind = "" if log.says == "probabilities" else ", from its mean logit"
        found.append(("d_real", real, real > limits.real, "0.5 to 0.85", f"D's probability for real samples{kind}"))
        found.append(("d_fake", fake, fake < limits.fake, "0.15 to 0.5", f"D's probability for generated ones{kind}"))
    accuracy = log.recent("accuracy", end)
    if accuracy is not None and found:
        share = accuracy / 100 if max(log.finite("accuracy")) > 1 else accuracy
        found.append(("accuracy", share, share > ACCURATE, "0.5 to 0.85", "what D gets right"))
    if any(value is None or not won for _, value, won, _, _ in found):
        return []
    return [Evidence(log.table.names[n], float(v or 0.0), normal, means) for n, v, _, normal, means in found]


def _vanishing(log: Log, end: int) -> list[Evidence]:
    """D has won, and G's loss is flat, its gradient has gone, or it is refused whatever it does."""
    sure, certain = _winning(log, end, SURE), _winning(log, end, CERTAIN)
    loss, norm = log.recent("g_loss", end), log.recent("g_gradient", end)
    highest = max(log.past("g_gradient", end), default=0.0)
    fell = norm is not None and norm < FELL * highest
    own = log.table.names
    if sure and norm is not None and fell:
        means = f"norm of G's gradient; its highest was {highest:.3g}"
        return [*sure, Evidence(own["g_gradient"], norm, "as before", means)]
    if sure and log.saturates and loss is not None and loss > STUCK:
        return [*sure, Evidence(own["g_loss"], loss, "-0.7, in an even game", "log(1 - D(G(z))): flat near 0")]
    crossed = min(log.past("g_loss", end), default=0.0) >= 0  # a loss below 0 is no -log D(G(z)): hinge's, say
    if certain and norm is None and loss is not None and loss > HUGE and crossed:
        return [*certain, Evidence(own["g_loss"], loss, "0.7 to 3", "-log D(G(z)): all of G's samples are refused")]
    return []


def _growing(log: Log, end: int) -> list[Evidence]:
    """Losses and gradients' norms that are larger than they were by orders of magnitude."""
    found = []
    for name in ("d_loss", "g_loss", "d_gradient", "g_gradient"):
        before = [abs(value) for value in log.medians.get(name, ())[:end] if value is not None]
        now = abs(log.recent(name, end) or 0.0)
        if before and now > GREW * max(1.0, min(before)):
            found.append(Evidence(log.table.names[name], now, f"{min(before):.3g}, as it was", "its size"))
    return found


FINDERS: Mapping[str, Callable[[Log, int], list[Evidence]]] = {
    "divergence": _growing,
    "vanishing-gradient": _vanishing,
}
WHY = {
    "divergence": "The steps are too large for what the players do to each other: each answer is bigger than the one "
    "before, until numbers leave what a float can hold.",
    "vanishing-gradient": "D has won: it tells real from generated so surely that G has little or nothing to learn by.",
}
STEEP = (
    " Where G minimises -log D(G(z)), it may learn all the same: the norm of its gradient, or a Monitor, would tell."
)


def _holds(log: Log, rule: Callable[[Log, int], list[Evidence]], times: int, end: int = -1) -> bool:
    """Does a rule hold at a piece, and at so many before it?"""
    last = end % len(log.ends)
    return last + 1 >= times + log.width and all(rule(log, i) for i in range(last - times + 1, last + 1))


def _verdict(log: Log, illness: str, rule: Callable[[Log, int], list[Evidence]]) -> Verdict:
    """That of a rule which holds at the end."""
    first = last = len(log.ends) - 1
    while first > 0 and _holds(log, rule, 1, first - 1):
        first -= 1
    stretch = range(last - log.width + 1, last + 1)
    alone = [bool(rule(_Alone(log.table), i)) for i in stretch]
    since = log.table.steps[log.ends[first][1] - 1]
    refused = illness == "vanishing-gradient" and not log.saturates and log.recent("g_gradient", last) is None
    why = WHY[illness] + (STEEP if refused else "")
    return Verdict(illness, int(since), sum(alone) / len(alone), tuple(rule(log, last)), why)


class _Alone(Log):
    """A log whose pieces each stand for themselves."""

    def recent(self, name: str, end: int) -> float | None:
        values = self.medians.get(name, ())
        return values[end] if end < len(values) else None


def _not_finite(log: Log) -> Verdict | None:
    """A log that ends in NaN or infinity: longer than ever before, since some programs write NaN for no value."""
    for name in [name for name in ("d_loss", "g_loss") if name in log.table.columns]:
        values = log.table.columns[name]  # not of gradients: a loss scaler skips such steps
        known = [value for value in values if value is not None]
        gaps = [len(gap) for gap in "".join("." if math.isfinite(v) else "x" for v in known).split(".")]
        last, before = (gaps[-1], max(gaps[:-1], default=0)) if gaps else (0, 0)
        if last > before and last < len(known):
            steps = [step for step, value in zip(log.table.steps, values) if value is not None]
            told = Evidence(log.table.names[name], float("nan"), "finite numbers", "NaN or infinity to the log's end")
            return Verdict("divergence", int(steps[-last]), 1.0, (told,), WHY["divergence"])
    return None


def _median(values: Sequence[float | None]) -> float | None:
    """Of the values that are there and finite."""
    found = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.median(found) if found else None
