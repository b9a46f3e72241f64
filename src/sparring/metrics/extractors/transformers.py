"""Networks of Hugging Face's `transformers`, an optional package: DINOv2 and CLIP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.base.errors import UserError, existing_path, shortened
from sparring.data.samples import Data
from sparring.metrics.extractors.base import Extractor, Prepared, digest_of
from sparring.metrics.extractors.pretrained import PART, Pretrained, check_images, resize_bicubic, to_levels

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True)
class DINOv2(Pretrained):
    """DINOv2's class token after the last layer's norm: 1024 features of the ViT-L/14, for the distance FD-DINOv2.

    Images are rounded to levels, grey is repeated to RGB, resized to 224x224 as Pillow does it, and normalised with
    ImageNet's mean and deviation. `transformers` stretches the position embeddings from 37x37 to 16x16 a little
    differently than DINOv2's own code, with which published distances were made: expect small differences.
    `weights` is a folder with config.json and model.safetensors, or a name on the Hugging Face hub, from which
    `download` fetches it (1.2 GB) if it is not in the cache.

    Source: Oquab et al. 2023 (the network), Stein et al. 2023 (the distance).
    """

    weights: str = "facebook/dinov2-large"

    def prepare(self, data: Data, device: torch.device) -> Prepared:
        model = _load(self, "Dinov2Model", data)
        return _prepared(self, Looking(model, 224, IMAGENET, lambda found: found.last_hidden_state[:, 0]), device)


@dataclass(frozen=True)
class CLIP(Pretrained):
    """CLIP's image embedding, projected and of length 1: 768 features of the ViT-L/14 at 336 pixels.

    The metric `cmmd` is made for it; others, such as `mmd`, give other numbers than the published ones.
    Images are rounded to levels, grey is repeated to RGB, resized to the network's size as Pillow does it, and
    normalised with CLIP's mean and deviation. Images that are not square are squeezed, not cropped. `weights` and
    `download` (1.7 GB) are as in `DINOv2`.

    Source: Radford et al. 2021 (the network), Jayasumana et al. 2024 (the distance CMMD).
    """

    weights: str = "openai/clip-vit-large-patch14-336"

    def prepare(self, data: Data, device: torch.device) -> Prepared:
        model = _load(self, "CLIPVisionModelWithProjection", data)
        # of length 1: CMMD's kernel has a fixed width, which is meant for such embeddings
        network = Looking(model, int(model.config.image_size), OPENAI, lambda x: F.normalize(x.image_embeds, dim=1))
        return _prepared(self, network, device)


class Looking(nn.Module):
    """Images [n, 1 or 3, H, W] in [-1, 1] -> (features [n, d], None), by a model of `transformers`. The model takes
    `pixel_values` [n, 3, size, size], normalised by the mean and deviation (`normal`) of its training images' channels,
    which lay in [0, 1]; `pick` finds the features [n, d] in what it gives."""

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, model: nn.Module, size: int, normal: Sequence[Sequence[float]], pick: Callable[[Any], Tensor]
    ) -> None:
        super().__init__()
        self.model, self.size, self.pick = model, size, pick
        for name, values in zip(("mean", "deviation"), normal):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def inputs(self, images: Tensor) -> Tensor:
        """What the model is given: [n, 3, size, size], normalised."""
        return (resize_bicubic(to_levels(images), self.size) / 255 - self.mean) / self.deviation

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        parts = [self.pick(self.model(pixel_values=self.inputs(part))) for part in images.split(PART)]
        return torch.cat(parts), None


def _prepared(component: Extractor, network: Looking, device: torch.device) -> Prepared:
    network.requires_grad_(False).eval()
    return Prepared(
        name=repr(component),
        network=network.to(device),
        digest=digest_of(network.model.state_dict()),
        resizer=f"antialiased bicubic to {network.size}x{network.size}, as Pillow",
        rounds=True,
        unit_length=isinstance(component, CLIP),
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """No reports of `transformers` on tensors that are of no use here, such as CLIP's for texts."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _load(component: Pretrained, architecture: str, data: Data) -> Any:
    """A model in fp32 with a folder's or the hub's weights; without `download` nothing asks the network. UserError: it
    does not fit the data; there is no `transformers`, or it refuses this version of torch; the weights are not there,
    or are not this model's."""
    owner, weights, download = type(component).__name__, component.weights, component.download
    check_images(owner, data)
    try:
        import transformers

        model_type = getattr(transformers, architecture)
    except (ImportError, AttributeError) as error:
        fix = f'({shortened(str(error))}); write: pip install "sparring[features]"'
        raise UserError(f"{owner}() needs the package transformers {fix}") from error
    name, direction = (
        shortened(repr(weights)),
        f'{owner}(weights="...") with a folder of config.json and model.safetensors',
    )
    folder = existing_path(weights) if weights else None
    if folder is not None:
        problem, fix = "is not such a model", f"write {direction}"
    elif download:
        problem, fix = "cannot be fetched", f"check the name and the network, or write {direction}"
    else:
        problem = "is no folder, and Hugging Face's cache has no such model"
        fix = f"write {owner}(weights={name}, download=True) to fetch it, or {direction}"
    try:
        source = weights if folder is None and download else folder or _cached(weights)
        with _quiet(), torch.random.fork_rng(devices=[]):  # older versions draw weights before they read them
            model, reported = model_type.from_pretrained(str(source), output_loading_info=True)
    except ImportError as error:  # transformers asks for a newer torch than Sparring does
        found = f"torch {torch.__version__} ({shortened(str(error))})"
        fix = "install the version of torch that it requires, or write: pip install 'transformers<5'"
        raise UserError(f"{owner}: transformers cannot load it with {found}; {fix}") from error
    except Exception as error:  # a damaged folder, or the network, can fail in any way in the libraries below
        reason = shortened(str(error) or type(error).__name__)
        raise UserError(f"{owner}: {name} {problem} ({reason}); {fix}") from error
    missing = sorted(
        name for name in reported["missing_keys"] if not name.endswith("mask_token")
    )  # only training masks
    if missing:
        reason = f"it lacks {len(missing)} of its tensors, such as {missing[0]}"
        raise UserError(f"{owner}: {name} is not such a model ({reason}); write {direction}")
    return model.float()


def _cached(name: str) -> Path:
    """The folder of a model in Hugging Face's cache: with a name, even `local_files_only` may ask the hub things."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    if not isinstance(config, str):
        raise FileNotFoundError("it was never fetched")
    return Path(config).parent
