"""Treats the clinic's sick runs: how many come near the healthy control, and by which remedy."""

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

RESULT = "cured.json"
GAP = 16  # pixels between the pictures of before and after
NEAR = 1.5  # times the healthy control's score, up to which a treated run is well


@dataclass(frozen=True)
class TreatedCase:
    """What treating a run of a case with a seed gave.

    Attributes:
        ailed, ill: what the doctor named of the sick run, and of the treated one.
        remedy: what was chosen, in words; "" where nothing was done.
        first: the doctor's first remedy, in words.
        sick, treated, alone, control: the held-out scores at the end of the whole budget, lower is better, of the sick
            run, the treated one, one with the first remedy and no trials, and the healthy control; None: NaN, or none.
        tried: each remedy that was tried, in words, and the share of the budget for which it was trained.
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
        """Is a score near enough to the control's?"""
        return score is not None and self.control is not None and score <= NEAR * self.control

    @property
    def well(self) -> bool:
        """Is the treated run?"""
        return self.near(self.treated)


def treat_case(case: Case, seed: int, path: Path, control: Path) -> None:
    """Treat a run that `attend` left, and write `cured.json` into it. All scores are of the treatment's own judge, that
    of the control, a healthy run of the same data, seed and number of steps, too."""
    from sparring.studies.treat.treat import Treatment, treat
    from sparring.studies.treat.trials import TrialScorer

    if (path / RESULT).exists():
        return
    judge = TrialScorer(Run.open(path).read_recipe(), 1)
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        try:
            done = treat(path, trust=True, say=lambda line: None)
        except UserError as error:  # nothing is known to help, say
            done = Treatment(str(path), (), why=str(error))
        first = next((trial for trial in done.trials if trial.name.startswith("1-")), None)
        alone = None if first is None else _alone(done, first.name, path, judge)
    names = {trial.name: trial.about for trial in done.trials}
    found: dict[str, Any] = {
        "diagnosed": done.diagnosed,
        "fix": names.get(done.chosen, ""),
        "first": "" if first is None else first.about,
        "failing": judge.of_others(path),
        "treated": done.score,
        "alone": alone,
        "control": judge.of_others(control),
        "remaining": done.remaining,
        "trials": [trial.to_json() for trial in done.trials],
        "why": done.why,
    }
    Run.open(path).write(RESULT, json.dumps(found, indent=1))


def _alone(done: Treatment, name: str, path: Path, judge: TrialScorer) -> float | None:
    """The score of a remedy's trial once it is trained to the end of the budget."""
    from sparring.training.completion import finish

    if name == done.chosen:
        return done.score
    trial = path.with_name(f"{path.name}-treated") / "trials" / name
    if not trial.exists():
        return None
    finish(trial, Run.open(trial).read_recipe())
    return judge.of_others(trial)


def read_treated(case: Case, seed: int, path: Path) -> TreatedCase | None:
    """What `cure` left, or None."""
    if not (path / RESULT).exists():
        return None
    found: dict[str, Any] = json.loads((path / RESULT).read_text(encoding="utf-8"))
    kept = {name: found[name] for name in ("fix", "first", "failing", "treated", "alone", "control")}
    tried = tuple((trial["about"], trial["share"]) for trial in found["trials"])
    return TreatedCase(case, seed, tuple(found["diagnosed"]), **kept, remaining=tuple(found["remaining"]), tried=tried)


Pair = tuple[str, Path, Path]  # an illness, and two runs


def pairs(treated_cases: Sequence[TreatedCase], run_of: Callable[[TreatedCase], Path]) -> list[Pair]:
    """For each illness the sick and the treated run of its first cure that worked, else of its first one."""
    found: dict[str, Pair] = {}
    for each in sorted(
        (treat_case for treat_case in treated_cases if treat_case.fix), key=lambda treat_case: not treat_case.well
    ):
        run, failure = run_of(each), each.case.failure
        found.setdefault(failure, (failure, run, run.with_name(f"{run.name}-treated") / "run"))
    return list(found.values())


def save_pictures(shown: Sequence[Pair], folder: Path) -> list[Path]:
    """The last samples of each pair of runs side by side, as `ILLNESS.png` in the folder."""
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


def table(treated_cases: Sequence[TreatedCase]) -> list[str]:
    """How many are well, run by run, and which remedy worked for what, in Markdown."""
    count = max(1, len(treated_cases))
    well, alone = sum(each.well for each in treated_cases), sum(each.near(each.alone) for each in treated_cases)
    reported = (
        f"{well} of {len(treated_cases)} failing runs ({well / count:.0%}) came to {NEAR:g} times the control's "
        f"held-out score; with the doctor's first remedy and no trials {alone} ({alone / count:.0%}) would have."
    )
    rows = []
    for each in treated_cases:
        mark = ("well" if each.well else "**not well**") + (
            f", still {', '.join(each.remaining)}" if each.remaining else ""
        )
        values = (each.failing, each.treated, each.alone, each.control)
        scores = ["-" if value is None else f"{value:.3g}" for value in values]
        run, chosen = f"{each.case.name} {each.seed}", each.fix or "nothing was done"
        rows.append((each.case.failure, run, chosen, *scores, mark))
    names = ("injected", "run", "chosen", "failing", "treated", "first remedy alone", "control", "")
    return [reported, "", *markdown(names, rows), "", *fixes_table(treated_cases)]


def fixes_table(treated_cases: Sequence[TreatedCase]) -> list[str]:
    """Which remedy worked for what: by planted illness, how often it was tried, came to the last stage, was chosen, and
    was well then."""
    counts: dict[tuple[str, str], list[int]] = {}
    for each in treated_cases:
        longest = max((share for _, share in each.tried if share < 1), default=1)
        for about, share in each.tried:
            reported = (1, share >= longest, about == each.fix, about == each.fix and each.well)
            before = counts.get((each.case.failure, about), [0] * len(reported))
            counts[each.case.failure, about] = [count + new for count, new in zip(before, reported)]
    ranked = sorted(counts.items(), key=lambda item: (item[0][0], -item[1][3], -item[1][1], item[0][1]))
    names = ("injected", "fix", "tried", "in the last stage", "chosen", "well")
    return markdown(names, [(*key, *found) for key, found in ranked])
