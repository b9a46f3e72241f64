"""Treating a failing run: which fixes are tried, from which step, how they are scored, and which one is trained."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from test_doctor_findings import FAILING, HEALTHY, log

import sparring
from sparring.assemble.build import HeldOut, training_data
from sparring.assemble.start import start_state
from sparring.base.errors import UserError
from sparring.cli import main
from sparring.data.form import Form
from sparring.doctor import Finding, diagnose
from sparring.doctor.autopilot import decide
from sparring.doctor.diagnosis.candidates import Candidate, candidates, failures, first_named, last_healthy
from sparring.doctor.diagnosis.fixes import FIXES, fixes_for
from sparring.doctor.watch import make_watch
from sparring.recipe import load_recipe
from sparring.run import checkpoint
from sparring.run.checkpoint import Manifest
from sparring.run.directory import Run
from sparring.run.environment import environment
from sparring.run.log import Row
from sparring.studies.treat import trials
from sparring.studies.treat.halving import Plan, SuccessiveHalving
from sparring.studies.treat.treat import Treatment, check_free, check_same, treat
from sparring.studies.treat.trials import Trial, TrialScorer, TrialSetup

RING: dict[str, object] = {
    "data": "ring",
    "task": "Generate(latent=Normal(16))",
    "generator": "MLPGenerator(hidden=(64, 64))",
    "discriminator": "MLPDiscriminator(hidden=(64, 64))",
    "loss": "NonSaturating()",
    "penalties": "",
    "turns": "Alternating()",
    "generator_optimizer": "Adam(lr=1e-3, betas=(0.0, 0.99))",
    "discriminator_optimizer": "Adam(lr=1e-3, betas=(0.0, 0.99))",
    "ema": "",
    "batch_size": 128,
    "precision": "fp32",
    "device": TINY["device"],
    "log_every": 25,
    "pictures": 1,
    "checkpoint_every": 60.0,
}
COLLAPSE = {**RING, "generator_optimizer": "Adam(lr=1e-2, betas=(0.0, 0.99))", "steps": 1500}
VANISHING = {**RING, "loss": "Minimax()", "turns": "Alternating(n_critic=10)", "steps": 600}
EXPLODING = {**TINY, "data": "ring", "generator_optimizer": "SGD(lr=1e6)", "log_every": 1, "doctor": "watch"}


@pytest.fixture
def every_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes ignore their time budget, so that findings do not depend on the load of the machine."""
    monkeypatch.setattr("sparring.doctor.probing.probing.SHARE", 1e9)


