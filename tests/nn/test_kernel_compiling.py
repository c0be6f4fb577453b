"""How the kernel comes to be there, and that all works without it: each case in a Python of its own, with a cache of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from textvae.nn.kernel import compiling
from textvae.nn.kernel.compiling import compiler

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

UNDER_AUTOCAST = f"""
import torch
with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
    from textvae.nn.kernel.compiling import kernel
    kernel()
{TRAINING_STEP}
"""

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler is installed")


@pytest.fixture(autouse=True)
def quick(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that takes a tenth of the time: what it makes is slow, which is of no matter here."""
    found = compiler()
    if found:
        monkeypatch.setenv("CXX", str(script(tmp_path_factory.mktemp("quick") / "c++", f'exec {shlex.join(found)} "$@" -O0')))


def told(cache: Path, code: str = TRAINING_STEP, **environment: str) -> str:
    """What a fresh Python says of the kernel after a training step."""
    quiet = {"TEXTVAE_CACHE": str(cache), "TEXTVAE_KERNEL": "", "PYTHONWARNINGS": "ignore::UserWarning"}
    surroundings = {**os.environ, **quiet, **environment}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=surroundings)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def script(path: Path, text: str) -> Path:
    """A program of one line."""
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_switched_off_it_is_absent(tmp_path: Path) -> None:
    assert told(tmp_path, TEXTVAE_KERNEL="off") == "absent | switched off by TEXTVAE_KERNEL=off"
    assert list(tmp_path.iterdir()) == []


def test_without_a_compiler_it_is_absent(tmp_path: Path) -> None:
    assert told(tmp_path, PATH=str(tmp_path), CXX="") == ("absent | no C++ compiler is installed (c++, g++ or clang++; or name one in CXX)")


def test_a_compiler_that_fails_is_quoted(tmp_path: Path) -> None:
    broken = script(
        tmp_path / "broken", r'[ "$1" = --version ] && printf "\377" && exit 0; printf "error: no such processor \377\n" >&2; exit 1'
    )
    said = told(tmp_path / "cache", CXX=str(broken))
    assert said.startswith("absent | it could not be built:")
    assert said.endswith("error: no such processor \ufffd")  # what does not decode is no mistake of its own


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    said = told(tmp_path / "file")
    assert said.startswith("absent | it could not be built:") and said.endswith("name another cache folder in TEXTVAE_CACHE")


def test_a_quotation_in_cxx_that_is_not_closed_names_no_compiler(tmp_path: Path) -> None:
    assert told(tmp_path, CXX="g++ '").startswith("absent | no C++ compiler is installed")


@needs_compiler
def test_its_trial_is_the_same_wherever_it_is_first_asked_for(tmp_path: Path) -> None:
    assert told(tmp_path, UNDER_AUTOCAST).startswith("there | ")
    elsewhere = 'import torch; torch.set_default_device("meta")\nfrom textvae.nn.kernel.compiling import kernel\n'
    assert told(tmp_path, elsewhere + "print(kernel().reason)").startswith("compiled by")


@needs_compiler
def test_cxx_may_be_a_command_of_several_words(tmp_path: Path) -> None:
    """As `ccache g++` is: the first word runs what the others name."""
    launcher = script(tmp_path / "launcher", 'exec "$@"')
    said = told(tmp_path / "cache", CXX=shlex.join([str(launcher), *(compiler() or ())]))
    assert said.startswith(f"there | compiled by {launcher} ")


@needs_compiler
def test_a_kernel_that_computes_something_else_is_not_used(tmp_path: Path) -> None:
    """A compiler that miscompiles: it reads sources whose sigmoid has another base."""
    others = Path(shutil.copytree(compiling.HEADERS[0].parent, tmp_path / "others"))
    header = others / "numbers.h"
    assert "1.44269504f" in header.read_text(encoding="utf-8")
    header.write_text(header.read_text(encoding="utf-8").replace("1.44269504f", "1.4f"), encoding="utf-8")
    swapped = f"$(echo \"$word\" | sed 's,^.*/\\([a-z_]*[.]cpp\\)$,{others}/\\1,')"
    words = f'for word; do shift; set -- "$@" "{swapped}"; done; exec {shlex.join(compiler() or ())} "$@"'
    said = told(tmp_path / "cache", CXX=str(script(tmp_path / "launcher", words)))
    assert said.startswith("absent | it was compiled by") and "its LSTM is" in said and said.endswith("off torch's: not used")


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
    assert Path((compiler() or ("",))[0]).exists()


@needs_compiler
def test_a_damaged_library_is_compiled_anew_and_not_loaded(tmp_path: Path) -> None:
    """Loading a part of one kills the process. That it is compiled is told."""
    assert told(tmp_path).startswith("there | ")
    (library,) = (tmp_path / "kernel").iterdir()
    whole, surroundings = library.read_bytes(), {**os.environ, "TEXTVAE_CACHE": str(tmp_path), "TEXTVAE_KERNEL": ""}
    for left in (0, 20_000):
        library.write_bytes(whole[:left])
        done = subprocess.run([sys.executable, "-m", "textvae", "doctor"], capture_output=True, text=True, env=surroundings)
        assert done.returncode == 0
        assert done.stderr == "note: compiling the kernel for this processor, once: some ten seconds\n"
        assert library.read_bytes() == whole
