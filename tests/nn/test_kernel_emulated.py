"""The kernel as other processors have it: its instructions for AVX-512, bf16 and matrix registers are done in software (`emulated/`).

So its own tests see the paths that this machine's processor does not take. What is not seen is speed, and whether a compiler for such a
processor keeps the order of what matrix registers read and write.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from textvae.nn.kernel.compiling import SWITCH, compiler

HERE = Path(__file__).parent
PROCESSORS = {"matrix registers": "", "vectors of bf16": "-DWITHOUT_MATRIX_REGISTERS"}
"""What the compiler is told of each."""

pytestmark = pytest.mark.skipif(
    compiler() is None or platform.system() != "Linux" or platform.machine() != "x86_64",
    reason="wants a C++ compiler, Linux and an x86 processor",
)


@pytest.fixture(scope="module", params=PROCESSORS)
def surroundings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment of a process whose kernel is compiled for the processor, once for all tests."""
    room = tmp_path_factory.mktemp("emulated")
    told = ["-include", str(HERE / "emulated" / "avx512.h"), "-Wno-psabi", "-O1", *PROCESSORS[request.param].split()]
    launcher = room / "launcher"
    launcher.write_text(f'#!/bin/sh\nexec {shlex.join(compiler() or ())} "$@" {shlex.join(told)}\n', encoding="utf-8")
    launcher.chmod(0o755)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}  # its pytest is no worker of this one
    return {**ours, "CXX": str(launcher), "TEXTVAE_CACHE": str(room / "cache"), SWITCH: ""}


def doctor(surroundings: Mapping[str, str]) -> dict[str, object]:
    done = subprocess.run([sys.executable, "-m", "textvae", "doctor", "--json"], capture_output=True, text=True, env=surroundings)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_its_own_tests_pass(surroundings: Mapping[str, str]) -> None:
    found = doctor(surroundings)
    assert found["kernel_bf16"], found
    names = "kernel", "kernel_bf16", "kernel_symbols", "kernel_generation", "affine", "dropout", "kernel_moving"
    files = [str(HERE / f"test_{name}.py") for name in names]
    left = "not a_processor_without and not 150_steps"  # which asks this processor; which is long, and of no path of its own
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", left]
    done = subprocess.run([sys.executable, "-m", "pytest", *options, *files], capture_output=True, text=True, env=surroundings)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " skipped" not in done.stdout.splitlines()[-1]


def test_a_system_without_room_for_matrix_registers_leaves_it_fp32(surroundings: Mapping[str, str]) -> None:
    found = doctor({**surroundings, "EMULATED_SYSTEM": "refuses"})
    assert found["kernel"] and found["kernel_bf16"] == ("WITHOUT" in Path(surroundings["CXX"]).read_text(encoding="utf-8"))
