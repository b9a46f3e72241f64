"""Train a run up to a share of its budget: start it, resume it, or leave it, depending on what its folder holds."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sparring.assemble.start import share_spent
from sparring.base.components import is_trusted
from sparring.base.errors import NotFiniteError
from sparring.recipe import Recipe
from sparring.run.checkpoint import manifests
from sparring.run.directory import Run
from sparring.run.log import NOT_FINITE, RESUME, STOP, kind_of, of_kind
from sparring.training.train import resume, train


def finish(path: Path, recipe: Recipe, until: float = 1.0) -> None:
    """Train a run to the share `until` of its budget: start it if `path` does not exist, else resume it.

    A run that stops on NaN or infinity counts as finished; its last good checkpoint stays.
    """
    clear_unsaved(path)
    try:
        if not path.exists():
            train(recipe, out=path, trust=is_trusted(), until=until)
        elif not reached(path, until):
            resume(path, trust=is_trusted(), until=until)
    except NotFiniteError as error:
        print(f"{path.name}: {error}", file=sys.stderr)


def clear_unsaved(path: Path) -> None:
    """Remove a run directory without a checkpoint: training stopped before the first one."""
    if path.exists() and not manifests(path / "checkpoints"):
        shutil.rmtree(path)


def finished(path: Path) -> bool:
    """The run has reached the end of its budget, or stopped for good before it (see `reached`)."""
    return (path / "recipe.toml").exists() and reached(path, 1.0)


def reached(path: Path, until: float) -> bool:
    """The last checkpoint is at this share of the budget or later, or the run stopped early (NaN, no progress)."""
    run = Run.open(path)
    events = [kind_of(row) for row in of_kind(run.history(), RESUME, STOP, NOT_FINITE)]
    saved = manifests(run.checkpoints)
    spent = share_spent(run.read_recipe(), saved[-1].step, saved[-1].clock) if saved else 0.0
    return spent >= until or events[-1:] in ([STOP], [NOT_FINITE])
