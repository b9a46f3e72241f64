"""Public names of the package and its short module names."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import sparring

CALLS = (
    "train",
    "resume",
    "load",
    "evaluate",
    "evaluate_images",
    "compare",
    "sweep",
    "treat",
    "load_recipe",
    "recipe_names",
)
MODULES = {
    "augment": "ADA",
    "checkpoint": "Manifest",
    "codes": "Categorical",
    "components": "make",
    "data": "load_data",
    "degrade": "Downscale",
    "doctor": "Monitor",
    "ema": "EMA",
    "errors": "UserError",
    "evaluation": "Protocol",
    "extractors": "Classifier",
    "generator": "TrainedGenerator",
    "latents": "Normal",
    "losses": "Hinge",
    "game": "Game",
    "match": "Match",
    "memory": "Stateful",
    "metrics": "frechet",
    "networks": "DCGANGenerator",
    "optimizers": "Adam",
    "penalties": "R1",
    "penalties.pairs": "Perceptual",
    "penalties.verdicts": "LeCam",
    "recipe": "Recipe",
    "run": "Run",
    "schedules": "Linear",
    "tasks": "Generate",
    "turns": "Unrolled",
}


@pytest.mark.parametrize("name", CALLS)
def test_calls(name: str) -> None:
    assert callable(getattr(sparring, name))


@pytest.mark.parametrize(("module", "name"), MODULES.items())
def test_modules_by_their_short_names(module: str, name: str) -> None:
    found = getattr(import_module(f"sparring.{module}"), name)
    assert "." in module or found is getattr(getattr(sparring, module), name)


def test_an_old_name_is_the_same_module() -> None:
    import sparring.penalties.base
    from sparring.penalties import R1

    import sparring.game.penalties.base

    assert sparring.penalties.base is sparring.game.penalties.base
    assert issubclass(R1, sparring.penalties.base.Penalty)


@pytest.mark.slow
def test_a_first_import_by_an_old_name() -> None:
    code = "from sparring.losses import Hinge; from sparring.game.losses import Hinge as Same; assert Hinge is Same"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sparring.nothing  # type: ignore[attr-defined]
    with pytest.raises(ImportError):
        import_module("sparring.nothing")
