"""Compare runs: scores in one table per evaluation protocol, differing recipe fields, means over seeds."""

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
from sparring.evaluation.report import SHOWN_WITH, kept_apart, number, with_error
from sparring.evaluation.scoring import Scoring
from sparring.evaluation.similarity import BASELINE
from sparring.recipe import Recipe
from sparring.run.directory import Run

# fields that do not make another recipe
IDLE = {"about": "", "seed": 0, "device": "auto", "log_every": 1, "pictures": 0}
ERROR = "±: standard error over seeds or, for a single run, of the estimate"


@dataclass(frozen=True)
class Entry:
    """A run with its scores.

    Attributes:
        run: the run directory.
        recipe: its recipe.
        scores: its scores.
        name: the last parts of its path, as many as distinguish it from the other runs.
        deciding: the score that chose the best checkpoint during training; "" without evaluations.
        images: the test images of an image-to-image run.
    """

    run: Run
    recipe: Recipe
    scores: Scores
    name: str
    deciding: str = ""
    images: Data | None = None


@dataclass(frozen=True)
class Group:
    """Runs of one recipe and one protocol, with different seeds."""

    name: str  # the run's name, or the common beginning of the names
    entries: tuple[Entry, ...]

    def value(self, name: str) -> float | None:
        """The mean score over the runs; None unless all runs have it."""
        values = self.values(name)
        return statistics.fmean(values) if len(values) == len(self.entries) else None

    def error(self, name: str) -> float | None:
        """Standard error of the mean over seeds or, for one run, of the score itself; None if unknown."""
        if len(self.entries) == 1:
            return self.entries[0].scores.errors.get(name)
        values = self.values(name)
        known = len(values) > 1 and all(map(math.isfinite, values))
        return statistics.stdev(values) / len(values) ** 0.5 if known else None

    def steps(self, between: str) -> str:
        """The step of the scored checkpoints; their first and last step if they differ."""
        found = sorted({entry.scores.step or 0 for entry in self.entries})
        return number(found[0]) if len(found) == 1 else f"{number(found[0])}{between}{number(found[-1])}"

    def values(self, name: str) -> list[float]:
        return [e.scores.values[name] for e in self.entries if name in e.scores.values]


@dataclass(frozen=True)
class Comparison:
    """A comparison of runs.

    Attributes:
        tables: comparable groups, one table for each protocol.
        incomparable: differences of protocol that make scores incomparable: why there is more than one table.
        minor: differences of protocol that leave scores comparable.
        recipes: field in which the recipes differ -> its value by group name.
    """

    tables: tuple[tuple[Group, ...], ...]
    incomparable: tuple[str, ...]
    minor: tuple[str, ...]
    recipes: Mapping[str, Mapping[str, str]]

    @property
    def groups(self) -> list[Group]:
        """The groups of all tables."""
        return [group for table in self.tables for group in table]

    @property
    def notes(self) -> list[str]:
        """Notes on the scores, without repetition; warnings (WARNING) first."""
        notes = {note for group in self.groups for entry in group.entries for note in entry.scores.notes}
        return sorted(notes, key=lambda note: (not note.startswith("WARNING"), note))

    @property
    def not_finite(self) -> list[Entry]:
        """Runs that stopped on NaN."""
        entries = [entry for group in self.groups for entry in group.entries]
        return [e for e in entries if any(row.get("event") == "not finite" for row in e.run.history()[-1:])]

    def lines(self) -> list[str]:
        """The comparison as text."""
        found = []
        for table in self.tables:
            found += [*table_lines(table), f"protocol: {table[0].entries[0].scores.protocol.describe()}", ""]
        found += [f"NOT COMPARABLE: {text}" for text in self.incomparable]
        found += [f"Note: {text}" for text in self.minor]
        found.append(ERROR)
        found += self.notes
        found += [f"{entry.name} stopped on NaN; its scores are of an earlier checkpoint" for entry in self.not_finite]
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
    """Score runs by one protocol and compare them.

    Scores that a run already has for this protocol are reused. Runs whose recipes differ in the seed only are shown as
    their mean.

    Args:
        runs: run directories.
        checkpoint: "best", "last" or a step.
        known: prepared scoring by hash of the data, to share between calls; new ones are added.
        trust: as in `sparring.evaluate`.
        options: as in `sparring.evaluate`.

    Raises:
        UserError: there is no such run, or a run cannot be scored.
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
    """Group runs by recipe, in one table for each protocol."""
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
    minor = [
        f"{group.name} and {everyone[0].name}: {', '.join(found)}"
        for group in everyone[1:]
        if (found := differences(group.entries[0].scores.protocol, first, reported=True))
    ]
    return Comparison(tuple(tables), tuple(apart), tuple(minor), recipe_differences(tables))


def split_by_seed(entries: Sequence[Entry]) -> list[Group]:
    """Runs of one recipe as one group; if a seed occurs twice, one group per run, as a mean would be wrong."""
    if len(entries) == 1 or len({entry.recipe.seed for entry in entries}) < len(entries):
        return [Group(entry.name, (entry,)) for entry in entries]
    return [Group(group_name(entries), tuple(entries))]


def group_name(entries: Sequence[Entry]) -> str:
    """The common beginning of the names without the seed, and the number of seeds."""
    names = [entry.name for entry in entries]
    length = next((i for i, letters in enumerate(zip(*names)) if len(set(letters)) > 1), min(map(len, names)))
    start = re.sub(r"[-_ ]?(seed)?[-_]?\d*$", "", names[0][:length])
    return f"{start or entries[0].name} ({len(entries)} seeds)"


def short_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of each path, as many as make all names different."""
    parts = [path.resolve().parts for path in paths]
    count = 1
    while len({p[-count:] for p in parts}) < len(paths):
        count += 1
    return ["/".join(p[-count:]) for p in parts]


def recipe_differences(tables: Sequence[Sequence[Group]]) -> dict[str, dict[str, str]]:
    """The fields in which the recipes differ -> value by group name."""
    groups = [group for table in tables for group in table]
    found = {}
    for field in fields(Recipe):
        values = {group.name: str(getattr(group.entries[0].recipe, field.name)) or "none" for group in groups}
        if len(set(values.values())) > 1 and field.name not in IDLE:
            found[field.name] = values
    return found


def value_names(table: Sequence[Group]) -> list[str]:
    """The names of the scores to show, in the order in which they were measured."""
    names: list[str] = []
    for group in table:
        names += [n for n in group.entries[0].scores.values if n not in names and n not in SHOWN_WITH]
    return names


def best_group(table: Sequence[Group], name: str) -> Group | None:
    """The group with the best score; None for a tie, a baseline, or a value that has no better and worse."""
    if name.endswith(BASELINE):
        return None
    scored = [(better(name) * value, group) for group in table if (value := group.value(name)) is not None]
    top = [group for value, group in scored if value == max(v for v, _ in scored)]
    return top[0] if better(name) and len(top) == 1 and len(scored) > 1 else None


def cell(group: Group, name: str) -> str:
    """A score with its standard error, or a dash."""
    value = group.value(name)
    return "-" if value is None else with_error(value, group.error(name))


def table_lines(table: Sequence[Group]) -> list[str]:
    """A table as lines of text, the best group marked with *. The rows are groups or, if these are more, scores."""
    names = value_names(table)
    rows = [["run", "step", *names]]
    for group in table:
        marks = [cell(group, n) + ("*" if best_group(table, n) is group else "") for n in names]
        rows.append([group.name, group.steps("-"), *marks])
    if len(rows) <= len(names):  # more scores than runs: a row for each score
        rows = [list(column) for column in zip(*rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
