"""The run directory: the one interface between training and everything that looks at it.

recipe.toml       what was asked for, with the budget as it stands now and the precision that was chosen
data.json         what the samples look like, and a hash of the data
environment.json  versions, processor and threads
log.jsonl         one JSON object a line, appended only; each has `step`, `seconds` of training, and named numbers
scores.jsonl      what `sparring evaluate` measured, one JSON object a line, each with its protocol
samples/          the same latents through time
checkpoints/      see `sparring.run.checkpoint`
summary.md        made at the end, with curves.png
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparring.base.errors import UserError, writing
from sparring.base.files import write_atomically
from sparring.base.process import locked
from sparring.data.form import Form
from sparring.recipe import Recipe, read_recipe_file
from sparring.run.changes import changes_since
from sparring.run.log import EVALUATION, STOP, Log, Row, kind_of, of_kind, without_abandoned

if TYPE_CHECKING:
    from sparring.data.samples import Data


class Run:
    """A run directory that exists."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self.log = Log(path / "log.jsonl", self.fix)
        self.score_log = Log(path / "scores.jsonl", f"make room or set the rights of {path}")

    @property
    def fix(self) -> str:
        """How to go on after a write failed."""
        return f"make room or set the rights, then: sparring resume {self.path}"

    @classmethod
    def create(cls, path: Path, recipe: Recipe, data: Data, environment: Mapping[str, Any]) -> Run:
        """Make a run directory; `environment` is as `sparring.run.environment` finds it.

        Raises:
            UserError: there is one already, or it cannot be written.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            more = f"sparring resume {path}" if (path / "recipe.toml").exists() else "choose another --out"
            raise UserError(f"{path} exists already; to go on: {more}")
        run = cls(path)
        with writing(path, "choose another --out"):
            run.samples.mkdir(parents=True)
            run.checkpoints.mkdir()
        form = {"name": data.name, "count": len(data), "digest": data.digest, "form": asdict(data.form)}
        run.write("data.json", json.dumps(form, indent=1))
        run.write("environment.json", json.dumps(environment, indent=1))
        run.write_recipe(recipe)
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """A run directory that was made before; UserError: it is none."""
        if not (path / "recipe.toml").is_file():
            raise UserError(f"{path} is not a run: it has no recipe.toml; sparring train makes one")
        return cls(path)

    def write(self, name: str, text: str) -> None:
        write_atomically(self.path / name, text.encode(), self.fix)

    def write_recipe(self, recipe: Recipe) -> None:
        self.write("recipe.toml", recipe.to_toml())

    def read_recipe(self) -> Recipe:
        return read_recipe_file(self.path / "recipe.toml")

    def read_data(self) -> tuple[str, Form]:
        """(the data's hash, its form)."""
        path = self.path / "data.json"
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            return str(saved["digest"]), _read_form(saved["form"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is damaged ({error!r}); copy the whole run directory again") from error

    def read_environment(self) -> dict[str, Any]:
        """What the numbers of the run may depend on, as it was where the run began."""
        path = self.path / "environment.json"
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}); copy the whole run directory again") from error

    def changes(self) -> list[str]:
        """What its recipe means by another thing now than in the version that began the run."""
        text = (self.path / "recipe.toml").read_text(encoding="utf-8")
        return changes_since(str(self.read_environment().get("sparring", "")), text)

    def changed_environment(self, now: Mapping[str, Any]) -> list[str]:
        """What differs from where the run began, such as "threads was 2 and is 1"."""
        before = self.read_environment()
        return [f"{k} was {before[k]} and is {v}" for k, v in now.items() if k in before and before[k] != v]

    def append(self, row: Row) -> None:
        """Add a row to the log, in one write."""
        self.log.append(row)

    def append_scores(self, scores: Row) -> None:
        """Add scores to those of the run, in one write."""
        self.score_log.append(scores)

    def scores(self) -> list[Row]:
        """All scores of the run, as plain values, in the order in which they were measured."""
        return self.score_log.rows()

    def clean_up(self, step: int) -> None:
        """Before going on from a step: remove pictures beyond it, and what a killed process left half written."""
        tensors = self.checkpoints.glob("*.safetensors")
        orphans = [path for path in tensors if not path.with_suffix(".json").exists()]
        beyond = [path for path in self.samples.glob("step-*.png") if path.stem > f"step-{step:09d}"]
        for path in [*self.path.glob("*.part"), *self.checkpoints.glob("*.part"), *orphans, *beyond]:
            path.unlink()
        self.log.cut_torn_line()

    def rows(self) -> list[Row]:
        """The log's rows of numbers, one a step, in order; where a resumed run repeated steps, the later rows."""
        found = {row["step"]: row for row in of_kind(self.history(), "")}
        return [found[step] for step in sorted(found)]

    def history(self) -> list[Row]:
        """The log without what lies beyond a checkpoint that the run went on from: that was never part of it."""
        return without_abandoned(self.entries())

    def entries(self) -> list[Row]:
        """All whole rows of the log as they were written, events too; UserError: a row is damaged."""
        return self.log.rows()

    def evaluations(self) -> list[Row]:
        """The log's rows of evaluations, in order; those after which the run stopped early have `stopped`."""
        found: list[Row] = []
        for row in self.history():
            if kind_of(row) == EVALUATION:
                found.append(row)
            elif kind_of(row) == STOP and found:
                found[-1] = {**found[-1], "stopped": True}
        return found

    def locked(self) -> AbstractContextManager[None]:
        """Keep a second trainer away."""
        taken = f"{self.path} is being trained by another process; wait for it, or stop it"
        return locked(self.path / "lock", taken, self.fix)


def _read_form(saved: Row) -> Form:
    """A form as `asdict` wrote it, with that of its source; ValueError or TypeError: it is none."""
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
    form = Form(**{**values, "source": _read_form(saved["source"]) if saved.get("source") else None})
    if not form.shape or not all(isinstance(n, int) and n > 0 for n in form.shape):
        raise ValueError(f"shape {form.shape!r}")
    return form
