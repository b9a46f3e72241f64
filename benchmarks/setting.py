"""Where figures were measured."""

from __future__ import annotations

import torch


def describe_machine(threads: str = "") -> str:
    """The number of threads (this process's, unless told) and the processor's abilities, in a sentence."""
    able = torch.cpu.get_capabilities()
    known = [words for name, words in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512 BF16")) if able.get(name)]
    kind = torch.backends.cpu.get_cpu_capability()
    processor = " and ".join(known) or kind
    return f"{threads or torch.get_num_threads()} threads on a processor with {processor}, torch {torch.__version__}."
