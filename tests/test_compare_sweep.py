"""Comparisons of runs, and sweeps."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY
from PIL import Image
from test_tasks_images import tiny as tiny_images

import sparring
from sparring.cli import main
from sparring.evaluation import generated
from sparring.evaluation.protocol import Scores
from sparring.metrics.extractors import Prepared
from sparring.run.directory import Run
from sparring.studies.compare import Comparison, best_group, compare
from sparring.studies.page import scored_name, write_page
from sparring.studies.sweep import combinations, read_grid, sweep
from sparring.training import completion
from sparring.training.completion import finished

OPTIONS = {"metrics": "frechet,precision_recall", "extractor": "Pixels(most=4)", "count": 300}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two recipes with two seeds."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        sparring.train("digits", out=folder / f"{name}-{seed}", **{**TINY, "loss": loss, "seed": seed})
        for name, loss in (("hinge", "Hinge()"), ("saturating", "Minimax()"))
        for seed in (0, 1)
    ]


def test_runs_of_one_recipe_are_shown_as_their_mean(runs: list[Path]) -> None:
    comparison = compare(runs, **OPTIONS)
    (table,) = comparison.tables
    assert [group.name for group in table] == ["hinge (2 seeds)", "saturating (2 seeds)"]
    values = [entry.scores.values["frechet"] for entry in table[0].entries]
    assert table[0].value("frechet") == pytest.approx(sum(values) / 2)
    assert table[0].error("frechet") == pytest.approx(abs(values[0] - values[1]) / 2)
    assert list(comparison.recipes) == ["loss"]
    assert comparison.recipes["loss"]["hinge (2 seeds)"] == "Hinge()"
    text = "\n".join(comparison.lines())
    assert "hinge (2 seeds)" in text
    assert "protocol: 300 samples" in text
    best = min(table, key=lambda group: group.value("frechet") or 0)
    other = next(group for group in table if group is not best)
    row = next(line for line in text.splitlines() if line.startswith("frechet"))
    columns = next(line for line in text.splitlines() if line.startswith("run"))
    assert (row.index("*") < len(columns) / 1.5) == (columns.index(best.name) < columns.index(other.name))


def test_equal_seeds_do_not_form_a_group(runs: list[Path], tmp_path: Path) -> None:
    again = Path(shutil.copytree(runs[0], tmp_path / "again"))
    assert [g.name for g in compare([runs[0], again], **OPTIONS).groups] == ["hinge-0", "again"]


def test_runs_of_the_same_name_get_longer_names(runs: list[Path], tmp_path: Path) -> None:
    folders = [Path(shutil.copytree(run, tmp_path / name / "run")) for run, name in zip(runs[::2], "ab")]
    comparison = compare(folders, **OPTIONS)
    assert [group.name for group in comparison.groups] == ["a/run", "b/run"]
    assert comparison.recipes["loss"] == {"a/run": "Hinge()", "b/run": "Minimax()"}


def test_only_the_chosen_metrics_are_shown(runs: list[Path]) -> None:
    compare([runs[0]], **{**OPTIONS, "metrics": "frechet,mmd"})
    comparison = compare(runs[:2], **{**OPTIONS, "metrics": "mmd"})
    assert list(comparison.groups[0].entries[0].scores.values) == ["mmd"]


def test_scores_that_are_known_are_not_measured_again(runs: list[Path]) -> None:
    compare(runs[:2], **OPTIONS)
    before = [len(Run.open(run).scores()) for run in runs]
    compare(runs[:2], **OPTIONS)
    assert [len(Run.open(run).scores()) for run in runs] == before


def test_different_data_are_kept_apart(runs: list[Path], tiny_points_run: Path, tmp_path: Path) -> None:
    points = Path(shutil.copytree(tiny_points_run, tmp_path / "points"))
    comparison = compare([runs[0], points], **OPTIONS)
    assert len(comparison.tables) == 2
    assert "data digits and ring" in comparison.incomparable[0] or "data ring and digits" in comparison.incomparable[0]
    assert any(line.startswith("NOT COMPARABLE") for line in comparison.lines())
    write_page(comparison, tmp_path / "page.html")
    assert "Not comparable" in (tmp_path / "page.html").read_text()


def check_page(path: Path, comparison: Comparison) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!data:)', text)  # it needs no other file
    pictures = [Image.open(io.BytesIO(base64.b64decode(p))) for p in re.findall(r"base64,([^\"]+)", text)]
    assert len(pictures) == 1 + len(comparison.groups)
    assert all(len(picture.getcolors(1 << 24) or []) > 10 for picture in pictures)  # they show something
    assert all(group.name in text for group in comparison.groups)


def test_the_page_is_self_contained(runs: list[Path], tmp_path: Path) -> None:
    comparison = compare(runs, **OPTIONS)
    write_page(comparison, tmp_path / "deep" / "page.html")
    check_page(tmp_path / "deep" / "page.html", comparison)


def test_text_from_runs_is_escaped(runs: list[Path], tmp_path: Path) -> None:
    evil = Path(shutil.copytree(runs[0], tmp_path / "<img src=x>"))
    run = Run.open(evil)
    run.write_recipe(replace(run.read_recipe(), ema="EMA(half_life=7) # <script>"))
    write_page(compare([evil, runs[1]], **OPTIONS), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "<img src=x>" not in text
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_the_command(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--metrics",
        "frechet",
        "--extractor",
        "Pixels(most=4)",
        "--count",
        "300",
        "--out",
        str(tmp_path / "c.html"),
    ]
    assert main(["compare", *map(str, runs), *words]) == 0
    assert "hinge (2 seeds)" in capsys.readouterr().out
    assert (tmp_path / "c.html").exists()


def test_mistakes_are_one_line(runs: list[Path], tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "named twice" in refused("compare", runs[0], runs[0])
    assert "is not a run" in refused("compare", runs[0], tmp_path)
    out = ("--out", tmp_path / "sweep")
    assert "did you mean 'loss'" in refused("sweep", "digits", "--set", "los=Hinge()", *out)
    assert "must be FIELD=VALUE" in refused("sweep", "digits", "--set", "loss", *out)
    assert "--seeds" in refused("sweep", "digits", "--set", "seed=1", *out)
    assert "batch_size" in refused("sweep", "digits", "--set", "batch_size=lots", *out)
    assert "unknown component" in refused("sweep", "digits", "--set", "loss=Hing()", *out)
    assert "named twice" in refused("sweep", "digits", "--set", "loss=Hinge()", "Hinge()", *out)
    assert not (tmp_path / "sweep").exists()


def test_a_grid_from_the_command_line() -> None:
    grid = read_grid([["loss=Hinge()", "NonSaturating()"], ["batch-size=32", "64"]])
    assert grid == {"loss": ["Hinge()", "NonSaturating()"], "batch_size": [32, 64]}
    found = combinations(grid, seeds=2)
    assert len(found) == 8
    assert found["loss=Hinge-batch_size=32-seed1"] == {"loss": "Hinge()", "batch_size": 32, "seed": 1}
    long = combinations({"penalties": [f"R1(weight=5, every=16), R2(weight=5, every=16, x={i})" for i in range(2)]}, 1)
    assert len(long) == 2


def tiny_recipe(path: Path, **changes: object) -> str:
    recipe = sparring.load_recipe("digits").replace(**{**TINY, **changes})
    path.write_text(recipe.to_toml())
    return str(path)


@pytest.mark.slow
def test_a_sweep_trains_all_and_compares(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path / "tiny.toml")
    comparison = sweep(recipe, {"loss": ["Hinge()", "NonSaturating()"]}, seeds=2, out=tmp_path / "sweep", **OPTIONS)
    assert [len(group.entries) for group in comparison.groups] == [2, 2]
    check_page(tmp_path / "sweep" / "comparison.html", comparison)
    runs = sorted(path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    assert runs == [f"loss={loss}-seed{seed}" for loss in ("Hinge", "NonSaturating") for seed in (0, 1)]
    stamp = {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").rglob("*.safetensors")}
    again = sweep(recipe, {"loss": ["Hinge()", "NonSaturating()"]}, seeds=2, out=tmp_path / "sweep", **OPTIONS)
    assert [g.value("frechet") for g in again.groups] == [g.value("frechet") for g in comparison.groups]
    assert stamp == {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").rglob("*.safetensors")}
    more = sweep(recipe, {"loss": ["Hinge()", "NonSaturating()"]}, seeds=3, out=tmp_path / "sweep", **OPTIONS)
    assert [len(group.entries) for group in more.groups] == [3, 3]


@pytest.mark.slow
def test_a_sweep_resumes_in_the_middle_of_a_run(tmp_path: Path, killed_at: Callable[..., Any]) -> None:
    scored = {"evaluate_every": 5, "extractor": "Pixels(most=4)", "evaluate_count": 50, "evaluate_budget": 1.0}
    recipe = tiny_recipe(tmp_path / "tiny.toml", **scored)
    whole = sweep(recipe, {}, seeds=2, out=tmp_path / "whole", **OPTIONS)
    with killed_at(12, seed=1):
        sweep(recipe, {}, seeds=2, out=tmp_path / "cut", **OPTIONS)
    assert [finished(path) for path in sorted((tmp_path / "cut").glob("recipe-*"))] == [True, False]
    after = sweep(recipe, {}, seeds=2, out=tmp_path / "cut", **OPTIONS)
    assert [e.scores.values for e in after.groups[0].entries] == [e.scores.values for e in whole.groups[0].entries]
    assert any(row.get("event") == "resumed" for row in Run.open(tmp_path / "cut" / "recipe-seed1").entries())


@pytest.mark.slow
def test_folders_with_runs_of_another_recipe_are_refused(tmp_path: Path) -> None:
    sweep(tiny_recipe(tmp_path / "tiny.toml"), {}, out=tmp_path / "sweep", **OPTIONS)
    with pytest.raises(sparring.UserError, match=r"another recipe \(steps was 20 and is 30\)"):
        sweep(tiny_recipe(tmp_path / "tiny.toml", steps=30), {}, out=tmp_path / "sweep", **OPTIONS)


@pytest.mark.slow
def test_a_run_without_a_checkpoint_is_trained_again(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path / "tiny.toml")
    sweep(recipe, {}, out=tmp_path / "sweep", **OPTIONS)
    for path in (tmp_path / "sweep" / "recipe-seed0" / "checkpoints").iterdir():
        path.unlink()
    assert not finished(tmp_path / "sweep" / "recipe-seed0")
    sweep(recipe, {}, out=tmp_path / "sweep", **OPTIONS)
    assert finished(tmp_path / "sweep" / "recipe-seed0")


def test_unmeasurable_metrics_are_refused_before_training(tmp_path: Path) -> None:
    for options in ({"metrics": "wasserstein"}, {"split": "test"}, {"extractor": "Inception()"}):
        with pytest.raises(sparring.UserError):
            sweep(tiny_recipe(tmp_path / "tiny.toml"), {}, out=tmp_path / "sweep", **{**OPTIONS, **options})
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_a_run_that_another_process_trains_is_left_to_it(tmp_path: Path) -> None:
    from filelock import FileLock

    recipe = tiny_recipe(tmp_path / "tiny.toml")
    (tmp_path / "sweep").mkdir()
    with (
        FileLock(tmp_path / "sweep" / ".recipe-seed0.lock"),
        pytest.raises(sparring.UserError, match="1 of 2 runs are"),
    ):
        sweep(recipe, {}, seeds=2, out=tmp_path / "sweep", **OPTIONS)
    assert finished(tmp_path / "sweep" / "recipe-seed1")
    assert not (tmp_path / "sweep" / "recipe-seed0").exists()
    assert len(sweep(recipe, {}, seeds=2, out=tmp_path / "sweep", **OPTIONS).groups[0].entries) == 2


@pytest.mark.slow
def test_image_to_image_runs_are_compared(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"adversarial": "0", "evaluate_every": 2, "evaluate_count": 30, "evaluate_budget": 1.0}
    plain = {**changes, "adversarial": "1", "evaluate_every": 0}
    runs = [
        sparring.train(tiny_images("segment", **recipe), out=tmp_path / name)
        for name, recipe in (("pixels", changes), ("both", plain), ("more", {**changes, "batch_size": 4}))
    ]
    comparison = compare(runs, count=30, checkpoint="last")
    (table,) = comparison.tables
    values = {group.name: group.value("mean_iou") for group in table}
    best = best_group(table, "mean_iou")
    assert best is not None
    assert values[best.name] == max(value for value in values.values() if value is not None)
    assert best_group(table, "mean_iou_baseline") is None
    assert "adversarial" in comparison.recipes
    assert scored_name(comparison.groups) == "mean_iou"
    write_page(comparison, tmp_path / "page.html")
    check_page(tmp_path / "page.html", comparison)
    text = (tmp_path / "page.html").read_text()
    assert "The same test images for every run" in text
    assert "latents" not in text
    row = next(line for line in text.splitlines() if line.startswith("<tr><td>mean_iou<small>higher is better"))
    cells = re.findall(r"<td( class=best)?>([^<]*)</td>", row)
    assert [name for name, (mark, _) in zip(values, cells[-3:]) if mark] == [best.name]


@pytest.mark.slow
def test_known_scores_of_images_are_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = sparring.train(tiny_images("segment", held_out=0.5), out=tmp_path / "run")
    options = {"checkpoint": "last", "metrics": "pixel_accuracy,mean_iou", "count": 5}
    scores = scored(run, **options)
    with unmeasured(monkeypatch):
        assert scored(run, **options) == scores
        assert scored(run, **options, extractor="Random(seed=1)") == scores  # no metric uses the extractor
        for name, value in ("count", 4), ("metrics", "mean_iou"), ("seed", 1), ("raw", True), ("split", "train"):
            assert_measured(run, **{**options, name: value})
    sparring.resume(run, steps=Run.open(run).read_recipe().steps + 1)
    assert scored(run, **options).step == (scores.step or 0) + 1


@pytest.mark.parametrize("recipe", ["pix2pix", pytest.param("cyclegan", marks=pytest.mark.slow)])
def test_known_scores_of_images_belong_to_one_extractor(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = sparring.train(tiny_images(recipe, held_out=0.5), out=tmp_path / "run")
    options = {"checkpoint": "last", "metrics": "kernel_distance", "count": 20}
    scores = scored(run, **options)
    with unmeasured(monkeypatch):
        assert scored(run, **options) == scores
        assert_measured(run, **options, extractor="Random(seed=1)")
        kept = run / "scores.jsonl"
        kept.write_text(kept.read_text().replace(scores.protocol.extractor_digest, "f" * 16))  # of another machine
        assert_measured(run, **options)


def scored(run: Path, **options: Any) -> Scores:
    return compare([run], **options).groups[0].entries[0].scores


@contextmanager
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails if a score is measured."""
    with monkeypatch.context() as patch:
        patch.setattr("sparring.evaluation.scoring.Scoring.score", lambda *_: pytest.fail("measured again"))
        yield


