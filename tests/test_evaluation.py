"""Scores of runs and of images from any source, their protocol and comparability."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from test_tasks_images import tiny as tiny_images

import sparring
from sparring import metrics
from sparring.assemble.state import find_checkpoint
from sparring.base.errors import UserError
from sparring.cli import main
from sparring.data.load import load_data
from sparring.evaluation import MEASURES, Protocol, Scores, differences
from sparring.evaluation.evaluator import Options, RunEvaluator
from sparring.evaluation.options import better, deciding_value, metric_names, names_in
from sparring.evaluation.report import SHOWN_WITH, lines, number, with_error
from sparring.evaluation.similarity import SIMILARITY
from sparring.run.directory import Run

PROTOCOL = Protocol("digits", "abc", "train", 1000, 1000, "Pixels()", "pixels", "none")
FAST = {"extractor": "Pixels()", "count": 300}


def test_every_metric_that_a_run_of_images_allows(run_copy: Path) -> None:
    scores = sparring.evaluate(run_copy, metrics="all", extractor="Random()", count=400)
    assert scores.protocol.count == scores.protocol.reference == 400
    wanted = {"frechet", "kernel_distance", "mmd", "precision", "recall", "density", "coverage", "sliced_wasserstein"}
    wanted |= {"different_bins", "support", "memorised", "path_length", "duality_gap"}
    assert wanted <= set(scores.values)
    assert "wasserstein" not in scores.values  # points only
    assert "overfitting" not in scores.values  # no samples were held out
    assert all(np.isfinite(v) for v in scores.values.values())
    assert scores.errors["kernel_distance"] > 0
    assert scores.values["duality_gap"] >= 0
    assert any("no held-out samples" in note for note in scores.notes)
    assert (run_copy / "nearest").is_dir()
    text = "\n".join(lines(scores))
    assert all(name in text for name in wanted)
    assert "of digits/train" in text


@pytest.mark.slow
def test_every_metric_that_a_run_of_points_allows(tiny_points_run: Path) -> None:
    scores = sparring.evaluate(tiny_points_run, metrics="all", count=500)
    assert {"wasserstein", "modes", "modes_there", "high_quality", "overfitting", "duality_gap"} <= set(scores.values)
    assert scores.values["modes_there"] == 8
    assert scores.protocol.extractor == "Pixels(most=32)"


def test_a_perfect_sampler_scores_like_the_data(tmp_path: Path) -> None:
    points = load_data("ring")
    np.save(tmp_path / "fresh.npy", points.samples[torch.randperm(50_000)[:2000]].numpy())
    scores = sparring.evaluate_images(tmp_path / "fresh.npy", against="ring", metrics="modes,frechet,precision_recall")
    assert scores.values["modes"] == 8
    assert scores.values["high_quality"] == pytest.approx(0.989, abs=0.01)
    assert scores.values["frechet"] < 0.02
    assert scores.values["recall"] > 0.95
    collapsed = points.samples[points.labels == 3][:2000]
    np.save(tmp_path / "collapsed.npy", collapsed.numpy())
    worse = sparring.evaluate_images(
        tmp_path / "collapsed.npy", against="ring", metrics="modes,frechet,precision_recall"
    )
    assert worse.values["modes"] == 1
    assert worse.values["frechet"] > 1
    assert worse.values["recall"] < 0.3


def test_copies_of_training_images_are_found(tmp_path: Path) -> None:
    digits = load_data("digits", held_out=0.3)
    np.savez(tmp_path / "data.npz", images=digits.samples[:, 0].numpy())
    np.save(tmp_path / "copies.npy", digits.samples[:500, 0].numpy())
    scores = sparring.evaluate_images(tmp_path / "copies.npy", against=str(tmp_path / "data.npz"), metrics="memorising")
    assert scores.values["memorised"] == 1
    picture = tmp_path / "nearest.png"
    sparring.evaluate_images(
        tmp_path / "copies.npy", against=str(tmp_path / "data.npz"), metrics="memorising", picture=picture
    )
    assert picture.stat().st_size > 1000


def test_samples_generated_for_classes_are_scored_by_class(tmp_path: Path) -> None:
    digits = load_data("digits")
    assert digits.labels is not None
    images, labels = digits.samples[:, 0].numpy(), digits.labels.numpy().astype(str)
    np.savez(tmp_path / "right.npz", images=images, labels=labels)
    np.savez(tmp_path / "wrong.npz", images=images, labels=np.roll(labels, 7))
    options = {"against": "digits", "metrics": "class_frechet", "extractor": "Pixels()"}
    right = sparring.evaluate_images(tmp_path / "right.npz", **options).values
    wrong = sparring.evaluate_images(tmp_path / "wrong.npz", **options).values
    assert right["class_frechet"] == pytest.approx(0, abs=1e-6)
    assert wrong["class_frechet"] > 5
    assert sum(name.startswith("class_frechet/") for name in right) == 10


def test_few_samples_give_a_warning_and_the_kernel_distance(run_copy: Path) -> None:
    scores = sparring.evaluate(run_copy, metrics="frechet", **FAST)
    assert scores.notes[0].startswith(
        "WARNING: 300 samples are too few for a stable Frechet distance of 64 features (at least 320)"
    )
    assert list(scores.values) == ["frechet", "kernel_distance"]
    enough = sparring.evaluate(run_copy, metrics="frechet", extractor="Pixels(most=4)", count=300)
    assert not any("WARNING" in note for note in enough.notes)
    assert list(enough.values) == ["frechet"]


def test_the_same_scores_again_and_others_for_another_seed(run_copy: Path) -> None:
    options = {"metrics": "frechet,precision_recall", **FAST}
    one, again = (sparring.evaluate(run_copy, **options) for _ in range(2))
    assert one.values == again.values
    assert sparring.evaluate(run_copy, seed=1, **options).values != one.values
    raw = sparring.evaluate(run_copy, raw=True, **options)
    assert raw.values != one.values
    assert (one.protocol.ema, raw.protocol.ema) == (True, False)


def test_scores_are_saved_and_reused(run_copy: Path) -> None:
    evaluator = RunEvaluator(run_copy, Options(metrics="frechet", extractor="Pixels()", count=300))
    manifest = find_checkpoint(evaluator.run)
    assert evaluator.known(manifest) is None
    scores = evaluator(manifest)
    assert evaluator.known(manifest) == scores
    assert len(Run.open(run_copy).scores()) == 1
    text = (run_copy / "scores.jsonl").read_text()
    (run_copy / "scores.jsonl").write_text(text.replace(manifest.sha256, "0" * 64))  # other weights at that step
    assert evaluator.known(manifest) is None
    (run_copy / "scores.jsonl").write_text(text)
    for other in ({"count": 200}, {"extractor": "Random()"}, {"seed": 3}, {"raw": True}, {"metrics": "mmd"}):
        options = Options(**{"metrics": "frechet", "extractor": "Pixels()", "count": 300, **other})
        assert RunEvaluator(run_copy, options).known(manifest) is None, other


def test_differences_that_keep_scores_apart_are_named() -> None:
    assert differences(PROTOCOL, PROTOCOL) == []
    assert differences(PROTOCOL, replace(PROTOCOL, count=500)) == ["count 1000 and 500"]
    assert differences(PROTOCOL, replace(PROTOCOL, seed=1, version="9", ema=True)) == []
    assert differences(PROTOCOL, replace(PROTOCOL, seed=1), reported=True) == ["seed 0 and 1"]
    assert differences(PROTOCOL, replace(PROTOCOL, data="the same, elsewhere")) == []
    assert differences(PROTOCOL, replace(PROTOCOL, extractor="elsewhere")) == []
    other = differences(PROTOCOL, replace(PROTOCOL, data="mnist", data_digest="def"))
    assert other == ["data digits and mnist", "data digest abc and def"]


def test_scores_survive_their_file() -> None:
    scores = Scores("run", {"a": 1.5, "b": float("inf")}, PROTOCOL, step=3, errors={"a": 0.1}, notes=["n"], asked=["a"])
    read = Scores.from_json(json.loads(json.dumps(scores.to_json())), "here")
    assert read == scores
    with pytest.raises(UserError, match="here is damaged"):
        Scores.from_json({"values": 3}, "here")


def test_every_value_of_a_metric_is_known_to_the_report() -> None:
    names = {name for measure in MEASURES.values() for name in measure.better}
    assert not names & set(SHOWN_WITH)
    assert {of for of, _ in SHOWN_WITH.values()} - names <= {"game_value"}
    assert deciding_value("precision_recall,frechet") == "precision"
    assert deciding_value("usual") == "frechet"
    assert better("frechet") == -1
    assert better("recall") == 1
    assert better("unheard of") == 0


def test_names_of_metrics() -> None:
    assert metric_names("frechet, modes") == ["frechet", "modes"]
    assert "duality_gap" not in metric_names("usual")
    assert metric_names("duality_gap,all") == ["duality_gap", *(n for n in MEASURES if n != "duality_gap")]
    with pytest.raises(UserError, match="did you mean 'frechet'"):
        metric_names("frecht")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.0, "3"),
        (12345.0, "12,345"),
        (0.12345, "0.1235"),
        (12345.6, "12,346"),
        (123456.7, "123,457"),
        (float("inf"), "inf"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (7.2138, 0.1923, "7.21 ± 0.19"),
        (1394.2, 171.9, "1,394 ± 172"),
        (0.00117, 0.00014, "0.00117 ± 0.00014"),
        (25, 0.0, "25"),
        (25, None, "25"),
        (2.5, math.nan, "2.5"),
        (0.9999999881, 5.3e-9, "1"),
    ],
)
def test_numbers_with_their_error(value: float, error: float | None, text: str) -> None:
    assert with_error(value, error) == text


def test_the_order_of_images_does_not_matter(tmp_path: Path) -> None:
    digits = load_data("digits")
    assert digits.labels is not None
    np.save(tmp_path / "sorted.npy", digits.samples[digits.labels.argsort()][:, 0].numpy())
    options = {"metrics": "precision_recall", "extractor": "Pixels()", "count": 300}
    scores = sparring.evaluate_images(tmp_path / "sorted.npy", against="digits", **options)
    assert scores.values["recall"] > 0.8  # the first 300 images of the sorted set are zeros and ones


def test_usual_metrics_leave_out_what_few_images_do_not_allow(tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", load_data("digits").samples[:30, 0].numpy())
    scores = sparring.evaluate_images(tmp_path / "few.npy", against="digits", extractor="Pixels()")
    assert "frechet" in scores.values
    assert "different_bins" not in scores.values
    assert any(note.startswith("different_bins left out: 30 samples are too few") for note in scores.notes)


def test_a_read_only_run_is_scored(
    run_copy: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: Run, scores: object) -> None:
        raise UserError("the disk is full")

    monkeypatch.setattr(Run, "append_scores", refuse)
    assert "frechet" in sparring.evaluate(run_copy, metrics="frechet", **FAST).values
    assert "the scores are not saved: the disk is full" in capfd.readouterr().err


def test_an_incomplete_line_of_scores_is_repaired(run_copy: Path) -> None:
    sparring.evaluate(run_copy, metrics="frechet", **FAST)
    with (run_copy / "scores.jsonl").open("a") as file:
        file.write('{"step": 20, "val')
    sparring.evaluate(run_copy, metrics="mmd", **FAST)
    assert [next(iter(s["values"])) for s in Run.open(run_copy).scores()] == ["frechet", "mmd"]


def test_the_command_prints_scores_with_their_protocol(run_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--extractor", "pixels", "--count", "200", "--metrics", "frechet,precision_recall"]
    assert main(["evaluate", str(run_copy), *options]) == 0
    text = capsys.readouterr().out
    assert "step 20" in text
    assert "protocol: 200 samples (as sampled, EMA weights, seed 0) against 200 of digits/train" in text
    assert main(["evaluate", str(run_copy), "--checkpoint", "all", "--json", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [f["step"] for f in found] == [0, 20]
    assert found[1]["protocol"]["extractor"] == "Pixels(most=32)"


def test_mistakes_are_one_line(run_copy: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "one.npy", np.zeros((1, 8, 8), np.uint8))
    np.save(tmp_path / "few.npy", np.random.default_rng(0).integers(0, 255, (3, 8, 8)).astype(np.uint8))
    np.save(tmp_path / "large.npy", np.zeros((30, 16, 16), np.uint8))
    against = ("--against", "digits", "--extractor", "pixels")
    assert "holds no images" in refused("evaluate", "--images", tmp_path / "empty", *against)
    assert "holds 1 sample;" in refused("evaluate", "--images", tmp_path / "one.npy", *against)
    assert "too few for k=3" in refused(
        "evaluate", "--images", tmp_path / "few.npy", "--metrics", "precision_recall", *against
    )
    assert "[1, 16, 16], digits of shape [1, 8, 8]" in refused("evaluate", "--images", tmp_path / "large.npy", *against)
    assert "needs either runs or images" in refused("evaluate")
    assert "needs either runs or images" in refused("evaluate", run_copy, "--images", tmp_path)
    assert "did you mean 'frechet'" in refused("evaluate", run_copy, "--metrics", "freche")
    assert "it needs points" in refused("evaluate", run_copy, "--metrics", "wasserstein", "--extractor", "pixels")
    assert "held-out" in refused("evaluate", run_copy, "--metrics", "critic_gap", "--extractor", "pixels")
    assert "no held-out samples" in refused("evaluate", run_copy, "--split", "test")
    assert "did you mean 'Pixels'" in refused("evaluate", run_copy, "--extractor", "Pixel()")
    assert "no checkpoint '7'" in refused("evaluate", run_copy, "--checkpoint", "7")


def test_grey_test_images_for_a_run_in_colour_and_the_reverse(tmp_path: Path) -> None:
    digits = load_data("digits").samples[:40].repeat_interleave(2, 2).repeat_interleave(2, 3)
    np.save(tmp_path / "grey.npy", digits[:, 0].numpy())
    np.save(tmp_path / "rgb.npy", digits.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy())
    np.save(tmp_path / "points.npy", np.zeros((9, 2), np.float32))
    changes = {"size": "", "fit": "crop", "adversarial": "0", "mirror": False, "penalties": "", "steps": 1}
    for own, other in (("rgb", "grey"), ("grey", "rgb")):
        path = str(tmp_path / f"{own}.npy")
        run = sparring.train(tiny_images("restore", **{**changes, "data": path}), out=tmp_path / own)
        found = [sparring.evaluate(run, on=str(tmp_path / f"{name}.npy"), metrics="psnr") for name in (own, other)]
        assert found[0].values["psnr_baseline"] == pytest.approx(found[1].values["psnr_baseline"], abs=0.01)
        assert [any("other channels" in note for note in scores.notes) for scores in found] == [False, True]
        with pytest.raises(UserError, match="samples of shape"):
            sparring.evaluate(run, on=str(tmp_path / "points.npy"))


def test_the_help_lists_what_the_registries_hold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(MEASURES, "brand_new", MEASURES["frechet"])
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    words = set(re.split(r"[,;\s]+", capsys.readouterr().out))
    assert words >= {*MEASURES, *SIMILARITY}


def test_metrics_are_found_without_being_named() -> None:
    homes = {}
    for path in sorted(Path(metrics.__path__[0]).glob("[!_]*.py")):
        module = import_module(f"sparring.metrics.{path.stem}")
        for name, found in vars(module).items():
            if not name.startswith("_") and getattr(found, "__module__", "") == module.__name__ and name != path.stem:
                assert homes.setdefault(name, module) is module, f"{name} is in two modules"
                assert getattr(metrics, name) is found
                assert name in dir(metrics)
    assert {"frechet", "ssim", "mean_iou", "Estimate", "nearest", "slerp"} <= set(homes)
    assert metrics.extractors.__name__ == "sparring.metrics.extractors"
    with pytest.raises(AttributeError, match="no attribute 'frecht'"):
        metrics.frecht  # noqa: B018
    with pytest.raises(TypeError, match="checkpoint_name"):
        sparring.load("run", checkpoint_name="best")


def test_a_user_defined_extractor_needs_trust(tmp_path: Path) -> None:
    np.savez(tmp_path / "made.npz", images=load_data("digits").samples[:20].movedim(1, -1).numpy())
    own = {"against": "digits", "metrics": "sliced_wasserstein", "extractor": "sparring.extractors.Pixels()"}
    with pytest.raises(UserError, match="would run code"):
        sparring.evaluate_images(tmp_path / "made.npz", **own)
    assert sparring.evaluate_images(tmp_path / "made.npz", trust=True, **own).values


def test_the_extractor_of_pieces_does_not_depend_on_earlier_calls(tmp_path: Path) -> None:
    changes = {"data": "digits", "size": "8", "steps": 2, "held_out": 0.1, "doctor": "off", "device": TINY["device"]}
    run = sparring.train(tiny_images("restore").replace(**changes, evaluate_every=0), out=tmp_path / "run")
    options = {"metrics": "frechet", "count": 50}
    for _ in range(2):
        sparring.compare([run], **options)
    assert len(Run.open(run).scores()) == 1
    first, asked = (RunEvaluator(run, Options(**options)).scoring for _ in range(2))
    asked.same_protocol(Protocol(**Run.open(run).scores()[0]["protocol"]))
    digests = [scoring._extractor(scoring.tests).digest for scoring in (first, asked)]  # type: ignore[attr-defined]
    assert digests[0] == digests[1] == Run.open(run).scores()[0]["protocol"]["extractor_digest"]


def test_a_remark_without_text_leaves_no_comma(tiny_run: Path) -> None:
    scores = sparring.evaluate(tiny_run, metrics="birthday", count=64, extractor="Pixels()")
    assert not any("(," in line or ", ," in line for line in lines(scores))


@pytest.mark.slow
def test_exact_copies_among_the_images_are_reported(tmp_path: Path) -> None:
    digits = load_data("digits").samples[:60]
    np.save(tmp_path / "made.npy", torch.cat([digits[:40], digits[:10]])[:, 0].numpy())
    scores = sparring.evaluation.evaluate_images(tmp_path / "made.npy", against="digits", metrics="sliced_wasserstein")
    assert "WARNING: 10 of 50 samples are exact copies of other samples" in scores.notes


def test_names_of_values_lead_to_their_metric() -> None:
    with pytest.raises(UserError, match="'recall' is a value of precision_recall; write --metrics precision_recall"):
        names_in("frechet,recall")
    with pytest.raises(
        UserError, match=r"'FID' is frechet with Inception features; write --metrics frechet --extractor"
    ):
        names_in("FID")
