"""Runs side by side: scores where protocols agree, what the recipes differ in, and means over seeds."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sparring.assemble.state import find_checkpoint
from sparring.base.components import trusted
from sparring.base.errors import UserError
from sparring.data.samples import Data
from sparring.evaluation.evaluator import Options, RunEvaluator
from sparring.evaluation.options import better, deciding_value
from sparring.evaluation.protocol import Scores, differences
from sparring.evaluation.report import BESIDE, kept_apart, number, with_error
from sparring.evaluation.scoring import Scoring
from sparring.evaluation.similarity import BASELINE
from sparring.recipe import Recipe
from sparring.run.directory import Run

IDLE = {"about": "", "seed": 0, "device": "auto", "log_every": 1, "pictures": 0}  # what does not make another recipe
ERROR = "± is the standard error over seeds or, of a single run, of the estimate"


@dataclass(frozen=True)
class Entry:
    """A run with its scores."""

    run: Run
    recipe: Recipe
    scores: Scores
    name: str  # the part of its path that tells it from the others
    deciding: str = ""  # the value by which it was evaluated as it trained, if it was
    images: Data | None = None  # the test images of a run that turns images into others


@dataclass(frozen=True)
class Group:
    """Runs of one recipe and one protocol, with different seeds."""

    name: str  # of the run, or what their names begin with
    entries: tuple[Entry, ...]

    def value(self, name: str) -> float | None:
        """The mean over the runs; None unless all have the value."""
        values = self.values(name)
        return statistics.fmean(values) if len(values) == len(self.entries) else None

    def error(self, name: str) -> float | None:
        """The mean's standard error over seeds or, for one run, the score's own one; None if there is none."""
        if len(self.entries) == 1:
            return self.entries[0].scores.errors.get(name)
        values = self.values(name)
        known = len(values) > 1 and all(map(math.isfinite, values))
        return statistics.stdev(values) / len(values) ** 0.5 if known else None

    def steps(self, between: str) -> str:
        """The step of its runs, or the first and the last."""
        found = sorted({entry.scores.step or 0 for entry in self.entries})
        return number(found[0]) if len(found) == 1 else f"{number(found[0])}{between}{number(found[-1])}"

    def values(self, name: str) -> list[float]:
        return [e.scores.values[name] for e in self.entries if name in e.scores.values]


@dataclass(frozen=True)
class Comparison:
    """Runs to be shown side by side."""

    tables: tuple[tuple[Group, ...], ...]  # groups that may stand side by side, one table for each protocol
    apart: tuple[str, ...]  # why there is more than one table
    reported: tuple[str, ...]  # differences of protocol that do not keep scores apart
    recipes: Mapping[str, Mapping[str, str]]  # fields in which the recipes differ -> each group's value, by its name

    @property
    def groups(self) -> list[Group]:
        return [group for table in self.tables for group in table]

    @property
    def notes(self) -> list[str]:
        """What one must know to read the scores, each once; those that begin with CAREFUL first."""
        notes = {note for group in self.groups for entry in group.entries for note in entry.scores.notes}
        return sorted(notes, key=lambda note: (not note.startswith("CAREFUL"), note))

    @property
    def broken(self) -> list[Entry]:
        """Runs that ended in NaN."""
        entries = [entry for group in self.groups for entry in group.entries]
        return [e for e in entries if any(row.get("event") == "not finite" for row in e.run.history()[-1:])]

    def lines(self) -> list[str]:
        """The comparison as text."""
        found = []
        for table in self.tables:
            found += [*table_lines(table), f"protocol: {table[0].entries[0].scores.protocol.describe()}", ""]
        found += [f"NOT COMPARABLE: {text}" for text in self.apart]
        found += [f"Note: {text}" for text in self.reported]
        found.append(ERROR)
        found += self.notes
        found += [f"{entry.name} ended in NaN; what is scored is from before" for entry in self.broken]
        for field, values in self.recipes.items():
            found.append(f"{field}:")
            found += [f"  {name}: {value}" for name, value in values.items()]
        return found


def compare(
    runs: Sequence[str | Path],
    *,
    checkpoint: str = "best",
    known: MutableMapping[str, Scoring] | None = None,
    trust: bool = False,
    **options: Any,
) -> Comparison:
    """Score runs (their checkpoints: best, last or a step) by one protocol, unless they have such scores already, and
    put them side by side. Those whose recipes differ in the seed alone are shown as their mean.

    `known` tells how runs on data of a hash are scored, where that is at hand; what is found here is added. `trust` and
    `options` are as in `sparring.evaluate`. Raises UserError: no such run, or one cannot be scored.
    """
    chosen, known = Options(**options), {} if known is None else known
    paths, entries = [Path(run) for run in runs], []
    if len({path.resolve() for path in paths}) < len(paths):
        raise UserError("compare: a run is named twice; name each once")
    with trusted(trust):
        evaluators = [RunEvaluator(path, chosen) for path in paths]
        manifests = [find_checkpoint(evaluator.run, checkpoint) for evaluator in evaluators]
        for evaluator, manifest, name in zip(evaluators, manifests, short_names(paths)):
            scores, recipe = evaluator.shared_score(manifest, known), evaluator.recipe
            deciding = deciding_value(recipe.metrics, evaluator.task.scores) if recipe.evaluate_every else ""
            entries.append(Entry(evaluator.run, recipe, scores, name, deciding, evaluator.scoring.images))
        return arrange(entries)


def arrange(entries: Sequence[Entry]) -> Comparison:
    """Group runs by recipe, and keep different protocols apart."""
    tables = []
    for together in kept_apart([entry.scores for entry in entries]):
        groups: dict[Recipe, list[Entry]] = {}
        for entry in entries:
            if any(entry.scores is scores for scores in together):
                groups.setdefault(entry.recipe.replace(**IDLE), []).append(entry)
        tables.append(tuple(group for same in groups.values() for group in split_by_seed(same)))
    first = tables[0][0].entries[0].scores.protocol
    apart = [
        f"{table[0].name} and {tables[0][0].name}: {', '.join(differences(table[0].entries[0].scores.protocol, first))}"
        for table in tables[1:]
    ]
    everyone = [group for table in tables for group in table]
    reported = [
        f"{group.name} and {everyone[0].name}: {', '.join(found)}"
        for group in everyone[1:]
        if (found := differences(group.entries[0].scores.protocol, first, reported=True))
    ]
    return Comparison(tuple(tables), tuple(apart), tuple(reported), recipe_differences(tables))


def split_by_seed(entries: Sequence[Entry]) -> list[Group]:
    """Runs of one recipe as one group or, where a seed occurs twice, each by itself: a mean over them says nothing."""
    if len(entries) == 1 or len({entry.recipe.seed for entry in entries}) < len(entries):
        return [Group(entry.name, (entry,)) for entry in entries]
    return [Group(group_name(entries), tuple(entries))]


def group_name(entries: Sequence[Entry]) -> str:
    """What the names begin with, without the seeds at their end."""
    names = [entry.name for entry in entries]
    length = next((i for i, letters in enumerate(zip(*names)) if len(set(letters)) > 1), min(map(len, names)))
    start = re.sub(r"[-_ ]?(seed)?[-_]?\d*$", "", names[0][:length])
    return f"{start or entries[0].name} ({len(entries)} seeds)"


def short_names(paths: Sequence[Path]) -> list[str]:
    """Each path's last parts, as many as it takes to tell them apart."""
    parts = [path.resolve().parts for path in paths]
    count = 1
    while len({p[-count:] for p in parts}) < len(paths):
        count += 1
    return ["/".join(p[-count:]) for p in parts]


