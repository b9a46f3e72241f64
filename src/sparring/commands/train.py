"""`sparring train`: train a recipe."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import get_type_hints

from sparring.commands import DONE, add_trust
from sparring.recipe import DEFAULT, Recipe, field_names, load_recipe, recipe_names

ABOUT = "train a recipe"
AFTER_TRAINING = """\
Pictures: {run}/samples (the same inputs through time), {run}/curves.png; all in words: {run}/summary.md
Numbers: D and G are the two losses, each beside its value at equilibrium; near it, with an accuracy of the
discriminator somewhat above 50 %, the two are well matched. Accuracy near 100 % for long means that D has won.
Next: {use}     what it is for
      sparring evaluate {run}     how good it is; sparring compare {run} ANOTHER
      sparring resume {run} --steps {more}     train it further
      sparring recipes     what else there is to train"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    about = f"a named recipe ({', '.join(recipe_names())}) or a .toml file; default: {DEFAULT}"
    parser.add_argument("recipe", nargs="?", default=DEFAULT, help=about)
    parser.add_argument("--out", type=Path, help="the run directory to make (default: a new one below runs/)")
    add_trust(parser)
    fields = parser.add_argument_group("fields of the recipe", "each takes the place of what the recipe says")
    hints = get_type_hints(Recipe)
    for field in dataclasses.fields(Recipe):
        option, about = "--" + field.name.replace("_", "-"), field.metadata["help"]
        if hints[field.name] is bool:
            either = argparse.BooleanOptionalAction
            fields.add_argument(option, dest=field.name, action=either, default=None, help=about)
        else:
            fields.add_argument(option, dest=field.name, type=hints[field.name], help=about)


def run(chosen: argparse.Namespace) -> int:
    """Train it; the exit status: 0 done."""
    changes = {name: value for name in field_names() if (value := getattr(chosen, name)) is not None}
    load_recipe(chosen.recipe).replace(**changes)  # a mistake here is reported before torch is loaded
    from sparring.training.train import train

    path = train(chosen.recipe, out=chosen.out, trust=chosen.trust, **changes)
    return report_trained(path)


def report_trained(path: Path) -> int:
    """Say what there is now, and what to do with it."""
    from sparring.assemble.build import build_task
    from sparring.run.directory import Run

    run = Run.open(path)
    task = build_task(run.read_recipe(), run.read_data()[1])
    print(AFTER_TRAINING.format(run=path, use=task.use.format(run=path), more=2 * run.rows()[-1]["step"]))
    return DONE
