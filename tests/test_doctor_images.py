"""The doctor on image translation: what it must report, and what it must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from torch import Tensor, nn

import sparring
from sparring.assemble.build import HeldOut, build_game, held_out_data, training_data
from sparring.assemble.start import start_state
from sparring.data.samples import Data
from sparring.doctor.diagnosis.findings import diagnose
from sparring.doctor.diagnosis.fixes import fixes_for
from sparring.doctor.diagnosis.rules import SURE
from sparring.doctor.probing.prober import Prober
from sparring.doctor.watch import make_watch
from sparring.game.match import Moment
from sparring.game.penalties.base import by_sample
from sparring.recipe import Recipe, load_recipe
from sparring.run.directory import Run
from sparring.studies.treat.trials import TrialScorer

QUICK = {
    "generator": "UNetGenerator(width=4)",
    "discriminator": "PatchDiscriminator(width=4)",
    "minutes": 0.0,
    "steps": 10,
    "precision": "fp32",
    "device": TINY["device"],
}


def prober_of(recipe: Recipe) -> Prober:
    data = training_data(recipe)
    return Prober(build_game(recipe, data.form, torch.device("cpu")), data, None, seed=0, part=32)


class Sharpness(nn.Module):
    """A discriminator that reads how far values are from 0.5, so it recognises every map of 0 and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, samples: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.scale * ((samples - 0.5).abs().mean((1, 2, 3)) - 0.4)


def test_probabilities_in_class_maps_are_no_data_leak() -> None:
    prober = prober_of(load_recipe("segment").replace(**QUICK, adversarial="1"))
    prober.game.discriminator.network = Sharpness()
    found = prober.probe(Moment(9, 0.9))
    assert found["auc/train"] > SURE, "D is perfect: it reads how far values are from 0 and 1"
    assert not [name for name in found if name.startswith("leak/")]


HEALTHY = {"finite": 1.0, "signal": 0.5, "auc/train": 0.7, "logit/scale": 1.0, "effect/source": 0.9, "spread": 0.95}
HEALTHY |= {
    "effective_rank": 0.9,
    "distance/reals": 1.1,
    "distance/fakes": 1.0,
    "fresh_critic_auc": 0.75,
    "movement": 0.1,
}


def log(**changes: float) -> list[dict[str, Any]]:
    """The probes of a healthy training, except for these metrics."""
    metrics = {**HEALTHY, **{f"back/{name}": value for name, value in HEALTHY.items()}, **changes}
    return [{"step": 10 * i, "event": "probe", "progress": i / 20, "cost": 0.1, **metrics} for i in range(1, 21)]


def test_both_directions_are_healthy() -> None:
    assert [finding.named for finding in diagnose(log())] == ["healthy"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"back/effect/source": 0.0}, ["ignored-condition (back)"]),
        ({"back/spread": 0.2}, ["mode-collapse (back)"]),
        ({"spread": 0.2}, ["mode-collapse"]),
        ({"back/signal": 0.01, "back/auc/train": 0.99}, ["vanishing-gradient (back)"]),
        ({"back/logit/scale": 500.0}, ["divergence (back)"]),
        ({"spread": 0.2, "back/spread": 0.2}, ["mode-collapse", "mode-collapse (back)"]),
    ],
)
def test_a_failure_of_the_second_direction_is_reported_with_its_name(
    changes: dict[str, float], named: list[str]
) -> None:
    found = diagnose(log(**changes))
    assert [finding.named for finding in found] == named
    own = found[-1]
    assert {evidence.name for evidence in own.evidence} <= changes.keys(), "named as in the log"
    assert own.named in str(own)


def reported_at(rows: list[dict[str, Any]], failure: str) -> list[float]:
    """The shares of the budget at which a failure is reported."""
    named = [{finding.failure for finding in diagnose(rows[: i + 1])} for i in range(len(rows))]
    return [row["progress"] for row, each in zip(rows, named) if failure in each]


@pytest.mark.parametrize("direction", ["", "back/"])
def test_movement_while_a_style_is_learnt_without_pairs_is_no_failure(direction: str) -> None:
    learning = log()
    for row in learning[:11]:
        row[f"{direction}movement"] = 1.5
    assert reported_at(learning, "non-convergence") == []
    circling = reported_at(log(**{f"{direction}movement": 1.5}), "non-convergence")
    assert min(circling) >= 0.6, "until then the style may still be learnt"
    assert max(circling) == 1.0


def test_a_discriminator_that_misses_distant_targets_is_too_weak() -> None:
    chance = {"auc/train": 0.5, "fresh_critic_auc": 1.0}
    assert [finding.named for finding in diagnose(log(**chance))] == ["healthy"], "the targets are near"
    assert [v.named for v in diagnose(log(**chance, **{"distance/reals": 3.0}))] == ["discriminator-too-weak"]
    rows = [{n: v for n, v in row.items() if "effect/" not in n} for row in log(**chance, **{"distance/reals": 3.0})]
    assert [finding.named for finding in diagnose(rows)] == ["healthy"], "generation is judged by mode_coverage"


