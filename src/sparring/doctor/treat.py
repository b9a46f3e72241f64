"""Treats a sick run: tries remedies in short trainings, judges them by what the doctor does not read, and goes on with
the best."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.checkpoint import manifests, write_atomically
from sparring.doctor.candidates import Candidate, candidates, first_named, illnesses, last_healthy
from sparring.doctor.signs import EARLIEST
from sparring.doctor.trials import Bench, Judge, Trial, check_watched
from sparring.doctor.verdicts import Verdict, diagnose
from sparring.errors import UserError, check_number, writing
from sparring.locks import locked
from sparring.recipe import Recipe
from sparring.run import Run
from sparring.training import share_spent

TRIALS, SHARE, SEED = 6, 0.25, 1
MARGIN = 0.05  # of the budget, by which trials that begin anew go beyond the moment at which an illness was named
STAGES = 3  # of trials, each twice as long as the one before and with half of the remedies


@dataclass(frozen=True)
class Treatment:
    """What came of treating a run.

    Attributes:
        run: the sick run.
        ailed: its illnesses, causes first; empty where it was not ill, and nothing was done.
        healthy: the step of the checkpoint that was gone back to; 0: none, all began anew.
        measured: the score's name and what it compares.
        untreated: the sick run's score; None if it ended in NaN.
        trials: how the candidates did, best first.
        chosen: the name of the one that was gone on with; "" if none could be.
        why: why that one.
        path: the chosen one's run directory, trained to the whole budget; None where nothing was done.
        score: its score at the end; None if it ended in NaN.
        ill: what ails it at the end.
    """

    run: str
    ailed: tuple[str, ...]
    healthy: int = 0
    measured: str = ""
    untreated: float | None = None
    trials: tuple[Trial, ...] = ()
    chosen: str = ""
    why: str = ""
    path: str | None = None
    score: float | None = None
    ill: tuple[str, ...] = ()

    @property
    def cured(self) -> bool:
        """Is the run that it ended with free of illness?"""
        return not self.ailed or (self.score is not None and not self.ill)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**vars(self), "cured": self.cured, "trials": [trial.to_json() for trial in self.trials]}


def treat(
    run: str | Path,
    *,
    out: str | Path | None = None,
    trials: int = TRIALS,
    share: float = SHARE,
    seed: int = SEED,
    jobs: int = 1,
    trust: bool = False,
    say: Callable[[str], None] = print,
) -> Treatment:
    """Try remedies on a sick run, and train the best to the end of the budget; a run that is not ill is left alone.

    What is done is told by the folder, so a treatment that was stopped goes on where it was. Each trial is the
    beginning of a whole run, from the last healthy checkpoint where there is one and the remedy lets the networks be,
    else anew. Trials are ranked by whether the doctor still names the illness, then by the score, and only the better
    half is trained on, to twice the length each time (successive halving: Jamieson and Talwalkar 2016), the last two
    until past the moment at which the illness was named. The best is trained to the end; where it is ill there, the
    second one, too, and the score decides.

    Args:
        run: the sick run's directory; nothing is changed in it.
        out: the folder for trials, the treated run (`run`) and what came of it (`treatment.json`, `treatment.md`); the
            default is the sick run's name with `-treated`.
        trials: how many remedies to try.
        share: of the budget that the last two are trained for at least, in (0, 1].
        seed: of the samples that are judged.
        jobs: trials at a time, each in its own process with its share of the threads.
        trust: may component texts import the user's own code?
        say: what tells how it goes.

    Raises:
        UserError: the run was not watched or is still being trained, nothing is known to help, or the folder holds
            another treatment.
        Interrupted: by Ctrl-C, after a checkpoint.
    """
    check_number("treat", "trials", trials, low=1, whole=True)
    check_number("treat", "share", share, low=0, open_low=True, high=1)
    check_number("treat", "seed", seed, low=0, whole=True)
    check_number("treat", "jobs", jobs, low=1, whole=True)
    sick = Run.open(Path(run))
    with sick.locked():  # a run that still trains is left to its trainer
        verdicts = diagnose(sick.history())
    check_watched(sick.path, [verdict.illness for verdict in verdicts])
    found = illnesses(verdicts)
    if not found:
        return Treatment(str(sick.path), ())
    folder = Path(out) if out else sick.path.with_name(f"{sick.path.name}-treated")
    check_free(folder, sick.path)
    plan = make_plan(sick, found, trials, share, seed)
    with writing(folder, "choose another --out"):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(
        folder / "lock", f"{folder} is being worked at by another process; wait for it", "choose another --out"
    ):
        check_same(folder / "plan.json", plan.to_json())
        bench = Bench(sick.path, plan.recipe, folder / "trials", trust)
        done = _carry_out(plan, folder, bench, Judge(plan.recipe, seed, trust), jobs, say)
    write(folder, done)
    return done


@dataclass(frozen=True)
class Plan:
    """What is to be tried; see `Treatment` for the names, and:

    Attributes:
        since: the share of the budget at which one of the illnesses was first named.
        candidates: what to try.
        share, seed: as in `treat`.
    """

    run: Run
    ailed: tuple[str, ...]
    healthy: int
    since: float
    candidates: tuple[Candidate, ...]
    share: float
    seed: int

    @property
    def stages(self) -> list[float]:
        """The shares of the budget that trials of each stage have trained by its end."""
        count = min(STAGES, max(1, math.ceil(math.log2(len(self.candidates)))))
        last = self.share if self.healthy else max(self.share, min(1.0, self.since + MARGIN))
        return [last / 2 ** (count - 1 - i) for i in range(count)]

    @property
    def recipe(self) -> Recipe:
        """The sick run's recipe, with the doctor watching: what trials change."""
        return self.run.read_recipe().replace(doctor="watch")

    def to_json(self) -> dict[str, Any]:
        """As plain values, so that the same command is known to be the same."""
        found = [vars(candidate) for candidate in self.candidates]
        told = {"run": str(self.run.path.resolve()), "ailed": list(self.ailed), "healthy": self.healthy}
        return {**told, "share": self.share, "seed": self.seed, "recipe": self.recipe.to_toml(), "candidates": found}


