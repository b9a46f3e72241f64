"""Networks whose every weight matters at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def stirred(network: nn.Module) -> Any:
    """The network without the zeros (gates, last layers of blocks) that hide other weights' gradients at the start."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return network
