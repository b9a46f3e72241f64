"""The clinic: faults do what they claim, and findings are compared with the injected fault."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sparring.assemble.build import build_game, training_data
from sparring.assemble.start import resolve_auto, start_state
from sparring.base.components import trusted
from sparring.base.errors import UserError
from sparring.cli import main
from sparring.data.pictures import save_image
from sparring.doctor.diagnosis.rules import FAILURES
from sparring.networks import UNetGenerator
from sparring.run.directory import Run
from sparring.studies.clinic import faults
from sparring.studies.clinic.case import COMMON, HEALTHY, Case, make_case
from sparring.studies.clinic.cases import CASES, MATCHED
from sparring.studies.clinic.clinic import BY_NAME, assess_all, lines, run_clinic, with_controls
from sparring.studies.clinic.score import assess, summary
from sparring.studies.clinic.training import RESULT, findings_over_time, read_result, train_case
from sparring.studies.clinic.treated import TreatedCase, pairs, save_pictures
from sparring.studies.clinic.treated import table as treated_table
from sparring.tasks import Cycle
from sparring.training.step import Stepper

FAILING = Case("failing", "mode-collapse", "injected", {}, control="well", also=("non-convergence",))
CONTROL = Case("well", HEALTHY, "nothing", {}, control="well")


def result(found: list[tuple[float, list[str]]], scores: list[float]) -> dict[str, Any]:
    """A result of `read_result`: (share, names) of each probe, and a Frechet distance every tenth of 100 steps."""
    outside_scores = [{"step": 10 * (i + 1), "frechet": score} for i, score in enumerate(scores)]
    findings = [{"step": int(100 * share), "share": share, "names": names} for share, names in found]
    return {"case": "x", "seed": 0, "findings": findings, "outside_scores": outside_scores}


SHAPE = (1, 16, 16)
GOOD = result([(0.5, ["too-early"]), (1.0, ["healthy"])], [10.0] * 10)


def test_every_failure_is_injected_on_two_data_sets_and_healthy_cases_are_of_all_kinds() -> None:
    failing = [case for case in CASES if case.failure != HEALTHY]
    for failure in FAILURES:
        sets = {case.recipe["data"] for case in failing if case.failure == failure}
        assert len(sets) >= 2, f"{failure} is injected on {sets}"
    well = [case for case in CASES if case.failure == HEALTHY]
    assert len(well) >= 12
    text = " ".join(str(case.recipe) for case in well)
    for part in ("MLP", "DCGAN", "ResNet", "R3GAN", "classes=True", "ADA", "DiffAugment", "pack=2", "stacked-mnist"):
        assert part in text
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert all({case.failure} | set(case.also) <= {*FAILURES, HEALTHY} for case in CASES)
    controls = {case.name for case in well}
    assert all(case.control in controls for case in CASES)


def test_a_case_is_a_base_and_what_it_changes() -> None:
    case = BY_NAME["grid-vanish"]
    assert case == make_case(
        "grid-vanish",
        {
            "failure": "vanishing-gradient",
            "about": "minimax, a fast D",
            "base": "grid",
            "loss": "Minimax()",
            "turns": "Alternating(n_critic=5)",
            "discriminator_optimizer": "Adam(lr=0.003, betas=(0.0, 0.99))",
            "steps": 2000,
            "penalties": "",
        },
    )
    recipe = case.make_recipe(seed=4)
    assert (case.control, recipe.seed, recipe.steps, recipe.evaluate_every) == ("grid-plain", 4, 2000, 100)
    assert (recipe.learning_rate, recipe.data, recipe.batch_size) == ("Constant(1)", "grid", 128)
    assert recipe.generator_optimizer == COMMON["generator_optimizer"]
    assert (
        BY_NAME["digits-silent"].recipe["generator"]
        == "sparring.studies.clinic.faults.SilentGenerator(hidden=(256, 256))"
    )
    assert len(CASES) == 65
    assert sum(case.quick for case in CASES) == 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"los": "Hinge()"}, "case new: field='los'; did you mean 'loss'"),
        ({"base": "rings"}, "case new: base='rings'; did you mean 'ring'"),
        ({"failure": "flu"}, "case new: failure='flu'"),
        ({"also": ["mode-colapse"]}, "failure='mode-colapse'; did you mean 'mode-collapse'"),
    ],
)
def test_a_wrong_case_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_case("new", {"base": "ring", "about": "", **change})


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in CASES if "mnist" not in c.recipe["data"]], ids=lambda c: c.name)
def test_a_case_takes_a_step(case: Case) -> None:
    recipe = case.make_recipe(0)
    with trusted(True):
        data = training_data(recipe)
        recipe = resolve_auto(recipe, data, torch.device("cpu"))
        Stepper(recipe, data, start_state(recipe, data, torch.device("cpu")))(0.0)


def test_faults_do_what_they_claim() -> None:
    latent, label = torch.randn(64, 4), torch.randint(3, (64,))
    silent = faults.SilentGenerator(4, (1, 8, 8), hidden=(16,))(latent)
    assert len(silent.unique(dim=0)) == 1
    assert len(faults.FourSampleGenerator(4, (2,), hidden=(16,))(latent).unique(dim=0)) == 4
    points = faults.LossyGenerator(4, (2,), hidden=(16,))(100 * latent)
    angle = torch.atan2(points[:, 1], points[:, 0]).rad2deg()
    assert not ((angle > -22.5) & (angle < 67.5)).any()
    images = faults.LossyGenerator(4, (1, 8, 8), hidden=(16,))(100 * latent)
    assert (images[..., :4].mean((1, 2, 3)) <= images[..., 4:].mean((1, 2, 3))).all()
    blind = faults.ClassBlindGenerator(4, (1, 8, 8), hidden=(16,), classes=3)
    assert torch.equal(blind(latent, label), blind(latent, (label + 1) % 3))
    critic = faults.ClassBlindDiscriminator((1, 8, 8), hidden=(16,), classes=3)
    images = torch.randn(64, 1, 8, 8)
    assert torch.equal(critic.judge(images, label).logits, critic.judge(images, (label + 1) % 3).logits)
    copying = faults.CopyingGenerator(16, (1, 8, 8), held_out=0.2)
    made, known = copying(torch.randn(64, 16)), copying.known
    assert torch.cdist(made.flatten(1), known.flatten(1)).amin(1).mean() < 0.1 * torch.pdist(known.flatten(1)).mean()
    assert faults.TanhPointGenerator(4, (2,), hidden=(16,))(100 * latent).abs().max() <= 1
    assert faults.SigmoidGenerator(4, (1, 8, 8), width=4)(100 * latent).min() >= 0


def test_image_to_image_faults_do_what_they_claim() -> None:
    source = torch.randn(32, 1, 16, 16)
    for silent in (faults.SilentUNet(SHAPE, SHAPE, width=4), faults.SilentTranslator(SHAPE, SHAPE, width=4, blocks=1)):
        made = silent.eval()(source)
        assert torch.allclose(made, made[:1].expand_as(made), atol=1e-5)
    four = faults.FourImageUNet(SHAPE, SHAPE, width=4).eval()(source)
    assert len((four.flatten(1) * 1e4).round().unique(dim=0)) == 4
    strangers = faults.StrangersUNet(SHAPE, SHAPE, width=4).eval()
    assert torch.allclose(strangers(source)[1:], UNetGenerator.forward(strangers, source)[:-1], atol=1e-5)

    recipe = BY_NAME["inverts-deaf-back"].make_recipe(0)
    with trusted(True):
        data = training_data(recipe)
        game = build_game(recipe, data.form, torch.device("cpu"))
    batch = data.batch(torch.arange(8))
    with torch.no_grad():
        made = game.task.generate(game.generator.network, batch)
        well = Cycle(cycle=10, identity=2).for_data(data.form).generate(game.generator.network, batch)
    assert torch.allclose(made["back"], made["back"][:1].expand_as(made["back"]), atol=1e-5)
    assert torch.allclose(made["fake"], well["fake"], atol=1e-5)


def test_the_injected_failure_and_its_consequences_are_correct_but_only_the_first_is_exact() -> None:
    for name, exact in (("mode-collapse", True), ("non-convergence", False)):
        found = assess(FAILING, result([(0.2, ["too-early"]), (0.3, [name]), (1.0, [name])], [90.0] * 10), GOOD)
        assert found.right
        assert found.exact == exact
        assert found.found_at == 0.3
    other = assess(FAILING, result([(0.3, ["mode-collapse"]), (1.0, ["divergence"])], [90.0] * 10), GOOD)
    assert not other.right, "it was found earlier only"


@pytest.mark.parametrize(
    ("scores", "onset", "in_time"),
    [
        ([90.0] * 10, 0.1, False),  # bad from the start, found half-way
        ([10.0] * 4 + [90.0] * 6, 0.5, True),
        ([90.0] * 3 + [10.0] * 7, None, False),  # not bad at the end: no onset, so the run counts from the start
        ([5.0] * 4 + [4.0] * 3 + [4.7] * 3, 0.8, True),  # better than the control, but worse than its own best
    ],
)
def test_the_onset_is_where_the_independent_score_stays_bad(
    scores: list[float], onset: float | None, in_time: bool
) -> None:
    found = assess(FAILING, result([(0.55, ["mode-collapse"]), (1.0, ["mode-collapse"])], scores), GOOD)
    assert found.onset == onset
    assert found.in_time == in_time


def test_an_alarm_at_any_probe_counts_against_a_healthy_run() -> None:
    found = assess(CONTROL, result([(0.5, ["mode-collapse"]), (1.0, ["healthy"])], [10.0] * 10), None)
    assert found.right
    assert found.alarms == ("mode-collapse",)
    counts = summary([found, assess(CONTROL, GOOD, None), assess(FAILING, GOOD, GOOD)])
    assert counts["healthy runs with a false alarm at any probe"] == (1, 2)
    assert counts["healthy runs with a false alarm at the end"] == (0, 2)
    assert counts["failure found"] == (0, 1)


TINY = Case(
    "tiny",
    "data-leak",
    "tanh on points",
    {
        "data": "ring",
        "generator": "sparring.studies.clinic.faults.TanhPointGenerator(hidden=(16,))",
        "discriminator": "MLPDiscriminator(hidden=(16,))",
        "steps": 60,
        "batch_size": 16,
    },
    control="tiny",
)


@pytest.mark.slow
def test_a_case_is_trained_and_assessed_once(tmp_path: Path) -> None:
    path = tmp_path / "tiny-0"
    train_case(TINY, 0, path)
    found = read_result(path)
    assert found is not None
    assert len(found["outside_scores"]) == 20
    assert found["findings"] == [dataclasses.asdict(each) for each in findings_over_time(Run.open(path).history())]
    assert found["findings"][-1]["names"][0] == "data-leak"
    (assessment,) = assess_all(tmp_path, [(TINY, 0)])
    assert assessment.right
    assert any("tiny 0" in line for line in lines([assessment], []))
    before = (path / "log.jsonl").read_bytes()
    train_case(TINY, 0, path)
    assert (path / "log.jsonl").read_bytes() == before
    (path / RESULT).unlink()  # as after a kill: a partial run is trained again
    train_case(TINY, 0, path)
    assert (path / RESULT).exists()


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clinic", "--out", str(tmp_path), "--only", "nothing-like-it"]) == 2
    assert "no case's name contains" in capsys.readouterr().err
    assert main(["clinic", "--out", str(tmp_path), "--only", "("]) == 2
    assert main(["clinic", "--out", str(tmp_path), "--seeds", "0"]) == 2
    (tmp_path / "ring-plain-0").mkdir()
    (tmp_path / "ring-plain-0" / RESULT).write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        run_clinic(tmp_path, seeds=1, only="ring-plain", jobs=1)


@pytest.mark.slow
def test_the_command_trains_in_parallel_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clinic", "--quick", "--only", "ring-range", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "data-leak | ring-range 0 | data-leak" in out
    assert (tmp_path / "clinic.md").exists()


def test_treated_runs_are_compared_with_a_control_of_the_same_data_and_steps() -> None:
    treatable = [case for case in CASES if case.treatable]
    assert len(treatable) >= 20
    for case in treatable:
        control = MATCHED[case.name]
        given = ("steps", "data", "held_out")
        assert all(getattr(control.make_recipe(0), n) == getattr(case.make_recipe(0), n) for n in given)
        healthy = BY_NAME[case.control].recipe
        assert all(control.recipe[name] == value for name, value in healthy.items() if name not in given)
        assert BY_NAME[control.name] == control


def test_a_failing_run_is_shown_with_its_control(tmp_path: Path) -> None:
    failing, other = BY_NAME["digits-copies"], BY_NAME["digits-plain"]
    for case, seed in ((failing, 0), (failing, 1), (other, 1)):
        path = tmp_path / f"{case.name}-{seed}"
        path.mkdir()
        (path / RESULT).write_text("{}")
    found = with_controls(tmp_path, [(failing, 0), (failing, 1), (other, 1)])
    assert found == [("memorising", tmp_path / "digits-copies-1", tmp_path / "digits-plain-1")]


def test_before_and_after_are_shown_for_each_failure(tmp_path: Path) -> None:
    tried = (("R1", 1.0), ("noise", 0.25), ("ADA", 0.125))
    treated = [
        TreatedCase(FAILING, seed, ("mode-collapse",), "R1", "ADA", 9.0, score, 1.4, 1.0, (), tried)
        for seed, score in ((0, 8.0), (1, 1.2))
    ]
    for seed, shade in ((0, 10), (1, 200)):
        for name in (f"run-{seed}", f"run-{seed}-treated/run"):
            save_image(Image.new("RGB", (20, 20), (shade,) * 3), tmp_path / name / "samples" / "step-000000001.png")
    found = pairs(treated, lambda each: tmp_path / f"run-{each.seed}")
    (path,) = save_pictures([*found, ("divergence", tmp_path / "run-0", tmp_path / "gone")], tmp_path / "pictures")
    assert path.name == "mode-collapse.png"
    assert Image.open(path).getpixel((5, 5)) == (200, 200, 200), "the run with the successful treatment is shown"
    assert [each.healthy for each in treated] == [False, True]
    lines = treated_table(treated)
    assert "1 of 2" in lines[0]
    assert "2 (100%)" in lines[0]
    assert "| mode-collapse | R1 | 2 | 2 | 2 | 1 |" in lines
    assert "| mode-collapse | noise | 2 | 2 | 0 | 0 |" in lines
    assert "| mode-collapse | ADA | 2 | 0 | 0 | 0 |" in lines
