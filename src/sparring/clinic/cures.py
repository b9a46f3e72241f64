"""Treats the clinic's sick runs: how many come near the healthy control, and by which remedy."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from sparring.clinic.cases import Case
from sparring.errors import UserError
from sparring.pictures import save_image
from sparring.run import Run

RESULT = "cured.json"
GAP = 16  # pixels between the pictures of before and after
NEAR = 1.5  # times the healthy control's score, up to which a treated run is well


@dataclass(frozen=True)
class Cure:
    """What treating a run gave.

    Attributes:
        case: of the run; seed: of the run.
        ailed: what the doctor named.
        remedy: what was chosen, in words; "" where nothing was done.
        sick, treated, control: the held-out scores at the end of the whole budget, lower is better; None: NaN, or none.
        ill: what ails the treated run.
    """

    case: Case
    seed: int
    ailed: tuple[str, ...]
    remedy: str
    sick: float | None
    treated: float | None
    control: float
    ill: tuple[str, ...]

    @property
    def well(self) -> bool:
        return self.treated is not None and self.treated <= NEAR * self.control


def cure(case: Case, seed: int, path: Path, control: Path) -> None:
    """Treat a run that `attend` left, and write `cured.json` into it. All scores are of the treatment's own judge.

    Args:
        case, seed, path: of the run.
        control: the healthy run of the same data, seed and number of steps.
    """
    from sparring.doctor.treat import Treatment, treat
    from sparring.doctor.trials import Judge

    if (path / RESULT).exists():
        return
    recipe = Run.open(path).read_recipe()
    judge = Judge(recipe, 1, True)
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        try:
            done = treat(path, trust=True, say=lambda line: None)
        except UserError as error:  # nothing is known to help, say
            done = Treatment(str(path), (), why=str(error))
    names = {trial.name: trial.about for trial in done.trials}
    found: dict[str, Any] = {
        "ailed": done.ailed,
        "remedy": names.get(done.chosen, ""),
        "sick": _score(judge, path),
        "treated": done.score,
        "control": judge(control),
        "ill": done.ill,
        "trials": [trial.to_json() for trial in done.trials],
    }
    Run.open(path).write(RESULT, json.dumps(found, indent=1))


def _score(judge: Any, path: Path) -> float | None:
    ended = any(row.get("event") == "not finite" for row in Run.open(path).history())
    return None if ended else float(judge(path))


def read_cure(case: Case, seed: int, path: Path) -> Cure | None:
    """What `cure` left, or None."""
    if not (path / RESULT).exists():
        return None
    found: dict[str, Any] = json.loads((path / RESULT).read_text(encoding="utf-8"))
    sick, treated, control = (found[name] for name in ("sick", "treated", "control"))
    return Cure(case, seed, tuple(found["ailed"]), found["remedy"], sick, treated, control, tuple(found["ill"]))


def save_pictures(cures: Sequence[Cure], folder: Path, run_of: Callable[[Cure], Path]) -> list[Path]:
    """For each illness a picture of the last samples, sick at the left and treated at the right: of its first run that
    became well, else of its first one.

    Args:
        cures: of any runs.
        folder: where `ILLNESS.png` goes.
        run_of: the sick run of a cure.
    """
    found = {}
    for each in sorted((cure for cure in cures if cure.remedy), key=lambda cure: not cure.well):
        before, after = (_last_picture(path) for path in _both(run_of(each)))
        if each.case.illness in found or before is None or after is None:
            continue
        pair = [Image.open(path).convert("RGB") for path in (before, after)]
        sheet = Image.new("RGB", (sum(p.width for p in pair) + GAP, max(p.height for p in pair)), "white")
        sheet.paste(pair[0], (0, 0))
        sheet.paste(pair[1], (pair[0].width + GAP, 0))
        found[each.case.illness] = folder / f"{each.case.illness}.png"
        save_image(sheet, found[each.case.illness])
    return list(found.values())


def _both(run: Path) -> tuple[Path, Path]:
    return run, run.with_name(f"{run.name}-treated") / "run"


def _last_picture(run: Path) -> Path | None:
    return max((run / "samples").glob("step-*.png"), default=None)


def table(cures: Sequence[Cure]) -> list[str]:
    """How many are well, run by run, and which remedy worked for what, in Markdown."""
    well = sum(each.well for each in cures)
    lines = [
        f"Of {len(cures)} sick runs {well} ({well / max(1, len(cures)):.0%}) came to within {NEAR:g} times the healthy "
        "control's held-out score.",
        "",
        "| planted | run | chosen | sick | treated | control | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in cures:
        mark = ("well" if each.well else "**not well**") + (f", still {', '.join(each.ill)}" if each.ill else "")
        scores = " | ".join("NaN" if v is None else f"{v:.3g}" for v in (each.sick, each.treated, each.control))
        chosen = each.remedy or "nothing was done"
        lines.append(f"| {each.case.illness} | {each.case.name} {each.seed} | {chosen} | {scores} | {mark} |")
    worked = Counter((each.case.illness, each.remedy) for each in cures if each.well)
    tried = Counter((each.case.illness, each.remedy) for each in cures)
    lines += ["", "| planted | chosen remedy | well, of so many |", "| --- | --- | --- |"]
    return [*lines, *(f"| {ill} | {about} | {worked[ill, about]} of {n} |" for (ill, about), n in tried.items())]
