"""`sparring train`: train a GAN from a recipe."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any, get_type_hints

from sparring.base.process import DONE
from sparring.commands import add_trust
from sparring.commands.catalog import KINDS
from sparring.commands.entries import allowed_texts, option_of
from sparring.commands.together import add_devices, devices_of, is_first, start_together
from sparring.recipe import DEFAULT, GROUPS, Recipe, field_names, load_recipe

ABOUT = "train a GAN from a recipe"
DESCRIPTION = f"""\
{ABOUT}

Each option in the groups below replaces a field of the recipe.
A default in brackets is the value where the recipe leaves the field out."""
EPILOG = """\
examples:
  sparring train
  sparring train mnist --minutes 2 --out runs/mnist
  sparring train mnist --loss "Wasserstein()" --penalties "GradientPenalty(weight=10)"

names for these options:
  sparring list                    all names, by kind
  sparring list penalties          one kind: fields, defaults, one line about each
  sparring explain R1              all about a component, metric, data set, recipe or field"""
METAVARS = {
    "about": "TEXT",
    "data": "DATA",
    "start": "RUN",
    "penalties": "PENALTIES",
    "metrics": "METRICS",
    "threads": "N",
}
AFTER_TRAINING = """\
Report: {run}/summary.md, {run}/curves.png
Images: {run}/samples: the same inputs, from the start of the training to its end
Losses: D (discriminator) and G (generator), each with its equilibrium value in brackets. A loss does not measure
samples: go by the doctor, scores and pictures.
Next:"""
FAILED_NEXT = {
    "sparring doctor {run}": "the failure, its evidence, suggested fixes",
    "sparring treat {run}{trust}": "try the fixes in short trainings, train the best one to the end",
    "sparring evaluate {run}{trust}": "compute metrics",
}
NEXT = {
    "{use}{trust}": "use the generator",
    "sparring doctor {run}": "diagnose the run",
    "sparring evaluate {run}{trust}": "compute metrics",
    "sparring resume {run} {more}{trust}": "train further",
    "sparring recipes": "other things to train",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments: one option for each field of a recipe, in groups."""
    about = f"named recipe (see sparring recipes) or .toml file; default: {DEFAULT}"
    parser.add_argument("recipe", nargs="?", default=DEFAULT, help=about)
    about = "run directory to create; default: runs/NAME-001, or the next free number"
    parser.add_argument("--out", type=Path, metavar="RUN", help=about)
    add_devices(parser)
    add_trust(parser)
    parser.usage = f"{parser.prog} [recipe] [--out RUN] [--devices N] [--trust] [--FIELD VALUE ...]"
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    groups = {name: parser.add_argument_group(f"{name} ({about})") for name, about in GROUPS.items()}
    hints = get_type_hints(Recipe)
    for field in dataclasses.fields(Recipe):
        group, option, about = groups[field.metadata["group"]], option_of(field.name), _help(field)
        if hints[field.name] is bool:
            either = argparse.BooleanOptionalAction
            group.add_argument(option, dest=field.name, action=either, default=None, help=about)
        else:
            options = {"type": hints[field.name], "metavar": _metavar(field)}
            group.add_argument(option, dest=field.name, help=about, **options)


def _help(field: dataclasses.Field[Any]) -> str:
    """The help of a field, with the default that holds where a recipe leaves it out."""
    about, default = field.metadata["help"], field.default
    shown = "" if default in ("", "auto", False) or "default" in about else f" (default: {default})"
    return f"{about}{shown}".replace("%", "%%")


def _metavar(field: dataclasses.Field[Any]) -> str:
    """What an option expects: its choices, a number, or the kind of name."""
    if allowed := allowed_texts(field.metadata):
        return f"{{{','.join(allowed)}}}"
    if not isinstance(field.default, str):
        return "N" if isinstance(field.default, int) else "X"
    kinds = [kind.one.split()[-1] for kind in KINDS.values() if kind.option_takes_it(option_of(field.name))]
    return METAVARS.get(field.name) or (kinds[0] if kinds else field.name).upper()


def run(chosen: argparse.Namespace) -> int:
    """Train; return the exit status 0.

    Raises:
        UserError: no such recipe, or a value that is not allowed; mistakes in numbers are found without loading torch.
    """
    changes = {name: value for name in field_names() if (value := getattr(chosen, name)) is not None}
    recipe, devices = load_recipe(chosen.recipe).replace(**changes), devices_of(chosen)
    if devices > 1:
        return start_together(devices, recipe.device, chosen.arguments)
    from sparring.training.train import train

    path = train(chosen.recipe, out=chosen.out, trust=chosen.trust, **changes)
    return report_trained(path)


def report_trained(path: Path) -> int:
    """Print where the results are and what to do next, once for all workers; return the exit status 0."""
    if not is_first():
        return DONE
    from sparring.assemble.build import build_task
    from sparring.doctor.diagnosis.report import examine, is_failure
    from sparring.run.directory import Run

    run = Run.open(path)
    recipe, failures = run.read_recipe(), [each.named for each in examine(path) if is_failure(each)]
    use = build_task(recipe, run.read_data()[1]).use.format(run=path)
    values = {"run": path, "use": use, "more": recipe.longer(run.rows()[-1]["step"]), "trust": recipe.trust}
    if failures:
        print(f"Failures: {', '.join(failures)}")
    print(AFTER_TRAINING.format(**values))
    commands = {command.format(**values): about for command, about in (FAILED_NEXT if failures else NEXT).items()}
    for command, about in commands.items():
        print(f"  {command:{max(map(len, commands))}}  {about}")
    return DONE
