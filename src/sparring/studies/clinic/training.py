"""Trains a case, and asks the doctor: what did it say, when, and what was true?"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sparring.base.errors import NotFiniteError, UserError
from sparring.doctor.diagnosis.findings import diagnose
from sparring.run.directory import Run
from sparring.run.log import EVALUATION, NOT_FINITE, PROBE, Row, kind_of
from sparring.studies.clinic.case import Case

RESULT = "clinic.json"


@dataclass(frozen=True)
class Reported:
    """The doctor's verdicts at a step and a share of the budget, causes first."""

    step: int
    share: float
    names: tuple[str, ...]


def train_case(case: Case, seed: int, path: Path) -> None:
    """Train a case into a run directory, unless its result, `clinic.json`, is there; what is half done is done anew."""
    from sparring.training.train import train

    if (path / RESULT).exists():
        return
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(NotFiniteError):  # an end that was planted; the log tells of it
        train(case.make_recipe(seed), out=path, trust=True)
    run = Run.open(path)
    history = run.history()
    run.write(
        RESULT, json.dumps({"case": case.name, "seed": seed, "outside_scores": outside_scores(history)}, indent=1)
    )


def read_result(path: Path) -> dict[str, Any] | None:
    """What `attend` left, with what the doctor of today says of the run's log; None if there is none. UserError: it is
    damaged."""
    if not (path / RESULT).exists():
        return None
    try:
        result = dict(json.loads((path / RESULT).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{path / RESULT} is damaged ({error}); remove {path}, so that it is trained anew") from error
    return {**result, "reported": [asdict(each) for each in reported(Run.open(path).history())]}


def reported(history: Sequence[Row]) -> list[Reported]:
    """What the doctor would have said live, at each look, and at the end."""
    found, share = [], 0.0
    for end, row in enumerate(history, start=1):
        share = row.get("progress", share)
        if kind_of(row) in (PROBE, NOT_FINITE):
            found.append(Reported(row["step"], share, tuple(finding.failure for finding in diagnose(history[:end]))))
    return found


def outside_scores(history: Sequence[Row]) -> list[dict[str, Any]]:
    """The scores from outside, of which the doctor knows nothing."""
    kept = ("step", "wasserstein", "frechet", "modes", "modes_there", "high_quality", "kl")
    return [{n: v for n, v in row.items() if n in kept} for row in history if kind_of(row) == EVALUATION]