def recipe_differences(tables: Sequence[Sequence[Group]]) -> dict[str, dict[str, str]]:
    """The recipe's fields that are not the same everywhere."""
    groups = [group for table in tables for group in table]
    found = {}
    for field in fields(Recipe):
        values = {group.name: str(getattr(group.entries[0].recipe, field.name)) or "none" for group in groups}
        if len(set(values.values())) > 1 and field.name not in IDLE:
            found[field.name] = values
    return found


def value_names(table: Sequence[Group]) -> list[str]:
    """The values to show, in the order in which they were measured."""
    names: list[str] = []
    for group in table:
        names += [n for n in group.entries[0].scores.values if n not in names and n not in BESIDE]
    return names


def best_group(table: Sequence[Group], name: str) -> Group | None:
    """The group with the best value; None if the value is only told, is of the baseline, or several have it."""
    if name.endswith(BASELINE):
        return None
    scored = [(better(name) * value, group) for group in table if (value := group.value(name)) is not None]
    top = [group for value, group in scored if value == max(v for v, _ in scored)]
    return top[0] if better(name) and len(top) == 1 and len(scored) > 1 else None


def cell(group: Group, name: str) -> str:
    """A value with its standard error, or a dash."""
    value = group.value(name)
    return "-" if value is None else with_error(value, group.error(name))


def table_lines(table: Sequence[Group]) -> list[str]:
    """A table as text: a row for each group, the best of each column marked with *."""
    names = value_names(table)
    rows = [["run", "step", *names]]
    for group in table:
        marks = [cell(group, n) + ("*" if best_group(table, n) is group else "") for n in names]
        rows.append([group.name, group.steps("-"), *marks])
    if len(rows) <= len(names):  # more values than runs: runs stand side by side
        rows = [list(column) for column in zip(*rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
