"""Where figures were measured."""

from __future__ import annotations

import torch


def describe_machine(threads: str = "") -> str:
    """How many threads (this process's, unless told in words) and what the processor can, in a sentence."""
    able = torch.cpu.get_capabilities()
    known = [words for name, words in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512 BF16")) if able.get(name)]
    kind = torch.backends.cpu.get_cpu_capability()
    processor = " and ".join(known) or kind
    threads = threads or f"{torch.get_num_threads()} threads"
    return f"{threads} on a processor with {processor}, torch {torch.__version__}."
