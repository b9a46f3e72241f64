"""What one sees while a run trains."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from sparring.recipe import Recipe

SECONDS_BETWEEN_LINES = 10.0
OWN = "term/generator/"  # what the generator minimises besides


class Progress:
    """A bar in a terminal, a line every ten seconds elsewhere: step, images per second, time left, both losses beside
    their line of equilibrium, D's accuracy, and what the doctor said last, if it probes."""

    def __init__(
        self, recipe: Recipe, path: Path, equilibrium: tuple[float, float], step: int = 0, seconds: float = 0.0
    ) -> None:
        self.recipe = recipe
        self.lines = equilibrium
        self.doctor = ""
        self.console = Console(stderr=True, highlight=False)
        self.bar = Bar(BarColumn(20), TextColumn("{task.description}"), console=self.console, transient=True)
        self.task = self.bar.add_task("starting ...", total=1.0)
        self.last = (step, seconds)
        self.shown = -SECONDS_BETWEEN_LINES
        exact = "" if recipe.steps and not recipe.minutes else "; the clock decides, so it is not repeatable bit by bit"
        self.console.print(f"Training in {path} ({budget(recipe)}, {recipe.precision}{exact})", soft_wrap=True)

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def show(self, row: dict[str, Any]) -> None:
        text = self.describe(row)
        if self.console.is_terminal:
            self.bar.update(self.task, completed=row["progress"], description=text)
        elif time.monotonic() - self.shown >= SECONDS_BETWEEN_LINES or row["progress"] >= 1:
            self.shown = time.monotonic()
            self.console.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def describe(self, row: dict[str, Any]) -> str:
        step, seconds, share = row["step"], row["seconds"], row["progress"]
        rate = (step - self.last[0]) * self.recipe.batch_size / max(seconds - self.last[1], 1e-9)
        self.last = (step, seconds)
        left = seconds / share - seconds
        said = [f"step {step:,}", f"{rate:,.0f} images/s", f"{int(left) // 60}:{int(left) % 60:02d} left"]
        if "accuracy" in row:
            said += [f"D {row['loss/discriminator']:.2f} ({self.lines[0]:.2f})"]
            said += [f"G {row['loss/generator']:.2f} ({self.lines[1]:.2f})", f"accuracy {row['accuracy']:.0%}"]
        said += [f"{name.removeprefix(OWN)} {value:.3g}" for name, value in row.items() if name.startswith(OWN)]
        return " | ".join(said) + (f" | doctor: {self.doctor}" if self.doctor else "")


def budget(recipe: Recipe) -> str:
    """The budget in words."""
    parts = [f"{recipe.steps:,} steps"] if recipe.steps else []
    parts += [f"{recipe.minutes:g} minutes"] if recipe.minutes else []
    return " or ".join(parts)
