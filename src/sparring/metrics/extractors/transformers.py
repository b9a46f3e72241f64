"""DINOv2 and CLIP, by Hugging Face's optional package `transformers`."""

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
    """1024 features of DINOv2's ViT-L/14 (the class token after the last norm), for the distance FD-DINOv2.

    Images are rounded to levels 0 to 255, grey is repeated to RGB, resized to 224x224 as in Pillow, and normalised with
    ImageNet's mean and deviation. Published distances use DINOv2's own code, which interpolates the position embeddings
    from 37x37 to 16x16 slightly differently than `transformers`: expect small differences.

    Attributes:
        weights: a folder with config.json and model.safetensors, or a name on the Hugging Face hub.
        download: fetch the weights from the hub (1.2 GB) if they are not in its cache.

    Source: Oquab et al. 2023 (the network), Stein et al. 2023 (the distance).
    """

    weights: str = "facebook/dinov2-large"

    def prepare(self, data: Data, device: torch.device) -> Prepared:
        model = _load(self, "Dinov2Model", data)
        return _prepared(
            self, TransformerFeatures(model, 224, IMAGENET, lambda found: found.last_hidden_state[:, 0]), device
        )


@dataclass(frozen=True)
class CLIP(Pretrained):
    """768 features of CLIP's ViT-L/14 at 336 pixels: the projected image embedding, scaled to length 1.

    Use it with the metric `cmmd`; published CMMD scores cannot be compared with `mmd`. Images are rounded to levels 0
    to 255, grey is repeated to RGB, resized to the network's size as in Pillow, and normalised with CLIP's mean and
    deviation. Images that are not square are stretched, not cropped.

    Attributes:
        weights: a folder with config.json and model.safetensors, or a name on the Hugging Face hub.
        download: fetch the weights from the hub (1.7 GB) if they are not in its cache.

    Source: Radford et al. 2021 (the network), Jayasumana et al. 2024 (the distance CMMD).
    """

    weights: str = "openai/clip-vit-large-patch14-336"

    def prepare(self, data: Data, device: torch.device) -> Prepared:
        model = _load(self, "CLIPVisionModelWithProjection", data)
        # The fixed bandwidth of CMMD's kernel assumes embeddings of length 1.
        network = TransformerFeatures(
            model, int(model.config.image_size), OPENAI, lambda x: F.normalize(x.image_embeds, dim=1)
        )
        return _prepared(self, network, device)


class TransformerFeatures(nn.Module):
    """Map images [n, 1 or 3, H, W] in [-1, 1] to features [n, d] with a model of `transformers`.

    Args:
        model: takes `pixel_values` [n, 3, size, size].
        size: the model's image size.
        normal: mean and deviation of the RGB channels, for values in [0, 1].
        pick: selects the features [n, d] from the model's output.
    """

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
        """The model's input: normalised images [n, 3, size, size]."""
        return (resize_bicubic(to_levels(images), self.size) / 255 - self.mean) / self.deviation

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        parts = [self.pick(self.model(pixel_values=self.inputs(part))) for part in images.split(PART)]
        return torch.cat(parts), None


def _prepared(component: Extractor, network: TransformerFeatures, device: torch.device) -> Prepared:
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
    """Silence reports of `transformers` on unused tensors, such as CLIP's text model."""
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
    """Load a model in fp32 from a folder or the hub; without `download`, no network access.

    Raises:
        UserError: the model does not fit the data; `transformers` is missing or refuses this version of torch; the
            weights are missing or those of another model.
    """
    owner, weights, download = type(component).__name__, component.weights, component.download
    check_images(owner, data)
    try:
        import transformers

        model_type = getattr(transformers, architecture)
    except (ImportError, AttributeError) as error:
        fix = f'({shortened(str(error))}); write: pip install "sparring[features]"'
        raise UserError(f"{owner}() needs the package transformers {fix}") from error
    name = shortened(repr(weights))
    local = f'{owner}(weights="...") with a folder of config.json and model.safetensors'
    folder = existing_path(weights) if weights else None
    if folder is not None:
        problem, fix = "is not such a model", f"write {local}"
    elif download:
        problem, fix = "cannot be fetched", f"check the name and the network, or write {local}"
    else:
        problem = "is no folder, and not in Hugging Face's cache"
        fix = f"write {owner}(weights={name}, download=True) to fetch it, or {local}"
    try:
        source = weights if folder is None and download else folder or _cached(weights)
        with _quiet(), torch.random.fork_rng(devices=[]):  # older versions initialise weights before they load them
            model, info = model_type.from_pretrained(str(source), output_loading_info=True)
    except ImportError as error:  # transformers may need a newer torch than Sparring
        found = f"torch {torch.__version__} ({shortened(str(error))})"
        fix = "install the version of torch that it requires, or write: pip install 'transformers<5'"
        raise UserError(f"{owner}: transformers cannot load it with {found}; {fix}") from error
    except Exception as error:  # damaged files and network failures can raise anything
        reason = shortened(str(error) or type(error).__name__)
        raise UserError(f"{owner}: {name} {problem} ({reason}); {fix}") from error
    missing = sorted(
        name for name in info["missing_keys"] if not name.endswith("mask_token")
    )  # only used for masking in training
    if missing:
        reason = f"it lacks {len(missing)} of its tensors, such as {missing[0]}"
        raise UserError(f"{owner}: {name} is not such a model ({reason}); write {local}")
    return model.float()


def _cached(name: str) -> Path:
    """Folder of a model in Hugging Face's cache. (Loading by name may contact the hub even with `local_files_only`.)"""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    if not isinstance(config, str):
        raise FileNotFoundError("it has not been downloaded")
    return Path(config).parent
