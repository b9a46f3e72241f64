"""Networks in which every weight affects the output."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def stirred(network: nn.Module) -> Any:
    """Replace parameters initialised to 0 (gates, last layers), which block the gradients of other weights."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return network
