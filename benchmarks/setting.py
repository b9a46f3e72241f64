"""Description of the machine that figures are measured on."""

from __future__ import annotations

import torch

from sparring.base.compat import bf16_units


def describe_machine(threads: str = "") -> str:
    """Describe threads, processor and torch in a sentence; `threads` defaults to those of this process."""
    names = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 BF16"}
    processor = " and ".join(names[unit] for unit in bf16_units()) or torch.backends.cpu.get_cpu_capability()
    threads = threads or f"{torch.get_num_threads()} threads"
    return f"{threads} on a processor with {processor}, torch {torch.__version__}."
