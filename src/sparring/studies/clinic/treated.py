"""Treat the clinic's failing runs: how many come near their healthy control, and with which fix."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from sparring.base.errors import UserError
from sparring.data.pictures import save_image
from sparring.run.directory import Run
from sparring.studies.clinic.case import Case
from sparring.studies.clinic.score import markdown

if TYPE_CHECKING:
    from sparring.studies.treat.treat import Treatment
    from sparring.studies.treat.trials import TrialScorer

RESULT = "treated.json"
GAP = 16  # pixels between the pictures of before and after
NEAR = 1.5  # a treated run is healthy if its score is at most this times the healthy control's


@dataclass(frozen=True)
class TreatedCase:
    """A treated run of a case. Scores are held-out scores at the end of the budget, lower is better; None: NaN, none.

    Attributes:
        case: the case.
        seed: its seed.
        diagnosed: the failures of the run before.
        fix: the chosen fix, in words; "" if nothing was done.
        first: the doctor's first suggestion, in words.
        failing: the score before.
        treated: the score of the treated run.
        alone: the score of a run with the first suggestion, without trials.
        control: the score of the healthy control.
        remaining: the failures of the treated run.
        tried: each fix that was tried, in words, and the share of the budget it was trained for.
    """

    case: Case
    seed: int
    diagnosed: tuple[str, ...]
    fix: str
    first: str
    failing: float | None
    treated: float | None
    alone: float | None
    control: float | None
    remaining: tuple[str, ...]
    tried: tuple[tuple[str, float], ...] = ()

    def near(self, score: float | None) -> bool:
        """The score is at most `NEAR` times the control's."""
        return score is not None and self.control is not None and score <= NEAR * self.control

    @property
    def healthy(self) -> bool:
        """The treated run's score is near the control's."""
        return self.near(self.treated)


def treat_case(case: Case, seed: int, path: Path, control: Path) -> None:
    """Treat a run of `train_case`, and write `treated.json` into it.

    All scores are those of `TrialScorer`, also that of the control: a healthy run of the same data, seed and steps.
    """
    from sparring.studies.treat.treat import Treatment, treat
    from sparring.studies.treat.trials import TrialScorer

    if (path / RESULT).exists():
        return
    scorer = TrialScorer(Run.open(path).read_recipe(), 1)
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        try:
            done = treat(path, trust=True, say=lambda line: None)
        except UserError as error:  # such as: no fix is known
            done = Treatment(str(path), (), why=str(error))
        first = next((trial for trial in done.trials if trial.name.startswith("1-")), None)
        alone = None if first is None else _alone(done, first.name, path, scorer)
    names = {trial.name: trial.about for trial in done.trials}
    found: dict[str, Any] = {
        "diagnosed": done.diagnosed,
        "fix": names.get(done.chosen, ""),
        "first": "" if first is None else first.about,
        "failing": scorer.score_unchanged(path),
        "treated": done.score,
        "alone": alone,
        "control": scorer.score_unchanged(control),
        "remaining": done.remaining,
        "trials": [trial.to_json() for trial in done.trials],
        "why": done.why,
    }
    Run.open(path).write(RESULT, json.dumps(found, indent=1))


def _alone(done: Treatment, name: str, path: Path, scorer: TrialScorer) -> float | None:
    """The score of a trial after training it to the end of the budget."""
    from sparring.training.completion import finish

    if name == done.chosen:
        return done.score
    trial = path.with_name(f"{path.name}-treated") / "trials" / name
    if not trial.exists():
        return None
    finish(trial, Run.open(trial).read_recipe())
    return scorer.score_unchanged(trial)


def read_treated(case: Case, seed: int, path: Path) -> TreatedCase | None:
    """The result of `treat_case`, or None."""
    if not (path / RESULT).exists():
        return None
    found: dict[str, Any] = json.loads((path / RESULT).read_text(encoding="utf-8"))
    kept = {name: found[name] for name in ("fix", "first", "failing", "treated", "alone", "control")}
    tried = tuple((trial["about"], trial["share"]) for trial in found["trials"])
    return TreatedCase(case, seed, tuple(found["diagnosed"]), **kept, remaining=tuple(found["remaining"]), tried=tried)


Pair = tuple[str, Path, Path]  # a failure, and two runs


def pairs(treated: Sequence[TreatedCase], run_of: Callable[[TreatedCase], Path]) -> list[Pair]:
    """For each failure the failing and the treated run of its first successful treatment, else of its first one."""
    found: dict[str, Pair] = {}
    for each in sorted((one for one in treated if one.fix), key=lambda one: not one.healthy):
        run, failure = run_of(each), each.case.failure
        found.setdefault(failure, (failure, run, run.with_name(f"{run.name}-treated") / "run"))
    return list(found.values())


def save_pictures(shown: Sequence[Pair], folder: Path) -> list[Path]:
    """Save the last samples of each pair of runs side by side, as `FAILURE.png` in the folder."""
    found = []
    for failure, *runs in shown:
        pictures = [max((run / "samples").glob("step-*.png"), default=None) for run in runs]
        pair = [Image.open(path).convert("RGB") for path in pictures if path is not None]
        if len(pair) < 2:
            continue
        sheet = Image.new("RGB", (sum(p.width for p in pair) + GAP, max(p.height for p in pair)), "white")
        sheet.paste(pair[0], (0, 0))
        sheet.paste(pair[1], (pair[0].width + GAP, 0))
        found.append(folder / f"{failure}.png")
        save_image(sheet, found[-1])
    return found


def table(treated: Sequence[TreatedCase]) -> list[str]:
    """How many treatments succeeded, run by run, and which fix worked for which failure, in Markdown."""
    count = max(1, len(treated))
    healthy, alone = sum(each.healthy for each in treated), sum(each.near(each.alone) for each in treated)
    headline = (
        f"{healthy} of {len(treated)} treated runs ({healthy / count:.0%}) reach at most {NEAR:g} times the "
        f"held-out score of the healthy control. With the doctor's first fix only: {alone} ({alone / count:.0%})."
    )
    rows = []
    for each in treated:
        outcome = ("healthy" if each.healthy else "**not healthy**") + (
            f", still {', '.join(each.remaining)}" if each.remaining else ""
        )
        values = (each.failing, each.treated, each.alone, each.control)
        scores = ["-" if value is None else f"{value:.3g}" for value in values]
        run, chosen = f"{each.case.name} {each.seed}", each.fix or "nothing was done"
        rows.append((each.case.failure, run, chosen, *scores, outcome))
    names = ("injected", "run", "chosen fix", "before", "treated", "first suggestion alone", "control", "result")
    return [headline, "", *markdown(names, rows), "", *fixes_table(treated)]


def fixes_table(treated: Sequence[TreatedCase]) -> list[str]:
    """For each failure and fix: how often it was tried, reached the last stage, was chosen, and gave a healthy run."""
    counts: dict[tuple[str, str], list[int]] = {}
    for each in treated:
        longest = max((share for _, share in each.tried if share < 1), default=1)
        for about, share in each.tried:
            new = (1, share >= longest, about == each.fix, about == each.fix and each.healthy)
            before = counts.get((each.case.failure, about), [0] * len(new))
            counts[each.case.failure, about] = [old + one for old, one in zip(before, new)]
    ranked = sorted(counts.items(), key=lambda item: (item[0][0], -item[1][3], -item[1][1], item[0][1]))
    names = ("injected", "fix", "tried", "in the last stage", "chosen", "healthy")
    return markdown(names, [(*key, *found) for key, found in ranked])
