"""A trained generator, ready to use."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from sparring import checkpoint
from sparring.build import build_generator, build_task
from sparring.checkpoint import restore_network, under
from sparring.data.samples import Form
from sparring.device import find_device
from sparring.errors import check_number
from sparring.game import Task
from sparring.recipe import Recipe
from sparring.run import Run
from sparring.sampling import draw_samples
from sparring.state import find_checkpoint


class TrainedGenerator:
    """A generator from a run, in evaluation mode.

    Attributes:
        network: the torch module; its weights are the run's average where it has one.
        recipe: what it was trained with.
        form: what its samples look like.
        step: the training step it comes from.
    """

    def __init__(self, network: nn.Module, task: Task, recipe: Recipe, form: Form, step: int) -> None:
        self.network, self.task, self.recipe, self.form, self.step = network, task, recipe, form, step

    def sample(self, n: int, *, seed: int = 0) -> Tensor:
        """Draw n samples on the CPU: float32 images [n, C, H, W] in [-1, 1], or points [n, D] in the data's units.

        The same seed gives the same samples; a larger n goes on with more of them.
        """
        check_number("sample", "count", n, low=1, whole=True)
        return self.form.to_units(draw_samples(self.task, self.network, n, seed))

    def sample_stored(self, n: int, *, seed: int = 0) -> Tensor:
        """The same samples as the data stores them: uint8 images, or points."""
        samples = self.sample(n, seed=seed)
        return samples if self.form.is_points else self.form.to_stored(samples)


def load(
    run: str | Path,
    *,
    checkpoint_name: str = "last",
    device: str = "auto",
    trust: bool = False,
    raw: bool = False,
) -> TrainedGenerator:
    """Load a run's generator.

    Args:
        run: the run directory.
        checkpoint_name: "last", "best" (by the run's scores), or a step such as "1200".
        device: cpu, cuda, mps or auto.
        trust: may component texts import code? Say so only of runs from people you trust.
        raw: take the generator's own weights, even where the run has an average of them.

    Raises:
        UserError: no such run or checkpoint, or a damaged one.
    """
    folder = Run.open(Path(run))
    recipe = folder.read_recipe()
    _, form = folder.read_data()
    manifest = find_checkpoint(folder, checkpoint_name)
    tensors = checkpoint.load(folder.checkpoints, manifest)
    network = build_generator(recipe, form, trust)
    average = {} if raw else under("average", tensors)
    restore_network(network, average or under("generator", tensors), "generator")
    network.requires_grad_(False).eval().to(find_device(device))
    return TrainedGenerator(network, build_task(recipe, trust), recipe, form, manifest.step)
