"""Start a run from another one: from its weights, or from its full state with another recipe."""

from __future__ import annotations

import json
from pathlib import Path

from sparring.assemble.state import State, find_checkpoint
from sparring.base.errors import UserError, writing
from sparring.recipe import Recipe
from sparring.run import checkpoint
from sparring.run.checkpoint import under
from sparring.run.directory import Run
from sparring.run.log import BRANCH


def begin_with(state: State, start: str) -> None:
    """Copy the weights of another run's last checkpoint into the networks.

    The generator takes the other run's averaged weights (EMA) if it has any. The discriminator takes the other run's
    weights only if the layers are the same.

    Args:
        state: the state to change.
        start: the other run's directory; "" changes nothing.

    Raises:
        UserError: there is no such run, or its generator has other layers.
    """
    if not start:
        return
    other = Run.open(Path(start))
    tensors = checkpoint.load(other.checkpoints, find_checkpoint(other))
    found = {"generator": under("average", tensors) or under("generator", tensors)}
    discriminator = under("discriminator", tensors)
    shapes = {name: tensor.shape for name, tensor in state.game.discriminator.network.state_dict().items()}
    if {name: tensor.shape for name, tensor in discriminator.items()} == shapes:
        found["discriminator"] = discriminator
    try:
        state.take_over({f"{part}/{name}": tensor for part, named in found.items() for name, tensor in named.items()})
    except UserError as error:
        raise UserError(
            f"start={start!r}: the run has another generator ({error}); choose a run with this recipe's generator"
        ) from error


def branch(run: Run, out: Path, recipe: Recipe, state: State) -> Run:
    """Create a run directory that `resume` continues from `state`, with the log of `run` up to that step.

    The checkpoint is written last, so a folder without one is incomplete and may be removed.

    Raises:
        UserError: the folder cannot be written.
    """
    made = Run(out)
    with writing(out, run.fix):
        for folder in (made.samples, made.checkpoints):
            folder.mkdir(parents=True)
        for name in ("data.json", "environment.json"):
            made.write(name, (run.path / name).read_text(encoding="utf-8"))
    made.write_recipe(recipe)
    past = [row for row in run.history() if row["step"] <= state.step]
    made.write("log.jsonl", "".join(json.dumps(row) + "\n" for row in past))
    made.append(state.row(BRANCH, what=str(run.path)))
    state.save(made, None, recipe.keep)
    return made