@pytest.fixture
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials are scored on few samples: fast and inaccurate."""
    monkeypatch.setattr("sparring.studies.treat.trials.SAMPLES", 100)


def collapsed(run: Path) -> None:
    """Give a run of 20 steps the log of one that collapsed half-way."""
    rows = log(20, onset=10, **FAILING["mode-collapse"])
    for row in rows:
        row["step"] = row["step"] * 20 // 2000
        if "event" not in row:
            row.update({"loss/generator": 1.0, "loss/discriminator": 1.0, "accuracy": 0.5})
    write_log(run, rows)


def write_log(path: Path, rows: list[Row]) -> None:
    (path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def score_of(path: Path) -> float:
    return TrialScorer(Run.open(path).read_recipe(), seed=5)(path)


@pytest.mark.slow
@pytest.mark.usefixtures("every_probe")
@pytest.mark.parametrize(("failing", "margin"), [(COLLAPSE, 0.3), (VANISHING, 0.75)], ids=["collapse", "vanishing"])
def test_a_failing_run_is_fixed(failing: dict[str, object], margin: float, tmp_path: Path) -> None:
    run = sparring.train("ring", out=tmp_path / "run", doctor="watch", **failing)
    assert failures(diagnose(Run.open(run).history()))
    done = treat(run, say=lambda _: None)
    assert done.fixed
    assert done.path is not None
    treated = Path(done.path)
    assert checkpoint.manifests(treated / "checkpoints")[-1].step == failing["steps"]
    assert not (run / "scores.jsonl").exists()  # nothing is written into the failing run
    assert score_of(treated) < margin * score_of(run)
    assert done.untreated is not None
    assert done.score is not None
    assert done.score < margin * done.untreated
    assert len(sparring.load(treated).sample(10)) == 10
    assert done.trials[0].name == done.chosen
    last, half, *quarters = [trial.share for trial in done.trials][-5:]
    assert last >= 0.25
    assert (half, quarters) == (last / 2, [last / 4] * 3)
    assert done.trials[0].share == 1


@pytest.fixture
def exploded(tmp_path: Path) -> Path:
    """A run that stopped on NaN within its first steps."""
    with pytest.raises(sparring.NotFiniteError):
        sparring.train("digits", out=tmp_path / "run", **{**EXPLODING, "steps": 60})
    return tmp_path / "run"


@pytest.mark.slow
@pytest.mark.usefixtures("few_samples")
def test_trials_that_end_in_nan_are_told_and_lose(
    exploded: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    faster = ("an even higher rate", lambda recipe, form: {"generator_optimizer": "SGD(lr=1e30)"})
    monkeypatch.setitem(FIXES, "divergence", (faster, *FIXES["divergence"]))
    status = main(["treat", str(exploded), "--trials", "2"])
    folder = exploded.with_name("run-treated")
    found = json.loads((folder / "treatment.json").read_text(encoding="utf-8"))
    assert status == (0 if found["fixed"] else 1)
    assert found["diagnosed"] == ["divergence"]
    assert found["untreated"] is None
    assert found["trials"][-1]["score"] is None
    assert found["trials"][-1]["ended"].startswith("NaN or infinity: step ")
    assert found["trials"][0]["score"] is not None
    assert found["chosen"] == found["trials"][0]["name"]
    assert checkpoint.manifests(folder / "run" / "checkpoints")[-1].step == 60
    assert "Training to the end: " in capsys.readouterr().out
    report = (folder / "treatment.md").read_text(encoding="utf-8")
    assert "NaN or infinity" in report
    assert "Chosen: " in report
    summary = (folder / "run" / "summary.md").read_text(encoding="utf-8")
    assert f"sparring sample {folder / 'run'} " in summary
    assert "/trials/" not in summary


@contextmanager
def untrained() -> Iterator[None]:
    """Fails if a training step is taken."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sparring.training.step.Stepper.__call__", lambda *_: pytest.fail("a step was taken"))
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("few_samples", "every_probe")
def test_an_interrupted_treatment_resumes(
    exploded: Path, killed_at: Callable[..., AbstractContextManager[None]]
) -> None:
    def outcome(done: Treatment) -> list[object]:
        return [done.chosen, done.score, [(trial.name, trial.step, trial.score) for trial in done.trials]]

    quiet: Callable[[str], None] = lambda _: None  # noqa: E731
    whole = treat(exploded, out=exploded.with_name("whole"), trials=2, say=quiet)
    for step in (10, 40):  # within a trial; while the chosen one is trained to the end
        with killed_at(step):
            treat(exploded, out=exploded.with_name("cut"), trials=2, say=quiet)
    cut = treat(exploded, out=exploded.with_name("cut"), trials=2, say=quiet)
    assert outcome(cut) == outcome(whole)
    assert not (exploded.with_name("cut") / "trials" / cut.chosen).exists()  # it moved to `run`
    with untrained():
        assert treat(exploded, out=exploded.with_name("cut"), trials=2, say=quiet) == cut
    with pytest.raises(sparring.UserError, match="holds another treatment .candidates differs.; remove it"):
        treat(exploded, out=exploded.with_name("cut"), trials=3, say=quiet)


@pytest.mark.slow
@pytest.mark.usefixtures("few_samples")
def test_trials_in_processes_give_what_one_process_gives(exploded: Path) -> None:
    found = [
        treat(exploded, out=exploded.with_name(f"{jobs}"), trials=2, jobs=jobs, say=lambda _: None) for jobs in (1, 2)
    ]
    assert found[0].trials == found[1].trials


