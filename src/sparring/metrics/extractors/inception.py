"""The Inception network of the FID standard: without the very same weights and resizer, scores are not comparable."""

from __future__ import annotations

from collections.abc import Mapping
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
SMALLEST = 43  # sides of images of which the 17x17 layers still see a pixel
CLASSES = 1008
UNUSED = "num_batches_tracked"  # counters of batch normalisation: some files have them, nothing here reads them


@dataclass(frozen=True)
class Inception(Pretrained):
    """2048 features and 1008 logits of TensorFlow's Inception of 2015-12-05, with which FID and IS are defined.

    The logits come without the last layer's bias, as the original inception score takes them. Images are rounded to
    levels 0 to 255, grey is repeated to RGB, resized to 299x299 as TensorFlow 1 does it, then (x - 128) / 128.

    Attributes:
        weights: a .pth or .safetensors file of the port by pytorch-fid; "" is the one in the cache.
        download: fetch it (96 MB) to the cache if it is not there?

    Source: Szegedy et al. 2016 (the network), Heusel et al. 2017 (the distance), Salimans et al. 2016 (the score).
    """

    def prepare(self, data: Data, device: torch.device) -> Prepared:
        check_images("Inception", data)
        if self.weights:
            mend = f"take the file of {URL}, or write Inception(download=True)"
        else:
            mend = "remove it and write Inception(download=True), to fetch it anew"
        network = load_network(self._file(), mend)
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
                raise UserError(
                    f'Inception: there is no file {name}; write Inception(weights="...") with the file of {URL}, or '
                    "Inception(download=True)"
                )
            return path
        path = cache_folder() / "weights" / FILE
        if not path.is_file():
            if not self.download:
                raise UserError(
                    f"Inception() has no weights in the cache ({path}); write Inception(download=True) to fetch 96 MB, "
                    f'or Inception(weights="...") with the file of {URL}'
                )
            fetch([URL], path, sha256(SHA256), 'get it by hand and write Inception(weights="...") with its path')
        return path


def load_network(path: Path, mend: str) -> InceptionNetwork:
    """The network with a file's weights, on the CPU, frozen and in evaluation mode.

    Raises:
        UserError: the file is damaged or holds other tensors; the message ends with `mend`.
    """
    tensors = {name: t.float() for name, t in _read(path, mend).items() if not name.endswith(UNUSED)}
    with torch.device("meta"):  # there, initial weights cost no time, no memory and no random numbers
        network = InceptionNetwork()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    counters = {name: torch.tensor(0) for name in shapes if name.endswith(UNUSED)}
    tensors |= counters
    for name in sorted(shapes.keys() | tensors.keys()):
        found = str(list(tensors[name].shape)) if name in tensors else "missing"
        wanted = str(list(shapes[name])) if name in shapes else "absent"
        if found != wanted:
            raise UserError(f"{path} is not the Inception of FID: {name} is {found}, it must be {wanted}; {mend}")
    network.load_state_dict(tensors, assign=True)
    return network.requires_grad_(False).eval()


def _read(path: Path, mend: str) -> dict[str, Tensor]:
    if path.suffix not in (".pth", ".safetensors"):
        raise UserError(f"{path} has the ending {path.suffix!r}, allowed are .pth and .safetensors; {mend}")
    try:
        is_torchs = path.suffix == ".pth"
        found = torch.load(path, map_location="cpu", weights_only=True) if is_torchs else load_file(path)
    except Exception as error:  # a damaged file can fail in any way; torch's own advice to trust the file is not ours
        reason = "no permission" if isinstance(error, PermissionError) else "damaged, or more than weights"
        raise UserError(f"{path} cannot be read as weights ({reason}); {mend}") from error
    if not isinstance(found, Mapping) or not all(isinstance(t, Tensor) for t in found.values()):
        raise UserError(f"{path} holds something else than named tensors; {mend}")
    return {str(name): tensor for name, tensor in found.items()}


class InceptionNetwork(nn.Module):
    """Images [n, 1 or 3, H, W] in [-1, 1] -> (features [n, 2048], logits [n, 1008] without the bias).

    Its tensors have the names of pytorch-fid's file. It differs from torchvision's network in what it pools (see
    `_mean` and `_BlockE`), in its 1008 classes, and in having no auxiliary head.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, stride=2, padded=False)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3)
        self.Conv2d_3b_1x1 = _Conv(64, 80)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3, padded=False)
        self.Mixed_5b = _BlockA(192, pooled=32)
        self.Mixed_5c = _BlockA(256, pooled=64)
        self.Mixed_5d = _BlockA(288, pooled=64)
        self.Mixed_6a = _BlockB(288)
        self.Mixed_6b = _BlockC(768, inner=128)
        self.Mixed_6c = _BlockC(768, inner=160)
        self.Mixed_6d = _BlockC(768, inner=160)
        self.Mixed_6e = _BlockC(768, inner=192)
        self.Mixed_7a = _BlockD(768)
        self.Mixed_7b = _BlockE(1280, largest=False)
        self.Mixed_7c = _BlockE(2048, largest=True)
        self.fc = nn.Linear(2048, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.cat([self._features(part) for part in images.split(PART)])
        return features, features @ self.fc.weight.T

    def _features(self, images: Tensor) -> Tensor:
        x = (resize_tensorflow(to_levels(images), SIZE) - 128) / 128
        x = self._layers(x)[-1]
        x = _chain(x, self.Mixed_7a, self.Mixed_7b, self.Mixed_7c)  # 8x8
        return x.mean((2, 3))

    def _layers(self, x: Tensor) -> list[Tensor]:
        """What the convolutions before the last 8x8 ones see, where the size changes; sizes are those of 299x299."""
        found = [_chain(x, self.Conv2d_1a_3x3, self.Conv2d_2a_3x3, self.Conv2d_2b_3x3)]  # 147x147
        x = F.max_pool2d(found[-1], 3, stride=2)
        found.append(_chain(x, self.Conv2d_3b_1x1, self.Conv2d_4a_3x3))  # 71x71
        x = F.max_pool2d(found[-1], 3, stride=2)
        found.append(_chain(x, self.Mixed_5b, self.Mixed_5c, self.Mixed_5d))  # 35x35
        x = found[-1]
        found.append(_chain(x, self.Mixed_6a, self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e))  # 17x17
        return found

    def maps(self, images: Tensor) -> list[Tensor]:
        """Of four layers (64, 192, 288, 768 channels); images are neither rounded nor resized, at least 43x43."""
        height, width = images.shape[2:]
        if min(height, width) < SMALLEST:
            raise UserError(
                f"Inception() shows no maps of images of {width}x{height}, each side must have at least {SMALLEST} "
                "pixels; take Random()"
            )
        levels = images.float().add(1).mul(127.5)
        return self._layers((levels.expand(-1, 3, -1, -1) - 128) / 128)


def _chain(x: Tensor, *layers: nn.Module) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def _mean(x: Tensor) -> Tensor:
    """The mean over each 3x3 patch, of the pixels that exist: TensorFlow does not count the padding."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class _Conv(nn.Module):
    """Convolution without bias, batch normalisation, rectifier; padded by half the kernel or not at all."""

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


