"""Train a grid of recipes and seeds, and compare the runs."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import torch

from sparring.assemble.build import build_task, held_out_data, training_data
from sparring.assemble.start import auto_fields, resolve_auto, start_state
from sparring.assemble.state import find_checkpoint
from sparring.base.components import trusted
from sparring.base.errors import UserError, check_number, did_you_mean, writing
from sparring.base.process import claimed
from sparring.evaluation.evaluator import RunEvaluator, scoring_of
from sparring.evaluation.options import Options
from sparring.evaluation.scoring import Scoring
from sparring.recipe import Recipe, field_names, load_recipe
from sparring.run.directory import Run
from sparring.studies.compare import Comparison, compare
from sparring.studies.page import write_page
from sparring.training.completion import finish

Grid = Mapping[str, Sequence[Any]]


def read_grid(groups: Sequence[Sequence[str]]) -> dict[str, list[Any]]:
    """Parse `--set FIELD=VALUE VALUE ... --set FIELD=VALUE ...` into a grid.

    Raises:
        UserError: there is no such field, or a value has the wrong type.
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
    """Train every combination of a grid with every seed, compare the runs, and write `OUT/comparison.html`.

    An interrupted sweep resumes where it stopped, also within a run. Several processes, or machines that share the
    folder, may work on one sweep.

    Args:
        recipe: name or path of a TOML file.
        grid: field -> values to try.
        seeds: number of seeds (0, 1, 2, ...) for each combination.
        out: folder for the runs and the comparison.
        trust: as in `sparring.evaluate`.
        options: as in `sparring.evaluate`; the first metric must be measurable for every run.

    Returns:
        The comparison of all runs.

    Raises:
        UserError: the recipe does not allow a value, or other processes still train some of the runs.
        Interrupted: Ctrl-C; the run in progress has a checkpoint.
    """
    check_number("sweep", "seeds", seeds, low=1, whole=True)
    chosen = Options(**options)
    base, folder = load_recipe(recipe), Path(out)
    plans = {folder / name: base.replace(**changes) for name, changes in combinations(grid, seeds).items()}
    with trusted(trust):
        known = check_plans(plans, chosen)
    with writing(folder, "choose another --out"):
        folder.mkdir(parents=True, exist_ok=True)
    left: list[Path] = []
    waiting = list(plans)
    while waiting and waiting != left:  # another process may have released a run in the meantime
        left = waiting
        with trusted(trust):
            waiting = [path for path in left if not work_at(path, plans[path], chosen, known)]
    if waiting:
        raise UserError(
            f"{len(waiting)} of {len(plans)} runs are being trained by other processes ({waiting[0]}, ...); repeat the "
            "command when they are done, it writes the comparison"
        )
    comparison = compare(list(plans), **options, trust=trust, known=known)
    with trusted(trust):
        write_page(comparison, folder / "comparison.html")
    return comparison


def work_at(path: Path, recipe: Recipe, options: Options, known: MutableMapping[str, Scoring]) -> bool:
    """Train a run to its end and score it, unless done; return False if another process works on it.

    Raises:
        UserError: the first metric could not be measured for the run.
    """
    with claimed(path) as mine:
        if not mine:
            return False
        finish(path, recipe)
        evaluator = RunEvaluator(path, options)
        scores = evaluator.shared_score(find_checkpoint(evaluator.run, "best"), known)
        deciding = evaluator.scoring.deciding
        if deciding not in scores.values:
            why = "; ".join(scores.notes)
            raise UserError(f"{deciding} could not be measured for {path}: {why}; name another first metric")
        return True


def combinations(grid: Grid, seeds: int) -> dict[str, dict[str, Any]]:
    """Run name -> changes of the recipe, for each combination of values and seeds."""
    if "seed" in grid:
        raise UserError("sweep: --set seed=... is not allowed; give the number of seeds: --seeds N")
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


def check_plans(plans: Mapping[Path, Recipe], options: Options) -> dict[str, Scoring]:
    """Check recipes, metrics and folders before training; return the prepared scoring by hash of the data.

    Raises:
        UserError: a recipe or metric is wrong, or a folder holds a run of another recipe.
    """
    device, known, deciding = torch.device("cpu"), dict[str, Scoring](), {}
    for path, recipe in plans.items():
        check_same_recipe(path, recipe)
        if recipe.seed == 0:
            data = training_data(recipe)
            start_state(resolve_auto(recipe, data, device), data, device)
            task = build_task(recipe, data.form)
            scoring = scoring_of(task, data, options, held_out_data(recipe, data), like=known.get(data.digest))
            scoring.check(recipe, task, path.name)
            known[data.digest] = scoring
            deciding[scoring.deciding] = path.name
    if len(deciding) > 1:
        raise UserError(f"sweep: the runs' first scores are {' and '.join(deciding)}; name one for all with --metrics")
    return known


def check_same_recipe(path: Path, recipe: Recipe) -> None:
    """Raise UserError if the folder holds a run of another recipe."""
    if not (path / "recipe.toml").exists():
        return
    existing = Run.open(path).read_recipe()
    resolved = {name: getattr(existing, name) for name in auto_fields(recipe)}
    wanted, found = recipe.replace(about="", **resolved), existing.replace(about="")
    for field in field_names():
        if getattr(wanted, field) != getattr(found, field):
            raise UserError(
                f"{path} holds a run of another recipe ({field} was {getattr(found, field)!r} and is "
                f"{getattr(wanted, field)!r}); remove it, or choose another --out"
            )
