"""A classifier of the labelled data itself: features that know what matters in these images, and their classes."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from sparring.base.device import autocast, find_precision
from sparring.base.download import cache_folder
from sparring.base.errors import UserError, existing_path, writing
from sparring.base.fields import number
from sparring.base.files import write_atomically
from sparring.data.load import load_data
from sparring.data.samples import Data
from sparring.metrics.extractors.base import Extractor, Prepared, digest_of, refuse_points
from sparring.metrics.extractors.plain import Shrink

VERSION = 1  # of network and training; another one makes other weights
BATCH = 128
LEAST_STEPS, MOST_STEPS, EPOCHS = 600, 1600, 3
HELD_OUT = 0.1


@dataclass(frozen=True, repr=False)
class Classifier(Extractor):
    """128 features (after the rectifier) and the logits of a small convolutional classifier of the data's classes.

    It is trained on 90 % of the data within minutes, and cached by the data's hash; its accuracy on the rest is
    reported. Weights trained on two machines differ a little, so scores are only comparable where the classifier is the
    same: copy the cached file and give it as `weights`. Images are shrunk to at most 32 pixels a side. Of data whose
    channels are samples of another set (StackedMNIST), that set's classifier sees each channel, and the features and
    classes are those of all channels together. `trained_on` names other labelled images to learn from, as `--data`
    does; its classes then say nothing about the data, its features and maps do.
    """

    weights: str = ""  # the hash tells which
    trained_on: str = ""
    seed: int = number(0, low=0)

    def __repr__(self) -> str:
        """What is not as usual: scores by `Classifier()` stay comparable with those of before there were options."""
        reported = [f"{name}={value!r}" for name in ("trained_on", "seed") if (value := getattr(self, name))]
        return f"Classifier({', '.join(reported)})"

    def prepare(self, data: Data, device: torch.device) -> Prepared:
        refuse_points("Classifier", data)
        if self.trained_on:
            return self._prepare_other(data, device)
        if data.channels is not None:
            single = self.prepare(data.channels, device)
            joint = _Channelwise(single.network, data.form.shape[0])
            return replace(single, name=repr(self), network=joint, classes=len(data.form.classes))
        if data.labels is None or len(data.form.classes) < 2:
            raise UserError(f"Classifier() needs labels, and {data.name!r} has none; take Random() or Inception()")
        shrink = Shrink(data.form.shape, 32)
        path = self._file(data)
        if not path.exists():
            _train_once(data, path, device, self.seed)
        tensors, accuracy = _read(path)
        with torch.random.fork_rng(devices=[]):  # a start that is drawn for nothing must not move a training's numbers
            network = ClassifierNetwork(data.form.shape[0], shrink, len(data.form.classes))
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise UserError(f"{path} is a classifier of other images or classes than those of {data.name!r}") from error
        network.requires_grad_(False).eval().to(device)
        about, classes = f"accuracy {accuracy:.2%} on images it was not trained on", len(data.form.classes)
        return Prepared(repr(self), network, digest_of(tensors), shrink.words, classes, labels=True, about=about)

    def _prepare_other(self, data: Data, device: torch.device) -> Prepared:
        """The classifier of other images, which brings these to the size of those where it looks at them whole."""
        known = load_data(self.trained_on)
        if known.form.is_points or known.channels is not None or known.form.shape[0] != data.form.shape[0]:
            shapes = f"{list(known.form.shape)}, and {data.name!r} has {list(data.form.shape)}"
            name = f"Classifier(trained_on={self.trained_on!r})"
            raise UserError(f"{name} knows samples of shape {shapes}; name a set of images with as many channels")
        found = replace(self, trained_on="").prepare(known, device)
        assert isinstance(found.network, ClassifierNetwork)
        size = found.network.shrink.size
        resizer = "none" if data.form.shape[1:] == size else f"antialiased bilinear to {size[0]}x{size[1]}"
        return replace(found, name=repr(self), labels=False, resizer=resizer)

    def _file(self, data: Data) -> Path:
        if not self.weights:
            seed = f"-seed{self.seed}" if self.seed else ""
            return cache_folder() / "classifiers" / f"{data.digest}-{VERSION}{seed}.safetensors"
        path = existing_path(self.weights)
        if path is None:
            raise UserError(f"Classifier: there is no file {self.weights!r}; leave weights out to train one")
        return path


class ClassifierNetwork(nn.Module):
    """Images [n, C, H, W] in [-1, 1] -> (128 features, logits)."""

    def __init__(self, channels: int, shrink: Shrink, classes: int) -> None:
        super().__init__()
        self.shrink = shrink
        layers: list[nn.Module] = []
        height, width = shrink.size
        for before, after, stride in ((channels, 32, 1), (32, 32, 2), (32, 64, 1), (64, 64, 2)):
            layers += [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU()]
            height, width = -(-height // stride), -(-width // stride)
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * height * width, 128), nn.ReLU())
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(128, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(self.shrink(images))
        return features, self.head(self.dropout(features))

    def maps(self, images: Tensor) -> list[Tensor]:
        """Of the four convolutions, after their rectifiers."""
        found, x = [], images
        for layer in self.features:
            if isinstance(layer, nn.Flatten):
                break
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found.append(x)
        return found


class _Channelwise(nn.Module):
    """Images whose channels are images: features side by side, and logits of all combinations of classes."""

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.network, self.channels = network, channels

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = self.network(images.flatten(0, 1)[:, None])
        logs = logits.float().log_softmax(1).view(len(images), self.channels, -1)
        joint = logs[:, 0]
        for channel in range(1, self.channels):
            joint = (joint[:, :, None] + logs[:, channel, None, :]).flatten(1)
        return features.view(len(images), -1), joint


def _train_once(data: Data, path: Path, device: torch.device, seed: int) -> None:
    """Train into the cache, unless another process does so, which is waited for."""
    with writing(path, "set XDG_CACHE_HOME to a folder that can be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                _train(data, path, device, seed)


def _train(data: Data, path: Path, device: torch.device, seed: int) -> None:
    """Train the classifier of labelled data, measure it, and keep it in the cache."""
    about = f"Training a classifier of {data.name} to score with (once; up to a few minutes) ..."
    print(about, file=sys.stderr, flush=True)
    assert data.labels is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        order, count = torch.randperm(len(data)), max(1, int(HELD_OUT * len(data)))
        held_out, train = order[:count], order[count:]
        network = ClassifierNetwork(data.form.shape[0], Shrink(data.form.shape, 32), len(data.form.classes))
        network.to(device=device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        steps = min(max(EPOCHS * len(train) // BATCH, LEAST_STEPS), MOST_STEPS)
        optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
        cast = autocast(find_precision("auto", device), device)
        for step in range(steps):
            place = step % max(1, len(train) // BATCH)
            if place == 0:
                shuffled = train[torch.randperm(len(train))]
            chosen = shuffled[place * BATCH : (place + 1) * BATCH]
            with cast():
                _, logits = network(data.batch(chosen)["real"].to(device))
            loss = F.cross_entropy(logits.float(), data.labels[chosen].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    accuracy = _accuracy(network.eval(), data, held_out, device)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_atomically(path, save(tensors, {"accuracy": f"{accuracy:.6f}"}), "set XDG_CACHE_HOME to another folder")


@torch.no_grad()
def _accuracy(network: nn.Module, data: Data, indices: Tensor, device: torch.device) -> float:
    assert data.labels is not None
    right = 0
    for part in indices.split(500):
        _, logits = network(data.batch(part)["real"].to(device))
        right += int((logits.argmax(1).cpu() == data.labels[part]).sum())
    return right / len(indices)


def _read(path: Path) -> tuple[dict[str, Tensor], float]:
    try:
        with safe_open(path, "pt") as file:
            accuracy = float((file.metadata() or {})["accuracy"])
            return {name: file.get_tensor(name) for name in file.keys()}, accuracy  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not a classifier of this program ({error}); remove it") from error
