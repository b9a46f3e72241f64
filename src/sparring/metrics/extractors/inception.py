"""The Inception network of FID. Scores are only comparable with exactly these weights and this resizing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from sparring.base.download import cache_folder, fetch, sha256
from sparring.base.errors import UserError, existing_path, shortened
from sparring.data.samples import Data
from sparring.metrics.extractors.base import Prepared, digest_of
from sparring.metrics.extractors.pretrained import PART, Pretrained, check_images, resize_tensorflow, to_levels

FILE = "pt_inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

SIZE = 299
SMALLEST = 43  # smallest side of an image for which the 17x17 layers still have an output
CLASSES = 1008
UNUSED = (
    "num_batches_tracked"  # counters of batch normalisation, which only some files have and evaluation does not use
)


@dataclass(frozen=True)
class Inception(Pretrained):
    """2048 features and 1008 logits of TensorFlow's Inception of 2015-12-05, which defines FID and IS.

    Images are rounded to levels 0 to 255, grey is repeated to RGB, resized to 299x299 as in TensorFlow 1, and scaled by
    (x - 128) / 128. The logits exclude the last layer's bias, as in the original inception score.

    Attributes:
        weights: a .pth or .safetensors file of pytorch-fid's port; empty for the one in the cache.
        download: fetch the file to the cache (96 MB) if it is missing.

    Source: Szegedy et al. 2016 (the network), Heusel et al. 2017 (the distance), Salimans et al. 2016 (the score).
    """

    def prepare(self, data: Data, device: torch.device) -> Prepared:
        check_images("Inception", data)
        fix = "remove it and write Inception(download=True) to fetch it again"
        if self.weights:
            fix = f"take the file of {URL}, or write Inception(download=True)"
        network = load_network(self._file(), fix)
        used = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith(UNUSED)}
        return Prepared(
            name=repr(self),
            network=network.to(device),
            digest=digest_of(used),
            resizer=f"bilinear to {SIZE}x{SIZE}, as TensorFlow 1",
            classes=CLASSES,
            rounds=True,
            about="logits without the bias",
        )

    def _file(self) -> Path:
        if self.weights:
            path = existing_path(self.weights)
            if path is None or not path.is_file():
                name = shortened(repr(self.weights))
                fix = f'write Inception(weights="...") with the file of {URL}, or Inception(download=True)'
                raise UserError(f"Inception: no file {name}; {fix}")
            return path
        path = cache_folder() / "weights" / FILE
        if not path.is_file():
            if not self.download:
                fix = f'fetch 96 MB, or Inception(weights="...") with the file of {URL}'
                raise UserError(
                    f"Inception() has no weights in the cache ({path}); write Inception(download=True) to {fix}"
                )
            fetch([URL], path, sha256(SHA256), 'get it by hand and write Inception(weights="...") with its path')
        return path


def load_network(path: Path, fix: str) -> InceptionNetwork:
    """Load the network from a file: on the CPU, frozen, in evaluation mode.

    Args:
        path: a .pth or .safetensors file.
        fix: end of each error message, which says what to do.

    Raises:
        UserError: the file cannot be read, or holds other weights.
    """
    tensors = {name: t.float() for name, t in _read(path, fix).items() if not name.endswith(UNUSED)}
    with torch.device("meta"):  # no time, memory or random numbers for initial weights
        network = InceptionNetwork()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    tensors |= {name: torch.tensor(0) for name in shapes if name.endswith(UNUSED)}
    for name in sorted(shapes.keys() | tensors.keys()):
        found = str(list(tensors[name].shape)) if name in tensors else "missing"
        wanted = str(list(shapes[name])) if name in shapes else "absent"
        if found != wanted:
            raise UserError(f"{path} is not the Inception of FID: {name} is {found}, it must be {wanted}; {fix}")
    network.load_state_dict(tensors, assign=True)
    return network.requires_grad_(False).eval()


def _read(path: Path, fix: str) -> dict[str, Tensor]:
    if path.suffix not in (".pth", ".safetensors"):
        raise UserError(f"{path} has the ending {path.suffix!r}, allowed are .pth and .safetensors; {fix}")
    try:
        pickled = path.suffix == ".pth"
        found = torch.load(path, map_location="cpu", weights_only=True) if pickled else load_file(path)
    except Exception as error:  # a damaged file can raise anything; torch's message would advise to trust the file
        reason = "no permission" if isinstance(error, PermissionError) else "damaged, or more than weights"
        raise UserError(f"{path} cannot be read as weights ({reason}); {fix}") from error
    if not isinstance(found, Mapping) or not all(isinstance(t, Tensor) for t in found.values()):
        raise UserError(f"{path} does not hold named tensors; {fix}")
    return {str(name): tensor for name, tensor in found.items()}


class InceptionNetwork(nn.Module):
    """Map images [n, 1 or 3, H, W] in [-1, 1] to features [n, 2048] and logits [n, 1008] without the bias.

    Tensors have the names of pytorch-fid's file. The network differs from torchvision's in its pooling (see
    `_mean_pool` and `_BlockE`), its 1008 classes and the missing auxiliary head.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, stride=2, padded=False)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3)
        self.Conv2d_3b_1x1 = _Conv(64, 80)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3, padded=False)
        self.Mixed_5b = _block_a(192, pooled=32)
        self.Mixed_5c = _block_a(256, pooled=64)
        self.Mixed_5d = _block_a(288, pooled=64)
        self.Mixed_6a = _block_b(288)
        self.Mixed_6b = _block_c(768, inner=128)
        self.Mixed_6c = _block_c(768, inner=160)
        self.Mixed_6d = _block_c(768, inner=160)
        self.Mixed_6e = _block_c(768, inner=192)
        self.Mixed_7a = _block_d(768)
        self.Mixed_7b = _BlockE(1280, max_pooled=False)
        self.Mixed_7c = _BlockE(2048, max_pooled=True)
        self.fc = nn.Linear(2048, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.cat([self._features(part) for part in images.split(PART)])
        return features, features @ self.fc.weight.T

    def _features(self, images: Tensor) -> Tensor:
        x = (resize_tensorflow(to_levels(images), SIZE) - 128) / 128
        return _chain(self._layers(x)[-1], self.Mixed_7a, self.Mixed_7b, self.Mixed_7c).mean((2, 3))  # 8x8

    def _layers(self, x: Tensor) -> list[Tensor]:
        """Outputs of the layers before each change of size, up to 17x17. Sizes below are for inputs of 299x299."""
        found = [_chain(x, self.Conv2d_1a_3x3, self.Conv2d_2a_3x3, self.Conv2d_2b_3x3)]  # 147x147
        found.append(_chain(_max_pool(found[-1]), self.Conv2d_3b_1x1, self.Conv2d_4a_3x3))  # 71x71
        found.append(_chain(_max_pool(found[-1]), self.Mixed_5b, self.Mixed_5c, self.Mixed_5d))  # 35x35
        blocks = self.Mixed_6a, self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e
        return [*found, _chain(found[-1], *blocks)]  # 17x17

    def maps(self, images: Tensor) -> list[Tensor]:
        """Feature maps of four layers (64, 192, 288, 768 channels).

        Images are neither rounded nor resized. UserError: an image is smaller than 43x43.
        """
        height, width = images.shape[2:]
        if min(height, width) < SMALLEST:
            fix = f"each side must have at least {SMALLEST} pixels; take Random()"
            raise UserError(f"Inception() has no feature maps of images of {width}x{height}: {fix}")
        levels = images.float().add(1).mul(127.5)
        return self._layers((levels.expand(-1, 3, -1, -1) - 128) / 128)


def _chain(x: Tensor, *layers: nn.Module) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def _mean_pool(x: Tensor) -> Tensor:
    """Average pooling over 3x3 pixels without counting the padding, as in TensorFlow."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _max_pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2)


class _Conv(nn.Module):
    """Convolution without bias, batch normalisation and ReLU; padded by half the kernel or not at all."""

    def __init__(
        self, channels: int, out: int, kernel: int | tuple[int, int] = 1, stride: int = 1, padded: bool = True
    ) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (height // 2, width // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(channels, out, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class _Mixed(nn.Module):
    """Parallel chains of convolutions whose outputs are concatenated; `branch_pool` takes the pooled input.

    The convolutions of chain NAME are called NAME_1, NAME_2 and so on; a single one is called NAME.
    """

    def __init__(self, pool: Callable[[Tensor], Tensor], **chains: Sequence[_Conv]) -> None:
        super().__init__()
        self.pool, self.chains = pool, {}
        for name, chain in chains.items():
            names = [name] if len(chain) == 1 else [f"{name}_{i}" for i, _ in enumerate(chain, 1)]
            self.chains[name] = names
            for layer_name, layer in zip(names, chain):
                self.add_module(layer_name, layer)

    def forward(self, x: Tensor) -> Tensor:
        inputs = {name: self.pool(x) if name == "branch_pool" else x for name in self.chains}
        parts = [_chain(inputs[name], *map(self.get_submodule, names)) for name, names in self.chains.items()]
        return torch.cat(parts, 1)


def _block_a(channels: int, pooled: int) -> _Mixed:
    """[n, channels, 35, 35] -> [n, 224 + pooled, 35, 35]."""
    return _Mixed(
        _mean_pool,
        branch1x1=[_Conv(channels, 64)],
        branch5x5=[_Conv(channels, 48), _Conv(48, 64, 5)],
        branch3x3dbl=[_Conv(channels, 64), _Conv(64, 96, 3), _Conv(96, 96, 3)],
        branch_pool=[_Conv(channels, pooled)],
    )


def _block_b(channels: int) -> _Mixed:
    """[n, channels, 35, 35] -> [n, 480 + channels, 17, 17]."""
    return _Mixed(
        _max_pool,
        branch3x3=[_Conv(channels, 384, 3, stride=2, padded=False)],
        branch3x3dbl=[_Conv(channels, 64), _Conv(64, 96, 3), _Conv(96, 96, 3, stride=2, padded=False)],
        branch_pool=[],
    )


def _block_c(channels: int, inner: int) -> _Mixed:
    """[n, channels, 17, 17] -> [n, 768, 17, 17], with kernels of 7x1 and 1x7."""
    tall, wide = (7, 1), (1, 7)
    return _Mixed(
        _mean_pool,
        branch1x1=[_Conv(channels, 192)],
        branch7x7=[_Conv(channels, inner), _Conv(inner, inner, wide), _Conv(inner, 192, tall)],
        branch7x7dbl=[
            *(_Conv(channels, inner), _Conv(inner, inner, tall), _Conv(inner, inner, wide)),
            *(_Conv(inner, inner, tall), _Conv(inner, 192, wide)),
        ],
        branch_pool=[_Conv(channels, 192)],
    )


def _block_d(channels: int) -> _Mixed:
    """[n, channels, 17, 17] -> [n, 512 + channels, 8, 8]."""
    three = [_Conv(channels, 192), _Conv(192, 320, 3, stride=2, padded=False)]
    seven = [_Conv(channels, 192), _Conv(192, 192, (1, 7)), _Conv(192, 192, (7, 1))]
    seven.append(_Conv(192, 192, 3, stride=2, padded=False))
    return _Mixed(_max_pool, branch3x3=three, branch7x7x3=seven, branch_pool=[])


class _BlockE(nn.Module):
    """[n, channels, 8, 8] -> [n, 2048, 8, 8]. The last block uses maximum pooling, as in the original."""

    def __init__(self, channels: int, max_pooled: bool) -> None:
        super().__init__()
        self.max_pooled = max_pooled
        self.branch1x1 = _Conv(channels, 320)
        self.branch3x3_1 = _Conv(channels, 384)
        self.branch3x3_2a = _Conv(384, 384, (1, 3))
        self.branch3x3_2b = _Conv(384, 384, (3, 1))
        self.branch3x3dbl_1 = _Conv(channels, 448)
        self.branch3x3dbl_2 = _Conv(448, 384, 3)
        self.branch3x3dbl_3a = _Conv(384, 384, (1, 3))
        self.branch3x3dbl_3b = _Conv(384, 384, (3, 1))
        self.branch_pool = _Conv(channels, 192)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.max_pool2d(x, 3, stride=1, padding=1) if self.max_pooled else _mean_pool(x)
        once = self.branch3x3_1(x)
        twice = _chain(x, self.branch3x3dbl_1, self.branch3x3dbl_2)
        forks = [self.branch3x3_2a(once), self.branch3x3_2b(once)]
        forks += [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice)]
        return torch.cat([self.branch1x1(x), *forks, self.branch_pool(pooled)], 1)