class _BlockA(nn.Module):
    """[n, channels, 35, 35] -> [n, 224 + pooled, 35, 35]."""

    def __init__(self, channels: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = _Conv(channels, 64)
        self.branch5x5_1 = _Conv(channels, 48)
        self.branch5x5_2 = _Conv(48, 64, 5)
        self.branch3x3dbl_1 = _Conv(channels, 64)
        self.branch3x3dbl_2 = _Conv(64, 96, 3)
        self.branch3x3dbl_3 = _Conv(96, 96, 3)
        self.branch_pool = _Conv(channels, pooled)

    def forward(self, x: Tensor) -> Tensor:
        five = _chain(x, self.branch5x5_1, self.branch5x5_2)
        three = _chain(x, self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3)
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(_mean(x))], 1)


class _BlockB(nn.Module):
    """[n, channels, 35, 35] -> [n, 480 + channels, 17, 17]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3 = _Conv(channels, 384, 3, stride=2, padded=False)
        self.branch3x3dbl_1 = _Conv(channels, 64)
        self.branch3x3dbl_2 = _Conv(64, 96, 3)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, stride=2, padded=False)

    def forward(self, x: Tensor) -> Tensor:
        double = _chain(x, self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3)
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)], 1)


class _BlockC(nn.Module):
    """[n, channels, 17, 17] -> [n, 768, 17, 17], by kernels of 7x1 and 1x7."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.branch1x1 = _Conv(channels, 192)
        self.branch7x7_1 = _Conv(channels, inner)
        self.branch7x7_2 = _Conv(inner, inner, (1, 7))
        self.branch7x7_3 = _Conv(inner, 192, (7, 1))
        self.branch7x7dbl_1 = _Conv(channels, inner)
        self.branch7x7dbl_2 = _Conv(inner, inner, (7, 1))
        self.branch7x7dbl_3 = _Conv(inner, inner, (1, 7))
        self.branch7x7dbl_4 = _Conv(inner, inner, (7, 1))
        self.branch7x7dbl_5 = _Conv(inner, 192, (1, 7))
        self.branch_pool = _Conv(channels, 192)

    def forward(self, x: Tensor) -> Tensor:
        once = _chain(x, self.branch7x7_1, self.branch7x7_2, self.branch7x7_3)
        twice = _chain(x, self.branch7x7dbl_1, self.branch7x7dbl_2, self.branch7x7dbl_3)
        twice = _chain(twice, self.branch7x7dbl_4, self.branch7x7dbl_5)
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(_mean(x))], 1)


class _BlockD(nn.Module):
    """[n, channels, 17, 17] -> [n, 512 + channels, 8, 8]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = _Conv(channels, 192)
        self.branch3x3_2 = _Conv(192, 320, 3, stride=2, padded=False)
        self.branch7x7x3_1 = _Conv(channels, 192)
        self.branch7x7x3_2 = _Conv(192, 192, (1, 7))
        self.branch7x7x3_3 = _Conv(192, 192, (7, 1))
        self.branch7x7x3_4 = _Conv(192, 192, 3, stride=2, padded=False)

    def forward(self, x: Tensor) -> Tensor:
        three = _chain(x, self.branch3x3_1, self.branch3x3_2)
        seven = _chain(x, self.branch7x7x3_1, self.branch7x7x3_2, self.branch7x7x3_3, self.branch7x7x3_4)
        return torch.cat([three, seven, F.max_pool2d(x, 3, stride=2)], 1)


class _BlockE(nn.Module):
    """[n, channels, 8, 8] -> [n, 2048, 8, 8]. The last one pools the largest, an oddity of the original."""

    def __init__(self, channels: int, largest: bool) -> None:
        super().__init__()
        self.largest = largest
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
        pooled = F.max_pool2d(x, 3, stride=1, padding=1) if self.largest else _mean(x)
        once = self.branch3x3_1(x)
        twice = _chain(x, self.branch3x3dbl_1, self.branch3x3dbl_2)
        forks = [self.branch3x3_2a(once), self.branch3x3_2b(once)]
        forks += [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice)]
        return torch.cat([self.branch1x1(x), *forks, self.branch_pool(pooled)], 1)
