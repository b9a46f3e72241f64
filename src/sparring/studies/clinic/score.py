"""How often the doctor is right: compare its findings with each run's injected fault, and print tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparring.doctor.diagnosis.rules import FAILURES
from sparring.studies.clinic.case import HEALTHY, Case

IN_TIME = 0.25  # share of the run after the onset, within which a failure must be found
WORSE = 1.5  # a run is bad if its score is worse than this times the control's
WORSENED = 1.15  # or worse than this times its own best score before
FEW_MODES = 0.8  # or if it covers less than this share of the modes

Result = Mapping[str, Any]


def markdown(names: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A table as lines of Markdown."""
    whole = (names, ["---"] * len(names), *rows)
    return ["|" + "".join(f" {cell} |" if cell != "" else " |" for cell in row) for row in whole]


@dataclass(frozen=True)
class Assessment:
    """The doctor's findings on one run of a case, compared with the truth.

    Attributes:
        case: the case.
        seed: its seed.
        found: the failures found at the end, causes first.
        alarms: the failures found at any probe.
        found_at: share of the run at which a correct failure was first found; None: never.
        onset: share of the run from which it stayed bad by the independent score; None: it did not.
        score: the independent score at the end, lower is better.
        control: the control's score at the same step.
        modes: modes covered at the end, and modes of the data.
    """

    case: Case
    seed: int
    found: tuple[str, ...]
    alarms: tuple[str, ...]
    found_at: float | None
    onset: float | None
    score: float
    control: float
    modes: tuple[int, int]

    @property
    def right(self) -> bool:
        """At the end the doctor finds the failure or one that it causes; in a healthy run, none."""
        return not self.found if self.case.failure == HEALTHY else bool(self.case.accepted & set(self.found))

    @property
    def exact(self) -> bool:
        """At the end the doctor finds the failure itself; in a healthy run, none."""
        return not self.found if self.case.failure == HEALTHY else self.case.failure in self.found

    @property
    def in_time(self) -> bool:
        """The doctor found a correct failure within `IN_TIME` after the onset."""
        onset = max(self.onset or 0.0, self.case.begins)
        return self.found_at is not None and self.found_at <= onset + IN_TIME


def assess(case: Case, result: Result, control: Result | None) -> Assessment:
    """Compare the findings in a result of `read_result` with the case; `control`: the control of the same seed."""
    findings = [(t["share"], [n for n in t["names"] if n in FAILURES]) for t in result["findings"]]
    found_at = next((share for share, names in findings if case.accepted & set(names)), None)
    scores = result["outside_scores"]
    compared = scores if control is None else control["outside_scores"]
    last = scores[-1] if scores else {}
    return Assessment(
        case,
        result["seed"],
        tuple(findings[-1][1]) if findings else (),
        tuple(dict.fromkeys(name for _, names in findings for name in names)),
        found_at,
        _onset(scores, compared),
        _score(last),
        _score(_same_step(last, compared)),
        (int(last.get("modes", 0)), int(last.get("modes_there", 0))),
    )


def _onset(scores: Sequence[Result], compared: Sequence[Result]) -> float | None:
    """The share of the run from which all scores are bad: see WORSE, WORSENED and FEW_MODES."""
    first = None
    for index, row in reversed(list(enumerate(scores))):
        control = _same_step(row, compared)
        few = row.get("modes", 1) < FEW_MODES * row.get("modes_there", 1) <= control.get("modes", 0)
        best = min(_score(each) for each in scores[: index + 1])
        if not few and _score(row) <= min(WORSE * _score(control), WORSENED * best):
            break
        first = row["step"] / scores[-1]["step"]
    return first


def _same_step(row: Result, compared: Sequence[Result]) -> Result:
    """The control's scores at the same step, or the last before it."""
    return next((each for each in reversed(compared) if each["step"] <= row.get("step", 0)), {})


def _score(row: Result) -> float:
    return float(row.get("wasserstein", row.get("frechet", float("inf"))))


def summary(assessments: Sequence[Assessment]) -> dict[str, tuple[int, int]]:
    """What was counted -> (count, of how many runs)."""
    failing = [each for each in assessments if each.case.failure != HEALTHY]
    healthy = [each for each in assessments if each.case.failure == HEALTHY]
    return {
        "failure found": (sum(each.right for each in failing), len(failing)),
        "injected failure itself found": (sum(each.exact for each in failing), len(failing)),
        "found in time": (sum(each.in_time for each in failing), len(failing)),
        "healthy runs with a false alarm at the end": (sum(bool(each.found) for each in healthy), len(healthy)),
        "healthy runs with a false alarm at any probe": (sum(bool(each.alarms) for each in healthy), len(healthy)),
    }


def table(assessments: Sequence[Assessment]) -> list[str]:
    """The runs as lines of a Markdown table."""
    rows = []
    for each in assessments:
        mark = "" if each.right else " **wrong**"
        late = "" if each.case.failure == HEALTHY or each.in_time or each.found_at is None else " late"
        at = "-" if each.found_at is None else f"{each.found_at:.0%}{late}"
        earlier = ", ".join(name for name in each.alarms if name not in each.found)
        found = f"{', '.join(each.found) or 'none'}{mark}{f' (earlier: {earlier})' if earlier else ''}"
        score = f"{each.score:.3g} ({each.control:.3g})"
        modes = f"{each.modes[0]}/{each.modes[1]}" if each.modes[1] else "-"
        rows.append((each.case.failure, f"{each.case.name} {each.seed}", found, at, score, modes))
    return markdown(("injected", "run", "found at the end", "first found at", "score (control)", "modes"), rows)
