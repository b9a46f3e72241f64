"""Progress of a training in the terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from sparring.data.samples import Data
from sparring.recipe import Recipe
from sparring.run.clock import wall_seconds

SECONDS_BETWEEN_LINES = 10.0
GENERATOR_TERM = "term/generator/"  # log columns of the generator's non-adversarial terms


class Progress:
    """A progress bar in a terminal, a line every ten seconds elsewhere.

    It shows step, images per second of training, wall time left, both adversarial losses with their equilibrium value
    in brackets, the generator's other terms, D's accuracy, and the doctor's latest findings.
    """

    def __init__(
        self,
        recipe: Recipe,
        path: Path,
        equilibrium: tuple[float, float],
        data: Data,
        step: int = 0,
        seconds: float = 0.0,
        quiet: bool = False,
    ) -> None:
        self.recipe = recipe
        self.equilibrium = equilibrium
        self.doctor = ""
        self.console = Console(stderr=True, highlight=False, quiet=quiet)
        self.bar = Bar(BarColumn(20), TextColumn("{task.description}"), console=self.console, transient=True)
        self.task = self.bar.add_task("starting ...", total=1.0)
        self.last = (step, seconds)
        self.shown = -SECONDS_BETWEEN_LINES
        exact = "; a budget in minutes is not bit-reproducible" if recipe.timed else ""
        samples = f"{data.amount} of {data.name}"
        self.console.print(
            f"Training in {path} on {samples} ({budget(recipe)}, {recipe.precision}{exact})", soft_wrap=True
        )

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def show(self, row: dict[str, Any]) -> None:
        """Show a row of the log."""
        text = self.describe(row)
        if self.console.is_terminal:
            self.bar.update(self.task, completed=row["progress"], description=text)
        elif time.monotonic() - self.shown >= SECONDS_BETWEEN_LINES or row["progress"] >= 1:
            self.shown = time.monotonic()
            self.console.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(text, soft_wrap=True)

    def describe(self, row: dict[str, Any]) -> str:
        """The progress line for a row of the log."""
        step, seconds, share = row["step"], row["seconds"], row["progress"]
        rate = (step - self.last[0]) * self.recipe.batch_size / max(seconds - self.last[1], 1e-9)
        self.last = (step, seconds)
        left = wall_seconds(row) * (1 / share - 1)
        parts = [f"step {step:,}", f"{rate:,.0f} images/s", f"{int(left) // 60}:{int(left) % 60:02d} left"]
        if "accuracy" in row:
            at_d, at_g = self.equilibrium
            parts += [f"D loss {row['loss/discriminator']:.2f} ({at_d:.2f})"]
            parts += [f"G loss {row['loss/generator']:.2f} ({at_g:.2f})", f"D accuracy {row['accuracy']:.0%}"]
        terms = {name.removeprefix(GENERATOR_TERM): v for name, v in row.items() if name.startswith(GENERATOR_TERM)}
        parts += [f"{name} {value:.3g}" for name, value in terms.items()]
        return " | ".join(parts) + (f" | doctor: {self.doctor}" if self.doctor else "")


def budget(recipe: Recipe) -> str:
    """The budget as text, such as "5,000 steps or 30 minutes"."""
    parts = [f"{recipe.steps:,} steps"] if recipe.steps else []
    parts += [f"{recipe.minutes:g} minutes"] if recipe.minutes else []
    parts += [f"{recipe.wall_minutes:g} minutes of wall time"] if recipe.wall_minutes else []
    return " or ".join(parts)
