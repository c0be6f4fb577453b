"""The command line as a user meets it: exit code, what is on stdout, what is on stderr."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pytest

from textvae.cli import main

SETTINGS = {
    **{"model.hidden": 8, "model.embedding": 4, "model.latent.channels": 3, "model.decoder.hidden": 8, "model.decoder.embedding": 4},
    **{"training.batch": 8, "training.precision": "32-true", "training.device": "cpu"},
}
TINY = [part for name, value in SETTINGS.items() for part in (f"--{name}", str(value))]
"""Flags of a recurrent VAE that a test can wait for."""

WORDS = ["oak", "elm", "ash", "fir", "yew", "box", "bay", "may", "sun", "sea", "sky", "fog", "ice", "day", "one", "two", "six", "ten"]
LINES = [f"{first} {second}" for first in WORDS for second in WORDS if first != second]


@final
@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def refused(self) -> str:
        """The one line of a mistake that the user can mend; anything else fails the test."""
        assert self.code == 2, (self.code, self.err)
        *before, line = self.err.splitlines()
        assert line.startswith("textvae: "), self.err
        assert all(other.startswith(("training on ", "note: ", "step ")) for other in before), self.err
        assert "Traceback" not in self.err
        return line.removeprefix("textvae: ")


Command = Callable[..., Ended]


@pytest.fixture
def textvae(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command line in this process."""

    def run(*arguments: object) -> Ended:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Ended(code, out, err)

    return run


def command_line(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "textvae", *map(str, arguments)]


def with_ctrl_c(command: list[str]) -> list[str]:
    """A command that hears SIGINT even where the tests run in the background of a shell, which ignores it for all below."""
    restore = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-c", restore, *command]


def environment() -> dict[str, str]:
    """This process's, with as many threads: how sums are split up decides their last bit."""
    import torch

    return os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONUTF8": "1"}


@pytest.fixture(scope="session")
def typed() -> Command:
    """Run a command line in a process of its own, with bytes on its stdin."""

    def run(*arguments: object, stdin: bytes = b"") -> Ended:
        ended = subprocess.run(command_line(*arguments), input=stdin, capture_output=True, env=environment(), timeout=120)
        return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    return run


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text file of short lines."""
    path = tmp_path_factory.mktemp("corpus") / "lines.txt"
    path.write_text("".join(f"{line}\n" for line in LINES))
    return path


@pytest.fixture(scope="session")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run that no test may change."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", str(corpus), "--out", str(folder), "--steps", "40", "--training.evaluate-every", "20", *TINY]) == 0
    return folder


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, to be damaged."""
    return Path(shutil.copytree(run, tmp_path / "copied"))
