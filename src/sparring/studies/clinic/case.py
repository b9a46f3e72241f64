"""What a case of the clinic is, and the healthy settings that cases start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sparring.recipe import Recipe

HEALTHY = "healthy"
PLANTS = "sparring.studies.clinic.plants."


@dataclass(frozen=True)
class Case:
    """A training of which is known what ails it.

    Attributes:
        name: of the case.
        illness: what was planted, or `healthy`.
        about: how, in a few words.
        recipe: fields of the recipe.
        control: the healthy case of the same data that its score is compared with; its own name, if it is one.
        also: other names of the same illness that are right, because what was planted brings them about.
        begins: the share of the run at which what was planted sets in.
        quick: is it one of the few of `--quick`?
    """

    name: str
    illness: str
    about: str
    recipe: Mapping[str, Any] = field(repr=False, hash=False)
    control: str = ""
    also: tuple[str, ...] = ()
    begins: float = 0.0
    quick: bool = False

    @property
    def curable(self) -> bool:
        """Is the fault in the recipe, so that a change of it can help? A planted network stays what it is."""
        return self.illness != HEALTHY and PLANTS not in f"{self.recipe}"

    def make_recipe(self, seed: int) -> Recipe:
        """The recipe to train; it is watched, and examined at twenty moments."""
        fields = {**COMMON, **self.recipe, "seed": seed}
        points = fields["data"] in ("ring", "grid")
        exams = {
            "metrics": "wasserstein,modes" if points else "frechet,modes",
            "evaluate_count": 1000 if points else 500,
        }
        every = max(1, fields["steps"] // 20)
        return Recipe(**{**exams, **fields, "evaluate_every": every, "log_every": max(1, fields["steps"] // 200)})


COMMON: dict[str, Any] = {
    "task": "Generate(latent=Normal(16))",
    "loss": "NonSaturating()",
    "turns": "Alternating()",
    "generator_optimizer": "Adam(lr=1e-3, betas=(0.0, 0.99))",
    "discriminator_optimizer": "Adam(lr=1e-3, betas=(0.0, 0.99))",
    "learning_rate": "Linear(1, 0, begin=0.5)",
    "ema": "",
    "augment": "",
    "precision": "fp32",
    "evaluate_budget": 1.0,
    "doctor": "watch",
    "pictures": 10,
    "checkpoint_every": 60.0,
}


def adam(lr: float, beta1: float = 0.0, beta2: float = 0.99) -> str:
    """Adam as text."""
    return f"Adam(lr={lr:g}, betas=({float(beta1)}, {float(beta2)}))"


def _bases() -> dict[str, dict[str, Any]]:
    """The healthy settings that cases start from."""
    mlp = {"generator": "MLPGenerator(hidden=(128, 128))", "discriminator": "MLPDiscriminator(hidden=(128, 128))"}
    points = {**mlp, "batch_size": 128, "steps": 2500, "penalties": "R1(weight=0.02)"}
    wide = {"generator": "MLPGenerator(hidden=(256, 256))", "discriminator": "MLPDiscriminator(hidden=(256, 256))"}
    images = {"task": "Generate(latent=Normal(32))", "batch_size": 64, "steps": 2500}
    small = {**images, "data": "digits", "held_out": 0.2, "penalties": "R1(weight=0.1, every=4)"}
    large = {**images, "data": "mnist", "penalties": "R1(weight=1, every=8)", "steps": 1500}
    conv = {
        "generator": "DCGANGenerator(width=16)",
        "discriminator": "DCGANDiscriminator(width=16)",
        "turns": "Simultaneous()",
    }
    turned = {"metrics": "frechet", "evaluate_count": 200, "batch_size": 4}  # one image into another: no modes to count
    pairs = {
        **turned,
        "data": "digit-edges",
        "held_out": 0.2,
        "task": "Translate(l1=20)",
        "generator": "UNetGenerator(width=16)",
        "discriminator": "PatchDiscriminator(width=16)",
        "generator_optimizer": adam(1e-3, 0.5, 0.999),
        "discriminator_optimizer": adam(2e-4, 0.5, 0.999),
        "steps": 400,
    }
    cycle = {
        **turned,
        "data": "digit-inverts",
        "held_out": 0.2,
        "task": "Cycle(cycle=10, identity=2)",
        "loss": "LeastSquares()",
        "generator": "ResNetTranslator(width=8, blocks=1)",
        "discriminator": "PatchDiscriminator(width=16)",
        "generator_optimizer": adam(1e-3, 0.5, 0.999),
        "discriminator_optimizer": adam(5e-4, 0.5, 0.999),
        "steps": 300,
    }
    return {
        "edges": pairs,
        "inverts": cycle,
        "ring": {**points, "data": "ring"},
        "grid": {**points, "data": "grid", "steps": 4000},
        "digits": {**small, **wide},
        "digits-conv": {**small, **conv},
        "mnist": {**large, **wide},
        "mnist-conv": {**large, **conv, "batch_size": 32, "steps": 1200},
    }


BASES = _bases()
CLASSES = "Generate(latent=Normal(32), classes=True)"


def make_case(name: str, illness: str, about: str, base: str, **changes: Any) -> Case:
    """A case with the healthy settings of `base`, but for the changes: fields of the recipe and of the case."""
    own = {key: changes.pop(key) for key in ("also", "quick", "control", "begins") if key in changes}
    control = own.pop("control", name if illness == HEALTHY else f"{base}-plain")
    steady = {} if illness == HEALTHY else {"learning_rate": "Constant(1)"}  # as it falls, the sick recover
    return Case(name, illness, about, {**BASES[base], **steady, **changes}, control=control, **own)