def make_plan(sick: Run, found: Sequence[Verdict], trials: int, share: float, seed: int) -> Plan:
    """What to try on a run with these illnesses. Only a checkpoint that leaves room for a trial is gone back to, and
    only one of which it could be said that it is healthy: to begin anew costs little more then."""
    recipe = sick.read_recipe()
    saved = [m for m in manifests(sick.checkpoints) if share_spent(recipe, m.step, m.seconds) <= 1 - share]
    history, since = sick.history(), min(verdict.since_step for verdict in found)
    healthy = last_healthy(history, saved, since, EARLIEST)
    start = 0 if healthy is None else healthy.step
    chosen = candidates(found, recipe, sick.read_data()[1], start, trials)
    ailed = tuple(verdict.illness for verdict in found)
    return Plan(sick, ailed, start, first_named(history, ailed), tuple(chosen), share, seed)


def _carry_out(
    plan: Plan, folder: Path, bench: Bench, judge: Judge, jobs: int, say: Callable[[str], None]
) -> Treatment:
    """Try, judge, choose, and train the chosen one to the end; if it is ill then, the second one, too."""
    course = Course(plan, folder / "trials.json", bench, judge, jobs)
    say(f"{plan.run.path}: {', '.join(plan.ailed)}; remedies are tried from {_where(plan.healthy)}")
    for number, share in enumerate(plan.stages):
        if not any(trial.share >= share for trial in course.found):
            names = course.best(math.ceil(len(plan.candidates) / 2**number))
            say(f"{len(names)} trials, each for {share:.1%} of the budget")
            course.go_on(names, share)
    for trial in course.found:
        say(f"  {_shown(trial.score):>9}  {', '.join(trial.ill) or 'not ill':20}  {trial.about}{_ended(trial)}")
    for trial in [trial for trial in course.found if trial.share >= plan.stages[-1]][:2]:
        if any(other.share >= 1 and not other.ill for other in course.found):
            break
        say(f"Going on with: {trial.about}")
        course.go_on([trial.name], 1.0)
    best = course.found[0]
    told = (str(plan.run.path), plan.ailed, plan.healthy, judge.about, judge.of_others(plan.run.path))
    if best.score is None or best.share < 1:
        why = "what was tried ended in NaN or infinity, or could not be trained"
        return Treatment(*told, tuple(course.found), why=why)
    path = folder / "run"
    if not path.exists():
        (bench.folder / best.name).rename(path)
    return Treatment(*told, tuple(course.found), best.name, course.why(), str(path), best.score, best.ill)