@pytest.mark.parametrize("kind", ["pairs", "generation"])
def test_non_convergence_of_other_tasks_is_reported_early(kind: str) -> None:
    rows = [{n: v for n, v in row.items() if "/effect" not in n and "effect/" not in n} for row in log(movement=1.5)]
    if kind == "pairs":
        rows = log(**{"movement": 1.5, "effect/truth": 0.4, "back/effect/truth": 0.4})
    assert min(reported_at(rows, "non-convergence")) < 0.3


def test_a_probe_measures_both_directions_of_a_cycle() -> None:
    small = {**QUICK, "generator": "ResNetTranslator(width=4, blocks=1)"}
    prober = prober_of(load_recipe("cyclegan").replace(**small))
    found = prober.probe(Moment(9, 0.9))
    assert {"back/finite", "back/auc/train", "back/effect/source", "back/spread", "back/effective_rank"} <= found.keys()
    assert found["back/effect/source"] != found["effect/source"]
    samples = prober.previous
    assert samples is not None
    prober.previous = samples[:, 1:]  # of a run that kept one direction alone
    assert prober.previous is None
    prober.previous = samples
    again = prober.probe(Moment(10, 0.95))
    assert again["movement"] == pytest.approx(0, abs=1e-5)
    assert again["back/movement"] == pytest.approx(0, abs=1e-5)


def test_the_patches_of_an_image_count_as_one_sample() -> None:
    assert by_sample(torch.tensor([[1.0, 3.0], [5.0, 5.0]])).tolist() == [2.0, 5.0]
    assert by_sample(torch.tensor([1.0, 3.0])).tolist() == [1.0, 3.0]


def test_trials_are_ranked_by_the_deciding_score_of_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparring.studies.treat.trials.SAMPLES", 100)
    recipe = load_recipe("segment").replace(**{**QUICK, "steps": 2, "pictures": 1})
    run = sparring.train(recipe, out=tmp_path / "run")
    judge = TrialScorer(recipe, seed=1)
    reported = sparring.evaluate(run, checkpoint="last", metrics="mean_iou", split="train", count=100, seed=1)
    assert judge(run) == pytest.approx(-reported.values["mean_iou"]), (
        "a high mean_iou is good, but a trial's score is lower-is-better"
    )
    assert "minus mean_iou" in judge.about


def test_fixes_fit_the_task() -> None:
    blind = load_recipe("pix2pix").replace(task="Translate(l1=100, conditional=False)")
    form = training_data(blind).form
    first = fixes_for("ignored-condition", blind, form)[0]
    task = sparring.assemble.build.build_task(blind.replace(**first.changes), form)
    assert task == sparring.tasks.Translate(l1=100, conditional=True)
    about = [fix.about for fix in fixes_for("ignored-condition", load_recipe("pix2pix"), form)]
    assert first.about not in about, "its discriminator sees the source already"
    segment = load_recipe("segment")
    maps = training_data(segment).form
    changes = [fix.changes for fix in fixes_for("discriminator-overfit", segment, maps)]
    assert not any("augment" in change for change in changes), "colour changes and cutout do not apply to class maps"


@pytest.mark.parametrize(("adversarial", "watched"), [("0", False), ("Linear(0, 1, begin=0.5)", True)])
def test_a_run_without_an_adversary_is_not_watched(adversarial: str, watched: bool) -> None:
    recipe = load_recipe("segment").replace(**QUICK, adversarial=adversarial, doctor="watch")
    data = training_data(recipe)
    state = start_state(recipe, data, torch.device("cpu"))
    assert (make_watch(recipe, data, state, HeldOut(recipe)) is not None) == watched


def test_held_out_samples_are_loaded_once_for_doctor_and_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Recipe] = []

    def load(recipe: Recipe, train: Data | None) -> Data | None:
        loaded.append(recipe)
        return held_out_data(recipe, train)

    monkeypatch.setattr("sparring.assemble.build.held_out_data", load)
    reported = {"evaluate_every": 4, "metrics": "l1", "log_every": 2, "pictures": 1, "held_out": 0.1}
    recipe = load_recipe("pix2pix").replace(**{**QUICK, **reported, "steps": 4})
    history = Run.open(sparring.train(recipe, out=tmp_path / "run")).history()
    assert {"probe", "evaluated"} <= {row.get("event") for row in history}
    assert "auc/memory" in next(row for row in history if row.get("event") == "probe")
    assert len(loaded) == 1
