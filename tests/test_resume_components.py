"""Components with memory or randomness: a killed run resumes bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from conftest import without_time

import sparring
from sparring.recipe import load_recipe, recipe_names
from sparring.run import checkpoint
from sparring.run.directory import Run

COMMON = {
    "data": "digits",
    "task": "Generate(latent=Normal(5))",
    "generator": "DCGANGenerator(width=4)",
    "discriminator": "DCGANDiscriminator(width=4, deviation=4)",
    "precision": "fp32",
    "penalties": "",
    "augment": "",
    "batch_size": 16,
    "steps": 10,
    "log_every": 1,
    "pictures": 2,
    "checkpoint_every": 1e-9,
}
CASES = {
    "adaptive augmentation, LeCam's averages, top-k": {
        "augment": "ADA(images=100, every=2, start=0.3)",
        "penalties": "LeCam(), Orthogonal()",
        "loss": "TopK(loss=Hinge(), share=Linear(1, 0.5))",
        "micro_batches": 2,
    },
    "residual networks by class": {
        "task": "Generate(latent=Normal(5), classes=True)",
        "generator": "ResNetGenerator(width=8, most=8, attention=8)",
        "discriminator": "ResNetDiscriminator(width=8, most=8, attention=4)",
        "loss": "Hinge()",
        "ema": "EMA(half_life=100)",
    },
    "a critic that tells classes": {
        "task": "Generate(latent=Normal(5), classes=True)",
        "generator": "DCGANGenerator(width=4, condition='batch_norm')",
        "discriminator": "DCGANDiscriminator(width=4, condition='classifier', spectral_norm=True)",
        "penalties": "AuxiliaryClassifier(weight=0.5), FeatureMatching()",
        "turns": "Simultaneous()",
    },
    "codes": {
        "task": "Generate(latent=Normal(5), codes=(Categorical(3), Continuous(2)))",
        "penalties": "MutualInformation()",
    },
    "R3GAN with all its schedules": {
        "generator": "R3GANGenerator(width=8, blocks=1)",
        "discriminator": "R3GANDiscriminator(width=8, blocks=1)",
        "loss": "RelativisticPairing()",
        "penalties": "R1(weight=Cosine(0.1, 0.01), every=2), R2(weight=Cosine(0.1, 0.01), every=2)",
        "generator_optimizer": "Adam(betas=(0.0, Cosine(0.9, 0.99, finish=0.4)))",
        "discriminator_optimizer": "AdamW(betas=(0.0, Cosine(0.9, 0.99, finish=0.4)))",
        "learning_rate": "Cosine(1, 0.25, finish=0.4)",
    },
    "packs, mirrored and augmented": {
        "task": "Generate(latent=Normal(5), pack=2)",
        "augment": "DiffAugment()",
        "penalties": "Consistency(augment=DiffAugment(color=False)), Dragan()",
        "mirror": True,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed(case: str, tmp_path: Path, killed_at: Callable[..., AbstractContextManager[None]]) -> None:
    fields = {**COMMON, **CASES[case]}
    whole = sparring.train("digits", out=tmp_path / "whole", **fields)
    with killed_at(5):
        sparring.train("digits", out=tmp_path / "run", **fields)
    run = sparring.resume(tmp_path / "run")
    hashes = [checkpoint.manifests(path / "checkpoints")[-1] for path in (whole, run)]
    assert [manifest.step for manifest in hashes] == [10, 10]
    assert hashes[0].sha256 == hashes[1].sha256
    logs = [[without_time(row) for row in Run.open(path).rows()] for path in (whole, run)]
    assert logs[0] == logs[1]


def test_the_log_holds_the_state_of_adaptive_augmentation(tmp_path: Path) -> None:
    fields = {**COMMON, "augment": "ADA(images=100, every=2)", "steps": 4}
    rows = Run.open(sparring.train("digits", out=tmp_path / "run", **fields)).rows()
    assert all(row["augment/target"] == 0.6 for row in rows)
    assert "augment/heuristic" not in rows[0]
    assert -1 <= rows[-1]["augment/heuristic"] <= 1
    assert 0 <= rows[-1]["augment/p"] <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("now", "message"), [("LeCam()", "it holds no memory of LeCam"), ("R1(weight=0.1)", None)], ids=["missing", "spare"]
)
def test_a_checkpoint_without_the_memory_of_a_component_is_refused(
    tmp_path: Path, now: str, message: str | None
) -> None:
    before = "R1(weight=0.1)" if message else "LeCam()"
    run = sparring.train("digits", out=tmp_path / "run", **{**COMMON, "steps": 2, "penalties": before})
    path = run / "recipe.toml"
    path.write_text(path.read_text().replace(f'penalties = "{before}"', f'penalties = "{now}"'))
    if message:
        with pytest.raises(sparring.UserError, match=message):
            sparring.resume(run, steps=4)
    else:
        sparring.resume(run, steps=4)


SHAPES = {"mnist": (28, 28), "small-mnist": (28, 28), "stacked-mnist": (28, 28, 3), "cifar10": (32, 32, 3)}


@pytest.mark.slow
@pytest.mark.parametrize("name", recipe_names())
def test_every_named_recipe_trains_three_steps(name: str, tmp_path: Path) -> None:
    """The recipe's own networks; noise of the data's shape replaces data that may be missing."""
    recipe = load_recipe(name)
    changes = {"steps": 3, "minutes": 0.0, "pictures": 1, "batch_size": 8, "precision": "fp32"}
    if recipe.data in SHAPES:
        noise = np.random.default_rng(0).integers(0, 256, (40, *SHAPES[recipe.data]), np.uint8)
        np.savez(tmp_path / "noise.npz", images=noise, labels=np.arange(40) % 10)
        changes["data"] = str(tmp_path / "noise.npz")
    path = sparring.train(recipe.replace(**changes), out=tmp_path / "run")
    rows = Run.open(path).history()
    assert [row["step"] for row in rows if row.get("event") == "checkpoint"][-1] == 3
    assert recipe.about
