"""The processor that numbers are multiplied on: its name, and what it can do."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()


@cache
def processor_features() -> frozenset[str]:
    """What the processor can do, as Linux names it (avx2, avx512f, avx512_bf16, ...); empty where that is not told."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split(":", 1)[1] for line in lines if line.startswith(("flags", "Features"))), "").split())


@cache
def multiplies_bf16_faster() -> bool:
    """Whether vectors of bf16 are multiplied faster than of fp32: by AVX512-BF16 if it is not Intel's.

    (An Intel Xeon took as long as in fp32 or longer, in the kernel as in torch: docs/performance.md. Matrix registers are another thing.)
    """
    import torch

    return torch.cpu._is_avx512_bf16_supported() and "Intel" not in processor()
