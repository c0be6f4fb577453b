"""What of this machine training runs on: torch, threads, the processor, the compiled kernel and why it is absent, devices."""

from __future__ import annotations

import os
import platform
from typing import Any

from textvae.nn.kernel.compiling import SWITCH
from textvae.nn.kernel.processor import processor, processor_features

FEATURES = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")
"""What of a processor's features decides how fast numbers are multiplied."""


def examine() -> dict[str, Any]:
    """All findings, plain data. Compiles the kernel if it was not yet."""
    import torch

    from textvae.config import TrainingSettings
    from textvae.nn.kernel.compiling import kernel, kernel_folder
    from textvae.training.engine import chosen_device, chosen_precision, computes_bf16

    found, unasked = kernel(), TrainingSettings()
    device = chosen_device(unasked)
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": processor(),
        "features": [name for name in FEATURES if name in processor_features()],
        "bf16": computes_bf16(),
        "kernel": found.library is not None,
        "kernel_bf16": found.bf16,
        "kernel_reason": found.reason + _misspelt(),
        "kernel_path": str(found.path) if found.path else None,
        "kernel_cache": str(kernel_folder()),
        "trains_on": device,
        "trains_in": chosen_precision(unasked, device),
        "devices": ["cpu", *(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))],
    }


def _misspelt() -> str:
    """What is to say of a switch that says neither on nor off."""
    value = os.environ.get(SWITCH, "")
    return "" if value.lower() in ("", "on", "off") else f" ({SWITCH}={value} is neither on nor off, and does not switch it off)"


def report(findings: dict[str, Any]) -> list[tuple[str, str]]:
    """The findings as names and sentences."""
    there = findings["kernel"]
    path = "torch's own"
    if there:
        bf16 = " and bf16" if findings["kernel_bf16"] else "; bf16 by torch" if findings["bf16"] else "; this processor has no bf16"
        path = f"the compiled kernel on the CPU (fp32{bf16})"
    return [
        ("python", findings["python"]),
        ("torch", findings["torch"]),
        ("processor", findings["processor"]),
        ("features", ", ".join(findings["features"]) or "not told by this system"),
        ("threads", str(findings["threads"])),
        ("layers", path),
        ("kernel", ("" if there else "absent: ") + findings["kernel_reason"]),
        ("kernel's cache", findings["kernel_path"] or findings["kernel_cache"]),
        ("devices", ", ".join(findings["devices"])),
        ("training", f"by default on {findings['trains_on']}, {findings['trains_in']}"),
    ]
