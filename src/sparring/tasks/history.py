"""A history of generated images for the discriminator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from sparring.base.device import sent
from sparring.base.workers import workers
from sparring.game.losses import Loss
from sparring.game.match import Images
from sparring.game.memory import Logits, Stateful

NOT_STORED, APPENDED = -1, -2  # slots of new images


class ImageHistory(Stateful):
    """A buffer of at most `size` generated images for each name.

    Once it is full, the discriminator receives with probability 1/2 a stored image instead of a new one, which then
    takes its slot. Source: Shrivastava et al. 2017, section 2.3; Zhu et al. 2017, section 4.

    The images stay on their device; slots are drawn on the CPU.
    """

    counters: ClassVar[frozenset[str]] = frozenset({"count"})

    def __init__(self, size: int) -> None:
        self.size = size
        self.memory: dict[str, Tensor] = {"count": torch.zeros((), dtype=torch.int64)}

    def replace(self, made: Images, names: Sequence[str]) -> Images:
        """Replace some images [n, C, H, W] of these names by stored ones; adds new images and slots for `observe`."""
        shown = dict(made)
        full = int(self.memory["count"]) >= self.size
        for name in names:
            images = made[name]
            slots = torch.full((len(images),), APPENDED)
            if full:
                old = workers().draw(torch.rand, len(images)) < 0.5
                places = workers().draw(lambda count: torch.randint(self.size, (count,)), len(images))
                slots = torch.where(old, places, torch.tensor(NOT_STORED))
                kept = _rows(self.memory[name], slots.clamp(min=0)).to(images)
                shown[name] = torch.where(sent(old, images.device).view(-1, 1, 1, 1), kept, images)
            shown |= {f"{name}/new": images, f"{name}/slots": slots}
        return shown

    def observe(self, logits: Logits, loss: Loss, samples: int, made: Sequence[Images] = ()) -> None:
        names = [name.removesuffix("/slots") for name in (made[0] if made else ()) if name.endswith("/slots")]
        count = int(self.memory["count"])
        for name in names:
            images = torch.cat([part[f"{name}/new"].detach().float() for part in made])
            slots = torch.cat([part[f"{name}/slots"] for part in made])
            appended = (slots == APPENDED).nonzero().flatten()[: self.size - count]
            held = self.memory.get(name, images[:0])
            self.memory[name] = held = torch.cat([held, _rows(images, appended)])
            replaced = {slot: row for row, slot in enumerate(slots.tolist()) if slot >= 0}  # the last of equal slots
            if replaced:
                places = sent(torch.tensor([*replaced]), held.device)
                held.index_copy_(0, places, _rows(images, torch.tensor([*replaced.values()])))
            self.memory["count"] = torch.tensor(len(held))


def _rows(images: Tensor, rows: Tensor) -> Tensor:
    """Images at these indices, which are on the CPU."""
    return images.index_select(0, sent(rows, images.device))