class Course:
    """A treatment under way.

    What is known after each stage is written down, for scores of trials that went on are those of a later moment.

    Attributes:
        found: how the candidates did so far, best first.
    """

    def __init__(self, plan: Plan, told: Path, bench: Bench, judge: Judge, jobs: int) -> None:
        """Args: told: the file that is written."""
        self.plan, self.told, self.bench, self.judge, self.jobs = plan, told, bench, judge, jobs
        rows = _read_json(told) if told.exists() else []
        self.found = [Trial(**{**row, "ill": tuple(row["ill"])}) for row in rows]

    def best(self, count: int) -> list[str]:
        """The names of the best so many; of all, before the first stage."""
        if not self.found:
            return [candidate.name for candidate in self.plan.candidates]
        return [trial.name for trial in self.found if trial.score is not None][:count]

    def go_on(self, names: Sequence[str], share: float) -> None:
        """Train candidates for a share of the budget, and judge them; what was done is not done again."""
        known = {trial.name: trial.share for trial in self.found}
        left = [c for c in self.plan.candidates if c.name in names and known.get(c.name, 0.0) < share]
        if not left:
            return
        why_not = self.bench.carry_out_all(left, share, self.jobs if len(left) > 1 else 1)
        judged = [self.judge.trial(c, self.bench.folder / c.name, share, why) for c, why in zip(left, why_not)]
        new = {trial.name: trial for trial in judged}
        self.found = sorted(
            [*judged, *(trial for trial in self.found if trial.name not in new)],
            key=lambda trial: trial.rank(self.plan.ailed),
        )
        _write_json(self.told, [trial.to_json() for trial in self.found])

    def why(self) -> str:
        """Why the first of the trials is the best, in words."""
        whole = [trial for trial in self.found if trial.share >= 1]
        if len(whole) > 1:
            return f"it had the lowest score of {len(whole)} that were trained to the end"
        return "of the trials it was the best"


def check_free(folder: Path, sick: Path) -> None:
    """Raise UserError unless the folder is for a treatment: a new one, an empty one, or one that holds one already."""
    own = {folder.resolve(), (folder / "run").resolve()}
    foreign = folder.exists() and not (
        folder.is_dir() and (not any(folder.iterdir()) or (folder / "plan.json").exists())
    )
    if foreign or sick.resolve() in own:
        raise UserError(f"{folder} holds something else than a treatment of {sick}; choose another --out")


def check_same(path: Path, plan: dict[str, Any]) -> None:
    """Write a treatment's plan down, or raise UserError if the folder holds another one."""
    if not path.exists():
        _write_json(path, plan)
        return
    before = _read_json(path)
    for name, value in json.loads(json.dumps(plan)).items():
        if before.get(name) != value:
            raise UserError(
                f"{path.parent} holds another treatment ({name} is not the same); remove it, or choose another --out"
            )


def write(folder: Path, done: Treatment) -> None:
    """Write `treatment.json` and `treatment.md`."""
    _write_json(folder / "treatment.json", done.to_json())
    write_atomically(folder / "treatment.md", ("\n".join(report(done)) + "\n").encode(), f"make room in {folder}")


def report(done: Treatment) -> list[str]:
    """What was tried and what came of it, as Markdown."""
    lines = [
        f"# {done.run}: {', '.join(done.ailed)}",
        "",
        f"Each trial was the beginning of a whole run, from {_where(done.healthy)} where it could be; the better half "
        f"was trained on. Score: {done.measured}. The sick run: {_shown(done.untreated)}.",
        "",
        "| trained for | score | the doctor says | until step | from step | trial | changes |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for trial in done.trials:
        changes = ", ".join(f"`{name} = {value!r}`" for name, value in trial.changes.items()) or "none"
        told = f"{', '.join(trial.ill) or 'not ill'}{_ended(trial)}".replace("|", "\\|")
        steps = f"{trial.step:,} | {trial.start:,}"
        lines.append(f"| {trial.share:.1%} | {_shown(trial.score)} | {told} | {steps} | {trial.about} | {changes} |")
    return [*lines, "", *conclusion(done)]


def conclusion(done: Treatment) -> list[str]:
    """What came of it, in words."""
    if not done.ailed:
        return [f"{done.run} is not ill; nothing was done."]
    if done.path is None:
        return [f"Not cured: {done.why}."]
    about = next(trial.about for trial in done.trials if trial.name == done.chosen)
    ending = "it ended in NaN or infinity" if done.score is None else f"its score is {done.score:.4g}"
    before = "ended in NaN or infinity" if done.untreated is None else f"has {done.untreated:.4g}"
    verdict = f"STILL ILL: {', '.join(done.ill)}" if done.ill else "not ill"
    return [
        f"Chosen: {about}; {done.why}.",
        f"The treated run is {done.path}; trained to the end of the budget, it is {verdict}; {ending}, the sick run "
        f"{before}.",
    ]


def _where(step: int) -> str:
    return f"the healthy checkpoint of step {step:,}" if step else "the start"


def _shown(score: float | None) -> str:
    return "-" if score is None else f"{score:.4g}"


def _ended(trial: Trial) -> str:
    return f" (ended: {trial.ended})" if trial.ended else ""


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); remove {path.parent}, or choose another --out") from error


def _write_json(path: Path, plain: Any) -> None:
    write_atomically(path, (json.dumps(plain, indent=1) + "\n").encode(), f"make room in {path.parent}")
