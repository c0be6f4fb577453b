"""How the kernel comes to be there, and that all works without it: each case in a Python of its own, with a cache of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from textvae.nn.kernel.compiling import compiler, kernel

TRAINING_STEP = """
import torch
from textvae.nn.kernel.compiling import kernel
from textvae.nn.recurrent import Recurrent
model = Recurrent("lstm", 5, 48)
x = torch.randn(3, 4, 5)
output, state = model(x, model.zeros(x))
output.sum().backward()
assert all(parameter.grad is not None for parameter in model.parameters())
print("there" if kernel().library else "absent", "|", kernel().reason)
"""

needs_compiler = pytest.mark.skipif(kernel().library is None, reason=kernel().reason)


def told(cache: Path, **environment: str) -> str:
    """What a fresh Python says of the kernel after a training step."""
    surroundings = {**os.environ, "TEXTVAE_CACHE": str(cache), **environment}
    done = subprocess.run([sys.executable, "-c", TRAINING_STEP], capture_output=True, text=True, env=surroundings)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def test_switched_off_it_is_absent(tmp_path: Path) -> None:
    assert told(tmp_path, TEXTVAE_KERNEL="off") == "absent | switched off by TEXTVAE_KERNEL=off"
    assert list(tmp_path.iterdir()) == []


def test_without_a_compiler_it_is_absent(tmp_path: Path) -> None:
    assert told(tmp_path, PATH=str(tmp_path), CXX="") == ("absent | no C++ compiler is installed (c++, g++ or clang++; or name one in CXX)")


def test_a_compiler_that_fails_is_quoted(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "error: no such processor" >&2\nexit 1\n', encoding="utf-8")
    broken.chmod(0o755)
    said = told(tmp_path / "cache", CXX=str(broken))
    assert said.startswith("absent | it could not be built:")
    assert said.endswith("error: no such processor")


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert told(tmp_path / "file").startswith("absent | it could not be built:")


@needs_compiler
def test_processes_that_start_together_all_find_one_whole_kernel(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda _: told(tmp_path), range(2)))
    assert [line.split(" | ")[0] for line in said] == ["there", "there"]
    kept = list((tmp_path / "kernel").iterdir())
    assert len(kept) == 1
    when = kept[0].stat().st_mtime_ns
    assert told(tmp_path).startswith("there | compiled by")
    assert kept[0].stat().st_mtime_ns == when  # found, not compiled again
    assert Path(compiler() or "").exists()
