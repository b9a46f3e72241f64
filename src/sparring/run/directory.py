"""The run directory: the only interface between training and viewers.

recipe.toml       the recipe, with its present budget and with values in place of `auto`
data.json         name, size, form and hash of the data
environment.json  versions, processor and threads
log.jsonl         a JSON object on each line, append-only, with `step`, `seconds` of training, and metrics or an event
scores.jsonl      results of evaluations, a JSON object on each line, with their protocols
samples/          samples from the same latents during training
checkpoints/      see `sparring.run.checkpoint`
summary.md        written at the end, with curves.png
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
    """An existing run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self.log = Log(path / "log.jsonl", self.fix)
        self.score_log = Log(path / "scores.jsonl", f"free disk space or set the permissions of {path}")

    @property
    def fix(self) -> str:
        """The end of the error message for a failed write."""
        return f"free disk space or set the permissions, then: sparring resume {self.path}"

    @classmethod
    def create(cls, path: Path, recipe: Recipe, data: Data, environment: Mapping[str, Any]) -> Run:
        """Create a run directory.

        Args:
            path: the new directory; it must not exist, or be empty.
            recipe: the recipe.
            data: the training data.
            environment: the result of `sparring.run.environment.environment`.

        Raises:
            UserError: the path exists already, or it cannot be written.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            fix = (
                f"to continue it: sparring resume {path}" if (path / "recipe.toml").exists() else "choose another --out"
            )
            raise UserError(f"{path} exists already; {fix}")
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
        """Open a run directory. UserError: the path is not one."""
        if not (path / "recipe.toml").is_file():
            raise UserError(f"{path} is not a run directory: it has no recipe.toml; sparring train creates one")
        return cls(path)

    def write(self, name: str, text: str) -> None:
        write_atomically(self.path / name, text.encode(), self.fix)

    def write_recipe(self, recipe: Recipe) -> None:
        self.write("recipe.toml", recipe.to_toml())

    def read_recipe(self) -> Recipe:
        return read_recipe_file(self.path / "recipe.toml")

    def read_data(self) -> tuple[str, Form]:
        """The data's hash and its form. UserError: data.json is missing or damaged."""
        path = self.path / "data.json"
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            return str(saved["digest"]), _read_form(saved["form"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is damaged ({error!r}); copy the whole run directory again") from error

    def read_environment(self) -> dict[str, Any]:
        """The environment in which the run began. UserError: environment.json is missing or damaged."""
        path = self.path / "environment.json"
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}); copy the whole run directory again") from error

    def changes(self) -> list[str]:
        """Reports of changed behaviour since the version that began the run; see `changes_since`."""
        text = (self.path / "recipe.toml").read_text(encoding="utf-8")
        return changes_since(str(self.read_environment().get("sparring", "")), text)

    def changed_environment(self, now: Mapping[str, Any]) -> list[str]:
        """Differences from the environment in which the run began, such as "threads was 2 and is 1"."""
        before = self.read_environment()
        return [f"{k} was {before[k]} and is {v}" for k, v in now.items() if k in before and before[k] != v]

    def append(self, row: Row) -> None:
        """Append a row to the log in one write. UserError: it cannot be written."""
        self.log.append(row)

    def append_scores(self, scores: Row) -> None:
        """Append scores to scores.jsonl in one write. UserError: they cannot be written."""
        self.score_log.append(scores)

    def scores(self) -> list[Row]:
        """All rows of scores.jsonl, in order."""
        return self.score_log.rows()

    def clean_up(self, step: int) -> None:
        """Prepare to resume from a step: remove later pictures, and incomplete files of a killed process."""
        tensors = self.checkpoints.glob("*.safetensors")
        orphans = [path for path in tensors if not path.with_suffix(".json").exists()]
        beyond = [path for path in self.samples.glob("step-*.png") if path.stem > f"step-{step:09d}"]
        for path in [*self.path.glob("*.part"), *self.checkpoints.glob("*.part"), *orphans, *beyond]:
            path.unlink()
        self.log.cut_torn_line()

    def rows(self) -> list[Row]:
        """The log's rows of metrics, one for each step, in order. Where a resumed run repeats steps, the later rows."""
        found = {row["step"]: row for row in of_kind(self.history(), "")}
        return [found[step] for step in sorted(found)]

    def history(self) -> list[Row]:
        """The log without rows of abandoned steps: those later than a checkpoint from which the run resumed."""
        return without_abandoned(self.entries())

    def entries(self) -> list[Row]:
        """All complete rows of the log, events included. UserError: a row is damaged."""
        return self.log.rows()

    def evaluations(self) -> list[Row]:
        """The log's rows of evaluations, in order; `stopped` is True in those after which the run stopped early."""
        found: list[Row] = []
        for row in self.history():
            if kind_of(row) == EVALUATION:
                found.append(row)
            elif kind_of(row) == STOP and found:
                found[-1] = {**found[-1], "stopped": True}
        return found

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock against a second trainer. UserError: another process trains this run."""
        taken = f"{self.path} is being trained by another process; wait for it or stop it"
        return locked(self.path / "lock", taken, self.fix)


def _read_form(saved: Row) -> Form:
    """A form, and that of its source, from the output of `asdict`. ValueError or TypeError: it is not a form."""
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
    form = Form(**{**values, "source": _read_form(saved["source"]) if saved.get("source") else None})
    if not form.shape or not all(isinstance(n, int) and n > 0 for n in form.shape):
        raise ValueError(f"shape {form.shape!r}")
    return form
