"""The doctor beside a training: it looks, writes down what it saw, and tells when something is wrong."""

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
from sparring.doctor.probing.leaks import beyond_reach
from sparring.doctor.probing.prober import Prober, variety
from sparring.doctor.probing.probing import FEWEST, MOST
from sparring.game.match import Moment
from sparring.recipe import Recipe
from sparring.run.directory import Run
from sparring.run.log import LEAKED, PROBE, Row, kind_of, of_kind
from sparring.tasks.base import Translating

APART = 200  # steps between two looks of a doctor that treats: about as many as twenty looks cost
LEAST = 25  # such looks over a whole run, however short


class Watch:
    """Looks at one run as it trains. Looking changes nothing of the training.

    Attributes:
        says: the verdicts of the last look, in a few words; "" before the first.
        last_look: the step of the last look, or None before the first.
    """

    def __init__(self, recipe: Recipe, data: Data, state: State, held_out: HeldOut) -> None:
        """Find what to compare with; training samples stand in for held-out ones that cannot be had."""
        try:
            unseen = held_out.data
        except UserError as error:
            print(f"Note: the doctor goes without held-out samples: {error}", file=sys.stderr)
            unseen = None
        part = recipe.batch_size // recipe.micro_batches
        self.recipe, self.form = recipe, data.form
        self.prober = Prober(state.game, data, unseen, recipe.seed, part)
        self.leak = None
        if not isinstance(state.game.task, Translating):  # what such a task makes spans the range of images
            self.leak = beyond_reach(state.game, self.prober.probe_set.inputs, self.prober.probe_set.train["real"])
        self.reported: tuple[str, ...] = ()
        self.says = ""
        self.last_look: int | None = None

    @property
    def treats(self) -> bool:
        """Does the doctor change the recipe, so that what it sees must follow from steps alone?"""
        return self.recipe.doctor == "treat"

    def begin(self, run: Run, state: State, note: Callable[[str], None]) -> None:
        """Go on with what a run's log holds, and tell of values that no training reaches; `note` prints a line."""
        self.run, self.note = run, note
        self.history: list[Row] = run.history()
        self.last_look = max((row["step"] for row in self.history if kind_of(row) == PROBE), default=None)
        self.prober.begin(self.history)
        self.prober.before = state.probed_at
        if self.leak is None or of_kind(self.history, LEAKED):
            return
        what = self.leak.reported(self.form.is_points)
        row = state.row(LEAKED, **self.leak.numbers, what=what)
        self.run.append(row)
        self.history.append(row)
        self.reported = (LEAK,)
        note(f"step {row['step']:,} | doctor: {LEAK}: {what}")

    def follow(self, recipe: Recipe, state: State) -> None:
        """Go on with what a treatment made of the run."""
        self.recipe, self.prober.game = recipe, state.game
        self.prober.before = state.probed_at

    def probe(self, row: Row, state: State) -> bool:
        """After a row of the log: look, if it is time to, and tell of an illness that was not told before. Returns
        whether the run is to be treated now."""
        self.history.append(row)
        if "accuracy" not in row or not self.due(row, state):  # without an adversary there is nothing to look at
            return False
        numbers = self.prober.probe(Moment(state.step, row["progress"]))
        seen = state.row(PROBE, progress=row["progress"], **numbers)
        self.run.append(seen)
        self.history.append(seen)
        self.last_look = state.step
        found = diagnose(self.history)
        self.says = ", ".join(finding.named for finding in found)
        findings = [finding for finding in found if is_failure(finding)]
        for new in [finding for finding in findings if finding.named not in self.reported]:
            since = f"since step {new.since_step:,}; more by: sparring doctor {self.run.path}"
            self.note(f"step {state.step:,} | doctor: {new.named} {since}")
        self.reported = tuple(finding.named for finding in findings)
        if not self.treats:
            return False
        state.probed_at = self.prober.before
        if not findings:
            autopilot.keep_healthy(self.run, self.recipe, state, row["progress"])
        return autopilot.wanted(self.run, self.recipe, self.form, self.history) is not None

    def due(self, row: Row, state: State) -> bool:
        """Is it time for another look? One that treats goes by steps, not by the clock, where the budget does."""
        steps = self.recipe.steps
        if not self.treats or not steps or self.recipe.minutes:
            return self.prober.due(state.seconds, row["progress"])
        apart = min(max(APART, steps / MOST), steps / LEAST)
        waited = self.last_look is None or state.step - self.last_look >= apart
        return waited or bool(row["progress"] >= 1)


def make_watch(recipe: Recipe, data: Data, state: State, held_out: HeldOut) -> Watch | None:
    """What probes a run as it trains; None where the recipe has no doctor or no adversary, or too few samples to
    compare with."""
    if recipe.doctor == "off" or not any(state.game.adversarial_active(Moment(progress=share)) for share in (0.0, 1.0)):
        return None
    if variety(data) < 2 * FEWEST:
        print(f"Note: the doctor does not watch: it compares with {2 * FEWEST} samples at least", file=sys.stderr)
        return None
    return Watch(recipe, data, state, held_out)
