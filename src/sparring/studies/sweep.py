"""A small grid of recipes and seeds, trained one by one, and compared."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import torch

from sparring.assemble.build import build_task, training_data
from sparring.base.errors import UserError, check_number, did_you_mean, writing
from sparring.base.process import claimed
from sparring.evaluation.evaluator import Options
from sparring.evaluation.measures import better, deciding_value
from sparring.evaluation.samples import recipe_reference
from sparring.evaluation.translations import recipe_tests
from sparring.recipe import Recipe, field_names, load_recipe
from sparring.run.directory import Run
from sparring.studies.compare import Comparison, compare
from sparring.studies.page import write_page
from sparring.tasks.base import Translating

Grid = Mapping[str, Sequence[Any]]


def read_grid(groups: Sequence[Sequence[str]]) -> dict[str, list[Any]]:
    """The grid that `--set FIELD=VALUE VALUE ... --set FIELD=VALUE ...` describes.

    Raises:
        UserError: no such field, or a value of the wrong type.
    """
    hints = get_type_hints(Recipe)
    grid: dict[str, list[Any]] = {}
    for group in groups:
        field, equals, first = group[0].partition("=")
        field = field.strip().replace("-", "_")
        if not equals or field not in field_names():
            raise UserError(
                f"--set {group[0]!r} is not FIELD=VALUE of a recipe: {did_you_mean(field, field_names())}"
                if equals
                else f'--set {group[0]!r} must be FIELD=VALUE, such as --set "loss=Hinge()" "NonSaturating()"'
            )
        if field in grid:
            raise UserError(f"--set names {field!r} twice; write its values one after another")
        try:
            grid[field] = [hints[field](value) for value in (first, *group[1:])]
        except ValueError as error:
            raise UserError(f"--set {field}: {error}") from error
    return grid


def sweep(
    recipe: str, grid: Grid, *, seeds: int = 1, out: str | Path, trust: bool = False, **options: Any
) -> Comparison:
    """Train each combination of the grid with each seed, and compare them; write `comparison.html`.

    What is done is told by the run directories, so a sweep that was stopped goes on where it was, in the middle of a
    run, too; several processes (or machines that share the folder) may work at one sweep. Trials and their values are
    recorded in an Optuna study with a journal in the folder, for Optuna's tools.

    Args:
        recipe: a named recipe or a TOML file.
        grid: field -> values to try.
        seeds: how many seeds of each: 0, 1, 2 ...
        out: the folder.
        trust, options: as in `sparring.evaluate`; the first metric is what the study records.

    Raises:
        UserError: a value that the recipe does not allow, Optuna is not there, or other processes are still at work.
        Interrupted: by Ctrl-C, after a checkpoint.
    """
    from sparring.training.completion import finish, finished

    check_number("sweep", "seeds", seeds, low=1, whole=True)
    chosen = Options(**options, trust=trust)
    base, folder = load_recipe(recipe), Path(out)
    plans = {folder / name: base.replace(**changes) for name, changes in combinations(grid, seeds).items()}
    deciding = check_plans(plans, chosen)
    study = _open_study(folder, plans, deciding)

    def work(trial: Any) -> float:
        path = folder / trial.suggest_categorical("run", [path.name for path in plans])
        with claimed(path) as mine:
            if not mine:
                raise _optuna().TrialPruned("another process trains it")
            finish(path, plans[path], trust)
            scores = compare([path], **options, trust=trust).groups[0].entries[0].scores
            if deciding not in scores.values:
                raise UserError(f"{deciding} could not be measured of {path}: {'; '.join(scores.notes)}")
            return scores.values[deciding]

    while todo := [path for path in plans if not finished(path) and not is_claimed(path)]:
        study.enqueue_trial({"run": todo[0].name})
        study.optimize(work, n_trials=1)
    waiting = [path.name for path in plans if not finished(path) or is_claimed(path)]
    if waiting:
        raise UserError(
            f"{len(waiting)} of {len(plans)} runs are being trained by other processes ({waiting[0]}, ...); for the "
            "comparison, give the same command again when they are done"
        )
    comparison = compare(list(plans), **options, trust=trust)
    write_page(comparison, folder / "comparison.html", trust)
    return comparison


def combinations(grid: Grid, seeds: int) -> dict[str, dict[str, Any]]:
    """A run's name -> the recipe's changes, for each combination of values and seeds."""
    if "seed" in grid:
        raise UserError("sweep: seeds are given by --seeds, not by --set seed=...")
    found = {}
    for values in itertools.product(*grid.values()):
        for seed in range(seeds):
            changes = dict(zip(grid, values))
            text = ", ".join(f"{field}={value}" for field, value in changes.items()) or "recipe"
            short = re.sub(r"[^A-Za-z0-9.=_-]+", "-", text).strip("-")[:60]
            digest = hashlib.blake2b(text.encode(), digest_size=3).hexdigest()  # long texts may begin alike
            name = f"{short}-{digest}" if len(text) > 60 else short
            found[f"{name}-seed{seed}"] = {**changes, "seed": seed}
    if len(found) < seeds * math.prod(len(values) for values in grid.values()):
        raise UserError("sweep: a value is named twice; name each once")
    return found


def check_plans(plans: Mapping[Path, Recipe], options: Options) -> str:
    """Find mistakes before anything is trained; return the value that the study records.

    Raises:
        UserError: in a recipe, in the metrics, or a folder holds a run of another recipe.
    """
    from sparring.assemble.start import settled, start_state

    device, deciding = torch.device("cpu"), {}
    for path, recipe in plans.items():
        check_same_recipe(path, recipe)
        if recipe.seed == 0:
            data = training_data(recipe, options.trust)
            start_state(settled(recipe, data, device, options.trust), data, device, options.trust)
            task = build_task(recipe, data.form, options.trust)
            deciding[deciding_value(options.metrics, task)] = path.name
            if isinstance(task, Translating):
                recipe_tests(recipe, data, options, path.name)
            else:
                recipe_reference(recipe, data, options, path.name)
    if len(deciding) > 1:
        raise UserError(f"sweep: the runs' first scores are {' and '.join(deciding)}; name one for all by --metrics")
    return next(iter(deciding))


def check_same_recipe(path: Path, recipe: Recipe) -> None:
    """Raise UserError if the folder holds a run of another recipe."""
    if not (path / "recipe.toml").exists():
        return
    there = Run.open(path).read_recipe()
    chosen = {
        name: getattr(there, name) for name in ("precision", "augment", "metrics") if getattr(recipe, name) == "auto"
    }
    wanted, found = recipe.replace(about="", **chosen), there.replace(about="")
    for field in field_names():
        if getattr(wanted, field) != getattr(found, field):
            raise UserError(
                f"{path} holds a run of another recipe ({field} was {getattr(found, field)!r} and is "
                f"{getattr(wanted, field)!r}); remove it, or choose another --out"
            )


def is_claimed(path: Path) -> bool:
    """Is another process at work on the run?"""
    with claimed(path) as mine:
        return not mine


def _open_study(folder: Path, plans: Mapping[Path, Recipe], deciding: str) -> Any:
    """The study of this grid in the folder's journal; another grid in the same folder is another study."""
    optuna = _optuna()
    with writing(folder, "choose another --out"):
        folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join([deciding, *(f"{path.name}: {recipe.to_toml()}" for path, recipe in plans.items())])
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "journal.log")))
    return optuna.create_study(
        study_name=f"{folder.name}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}",
        storage=storage,
        sampler=optuna.samplers.RandomSampler(seed=0),  # it is never asked: every trial is named
        direction="maximize" if better(deciding) > 0 else "minimize",
        load_if_exists=True,
    )


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UserError('sweep needs Optuna; install it with: pip install "sparring[sweep]"') from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