def test_a_run_without_failures_is_left_alone(
    tiny_points_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(shutil.copytree(tiny_points_run, tmp_path / "run"))
    write_log(path, log())
    before = sorted(tmp_path.rglob("*"))
    assert main(["treat", str(path)]) == 0
    assert f"No failure found in {path} (healthy); nothing was done" in capsys.readouterr().out
    assert treat(path) == Treatment(str(path), (), why="healthy")
    write_log(path, log()[:4])
    assert treat(path).why == "too-early"
    assert sorted(tmp_path.rglob("*")) == before


def test_mistakes(tiny_points_run: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    unwatched = Path(shutil.copytree(tiny_points_run, tmp_path / "unwatched"))
    write_log(unwatched, [row for row in Run.open(unwatched).history() if row.get("event") != "probe"])
    message = refused("treat", unwatched)
    assert "holds no probes" in message
    assert f"sparring train {unwatched / 'recipe.toml'} --doctor watch" in message
    assert "share=0.0 must be a number, above 0 and at most 1" in refused("treat", tiny_points_run, "--share", "0")
    assert "trials=0" in refused("treat", tiny_points_run, "--trials", "0")
    assert "is not a run" in refused("treat", tmp_path)


@pytest.fixture(scope="module")
def failing_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 20 steps with a checkpoint each, whose log shows a collapse half-way. It is shared."""
    more = {"steps": 20, "checkpoint_every": 1e-9, "keep": 100, "ema": "EMA()", "augment": "InstanceNoise()"}
    run = sparring.train("ring", out=tmp_path_factory.mktemp("failing") / "run", **{**RING, **more})
    collapsed(run)
    return run


@pytest.fixture
def saved_run(failing_run: Path, tmp_path: Path) -> Path:
    """A copy of it, to treat."""
    return Path(shutil.copytree(failing_run, tmp_path / "run"))


@pytest.mark.slow
@pytest.mark.usefixtures("few_samples")
def test_trials_start_from_the_last_healthy_checkpoint(saved_run: Path) -> None:
    done = treat(saved_run, trials=7, share=0.5, say=lambda _: None)
    assert 6 < done.healthy <= 10  # the collapse begins at step 10, and medians show it by step 12
    packed = [trial for trial in done.trials if "task" in trial.changes]
    assert {trial.start for trial in packed} == {0}  # D sees two samples at once: another network
    others = [trial for trial in done.trials if trial not in packed]
    for trial in done.trials:
        assert trial.step == min(20, trial.start + math.ceil(20 * trial.share))
    assert {trial.start for trial in others} == {done.healthy}
    folder = saved_run.with_name("run-treated")
    paths = {trial.name: folder / "trials" / trial.name for trial in done.trials} | {done.chosen: folder / "run"}
    begun = [row for row in Run.open(paths[others[0].name]).entries() if row.get("event") == "branched"]
    assert [row["step"] for row in begun] == [done.healthy]


@pytest.mark.slow
def test_a_branch_that_changes_nothing_gives_the_same_bits(saved_run: Path, tmp_path: Path) -> None:
    setup = TrialSetup(saved_run, Run.open(saved_run).read_recipe(), tmp_path / "trials", trust=False)
    untreated = Candidate("same", "", "", {}, 8)
    assert setup.train(untreated, 0.5) == ""
    hashes = [
        {m.step: m.sha256 for m in checkpoint.manifests(path / "checkpoints")}
        for path in (saved_run, tmp_path / "trials" / "same")
    ]
    assert hashes[1][18] == hashes[0][18]


@pytest.mark.slow
@pytest.mark.usefixtures("few_samples")
def test_a_fix_that_cannot_be_trained_does_not_end_the_treatment(
    saved_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ("five turns of a colour", lambda recipe, form: {"turns": "Alternating(color=5)"})
    monkeypatch.setitem(FIXES, "mode-collapse", (broken, *FIXES["mode-collapse"]))
    done = treat(saved_run, trials=2, say=lambda _: None)
    assert [trial.about for trial in done.trials][-1] == broken[0]
    assert done.trials[-1].score is None
    assert "color" in done.trials[-1].ended
    assert done.score is not None


@pytest.mark.slow
@pytest.mark.usefixtures("few_samples")
def test_if_the_best_fails_at_the_end_the_second_is_trained_to_the_end_too(
    saved_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trials.outcome

    def still_failing(path: Path) -> tuple[tuple[str, ...], str]:
        last = checkpoint.manifests(path / "checkpoints")[-1].step
        return (("mode-collapse",), "") if last == 20 else real(path)

    monkeypatch.setattr(trials, "outcome", still_failing)
    done = treat(saved_run, trials=3, say=lambda _: None)
    assert [trial.share for trial in done.trials[:2]] == [1, 1]
    first, second = done.trials[0].score, done.trials[1].score
    assert first is not None
    assert second is not None
    assert first <= second
    assert done.remaining == ("mode-collapse",)
    assert not done.fixed
    assert done.why == "it had the lowest score of 2 that were trained to the end"
    with untrained():
        assert treat(saved_run, trials=3, say=lambda _: None) == done


class Untrained:
    """Trials that train nothing. `scores` has each candidate's score at shares of 0.2 and 1; None: it stops on NaN."""

    folder = Path()

    def __init__(self, scores: dict[str, tuple[float | None, float | None]], remaining: dict[str, str]) -> None:
        self.scores, self.remaining, self.trained = scores, remaining, []
        self.stop_at = math.inf

    def train_all(self, chosen: list[Candidate], share: float, jobs: int) -> list[str]:
        if len(self.trained) >= self.stop_at:
            raise UserError("the disk is full")
        self.trained.append(([candidate.name for candidate in chosen], share))
        return [""] * len(chosen)

    def trial(self, candidate: Candidate, path: Path, share: float, error: str = "") -> Trial:
        score = self.scores[candidate.name][share >= 1]
        remaining = (
            tuple(self.remaining[candidate.name].split()) if share >= 1 and candidate.name in self.remaining else ()
        )
        return Trial(**vars(candidate), share=share, step=1, score=score, remaining=remaining)

    def halving(self, trials_file: Path) -> SuccessiveHalving:
        chosen = tuple(Candidate(name, name, "", {}, 0) for name in self.scores)
        plan = Plan(Run(Path("failing")), ("mode-collapse",), 0, 0.1, chosen, share=0.2, seed=1)
        both: Any = self
        return SuccessiveHalving(plan, trials_file, both, both, 1)

    def outcome(self, trials_file: Path) -> list[tuple[str, float]]:
        halving = self.halving(trials_file)
        halving.run(lambda _: None)
        return [(trial.name, trial.share) for trial in halving.trials]


SCORES = {"a": (1.0, 1.0), "b": (2.0, 2.0), "c": (3.0, 3.0), "d": (4.0, 4.0), "e": (5.0, 5.0), "f": (6.0, 6.0)}


@pytest.mark.parametrize(
    ("changes", "remaining", "wanted"),
    [
        ({}, {}, ["a"]),
        ({}, {"a": "mode-collapse"}, ["a", "b"]),  # the second is tried; the score decides
        ({}, {"a": "memorising"}, ["b", "a"]),  # copies score well, so memorising counts
        ({"a": (1.0, None)}, {}, ["b", "a"]),
        ({"a": (1.0, None), "b": (2.0, None)}, {}, ["b", "a"]),  # two are enough
        ({"a": (None, 1.0), "b": (None, 1.0)}, {}, ["c"]),  # not those that stopped on NaN before
        (dict.fromkeys("abcde", (None, 1.0)), {}, ["f"]),
        (dict.fromkeys("abcdef", (None, 1.0)), {}, []),
    ],
)
def test_which_trials_are_trained_to_the_end(
    changes: dict[str, tuple[float | None, float | None]], remaining: dict[str, str], wanted: list[str], tmp_path: Path
) -> None:
    found = Untrained({**SCORES, **changes}, remaining).outcome(tmp_path / "trials.json")
    assert [name for name, share in found if share >= 1] == wanted


def test_halving_that_was_stopped_anywhere_gives_the_same_result(tmp_path: Path) -> None:
    whole = Untrained(SCORES, {"a": "mode-collapse"})
    wanted = whole.outcome(tmp_path / "whole.json")
    assert len(whole.trained) == 5
    for stop_at in range(5):
        cut = Untrained(SCORES, {"a": "mode-collapse"})
        cut.stop_at = stop_at
        trials_file = tmp_path / f"{stop_at}.json"
        with pytest.raises(UserError, match="the disk is full"):
            cut.outcome(trials_file)
        cut.stop_at = math.inf
        assert cut.outcome(trials_file) == wanted
        assert cut.trained == whole.trained, "nothing is trained twice"
    trials_file.write_text('[{"name": "a"}]')
    with pytest.raises(UserError, match="is damaged"):
        whole.halving(trials_file)


def test_how_many_trials_of_what_length_there_are() -> None:
    def stages(count: int, since: float = 0.1, healthy: int = 0) -> list[tuple[int, float]]:
        chosen = tuple(Candidate(f"{i}", "", "", {}, 0) for i in range(count))
        plan = Plan(Run(Path()), (), healthy, since, chosen, share=0.2, seed=1)
        return [(number, pytest.approx(share)) for number, share in plan.stages]

    assert stages(6) == [(6, 0.05), (3, 0.1), (2, 0.2)]
    assert stages(20) == [(20, 0.05), (6, 0.1), (2, 0.2)]
    assert stages(4) == [(4, 0.1), (2, 0.2)]
    assert stages(3) == [(3, 0.1), (2, 0.2)]
    assert stages(2) == [(2, 0.2)]
    assert stages(1) == [(1, 0.2)]
    assert stages(6, since=0.55) == [(6, 0.15), (3, 0.3), (2, 0.6)]  # the last two train past the failure
    assert stages(6, since=0.97) == [(6, 0.25), (3, 0.5), (2, 1)]
    assert stages(6, since=0.5, healthy=100) == [(6, 0.05), (3, 0.1), (2, 0.2)]  # they start right before it
    assert stages(1, since=0.55) == [(1, 0.6)]


def test_when_a_failure_was_first_reported() -> None:
    rows = log(count=40, onset=10, **FAILING["mode-collapse"])
    for row in rows:
        if row.get("event") == "probe" and 2000 <= row["step"] <= 3000:  # it comes and goes
            row.update(HEALTHY)
    (finding,) = diagnose(rows)
    assert finding.since_step > 3000
    named = first_named(rows, ["mode-collapse", "memorising"])
    assert 0.25 <= named <= 0.4
    names = [{v.failure for v in diagnose(rows[:end])} for end in (int(80 * named), int(80 * named) - 2)]
    assert ["mode-collapse" in found for found in names] == [True, False]
    assert first_named(rows, ["memorising"]) == 1
    assert first_named([{"step": 3, "event": "not finite", "what": "NaN"}], ["divergence"]) == 0  # before the first row
    broken = [*log(10), {"step": 1000, "event": "not finite", "what": "NaN"}]
    assert (
        first_named([{**r, "progress": r["progress"] / 2} if "progress" in r else r for r in broken], ["divergence"])
        == 0.5
    )


@pytest.mark.slow
def test_stopping_at_a_share_loses_nothing(tmp_path: Path) -> None:
    fields = {**RING, "steps": 40, "ema": "EMA()"}
    whole = sparring.train("ring", out=tmp_path / "whole", **fields)
    part = sparring.train("ring", out=tmp_path / "part", until=0.3, **fields)
    assert [m.step for m in checkpoint.manifests(part / "checkpoints")][-1] == 12
    sparring.resume(part)
    last = [checkpoint.manifests(path / "checkpoints")[-1] for path in (whole, part)]
    assert last[0].sha256 == last[1].sha256


# G learns ten times too fast: the doctor finds the failure and treats it within seconds.
PILOTED = {**COLLAPSE, "steps": 250, "log_every": 10, "batch_size": 32, "ema": "EMA()", "doctor": "treat"}


@pytest.fixture(scope="module")
def piloted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was treated while it trained, without interruption."""
    return sparring.train("ring", out=tmp_path_factory.mktemp("piloted") / "run", **PILOTED)


def treated_rows(path: Path) -> list[Row]:
    rows = [row for row in Run.open(path).history() if row.get("event") == "treated"]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.slow
def test_a_run_is_treated_while_it_trains(piloted: Path) -> None:
    (first, *others) = treated_rows(piloted)
    assert len(others) <= 1
    rows = Run.open(piloted).rows()
    for name in ("seconds", "overhead/doctor"):  # a fix replaces the state, but not its times
        assert all(a[name] <= b[name] for a, b in zip(rows, rows[1:]))
    assert first["failure"] in ("mode-collapse", "discriminator-too-weak", "non-convergence")
    assert all(row["step"] - first["step"] >= 50 for row in others)
    now = Run.open(piloted).read_recipe()
    for name, value in (others or [first])[-1]["changes"].items():
        assert getattr(now, name) == value
    before = load_recipe(str(piloted / "recipe-before-treatment.toml"))
    assert all(getattr(before, name) == value for name, value in PILOTED.items())
    copy = piloted / "before-treatment-1"
    assert checkpoint.manifests(copy / "checkpoints")[-1].step == first["step"]
    assert Run.open(copy).read_recipe() == before.replace(doctor="watch")


class CountedRows(list[Row]):
    """A log that counts the rows that are visited."""

    visited = 0

    def __iter__(self) -> Iterator[Row]:
        for row in super().__iter__():
            self.visited += 1
            yield row


def test_whether_a_probe_is_due_does_not_read_the_log_again(tmp_path: Path) -> None:
    recipe = load_recipe("ring").replace(**{**RING, "steps": 100_000, "augment": "", "doctor": "treat"})
    data = training_data(recipe)
    state = start_state(recipe, data, torch.device("cpu"))
    run = Run.create(tmp_path / "run", recipe, data, environment(torch.device("cpu")))
    watch = make_watch(recipe, data, state, HeldOut(recipe))
    assert watch is not None
    watch.begin(run, state, print)
    rows = CountedRows()
    watch.history = rows
    probed = []
    for step in range(1, 3000):
        state.step, before = step, rows.visited
        watch.probe({"step": step, "progress": step / 100_000, "accuracy": 0.5}, state)
        if rows[-1].get("event") == "probe":
            probed.append(step)
        else:
            assert rows.visited == before
    assert probed == [1, 1001, 2001]
    write_log(run.path, rows)
    watch.begin(run, state, print)  # as after a stop
    state.step = 3000
    assert not watch.due({"progress": 0.03}, state)
    state.step = 3001
    assert watch.due({"progress": 0.03001}, state)


@pytest.mark.slow
def test_the_untreated_copy_resumes_to_the_untreated_run(piloted: Path, tmp_path: Path) -> None:
    untreated = sparring.train("ring", out=tmp_path / "run", **{**PILOTED, "doctor": "watch"})
    back = Path(shutil.copytree(piloted / "before-treatment-1", tmp_path / "back"))
    sparring.resume(back)
    found = [checkpoint.load(path / "checkpoints", last_of(path)) for path in (untreated, back)]
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


def last_of(path: Path) -> Manifest:
    return checkpoint.manifests(path / "checkpoints")[-1]


@pytest.mark.parametrize(
    "after", [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(15, marks=pytest.mark.slow)]
)
def test_a_treated_run_resumes_to_the_bit(
    after: int, piloted: Path, tmp_path: Path, killed_at: Callable[..., AbstractContextManager[None]]
) -> None:
    step = treated_rows(piloted)[0]["step"]
    with killed_at(step + after):
        sparring.train("ring", out=tmp_path / "run", **PILOTED)
    assert last_of(tmp_path / "run").step == step  # saved just before the treatment
    sparring.resume(tmp_path / "run")
    assert_same(tmp_path / "run", piloted)


def probes(path: Path) -> list[Row]:
    rows = [row for row in Run.open(path).history() if row.get("event") == "probe"]
    return [{name: value for name, value in row.items() if name not in ("seconds", "cost")} for row in rows]


def assert_same(path: Path, whole: Path) -> None:
    assert treated_rows(path) == treated_rows(whole)
    assert probes(path) == probes(whole)
    assert last_of(path).sha256 == last_of(whole).sha256
    assert Run.open(path).read_recipe() == Run.open(whole).read_recipe()


@pytest.mark.slow
@pytest.mark.parametrize("cut", ["before the treatment was written", "before the recipe was written", "long before"])
def test_a_treatment_that_was_half_done(
    cut: str, piloted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, run = treated_rows(piloted)[0]["step"], tmp_path / "run"

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    target = "record_fix" if cut == "before the treatment was written" else "apply_fix"
    more = {"checkpoint_every": 1e-9, "keep": 100} if cut == "long before" else {}
    with monkeypatch.context() as patch:
        patch.setattr(f"sparring.doctor.autopilot.{target}", fail)
        with pytest.raises(KeyboardInterrupt):
            sparring.train("ring", out=run, **{**PILOTED, **more})
    if cut == "long before":  # as after removing a damaged checkpoint: the treatment is decided again
        for manifest in checkpoint.manifests(run / "checkpoints"):
            if manifest.step > step - 35:
                checkpoint.remove(run / "checkpoints", manifest)
        Run.open(run).write_recipe(Run.open(run).read_recipe().replace(checkpoint_every=60.0, keep=3))
        Run.open(run).write("recipe-before-treatment.toml", Run.open(run).read_recipe().to_toml())
    else:
        assert last_of(run).step == step
    sparring.resume(run)
    assert treated_rows(run) == treated_rows(piloted)
    assert probes(run) == probes(piloted)
    assert last_of(run).sha256 == last_of(piloted).sha256


def test_when_and_with_what_a_run_is_treated(manifests: list[Manifest]) -> None:
    recipe, form = load_recipe("ring").replace(**COLLAPSE), Form((2,), 0.0, 1.0)
    failing = log(15, onset=6, **FAILING["mode-collapse"])
    for row in failing:
        row["progress"] *= 0.75  # of a run that has not reached its end
    first = decide(failing, recipe, form, manifests)
    assert first is not None
    assert (first.failure, first.back_to, first.restarted) == ("mode-collapse", 500, ())
    assert first.changes == fixes_for("mode-collapse", recipe, form)[0].changes
    without = decide(failing, recipe, form, [])
    assert without is not None
    assert (without.back_to, without.restarted) == (None, ("discriminator",))
    rows = log(15, **FAILING["divergence"])
    for row in rows:
        row["progress"] *= 0.75
    exploded = decide(rows, recipe, form, [])
    assert exploded is not None
    assert exploded.restarted == ("generator", "discriminator")
    assert decide(log(15), recipe, form, manifests) is None  # healthy
    assert (
        decide([*failing, {"step": 1501, "progress": 0.751}], recipe, form, manifests) is None
    )  # only right after a probe
    assert decide(log(20, onset=6, **FAILING["mode-collapse"]), recipe, form, manifests) is None  # too late
    changed = recipe.replace(**first.changes)

    def treated(step: int) -> Row:
        return {"step": step, "event": "treated", "changes": dict(first.changes)}

    assert decide([*failing[:-2], treated(1300), *failing[-2:]], changed, form, manifests) is None  # not again so soon
    second = decide([*failing[:-2], treated(1000), *failing[-2:]], changed, form, manifests)
    assert second is not None
    assert second.changes != first.changes
    assert "task" not in second.changes  # which would be other networks
    assert (
        decide([*failing[:-2], treated(500), treated(1000), *failing[-2:]], changed, form, manifests) is None
    )  # twice


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return [Manifest(step, 0.0, 0, None, "") for step in range(0, 2001, 250)]


def test_the_last_healthy_checkpoint(manifests: list[Manifest]) -> None:
    history = log(onset=12, **FAILING["mode-collapse"])  # probes from step 1200 on
    (found, *_) = diagnose(history)
    healthy = last_healthy(history, manifests, found.since_step)
    assert healthy is not None
    assert healthy.step == 1000  # not 1250: half a stretch before the medians show it
    assert last_healthy(log(**FAILING["mode-collapse"]), manifests, 300) is None
    assert last_healthy(history, manifests[:1], found.since_step) is None  # step 0 is the start
    assert last_healthy([], manifests, 100) is None
    late = log(onset=7, **FAILING["mode-collapse"])
    (found, *_) = diagnose(late)
    trusted = [last_healthy(late, manifests, found.since_step, earliest) for earliest in (0.0, 0.25, 0.3)]
    assert [m and m.step for m in trusted] == [500, 500, None]


def test_what_is_tried() -> None:
    recipe, form = load_recipe("ring").replace(**COLLAPSE), Form((2,), 0.0, 1.0)
    found = failures([Finding("mode-collapse", caused_by="divergence"), Finding("healthy"), Finding("divergence")])
    assert [finding.failure for finding in found] == ["divergence", "mode-collapse"]
    chosen = candidates(found, recipe, form, start=100, most=7)
    leading = fixes_for("divergence", recipe, form)
    assert [dict(c.changes) for c in chosen[:2]] == [fix.changes for fix in leading[:2]]
    clipped = next(fix for fix in leading if "clip_gradients" in fix.changes)
    assert chosen[2].changes == {**leading[0].changes, **clipped.changes}
    assert [c.failure for c in chosen] == sorted([c.failure for c in chosen])  # causes first
    recipes = [recipe.replace(**c.changes) for c in chosen]
    assert len({recipe, *recipes}) == 1 + len(recipes) == 8
    assert all(c.start == (0 if "task" in c.changes else 100) for c in chosen)
    assert len(candidates(found, recipe, form, start=0, most=2)) == 2
    with pytest.raises(sparring.UserError, match="no known fix for memorising changes this recipe"):
        candidates([Finding("memorising")], recipe.replace(penalties="LeCam()"), form, start=0, most=4)


def test_how_trials_are_ranked() -> None:
    def trial(name: str, score: float | None, *remaining: str, share: float = 0.2) -> Trial:
        return Trial(name, "", "", {}, 0, share, 10, score, remaining)

    found = [
        trial("nan", None),
        trial("out after the first stage", 0.3, share=0.1),
        trial("whole, but failing", 0.6, "mode-collapse", share=1.0),
        trial("whole, and worse", 0.7, share=1.0),
        trial("good but failing", 0.1, "mode-collapse"),
        trial("worse but failing", 0.2, "mode-collapse"),
        trial("fair", 0.5),
        trial("another failure", 0.4, "non-convergence"),
    ]
    ranked = sorted(found, key=lambda each: each.rank(["mode-collapse"]))
    assert [each.name for each in ranked] == [
        *("whole, but failing", "whole, and worse"),
        *("another failure", "fair", "good but failing", "worse but failing", "out after the first stage", "nan"),
    ]


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    failing = tmp_path / "exp" / "run"
    failing.mkdir(parents=True)
    (failing / "recipe.toml").write_text("")
    for folder in (failing, failing.parent):
        with pytest.raises(UserError, match="choose another --out"):
            check_free(folder, failing)
    (tmp_path / "new").mkdir()
    check_free(tmp_path / "new", failing)
    (tmp_path / "new" / "lock").write_text("")  # a treatment that was killed at once
    check_free(tmp_path / "new", failing)
    (tmp_path / "new" / "plan.json").write_text("[]")
    with pytest.raises(UserError, match="is damaged"):
        check_same(tmp_path / "new" / "plan.json", {})
    (tmp_path / "new" / "plan.json").write_text("{")
    check_free(tmp_path / "new", failing)
    with pytest.raises(UserError, match="is damaged"):
        check_same(tmp_path / "new" / "plan.json", {})