def assert_measured(run: Path, **options: Any) -> None:
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        compare([run], **options)


def test_runs_without_a_discriminator_have_curves(tmp_path: Path) -> None:
    run = sparring.train(tiny_images("pix2pix", adversarial="0"), out=tmp_path / "run")
    assert not any("loss/generator" in row for row in Run.open(run).rows())
    comparison = compare([run], count=20, metrics="l1")
    write_page(comparison, tmp_path / "page.html")
    check_page(tmp_path / "page.html", comparison)


@pytest.mark.slow
def test_a_sweep_of_image_to_image_runs(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(tiny_images("segment", steps=2).to_toml())
    recipe, grid = str(tmp_path / "tiny.toml"), {"adversarial": ["0", "1"]}
    comparison = sweep(recipe, grid, out=tmp_path / "sweep", count=20)
    assert [len(group.entries) for group in comparison.groups] == [1, 1]
    check_page(tmp_path / "sweep" / "comparison.html", comparison)
    assert all(group.value("mean_iou") is not None for group in comparison.groups)


def test_unmeasurable_metrics_of_images_are_refused_before_a_sweep(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(tiny_images("segment", steps=2).to_toml())
    with pytest.raises(sparring.UserError, match="psnr cannot be computed for .*: it needs images"):
        sweep(str(tmp_path / "tiny.toml"), {}, out=tmp_path / "sweep", metrics="psnr")
    (tmp_path / "photos.toml").write_text(tiny_images("restore", steps=2).to_toml())
    tasks = {"task": ["Restore(degrade=Noise(25))", "Restore(degrade=Grey())"]}
    with pytest.raises(sparring.UserError, match="first scores are psnr and frechet; name one for all with --metrics"):
        sweep(str(tmp_path / "photos.toml"), tasks, out=tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_a_sweep_reads_real_samples_and_each_log_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"reached": 0, "prepare_extractor": 0, "forwards": 0}

    def count(name: str, home: Any, attribute: str) -> None:
        real = getattr(home, attribute)

        def counted(*arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            return real(*arguments, **options)

        monkeypatch.setattr(home, attribute, counted)

    count("reached", completion, "reached")
    count("prepare_extractor", generated, "prepare_extractor")
    count("forwards", Prepared, "__call__")
    recipe, grid = tiny_recipe(tmp_path / "tiny.toml", steps=2, doctor="off"), {"batch_size": [16, 32]}
    options = {**OPTIONS, "metrics": "frechet"}
    sweep(recipe, grid, seeds=2, out=tmp_path / "sweep", **options)
    assert counts == {"reached": 0, "prepare_extractor": 1, "forwards": 4 + 1}, (
        "samples of each run, and real samples once"
    )
    sweep(recipe, grid, seeds=2, out=tmp_path / "sweep", **options)
    assert counts == {"reached": 4, "prepare_extractor": 2, "forwards": 4 + 1}, "everything is trained and scored"
