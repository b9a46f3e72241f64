"""An independent judge of MNIST samples: a small convolutional classifier that is trained here, once, and cached.

Its 128 penultimate features (after the ReLU) give the Frechet distance, precision and recall; its classes are counted.
The absolute size of a Frechet distance depends on the classifier, so the floor, 10,000 training images against the
10,000 test images, is always given beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sparring.data.sets import cache_folder, load_mnist
from sparring.metrics import frechet, precision_recall

EPOCHS = 5


class Judge(nn.Module):
    """28x28 grey images in [-1, 1] -> 128 features -> 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, stride in ((1, 32, 1), (32, 32, 2), (32, 64, 1), (64, 64, 2)):
            layers += [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU())
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(images)))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Verdict:
    """What the judge says of samples."""

    frechet: float
    precision: float
    recall: float
    counts: list[int]
    """how many of each digit"""

    def __str__(self) -> str:
        share = [round(100 * n / sum(self.counts), 1) for n in self.counts]
        return (
            f"Frechet distance {self.frechet:.2f}, precision {self.precision:.3f}, recall {self.recall:.3f}, "
            f"digits 0 to 9 in %: {share}"
        )


class Court:
    """The trained judge with the test set's features."""

    def __init__(self) -> None:
        self.judge = trained_judge()
        test = load_mnist("test")
        self.accuracy = self._accuracy(test.samples, test.labels)
        self.real = self.describe(test.samples)

    def describe(self, images: Tensor) -> Tensor:
        """uint8 [N, 1, 28, 28] -> features [N, 128]."""
        with torch.no_grad():
            return torch.cat([self.judge.features(part.float() / 127.5 - 1) for part in images.split(1000)])

    def verdict(self, images: Tensor) -> Verdict:
        """Judge 10,000 uint8 images against the 10,000 test images; precision and recall on 5,000 of each."""
        features = self.describe(images)
        with torch.no_grad():
            counts = torch.bincount(self.judge.head(features).argmax(1), minlength=10).tolist()
        precision, recall = precision_recall(self.real[:5000], features[:5000])
        return Verdict(frechet(self.real.numpy(), features.numpy()), precision, recall, counts)

    def floor(self) -> Verdict:
        """The verdict on 10,000 training images."""
        return self.verdict(load_mnist("train").samples[:10_000])

    def _accuracy(self, images: Tensor, labels: Tensor | None) -> float:
        with torch.no_grad():
            said = self.judge.head(self.describe(images)).argmax(1)
        return (said == labels).float().mean().item()


def trained_judge() -> Judge:
    """The classifier, from the cache or trained now (about a minute on two cores)."""
    torch.manual_seed(0)
    judge = Judge()
    path = cache_folder() / "mnist-judge-1.safetensors"
    if path.exists():
        judge.load_state_dict(load_file(path))
        return judge.eval()
    data = load_mnist("train")
    assert data.labels is not None
    steps = EPOCHS * (len(data) // 128)
    optimizer = torch.optim.Adam(judge.parameters(), lr=2e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for indices in torch.randperm(len(data)).split(128)[: len(data) // 128]:
            loss = nn.functional.cross_entropy(judge(data.batch(indices)["real"]), data.labels[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(judge.state_dict(), path)
    return judge.eval()
