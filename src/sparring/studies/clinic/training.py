"""Train a case; record the doctor's findings at each probe, and independent scores."""

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
class ProbeFindings:
    """The doctor's findings at a probe, causes first; `share` is the spent share of the budget."""

    step: int
    share: float
    names: tuple[str, ...]


def train_case(case: Case, seed: int, path: Path) -> None:
    """Train a case into a run directory and write `clinic.json`, unless that exists; a partial run starts again."""
    from sparring.training.train import train

    if (path / RESULT).exists():
        return
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(NotFiniteError):  # the fault may cause it; the log records it
        train(case.make_recipe(seed), out=path, trust=True)
    run = Run.open(path)
    result = {"case": case.name, "seed": seed, "outside_scores": outside_scores(run.history())}
    run.write(RESULT, json.dumps(result, indent=1))


def read_result(path: Path) -> dict[str, Any] | None:
    """The result of `train_case` with the findings of the current doctor on the run's log; None if there is none.

    Raises:
        UserError: the result is damaged.
    """
    if not (path / RESULT).exists():
        return None
    try:
        result = dict(json.loads((path / RESULT).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{path / RESULT} is damaged ({error}); remove {path} to train the case again") from error
    if "outside_scores" not in result:
        raise UserError(f"{path / RESULT} is of an earlier version; choose another --out, or remove {path}")
    return {**result, "findings": [asdict(each) for each in findings_over_time(Run.open(path).history())]}


def findings_over_time(history: Sequence[Row]) -> list[ProbeFindings]:
    """The doctor's findings during the training: at each probe, from the log up to there."""
    found, share = [], 0.0
    for end, row in enumerate(history, start=1):
        share = row.get("progress", share)
        if kind_of(row) in (PROBE, NOT_FINITE):
            names = tuple(finding.failure for finding in diagnose(history[:end]))
            found.append(ProbeFindings(row["step"], share, names))
    return found


def outside_scores(history: Sequence[Row]) -> list[dict[str, Any]]:
    """The scores of the run's evaluations, which the doctor does not see."""
    kept = ("step", "wasserstein", "frechet", "modes", "modes_there", "high_quality", "kl")
    return [{n: v for n, v in row.items() if n in kept} for row in history if kind_of(row) == EVALUATION]
