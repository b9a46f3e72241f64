"""How right the doctor was: each run's truth beside what was told, and the table of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparring.doctor.diagnosis.rules import FAILURES
from sparring.studies.clinic.case import HEALTHY, Case

IN_TIME = 0.25  # of the run after the onset, within which an illness must have been named
WORSE = 1.5  # times the control's score, from which on a run is worse by outcome
WORSENED = 1.15  # times the best score that the run had before, from which on it is worse by outcome, too
FEW_MODES = 0.8  # of the modes there are, below which a run is bad by outcome

Result = Mapping[str, Any]


def markdown(names: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A table as lines of Markdown."""
    whole = (names, ["---"] * len(names), *rows)
    return ["|" + "".join(f" {cell} |" if cell != "" else " |" for cell in row) for row in whole]


@dataclass(frozen=True)
class Judged:
    """One run of a case with a seed, judged.

    Attributes:
        told: the illnesses that were named at the end, causes first.
        alarms: those that were named at any look.
        named_at: share of the run at which a right name was first told; None: never.
        onset: share of the run from which on it was bad by the outside score; None: it never was.
        score: the outside score at the end (lower is better), and the control's.
        modes: covered at the end, and there.
    """

    case: Case
    seed: int
    reported: tuple[str, ...]
    alarms: tuple[str, ...]
    named_at: float | None
    onset: float | None
    score: float
    control: float
    modes: tuple[int, int]

    @property
    def right(self) -> bool:
        """Was the plant (or what it is known to bring about) named at the end? Of a healthy run: was nothing?"""
        return not self.reported if self.case.failure == HEALTHY else bool(self.case.accepted & set(self.reported))

    @property
    def strictly(self) -> bool:
        """The same by the name of the plant alone."""
        return not self.reported if self.case.failure == HEALTHY else self.case.failure in self.reported

    @property
    def in_time(self) -> bool:
        onset = max(self.onset or 0.0, self.case.begins)
        return self.named_at is not None and self.named_at <= onset + IN_TIME


def judge(case: Case, result: Result, control: Result | None) -> Judged:
    """Set what was told in a run (the result of `attend`) against what was planted in it; `control` is the result of
    the control with the same seed, if there is one."""
    reported = [(t["share"], [n for n in t["names"] if n in FAILURES]) for t in result["reported"]]
    named_at = next((share for share, names in reported if case.accepted & set(names)), None)
    outside_scores = result["outside_scores"]
    compared = outside_scores if control is None else control["outside_scores"]
    last = outside_scores[-1] if outside_scores else {}
    return Judged(
        case,
        result["seed"],
        tuple(reported[-1][1]) if reported else (),
        tuple(dict.fromkeys(name for _, names in reported for name in names)),
        named_at,
        _onset(outside_scores, compared),
        _score(last),
        _score(_beside(last, compared)),
        (int(last.get("modes", 0)), int(last.get("modes_there", 0))),
    )


def _onset(outside_scores: Sequence[Result], compared: Sequence[Result]) -> float | None:
    """The share of the run from which on all exams are bad: worse than the control's of the same step or than the run
    itself was before, or few modes."""
    first = None
    for index, exam in reversed(list(enumerate(outside_scores))):
        few = exam.get("modes", 1) < FEW_MODES * exam.get("modes_there", 1) <= _beside(exam, compared).get("modes", 0)
        best = min(_score(each) for each in outside_scores[: index + 1])
        if not few and _score(exam) <= min(WORSE * _score(_beside(exam, compared)), WORSENED * best):
            break
        first = exam["step"] / outside_scores[-1]["step"]
    return first


def _beside(exam: Result, compared: Sequence[Result]) -> Result:
    """The control's exam of the same step, or the last one before it."""
    return next((row for row in reversed(compared) if row["step"] <= exam.get("step", 0)), {})


def _score(exam: Result) -> float:
    return float(exam.get("wasserstein", exam.get("frechet", float("inf"))))


def summary(judged: Sequence[Judged]) -> dict[str, tuple[int, int]]:
    """Counts (of how many): named right, strictly, in time, false alarms at the end and at any time."""
    failing = [each for each in judged if each.case.failure != HEALTHY]
    well = [each for each in judged if each.case.failure == HEALTHY]
    return {
        "named right": (sum(each.right for each in failing), len(failing)),
        "by the plant's own name": (sum(each.strictly for each in failing), len(failing)),
        "in time": (sum(each.in_time for each in failing), len(failing)),
        "healthy runs accused at the end": (sum(bool(each.reported) for each in well), len(well)),
        "healthy runs accused at any time": (sum(bool(each.alarms) for each in well), len(well)),
    }


def table(judged: Sequence[Judged]) -> list[str]:
    """The runs as lines of a Markdown table."""
    rows = []
    for each in judged:
        mark = "" if each.right else " **wrong**"
        late = "" if each.case.failure == HEALTHY or each.in_time or each.named_at is None else " late"
        at = "-" if each.named_at is None else f"{each.named_at:.0%}{late}"
        reported = ", ".join(each.reported) or "nothing"
        along = ", ".join(name for name in each.alarms if name not in each.reported)
        score = f"{each.score:.3g} ({each.control:.3g})"
        modes = f"{each.modes[0]}/{each.modes[1]}" if each.modes[1] else "-"
        named = f"{reported}{mark}{f' (on the way: {along})' if along else ''}"
        rows.append((each.case.failure, f"{each.case.name} {each.seed}", named, at, score, modes))
    return markdown(("injected", "run", "told at the end", "first at", "score (control)", "modes"), rows)
