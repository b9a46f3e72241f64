"""Evaluations during training: the best checkpoint, patience, the budget, and no effect on the training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import TINY
from test_tasks_images import tiny as tiny_images

import sparring
from sparring.assemble.state import find_checkpoint
from sparring.base.errors import UserError
from sparring.cli import main
from sparring.evaluation import examples
from sparring.evaluation.protocol import Scores
from sparring.evaluation.scoring import Scoring
from sparring.metrics.extractors import Prepared
from sparring.run import checkpoint
from sparring.run.directory import Run
from sparring.training.completion import finished
from sparring.training.scoring import Scorer

SCORED = {
    **TINY,
    "evaluate_every": 5,
    "extractor": "Pixels(most=4)",
    "evaluate_count": 200,
    "evaluate_budget": 1.0,
    "keep": 9,
}


def tensors(run: Path) -> dict[str, object]:
    folder = Run.open(run).checkpoints
    return {m.step: m.sha256 for m in checkpoint.manifests(folder)}


def test_evaluations_are_logged_and_decide_the_best_checkpoint(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Run.open(sparring.train("digits", out=tmp_path / "run", **SCORED, metrics="frechet,precision_recall"))
    rows = run.evaluations()
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    assert {"frechet", "precision", "recall", "cost"} <= set(rows[0])
    best = min(rows, key=lambda row: row["frechet"])
    assert find_checkpoint(run, "best").step == best["step"]
    assert find_checkpoint(run, "best").score == best["frechet"]
    assert [scores["step"] for scores in run.scores()] == [5, 10, 15, 20]
    assert "scoring took" in capfd.readouterr().err
    # the same values as `evaluate` computes
    options = {"metrics": "frechet", "extractor": "Pixels(most=4)", "count": 200}
    again = sparring.evaluate(run.path, checkpoint="10", **options)
    assert again.values["frechet"] == pytest.approx(rows[1]["frechet"], rel=1e-6)


def test_high_values_can_be_the_better_ones(tmp_path: Path) -> None:
    run = Run.open(sparring.train("digits", out=tmp_path / "run", **SCORED, metrics="birthday"))
    best = max(run.evaluations(), key=lambda row: row["support"])
    assert best["support"] > 0
    assert find_checkpoint(run, "best").score == -best["support"]


@pytest.mark.slow
def test_evaluations_do_not_change_the_training(tmp_path: Path) -> None:
    # batch statistics would also reveal a change of the mode
    changes = {"held_out": 0.2, "generator": "DCGANGenerator(width=4)"}
    metrics = "usual,duality_gap,critic_gap,path_length"
    plain = sparring.train("digits", out=tmp_path / "plain", **{**TINY, **changes})
    scored = sparring.train("digits", out=tmp_path / "scored", **{**SCORED, **changes}, metrics=metrics)
    assert tensors(plain)[20] == tensors(scored)[20]


def scripted(monkeypatch: pytest.MonkeyPatch, value: Callable[[int], float]) -> None:
    """Replace the values of evaluations by a function of the step."""
    real = Scoring.measure

    def measure(self: Scoring, subject: Any, name: str) -> Scores:
        return replace(real(self, subject, name), values={"frechet": value(subject.generator.step)})

    monkeypatch.setattr(Scoring, "measure", measure)


@pytest.mark.slow
def test_patience_stops_with_a_reason_and_resume_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    scripted(monkeypatch, lambda step: abs(step - 10) + 1.0)
    changes = {**SCORED, "steps": 100, "patience": 2}
    run = Run.open(sparring.train("digits", out=tmp_path / "run", **changes))
    reason = "frechet has not improved in 2 evaluations; the best, 1, was at step 10"
    assert run.entries()[-1] == {**run.entries()[-1], "event": "stopped", "what": reason, "step": 20}
    assert f"Stopped at step 20: {reason}" in capfd.readouterr().err
    assert "It stopped early" in (run.path / "summary.md").read_text()
    assert find_checkpoint(run, "best").step == 10
    sparring.resume(run.path)  # resuming starts the patience from zero
    assert run.entries()[-1]["step"] == 30


def test_patience_counts_across_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: Callable[..., Any]
) -> None:
    scripted(monkeypatch, lambda step: abs(step - 10) + 1.0)
    with killed_at(17):
        sparring.train("digits", out=tmp_path / "run", **{**SCORED, "steps": 100, "patience": 2})
    sparring.resume(tmp_path / "run")
    assert [row["step"] for row in Run.open(tmp_path / "run").evaluations()] == [5, 10, 15, 20]


def test_evaluations_respect_their_share_of_the_time() -> None:
    history = [{"step": 5, "frechet": 2.0, "cost": 3.0}]
    recipe = SimpleNamespace(evaluate_every=5, evaluate_budget=0.1, patience=0)
    scorer = Scorer.__new__(Scorer)
    scorer.recipe, scorer.history, scorer.spent, scorer.skipped = recipe, history, 3.0, 0  # type: ignore[assignment]
    scorer.deciding = "frechet"

    def due(step: int, seconds: float, last: bool = False) -> bool:
        return scorer.due(SimpleNamespace(step=step, seconds=seconds), last)  # type: ignore[arg-type]

    assert not due(7, 1000.0)
    assert not due(10, 59.0)  # 3 s are spent and 3 s to come, more than a tenth of 59 s
    assert due(10, 61.0)
    assert due(7, 1.0, last=True)
    assert scorer.skipped == 1
    assert "5% of the training time, 1 evaluations skipped" in scorer.report(SimpleNamespace(step=10, seconds=61.0))  # type: ignore[arg-type]
    scorer.history = []
    assert due(5, 0.1)  # the cost is unknown before the first evaluation


def test_held_out_samples_are_not_trained_on(tmp_path: Path) -> None:
    from sparring.data.load import load_data, load_held_out

    train, held_out = load_data("digits", held_out=0.2), load_held_out("digits", held_out=0.2)
    assert held_out is not None
    assert (len(train), len(held_out)) == (1438, 359)
    rows = {bytes(row.flatten().tolist()) for row in train.samples}
    assert sum(bytes(row.flatten().tolist()) in rows for row in held_out.samples) == 0
    changes = {**SCORED, "held_out": 0.2, "metrics": "critic_gap,memorising"}
    run = sparring.train("digits", out=tmp_path / "run", **changes)
    assert "overfitting" in Run.open(run).evaluations()[0]
    scores = sparring.evaluate(run, split="test", metrics="frechet", extractor="Pixels(most=4)")
    assert scores.protocol.reference == 359
    assert load_held_out("digits") is None
    with pytest.raises(UserError, match="leaves one part empty"):
        load_data("digits", held_out=0.0001)


def test_an_early_stop_before_the_first_row_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, lambda step: float(step))
    words = [
        f"--{k.replace('_', '-')}={v}" for k, v in {**SCORED, "log_every": 50, "steps": 100, "patience": 1}.items()
    ]
    assert main(["train", "digits", *words, f"--out={tmp_path / 'run'}"]) == 0
    assert [row["step"] for row in Run.open(tmp_path / "run").rows()] == [10]
    assert finished(tmp_path / "run")


def test_patience_that_ends_with_the_budget_is_no_early_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, lambda step: float(step))
    run = sparring.train("digits", out=tmp_path / "run", **{**SCORED, "steps": 10, "patience": 1})
    assert not any(row.get("event") == "stopped" for row in Run.open(run).entries())


def test_a_metric_that_fails_during_training_loses_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(step: int) -> float:
        raise UserError("no such luck")

    scripted(monkeypatch, fail)
    with pytest.raises(UserError, match="no such luck"):
        sparring.train("digits", out=tmp_path / "run", **SCORED)
    assert find_checkpoint(Run.open(tmp_path / "run")).step == 5
    assert not finished(tmp_path / "run")


@pytest.mark.slow
def test_a_killed_and_resumed_run_with_evaluations_equals_a_plain_one(
    tmp_path: Path, killed_at: Callable[..., Any]
) -> None:
    plain = sparring.train("digits", out=tmp_path / "plain", **TINY)
    whole = sparring.train("digits", out=tmp_path / "whole", **SCORED)
    with killed_at(13):
        sparring.train("digits", out=tmp_path / "cut", **SCORED)
    assert not finished(tmp_path / "cut")
    sparring.resume(tmp_path / "cut")
    assert tensors(tmp_path / "cut")[20] == tensors(plain)[20] == tensors(whole)[20]
    bests = [find_checkpoint(Run.open(run), "best") for run in (tmp_path / "cut", whole)]
    assert bests[0].sha256 == bests[1].sha256
    assert bests[0].score == bests[1].score


def test_mistakes_are_one_line(tmp_path: Path, refused: Callable[..., str]) -> None:
    out = ("--out", tmp_path / "run")
    assert "patience=3 needs evaluations" in refused("train", "--patience", "3", *out)
    assert "evaluate_budget=2.0" in refused("train", "--evaluate-every", "5", "--evaluate-budget", "2", *out)
    assert "did you mean 'frechet'" in refused("train", "--evaluate-every", "5", "--metrics", "freche", *out)
    words = ("--evaluate-every", "5", "--extractor", "pixels", "--metrics")
    assert "held-out" in refused("train", *words, "critic_gap", *out)
    assert "needs points" in refused("train", *words, "wasserstein", *out)
    assert not (tmp_path / "run").exists()


IMAGES: dict[str, Any] = {"steps": 6, "evaluate_every": 2, "evaluate_budget": 1.0, "evaluate_count": 40, "keep": 9}


def trained_on_images(name: str, out: Path, **changes: Any) -> Run:
    return Run.open(sparring.train(tiny_images(name, adversarial="0", **{**IMAGES, **changes}), out=out))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value", "direction"), [("segment", "mean_iou", 1), ("pix2pix", "l1", -1)])
def test_the_first_score_of_the_task_decides(name: str, value: str, direction: int, tmp_path: Path) -> None:
    run = trained_on_images(name, tmp_path / "run")
    assert run.read_recipe().metrics == "usual"
    rows = run.evaluations()
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert value + "_baseline" in rows[0]
    best = max(rows, key=lambda row: direction * row[value])
    found = find_checkpoint(run, "best")
    assert (found.step, found.score_name) == (best["step"], value)
    assert found.score == pytest.approx(-direction * best[value])
    again = sparring.evaluate(run.path, count=40, metrics=value)
    assert again.step == best["step"]
    assert again.values[value] == pytest.approx(best[value], rel=1e-5)


def test_the_frechet_distance_decides_for_generated_samples(tiny_run: Path) -> None:
    assert Run.open(tiny_run).read_recipe().metrics == "frechet"


def test_another_score_of_images_may_decide(tmp_path: Path) -> None:
    run = trained_on_images("segment", tmp_path / "run", metrics="pixel_accuracy,usual", steps=4)
    assert find_checkpoint(run, "best").score_name == "pixel_accuracy"
    assert {"pixel_accuracy", "mean_iou"} < set(run.evaluations()[0])


def test_impossible_metrics_are_refused_before_the_run_starts(tmp_path: Path) -> None:
    for name, metrics, text in (
        ("pix2pix", "mean_iou", "mean_iou cannot be computed for this run: it needs label maps"),
        ("segment", "frechet", "frechet cannot be computed for this run: it needs images"),
        ("segment", "recall", "'recall' is a value of precision_recall"),
        ("restore", "memorising", "memorising is a metric of generated samples"),
    ):
        with pytest.raises(UserError, match=text):
            trained_on_images(name, tmp_path / "run", metrics=metrics)
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_evaluations_of_images_do_not_change_the_training(tmp_path: Path) -> None:
    scored = trained_on_images("pix2pix", tmp_path / "scored", metrics="l1")
    plain = trained_on_images("pix2pix", tmp_path / "plain", evaluate_every=0)
    assert tensors(scored.path)[6] == tensors(plain.path)[6]


@pytest.mark.slow
def test_a_summary_explains_its_metrics(tiny_run: Path, tmp_path: Path) -> None:
    text = (tiny_run / "summary.md").read_text()
    assert "- `sliced_wasserstein`: distance between samples and data" in text
    assert "Accuracy near 100 %" in text
    assert "term/" not in text
    text = (trained_on_images("segment", tmp_path / "run", steps=2).path / "summary.md").read_text()
    assert "sliced_wasserstein" not in text
    assert "ccuracy near" not in text
    assert "- `mean_iou`: mean intersection over union of classes; higher is better." in text
    assert "- `_baseline`: the score of the most frequent class at each pixel" in text
    assert "- `term/`: the other terms" in text
    text = (trained_on_images("pix2pix", tmp_path / "pairs", steps=1, evaluate_every=0).path / "summary.md").read_text()
    assert "- `l1`: mean absolute difference of values in [-1, 1]; lower is better." in text
    assert "_baseline" not in text


def test_held_out_images_are_loaded_once_for_scores_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparring.assemble import build

    loads: list[str] = []
    real = build.load_held_out

    def load(*arguments: Any) -> Any:
        loads.append(arguments[0])
        return real(*arguments)

    monkeypatch.setattr(build, "load_held_out", load)
    trained_on_images("segment", tmp_path / "run", steps=2, held_out=0.1, doctor="off")
    assert loads == ["digit-maps"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pix2pix", "restore"])
def test_real_features_are_computed_once_per_training(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extracted: list[int] = []
    baselines: list[int] = []
    extract, make = Prepared.__call__, examples.make_examples

    def counted(self: Prepared, samples: Any) -> Any:
        extracted.append(len(samples))
        return extract(self, samples)

    def counted_examples(task: Any, tests: Any, train: Any, count: int, *others: Any) -> Any:
        baselines.append(count)
        return make(task, tests, train, count, *others)

    monkeypatch.setattr(Prepared, "__call__", counted)
    monkeypatch.setattr("sparring.evaluation.translated.make_examples", counted_examples)
    run = trained_on_images(name, tmp_path / "run", metrics="frechet", doctor="off", penalties="")
    assert len(run.evaluations()) == 3
    assert len(extracted) == 3 + 2, "the outputs three times, the real images and the baseline once"
    assert baselines == [1, 40], "one image to check the metrics, then all"
    values = {row["frechet_baseline"] for row in run.evaluations()}
    assert len(values) == 1
