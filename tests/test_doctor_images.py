"""The doctor on tasks that turn images into others: what it must name, and what it must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
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
    "device": "cpu",
}


def prober_of(recipe: Recipe) -> Prober:
    data = training_data(recipe)
    return Prober(build_game(recipe, data.form, torch.device("cpu")), data, None, seed=0, part=32)


class Sharpness(nn.Module):
    """A D that goes by how far values are from the middle of 0 and 1, so that it knows all maps of 0 and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, samples: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.scale * ((samples - 0.5).abs().mean((1, 2, 3)) - 0.4)


def test_that_shares_of_classes_are_no_zeros_and_ones_is_no_leak_of_the_data() -> None:
    prober = prober_of(load_recipe("segment").replace(**QUICK, adversarial="1"))
    prober.game.discriminator.network = Sharpness()
    found = prober.probe(Moment(9, 0.9))
    assert found["auc/train"] > SURE, "D is perfect: it goes by how far values are from 0 and 1"
    assert not [name for name in found if name.startswith("leak/")]


WELL = {"finite": 1.0, "signal": 0.5, "auc/train": 0.7, "logit/scale": 1.0, "effect/source": 0.9, "spread": 0.95}
WELL |= {"effective_rank": 0.9, "distance/reals": 1.1, "distance/fakes": 1.0, "fresh_critic_auc": 0.75, "movement": 0.1}


def log(**changes: float) -> list[dict[str, Any]]:
    """The looks of a training that is well, but for these numbers."""
    numbers = {**WELL, **{f"back/{name}": value for name, value in WELL.items()}, **changes}
    return [{"step": 10 * i, "event": "probe", "progress": i / 20, "cost": 0.1, **numbers} for i in range(1, 21)]


def test_that_both_ways_are_well() -> None:
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
def test_an_illness_of_the_second_way_is_named_with_the_way(changes: dict[str, float], named: list[str]) -> None:
    found = diagnose(log(**changes))
    assert [finding.named for finding in found] == named
    own = found[-1]
    assert {evidence.name for evidence in own.evidence} <= changes.keys(), "as they stand in the log"
    assert own.named in str(own)


def told_at(rows: list[dict[str, Any]], failure: str) -> list[float]:
    """At which shares of the budget an illness is named."""
    named = [{finding.failure for finding in diagnose(rows[: i + 1])} for i in range(len(rows))]
    return [row["progress"] for row, each in zip(rows, named) if failure in each]


@pytest.mark.parametrize("direction", ["", "back/"])
def test_what_moves_while_it_learns_a_style_without_pairs_does_not_circle(direction: str) -> None:
    learning = log()
    for row in learning[:11]:
        row[f"{direction}movement"] = 1.5
    assert told_at(learning, "non-convergence") == []
    circling = told_at(log(**{f"{direction}movement": 1.5}), "non-convergence")
    assert min(circling) >= 0.6, "as long as that the style may still be learnt"
    assert max(circling) == 1.0


def test_a_critic_that_does_not_see_how_far_the_targets_are_is_too_weak() -> None:
    blind = {"auc/train": 0.5, "fresh_critic_auc": 1.0}
    assert [finding.named for finding in diagnose(log(**blind))] == ["healthy"], "they are near"
    assert [v.named for v in diagnose(log(**blind, **{"distance/reals": 3.0}))] == ["discriminator-too-weak"]
    rows = [{n: v for n, v in row.items() if "effect/" not in n} for row in log(**blind, **{"distance/reals": 3.0})]
    assert [finding.named for finding in diagnose(rows)] == ["healthy"], "generation goes by its cells"


@pytest.mark.parametrize("kind", ["pairs", "generation"])
def test_other_tasks_circle_from_the_first_stretch_on(kind: str) -> None:
    rows = [{n: v for n, v in row.items() if "/effect" not in n and "effect/" not in n} for row in log(movement=1.5)]
    if kind == "pairs":
        rows = log(**{"movement": 1.5, "effect/truth": 0.4, "back/effect/truth": 0.4})
    assert min(told_at(rows, "non-convergence")) < 0.3


def test_a_look_tells_of_both_ways_of_a_cycle() -> None:
    small = {**QUICK, "generator": "ResNetTranslator(width=4, blocks=1)"}
    prober = prober_of(load_recipe("cyclegan").replace(**small))
    found = prober.probe(Moment(9, 0.9))
    assert {"back/finite", "back/auc/train", "back/effect/source", "back/spread", "back/effective_rank"} <= found.keys()
    assert found["back/effect/source"] != found["effect/source"]
    seen = prober.before
    assert seen is not None
    prober.before = seen[:, 1:]  # of a run that kept what it saw of one way alone
    assert prober.before is None
    prober.before = seen
    again = prober.probe(Moment(10, 0.95))
    assert again["movement"] == pytest.approx(0, abs=1e-5)
    assert again["back/movement"] == pytest.approx(0, abs=1e-5)


def test_the_patches_of_an_image_are_one_sample() -> None:
    assert by_sample(torch.tensor([[1.0, 3.0], [5.0, 5.0]])).tolist() == [2.0, 5.0]
    assert by_sample(torch.tensor([1.0, 3.0])).tolist() == [1.0, 3.0]


def test_trials_are_judged_by_the_score_that_decides_for_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sparring.studies.treat.trials.SAMPLES", 100)
    recipe = load_recipe("segment").replace(**{**QUICK, "steps": 2, "pictures": 1})
    run = sparring.train(recipe, out=tmp_path / "run")
    judge = TrialScorer(recipe, seed=1)
    reported = sparring.evaluate(run, checkpoint="last", metrics="mean_iou", split="train", count=100, seed=1)
    assert judge(run) == pytest.approx(-reported.values["mean_iou"]), "a high one is good, and lower is better here"
    assert "minus mean_iou" in judge.about


def test_remedies_fit_the_task() -> None:
    blind = load_recipe("pix2pix").replace(task="Translate(l1=100, conditional=False)")
    form = training_data(blind).form
    first = fixes_for("ignored-condition", blind, form)[0]
    task = sparring.assemble.build.build_task(blind.replace(**first.changes), form)
    assert task == sparring.tasks.Translate(l1=100, conditional=True)
    about = [fix.about for fix in fixes_for("ignored-condition", load_recipe("pix2pix"), form)]
    assert first.about not in about, "its critic sees the source already"
    segment = load_recipe("segment")
    maps = training_data(segment).form
    changes = [fix.changes for fix in fixes_for("discriminator-overfit", segment, maps)]
    assert not any("augment" in change for change in changes), "colours and holes are nothing for maps of classes"


@pytest.mark.parametrize(("adversarial", "watched"), [("0", False), ("Linear(0, 1, begin=0.5)", True)])
def test_a_run_without_an_adversary_is_not_watched(adversarial: str, watched: bool) -> None:
    recipe = load_recipe("segment").replace(**QUICK, adversarial=adversarial, doctor="watch")
    data = training_data(recipe)
    state = start_state(recipe, data, torch.device("cpu"))
    assert (make_watch(recipe, data, state, HeldOut(recipe)) is not None) == watched


def test_held_out_samples_are_loaded_once_for_all_that_look_at_them(
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
