"""A run that goes on from where another one stood, with another recipe."""

from __future__ import annotations

import json
from pathlib import Path

from sparring.errors import writing
from sparring.recipe import Recipe
from sparring.run import Run
from sparring.state import State


def branch(run: Run, out: Path, recipe: Recipe, state: State) -> Run:
    """Make a run directory that `resume` goes on with from `state`, with the log of `run` up to there.

    The checkpoint is written last, so a folder without one was not finished and may be removed.

    Args:
        run: where the state comes from.
        out: the folder to make.
        recipe: what the new run is trained by from there on.
        state: where it begins.

    Raises:
        UserError: it cannot be written.
    """
    made = Run(out)
    with writing(out, run.mend):
        for folder in (made.samples, made.checkpoints):
            folder.mkdir(parents=True)
        for name in ("data.json", "environment.json"):
            made.write(name, (run.path / name).read_text(encoding="utf-8"))
    made.write_recipe(recipe)
    past = [row for row in run.history() if row["step"] <= state.step]
    made.write("log.jsonl", "".join(json.dumps(row) + "\n" for row in past))
    made.append(state.row(event="branched", what=str(run.path)))
    state.save(made, None, recipe.keep)
    return made
