"""The doctor during training: probes the run, writes what it measures to the log, and prints new failures."""

from __future__ import annotations

import sys
from collections.abc import Callable

from sparring.assemble.build import HeldOut
from sparring.assemble.state import State
from sparring.base.errors import UserError
from sparring.data.samples import Data
from sparring.doctor import autopilot
from sparring.doctor.diagnosis.findings import diagnose
from sparring.doctor.diagnosis.report import is_failure
from sparring.doctor.diagnosis.rules import LEAK
from sparring.doctor.probing.leaks import leak_by_range
from sparring.doctor.probing.prober import Prober, variety
from sparring.doctor.probing.probing import FEWEST, MOST
from sparring.game.match import Moment
from sparring.recipe import Recipe
from sparring.run.directory import Run
from sparring.run.log import LEAKED, PROBE, Row, kind_of, of_kind
from sparring.tasks.base import Translating

APART = 200  # steps between two probes with `--doctor treat`: about as many as twenty probes cost
LEAST = 25  # such probes over a whole run, however short


class Watch:
    """Probes one run while it trains, without changing any bit of the training.

    Attributes:
        summary: The findings at the last probe, separated by commas; "" before the first.
        last_probe: The step of the last probe, or None before the first.
    """

    def __init__(self, recipe: Recipe, data: Data, state: State, held_out: HeldOut) -> None:
        """Choose the real samples to compare with; without held-out samples, all are training samples."""
        try:
            unseen = held_out.data
        except UserError as error:
            print(f"Note: the doctor has no held-out samples: {error}", file=sys.stderr)
            unseen = None
        part = recipe.batch_size // recipe.micro_batches
        self.recipe, self.form = recipe, data.form
        self.prober = Prober(state.game, data, unseen, recipe.seed, part)
        self.leak = None
        if not isinstance(state.game.task, Translating):  # translated images span the whole range
            self.leak = leak_by_range(state.game, self.prober.probe_set.inputs, self.prober.probe_set.train["real"])
        self.reported: tuple[str, ...] = ()
        self.summary = ""
        self.last_probe: int | None = None

    @property
    def treats(self) -> bool:
        """The doctor changes the recipe, so what it measures must depend on steps and not on time."""
        return self.recipe.doctor == "treat"

    def begin(self, run: Run, state: State, note: Callable[[str], None]) -> None:
        """Continue from the log of a run, and report values that the generator cannot emit; `note` prints a line."""
        self.run, self.note = run, note
        self.history: list[Row] = run.history()
        self.last_probe = max((row["step"] for row in self.history if kind_of(row) == PROBE), default=None)
        self.prober.begin(self.history)
        self.prober.previous = state.probed_at
        if self.leak is None or of_kind(self.history, LEAKED):
            return
        what = self.leak.describe(self.form.is_points)
        row = state.row(LEAKED, **self.leak.metrics, what=what)
        self.run.append(row)
        self.history.append(row)
        self.reported = (LEAK,)
        note(f"step {row['step']:,} | doctor: {LEAK}: {what}")

    def follow(self, recipe: Recipe, state: State) -> None:
        """Continue with the recipe and the state after a fix was applied."""
        self.recipe, self.prober.game = recipe, state.game
        self.prober.previous = state.probed_at

    def probe(self, row: Row, state: State) -> bool:
        """Probe after a row of the log, if a probe is due, and print failures that were not reported before.

        Returns:
            Whether a fix is to be applied now.
        """
        self.history.append(row)
        if "accuracy" not in row or not self.due(row, state):  # without an active adversary, nothing can be measured
            return False
        metrics = self.prober.probe(Moment(state.step, row["progress"]))
        probe = state.row(PROBE, progress=row["progress"], **metrics)
        self.run.append(probe)
        self.history.append(probe)
        self.last_probe = state.step
        findings = diagnose(self.history)
        self.summary = ", ".join(finding.named for finding in findings)
        failures = [finding for finding in findings if is_failure(finding)]
        for new in [finding for finding in failures if finding.named not in self.reported]:
            since = f"since step {new.since_step:,}; for evidence and fixes: sparring doctor {self.run.path}"
            self.note(f"step {state.step:,} | doctor: {new.named} {since}")
        self.reported = tuple(finding.named for finding in failures)
        if not self.treats:
            return False
        state.probed_at = self.prober.previous
        if not failures:
            autopilot.keep_healthy(self.run, self.recipe, state, row["progress"])
        return autopilot.next_fix(self.run, self.recipe, self.form, self.history) is not None

    def due(self, row: Row, state: State) -> bool:
        """A probe is due. With `--doctor treat` and a budget in steps this depends on steps, else on time."""
        if not self.treats or self.recipe.timed:
            return self.prober.due(state.seconds, row["progress"])
        apart = min(max(APART, self.recipe.steps / MOST), self.recipe.steps / LEAST)
        waited = self.last_probe is None or state.step - self.last_probe >= apart
        return waited or bool(row["progress"] >= 1)


def make_watch(recipe: Recipe, data: Data, state: State, held_out: HeldOut) -> Watch | None:
    """The doctor of a run; None where the recipe has no doctor, no adversary, or too few samples to compare with."""
    if recipe.doctor == "off" or not any(state.game.adversarial_active(Moment(progress=share)) for share in (0.0, 1.0)):
        return None
    if variety(data) < 2 * FEWEST:
        found = f"the data has {variety(data)} samples, and probes need at least {2 * FEWEST}"
        print(f"Note: the doctor does not watch: {found}", file=sys.stderr)
        return None
    return Watch(recipe, data, state, held_out)
