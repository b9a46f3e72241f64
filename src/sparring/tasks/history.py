"""What a discriminator is shown: images that the generator makes, and some that it made before."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sparring.game.losses import Loss
from sparring.game.match import Images
from sparring.game.memory import Logits, Stateful

STAYS, JOINS = -1, -2


class ImageHistory(Stateful):
    """The last images by name, at most `size` of each. Once it is full, the discriminator is shown with chance 1/2 an
    old image in the place of a new one, which takes the old one's place. Source: Shrivastava et al. 2017, section 2.3;
    Zhu et al. 2017, section 4."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.memory: dict[str, Tensor] = {"count": torch.zeros((), dtype=torch.int64)}

    def show(self, made: Images, names: Sequence[str]) -> Images:
        """The images [n, C, H, W] of these names, some of them exchanged, with what `observe` must know."""
        shown = dict(made)
        full = int(self.memory["count"]) >= self.size
        for name in names:
            images = made[name]
            slots = torch.full((len(images),), JOINS)
            if full:
                old = torch.rand(len(images)) < 0.5
                slots = torch.where(old, torch.randint(self.size, (len(images),)), torch.tensor(STAYS))
                kept = self.memory[name][slots.clamp(min=0)].to(images)
                shown[name] = torch.where(old.to(images.device).view(-1, 1, 1, 1), kept, images)
            shown |= {f"{name}/new": images, f"{name}/slots": slots}
        return shown

    def observe(self, logits: Logits, loss: Loss, samples: int, made: Sequence[Images] = ()) -> None:
        names = [name.removesuffix("/slots") for name in (made[0] if made else ()) if name.endswith("/slots")]
        count = int(self.memory["count"])
        for name in names:
            images = torch.cat([part[f"{name}/new"].detach().float().cpu() for part in made])
            slots = torch.cat([part[f"{name}/slots"] for part in made])
            joining = images[slots == JOINS][: self.size - count]
            held = self.memory.get(name, images[:0])
            self.memory[name] = held = torch.cat([held, joining])
            for slot, image in zip(slots.tolist(), images):
                if slot >= 0:
                    held[slot] = image
            self.memory["count"] = torch.tensor(len(held))
