"""Sparring: train, diagnose and apply generative adversarial networks (GANs)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sparring.base.lazy import Aliases, lazy_names
from sparring.base.version import __version__ as __version__

if TYPE_CHECKING:
    from sparring.apply.generator import TrainedGenerator, load
    from sparring.base.errors import NotFiniteError, UserError
    from sparring.base.process import Interrupted
    from sparring.evaluation.evaluator import evaluate, evaluate_images
    from sparring.recipe import Recipe, load_recipe, recipe_names
    from sparring.studies.compare import compare
    from sparring.studies.sweep import sweep
    from sparring.studies.treat.treat import treat
    from sparring.training.train import resume, train

_NAMES = {
    "apply.generator": ("TrainedGenerator", "load"),
    "base.errors": ("NotFiniteError", "UserError"),
    "base.process": ("Interrupted",),
    "evaluation.evaluator": ("evaluate", "evaluate_images"),
    "recipe": ("Recipe", "load_recipe", "recipe_names"),
    "studies.compare": ("compare",),
    "studies.sweep": ("sweep",),
    "studies.treat.treat": ("treat",),
    "training.train": ("resume", "train"),
}
_PACKAGES = ("data", "doctor", "evaluation", "metrics", "networks", "run", "tasks", "training")
_SHORT = {  # short module names for users -> modules
    "augment": "sparring.game.augment",
    "checkpoint": "sparring.run.checkpoint",
    "clinic": "sparring.studies.clinic",
    "codes": "sparring.game.inputs",
    "components": "sparring.base.components",
    "degrade": "sparring.tasks.degrade",
    "ema": "sparring.game.ema",
    "errors": "sparring.base.errors",
    "extractors": "sparring.metrics.extractors",
    "generator": "sparring.apply.generator",
    "latents": "sparring.game.inputs",
    "losses": "sparring.game.losses",
    "match": "sparring.game.match",
    "memory": "sparring.game.memory",
    "optimizers": "sparring.game.optimizers",
    "penalties.pairs": "sparring.game.penalties.paired",
    "penalties.verdicts": "sparring.game.penalties.logits",
    "penalties": "sparring.game.penalties",
    "schedules": "sparring.game.schedules",
    "turns": "sparring.game.turns",
}

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
    "treat",
]

sys.meta_path.insert(0, Aliases({f"sparring.{old}": new for old, new in _SHORT.items()}))
__getattr__ = lazy_names("sparring", _NAMES, (*_PACKAGES, *_SHORT))
