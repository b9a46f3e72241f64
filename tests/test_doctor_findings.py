"""Findings from hand-written logs, and the command that reports them."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sparring.assemble.start import resolve_auto, start_state
from sparring.base.components import make
from sparring.cli import main
from sparring.data.form import Form
from sparring.data.load import load_data
from sparring.doctor.diagnosis.findings import Finding, diagnose
from sparring.doctor.diagnosis.fixes import FIXES, fixes_for, scaled_rate, slope_penalty
from sparring.doctor.diagnosis.rules import FAILURES, RULES
from sparring.game import optimizers
from sparring.recipe import load_recipe
from sparring.run.directory import Run
from sparring.run.log import Row
from sparring.training.step import Stepper

HEALTHY: dict[str, float] = {
    "signal": 0.5,
    "auc/train": 0.7,
    "auc/held_out": 0.7,
    "auc/memory": 0.5,
    "auc/memory deviations": 0.0,
    "overfitting": 0.0,
    "logit/scale": 1.0,
    "logit/gap": 0.5,
    "spread": 1.0,
    "effective_rank": 0.9,
    "mode_coverage": 1.0,
    "distance/reals": 1.2,
    "distance/fakes": 1.2,
    "copies": 1.2,
    "fresh_critic_auc": 0.7,
    "movement": 0.3,
    "weights/generator": 10.0,
    "weights/discriminator": 10.0,
    "effect/class": 0.8,
    "effect/latent": 0.8,
    "effect/critic": 1.0,
}
FAILING: dict[str, dict[str, float]] = {
    "divergence": {"logit/scale": 1e4},
    "data-leak": {
        "auc/train": 0.99,
        "auc/held_out": 0.99,
        "fresh_critic_auc": 0.99,
        "leak/border": 0.5,
        "leak/range": 0.99,
    },
    "vanishing-gradient": {"signal": 0.01, "auc/train": 0.99, "auc/held_out": 0.99, "fresh_critic_auc": 0.99},
    "discriminator-overfit": {"auc/memory": 0.9, "auc/memory deviations": 15.0, "overfitting": 0.9},
    "memorising": {"copies": 0.1},
    "discriminator-too-weak": {"fresh_critic_auc": 1.0, "auc/train": 0.5, "auc/held_out": 0.5, "mode_coverage": 0.3},
    "mode-collapse": {"mode_coverage": 0.2, "spread": 0.3},
    "non-convergence": {"movement": 3.0},
    "ignored-condition": {"effect/class": 0.02},
}


def log(count: int = 20, onset: int | None = None, **failing: float) -> list[Row]:
    """A run of `count` probes, healthy up to probe `onset` (None: failing from the start, where metrics are given)."""
    rows: list[Row] = []
    for i in range(1, count + 1):
        at = {"step": 100 * i, "seconds": float(i), "progress": i / count}
        rows.append({**at, "gradient/generator": 1.0, "gradient/discriminator": 1.0})
        changed = failing if onset is None or i >= onset else {}
        rows.append({**at, "event": "probe", "cost": 0.01, **HEALTHY, **changed})
    return rows


def names(findings: list[Finding]) -> list[str]:
    return [finding.failure for finding in findings]


def test_a_healthy_run_is_healthy() -> None:
    assert names(diagnose(log())) == ["healthy"]


@pytest.mark.parametrize("failure", FAILING)
def test_each_failure_is_found_with_its_onset(failure: str) -> None:
    (first, *_) = diagnose(log(onset=9, **FAILING[failure]))
    assert first.failure == failure
    assert 900 <= first.since_step <= 1300  # a median over 4 probes needs 3 of them, and the rule must hold twice
    assert first.confidence == 1
    assert first.evidence
    assert first.why
    assert failure in FAILURES


@pytest.mark.parametrize("failure", FAILING)
def test_a_single_bad_probe_is_no_failure(failure: str) -> None:
    rows = log()
    probes = [row for row in rows if row.get("event") == "probe"]
    probes[-1].update(FAILING[failure])
    assert names(diagnose(rows)) == ["healthy"]


@pytest.mark.parametrize("failure", FAILING)
def test_a_past_failure_is_not_reported(failure: str) -> None:
    rows = log()
    for row in [row for row in rows if row.get("event") == "probe"][3:9]:
        row.update(FAILING[failure])
    assert "healthy" in names(diagnose(rows))


def test_a_consequence_names_its_cause() -> None:
    found = diagnose(log(**FAILING["vanishing-gradient"], mode_coverage=0.1))
    assert names(found) == ["vanishing-gradient", "mode-collapse"]
    assert found[1].caused_by == "vanishing-gradient"
    assert found[0].caused_by == ""


def test_there_is_no_finding_too_early() -> None:
    failing = log(onset=1, **FAILING["mode-collapse"])
    assert names(diagnose([])) == ["not-watched"]
    assert names(diagnose(failing[:4])) == ["too-early"]
    few = [{**row, "progress": row["progress"] / 20} for row in failing]  # many probes in a small part of the budget
    assert names(diagnose(few)) == ["too-early"]


def test_improving_coverage_is_no_failure_before_the_end() -> None:
    rows = log()
    for i, row in enumerate(row for row in rows if row.get("event") == "probe"):
        row.update({"mode_coverage": 0.05 + 0.03 * i, "distance/reals": 30 - i, "effective_rank": 0.3 + 0.01 * i})
    half = [row for row in rows if row["progress"] <= 0.5]
    assert names(diagnose(half)) == ["too-early"]
    assert "mode-collapse" in names(diagnose(rows))  # coverage of 60 % at the end of the budget


def test_a_run_that_is_not_finished_is_slow() -> None:
    assert names(diagnose(log(mode_coverage=0.8))) == ["slow"]


def test_nan_is_divergence_unless_the_run_went_on() -> None:
    rows = [*log(10), {"step": 1001, "seconds": 11.0, "event": "not finite", "what": "the loss"}]
    (found,) = diagnose(rows)
    assert (found.failure, found.since_step) == ("divergence", 1001)
    assert found.evidence[0].means == "the loss"
    went_on = [*log(10), {**rows[-1]}, {"step": 1000, "seconds": 10.0, "event": "resumed"}]
    assert names(diagnose(went_on)) == ["healthy"]


def test_a_run_that_was_extended_keeps_its_past() -> None:
    rows = log(10)
    for i in range(11, 31):  # the budget is three times as long from here on
        at = {"step": 100 * i, "seconds": float(i), "progress": i / 30}
        failing = FAILING["mode-collapse"] if i >= 15 else {}
        rows.append({**at, "gradient/generator": 1.0, "gradient/discriminator": 1.0})
        rows.append({**at, "event": "probe", "cost": 0.01, **HEALTHY, **failing})
    (found, *_) = diagnose(rows)
    assert found.failure == "mode-collapse"
    assert 1500 <= found.since_step <= 2000


def test_gaps_and_missing_metrics_are_no_failure() -> None:
    rows = log()
    thinned = [row for row in rows if row["step"] % 300 == 0 or row["step"] < 700]
    assert names(diagnose(thinned)) == ["healthy"]
    bare = [{n: v for n, v in row.items() if n not in HEALTHY or n == "signal"} for row in rows]
    assert names(diagnose(bare)) == ["healthy"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", HEALTHY)
def test_a_metric_that_is_not_finite_is_no_failure(name: str, value: float) -> None:
    rows = log()
    for row in [row for row in rows if row.get("event") == "probe"][10:]:
        row[name] = value
    assert names(diagnose(rows)) == ["healthy"]


def test_samples_that_are_not_finite_are_divergence() -> None:
    assert names(diagnose(log(onset=15, finite=0.0))) == ["divergence"]


def test_findings_can_be_written_as_json() -> None:
    for failure, metrics in FAILING.items():
        reported = [finding.to_json() for finding in diagnose(log(**metrics))]
        assert json.loads(json.dumps(reported, allow_nan=False))[0]["failure"] == failure


def test_the_command(
    tiny_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    path = Path(shutil.copytree(tiny_run, tmp_path / "run"))

    def write(rows: list[Row]) -> None:
        (path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    write(log())
    assert main(["doctor", str(path)]) == 0
    assert "healthy" in capfd.readouterr().out
    write(log(onset=9, **FAILING["mode-collapse"]))
    assert main(["doctor", str(path)]) == 1
    reported = capfd.readouterr().out
    assert "mode-collapse since step" in reported
    assert "sparring train" in reported
    assert f"sparring treat {path}" in reported
    assert (path / "doctor.png").exists()
    assert main(["doctor", str(path), "--json"]) == 1
    found = json.loads(capfd.readouterr().out)
    assert found["healthy"] is False
    assert set(found["findings"][0]) == {"failure", "since_step", "confidence", "evidence", "why", "fixes"}
    assert found["findings"][0]["fixes"][0]["command"].startswith("sparring train")
    write([])
    assert main(["doctor", str(path)]) == 0
    assert "not-watched" in capfd.readouterr().out
    (path / "log.jsonl").write_text("{}\n", encoding="utf-8")
    assert "is damaged" in refused("doctor", path)
    assert "is not a run" in refused("doctor", tmp_path)


def test_each_failure_has_a_rule_and_fixes() -> None:
    assert {rule.failure for rule in RULES} == set(FIXES)


@pytest.mark.parametrize("text", ["Adam(lr=1e-3, betas=(0.0, 0.99))", "Adam(1e-3)", "Adam()", "SGD", "RMSprop()"])
def test_learning_rates_are_scaled_in_the_text(text: str) -> None:
    before, after = make(text, optimizers), make(scaled_rate(text, 0.1), optimizers)
    assert after.lr == pytest.approx(before.lr / 10)
    assert dataclasses.replace(after, lr=before.lr) == before


@pytest.mark.parametrize(
    ("failure", "changes"),
    [
        ("discriminator-too-weak", {"turns": "Alternating(n_critic=5)"}),  # three would be fewer
        ("discriminator-overfit", {"augment": "ADA(images=100000)"}),  # the default is slower
        ("divergence", {"clip_gradients": 0.5}),
        ("mode-collapse", {"task": "Generate(Normal(8), pack=3)"}),
    ],
)
def test_fixes_do_not_weaken_what_a_recipe_has_already(failure: str, changes: dict[str, object]) -> None:
    recipe = load_recipe("mnist").replace(**changes)
    (field,) = changes
    for fix in fixes_for(failure, recipe, Form((1, 28, 28))):
        if not fix.about.startswith("stable baseline"):  # which states what it sets
            assert fix.changes.get(field, changes[field]) == changes[field], fix


def test_unrolling_is_no_fix_for_a_recipe_that_unrolls() -> None:
    recipe = load_recipe("mnist").replace(turns="Unrolled(depth=10)")
    for fix in fixes_for("mode-collapse", recipe, Form((1, 28, 28))):
        assert "Unrolled" not in str(fix.changes.get("turns", ""))


@pytest.mark.parametrize(
    ("rates", "wanted"),
    [((1e-3, 1e-3), 1e-3), ((3e-2, 1e-3), 1e-3), ((5e-2, 5e-2), 1e-3), ((5e-4, 1e-6), 5e-4), ((2e-4, 2e-3), 2e-3)],
)
def test_the_stable_baseline_has_a_usual_learning_rate(rates: tuple[float, float], wanted: float) -> None:
    texts = [f"Adam(lr={rate})" for rate in rates]
    recipe = load_recipe("lecture").replace(
        loss="Minimax()",
        turns="Alternating(5)",
        penalties="GradientPenalty(weight=10), LeCam(), R1(weight=0)",
        generator_optimizer=texts[0],
        discriminator_optimizer=texts[1],
    )
    (baseline, *_) = fixes_for("non-convergence", recipe, Form((1, 28, 28)))
    assert baseline.changes == {
        "loss": "NonSaturating()",
        "penalties": "LeCam(), R1(weight=Linear(1, 0.05), every=8)",
        "turns": "Alternating()",
        "generator_optimizer": f"Adam(lr={wanted:g}, betas=(0.0, 0.99))",
        "discriminator_optimizer": f"Adam(lr={wanted:g}, betas=(0.0, 0.99))",
        "learning_rate": "Linear(1, 0, begin=0.5)",
    }


@pytest.mark.parametrize(
    ("generator", "discriminator", "wanted"),
    [
        ("MLPGenerator(hidden=(64, 128))", "MLPDiscriminator(hidden=(16,))", "MLPDiscriminator(hidden=(128, 64))"),
        ("MLPGenerator(hidden=(64,))", "MLPDiscriminator(hidden=(64,))", None),
        ("DCGANGenerator(width=32)", "DCGANDiscriminator(width=8)", "DCGANDiscriminator(width=32)"),
        ("mine.G(hidden=32, width=(8, 8))", "mine.D(hidden=16, width=8)", None),  # unknown meaning
        ("DCGANGenerator()", "DCGANDiscriminator(width=8)", None),  # the size of G is not in the text
    ],
)
def test_a_small_discriminator_becomes_as_large_as_the_generator(
    generator: str, discriminator: str, wanted: str | None
) -> None:
    recipe = load_recipe("mnist").replace(generator=generator, discriminator=discriminator)
    fixes = fixes_for("mode-collapse", recipe, Form((1, 28, 28)))
    assert [r.changes["discriminator"] for r in fixes if "discriminator" in r.changes] == [wanted] * bool(wanted)


@pytest.mark.parametrize(
    ("shape", "batch", "wanted"),
    [
        ((2,), 64, "R1(weight=0.02)"),
        ((1, 8, 8), 64, "R1(weight=0.1, every=4)"),
        ((3, 64, 64), 32, "R1(weight=Linear(1, 0.05), every=8)"),
        ((3, 256, 256), 32, "R1(weight=0.41, every=8)"),
    ],
)
def test_the_penalty_suits_the_data(shape: tuple[int, ...], batch: int, wanted: str) -> None:
    recipe = load_recipe("lecture").replace(batch_size=batch)
    assert slope_penalty("R1", recipe, Form(shape, 0.0, 1.0)) == wanted
    patches = recipe.replace(discriminator="PatchDiscriminator(width=32)")
    assert slope_penalty("R1", patches, Form((3, 256, 256), 0.0, 1.0)) == "R1(weight=1, every=4)"


@pytest.mark.parametrize("failure", FIXES)
def test_fixes_do_not_run_the_users_own_code(failure: str) -> None:
    own = {
        name: f"mine.Thing({name}=1)" for name in ("generator_optimizer", "discriminator_optimizer", "turns", "task")
    }
    recipe = load_recipe("mnist").replace(**own, generator="mine.G(hidden=8)", discriminator="mine.D(hidden=(4,))")
    for fix in fixes_for(failure, recipe, Form((1, 28, 28))):
        assert "mine" not in str({**fix.changes, "discriminator": ""})
    if failure not in ("memorising", "data-leak", "discriminator-overfit", "ignored-condition"):
        assert any("stable baseline" in fix.about for fix in fixes_for(failure, recipe, Form((1, 28, 28))))


def test_relativistic_pairing_keeps_the_recipes_own_weight() -> None:
    recipe = load_recipe("mnist").replace(penalties="R1(weight=Linear(1, 0.05), every=8)")
    fixes = fixes_for("ignored-condition", recipe, Form((1, 28, 28)))
    (paired,) = [fix for fix in fixes if fix.changes.get("loss") == "RelativisticPairing()"]
    assert paired.changes["penalties"] == "R1(weight=Linear(1, 0.05), every=8), R2(weight=Linear(1, 0.05), every=8)"


@pytest.mark.slow
@pytest.mark.parametrize("recipe_name", ["ring", "digits", "lecture", "wgan-clip", "unrolled-ring"])
def test_fixes_build_and_change_something(recipe_name: str) -> None:
    cpu = torch.device("cpu")
    data = load_data("ring" if "ring" in recipe_name else "digits")
    recipe = resolve_auto(load_recipe(recipe_name).replace(data=data.name), data, cpu)
    for failure in FIXES:
        for fix in fixes_for(failure, recipe, data.form):
            changed = recipe.replace(**fix.changes)
            assert changed != recipe
            Stepper(changed, data, start_state(changed, data, cpu))(0.0)  # it takes a step
            assert fix.command(Path("run")).startswith("sparring train run/recipe.toml --")


def test_a_log_without_probes_is_no_failure(tiny_run: Path) -> None:
    rows = [row for row in Run.open(tiny_run).history() if row.get("event") != "probe"]
    assert names(diagnose(rows)) == ["not-watched"]


def test_low_coverage_that_the_last_probes_no_longer_show_is_no_failure() -> None:
    """The rank keeps rising, so medians over the last fifth are a tenth of the budget behind."""
    rows = log(count=20)
    for row in rows:
        row["progress"] *= 0.65
    probes = [row for row in rows if row.get("event") == "probe"]
    for number, row in enumerate(probes):
        row["effective_rank"] = 0.02 * (number + 1)
    assert probes[-1]["effective_rank"] > 0.35 > probes[-4]["effective_rank"]
    assert names(diagnose(rows)) == ["too-early"]
    for row in probes:
        row["effective_rank"] = min(row["effective_rank"], 0.3)
    assert names(diagnose(rows)) == ["mode-collapse"]


def test_a_few_lost_modes_are_reported_late_and_if_coverage_does_not_improve() -> None:
    lost = log(mode_coverage=0.75)
    assert names(diagnose(lost)) == ["mode-collapse"]
    (finding,) = diagnose(lost)
    assert finding.since_step == 300  # true since the third probe, reported after 60 % of the budget
    assert "modes of the data are missing" in finding.why
    early = [{**row, "progress": row["progress"] * 0.55} for row in lost]
    assert names(diagnose(early)) == ["slow"]
    for number, row in enumerate(row for row in lost if row.get("event") == "probe"):
        row["mode_coverage"] = 0.75 * (number + 1) / 20
    assert names(diagnose(lost[len(lost) // 2 :])) == ["too-early"]  # it improves
    assert names(diagnose(log(mode_coverage=0.82))) == ["slow"]


def test_a_sudden_collapse_is_reported_before_the_medians_show_it() -> None:
    rows = log(count=100, onset=60, mode_coverage=0.05, spread=0.02, effective_rank=0.1)
    onset = 6000  # the last fifth of the budget has 20 probes; half of them last until step 7,000
    for end in range(len(rows) + 1):
        if "mode-collapse" in names(diagnose([*rows[:end], {"step": 10_000, "progress": 1.0}])):
            break
    assert onset < rows[end - 1]["step"] <= onset + 400
    (finding,) = diagnose([*rows[:end], {"step": 10_000, "progress": 1.0}])
    assert {each.name for each in finding.evidence} == {"mode_coverage", "spread", "effective_rank"}


def test_three_probes_are_no_evidence_without_a_gross_bound() -> None:
    rows = log(count=100, onset=95, **{"effect/class": 0.2})  # a quarter of the effect of the latent
    assert names(diagnose(rows)) == ["healthy"]


def test_few_probes_are_no_failure_while_they_improve() -> None:
    rows = log(count=4, **FAILING["mode-collapse"])
    probes = [row for row in rows if row.get("event") == "probe"]
    for row, share, coverage in zip(probes, (0.005, 0.11, 0.15, 0.2), (0.1, 0.1, 0.15, 0.3)):
        row.update(progress=share, step=int(1000 * share), mode_coverage=coverage)
    assert names(diagnose([*probes, {"step": 200, "progress": 0.2}])) == ["too-early"]
    for row in probes:
        row["mode_coverage"] = 0.1
    assert names(diagnose([*rows, {**probes[-1], "step": 210, "progress": 0.21}])) == ["mode-collapse"]


def test_a_rule_that_does_not_defer_holds_at_the_first_probe_that_is_late_enough() -> None:
    """The probe before may be earlier than 17 % of the budget."""
    rows = log(count=5, **FAILING["memorising"])
    probes = [row for row in rows if row.get("event") == "probe"]
    for row, share in zip(probes, (0.01, 0.05, 0.1, 0.16, 0.18)):
        row.update(progress=share, step=int(1000 * share))
    assert names(diagnose(probes)) == ["memorising"]
    assert names(diagnose(probes[:-1])) == ["too-early"]


def test_a_leak_in_a_single_probe_is_no_failure() -> None:
    rows = log(count=20, **{"auc/train": 0.87, "auc/held_out": 0.87})
    probes = [row for row in rows if row.get("event") == "probe"]
    probes[-8]["leak/rounding"] = 0.6
    assert "data-leak" not in [v.failure for v in diagnose(rows)]
    for probe in probes[5:]:
        probe["leak/rounding"] = 0.6
    assert "data-leak" in [v.failure for v in diagnose(rows)]


def test_a_probe_without_its_share_of_the_budget_is_left_out() -> None:
    rows = [{k: v for k, v in row.items() if k != "progress"} for row in log()]
    assert [v.failure for v in diagnose(rows)] == ["not-watched"]


def test_a_discriminator_that_memorises_has_no_leak() -> None:
    rows = log(count=20, **{"auc/train": 0.99, "auc/held_out": 0.55, **FAILING["discriminator-overfit"]})
    assert [v.failure for v in diagnose(rows)] == ["discriminator-overfit"]
