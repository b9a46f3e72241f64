"""Sparring: trains, diagnoses and applies generative adversarial networks."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparring.errors import NotFiniteError, UserError
    from sparring.evaluation import evaluate, evaluate_images
    from sparring.evaluation.compare import compare
    from sparring.evaluation.sweep import sweep
    from sparring.generator import TrainedGenerator, load
    from sparring.recipe import Recipe, load_recipe, recipe_names
    from sparring.training import Interrupted, resume, train

__version__ = "0.1.0"

_HOMES = {
    "Interrupted": "training",
    "NotFiniteError": "errors",
    "Recipe": "recipe",
    "TrainedGenerator": "generator",
    "UserError": "errors",
    "compare": "evaluation.compare",
    "evaluate": "evaluation",
    "evaluate_images": "evaluation",
    "load": "generator",
    "load_recipe": "recipe",
    "recipe_names": "recipe",
    "resume": "training",
    "sweep": "evaluation.sweep",
    "train": "training",
}
_MODULES = (
    "augment",
    "data",
    "doctor",
    "evaluation",
    "extractors",
    "latents",
    "losses",
    "metrics",
    "networks",
    "penalties",
    "schedules",
    "tasks",
    "turns",
)

__all__ = [
    "Interrupted",
    "NotFiniteError",
    "Recipe",
    "TrainedGenerator",
    "UserError",
    "compare",
    "evaluate",
    "evaluate_images",
    "load",
    "load_recipe",
    "recipe_names",
    "resume",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `sparring --help` needs no torch."""
    if name in _HOMES:
        return getattr(import_module(f"sparring.{_HOMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"sparring.{name}")
    raise AttributeError(f"module 'sparring' has no attribute {name!r}")
