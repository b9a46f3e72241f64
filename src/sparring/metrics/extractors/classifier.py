"""Features and logits of a classifier that is trained on the labelled data itself."""

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

VERSION = 1  # raised when the network or its training changes, because the weights then change
BATCH = 128
LEAST_STEPS, MOST_STEPS, EPOCHS = 600, 1600, 3
HELD_OUT = 0.1


@dataclass(frozen=True, repr=False)
class Classifier(Extractor):
    """128 features (after the ReLU) and the logits of a small convolutional classifier of the data's classes.

    The classifier is trained once, on 90 % of the data, within minutes. Its file is cached by the data's hash, and its
    accuracy on the remaining 10 % is reported. Images are shrunk to at most 32 pixels a side.

    Classifiers trained on different machines differ slightly, so their scores are not comparable. To compare scores
    across machines, copy the cached file and pass it as `weights`.

    If the channels of the data are samples of another dataset (StackedMNIST), that dataset's classifier runs on each
    channel. Features are concatenated, and the classes are all combinations of the channels' classes.

    Attributes:
        weights: path of a classifier's file; empty to use the cache. Scores identify the weights by their hash.
        trained_on: other labelled images to train on, written as for `--data`. The data then need no labels, but
            `modes` and `agreement` are not available, because the classes are not those of the data.
        seed: seed of the training.
    """

    weights: str = ""
    trained_on: str = ""
    seed: int = number(0, low=0)

    def __repr__(self) -> str:
        """Only non-default options: a default must stay `Classifier()`, as in the protocols of older scores."""
        changed = [f"{name}={value!r}" for name in ("trained_on", "seed") if (value := getattr(self, name))]
        return f"Classifier({', '.join(changed)})"

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
        with torch.random.fork_rng(devices=[]):  # unused initial weights must not advance the training's random numbers
            network = ClassifierNetwork(data.form.shape[0], shrink, len(data.form.classes))
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise UserError(
                f"{path} is a classifier of other images or classes than {data.name!r}; give the file of this data"
            ) from error
        network.requires_grad_(False).eval().to(device)
        about, classes = f"accuracy {accuracy:.2%} on held-out images", len(data.form.classes)
        return Prepared(repr(self), network, digest_of(tensors), shrink.words, classes, labels=True, about=about)

    def _prepare_other(self, data: Data, device: torch.device) -> Prepared:
        """Prepare the classifier of `trained_on`; for features, it resizes images to the size it was trained with."""
        other = load_data(self.trained_on)
        if other.form.is_points or other.channels is not None or other.form.shape[0] != data.form.shape[0]:
            shapes = f"{list(other.form.shape)}, and {data.name!r} has {list(data.form.shape)}"
            name = f"Classifier(trained_on={self.trained_on!r})"
            raise UserError(f"{name} has samples of shape {shapes}; name a set of images with as many channels")
        found = replace(self, trained_on="").prepare(other, device)
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
            raise UserError(
                f"Classifier: no file {self.weights!r}; give a cached classifier, or leave weights out to train one"
            )
        return path


class ClassifierNetwork(nn.Module):
    """Map images [n, C, H, W] in [-1, 1] to features [n, 128] and logits [n, classes]."""

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
        """Feature maps of the four convolutions, after their ReLUs."""
        found, x = [], images
        for layer in self.features:
            if isinstance(layer, nn.Flatten):
                break
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found.append(x)
        return found


class _Channelwise(nn.Module):
    """Classify each channel as an image: concatenated features, and log-probabilities of all class combinations."""

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
    """Train into the cache. If another process trains the same classifier, wait for it."""
    with writing(path, "set XDG_CACHE_HOME to a folder that can be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                _train(data, path, device, seed)


def _train(data: Data, path: Path, device: torch.device, seed: int) -> None:
    """Train the classifier, measure its accuracy and save it to the cache."""
    message = f"Training a classifier of {data.name} for the metrics (once; up to a few minutes) ..."
    print(message, file=sys.stderr, flush=True)
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
        raise UserError(
            f"{path} is not a classifier of Sparring ({error}); remove it, or leave weights out to train one"
        ) from error
