"""What stops a training: Ctrl-C, SIGTERM, a kill, a full disk, numbers that are none, memory. Nothing good is lost."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from textvae.training import trainer

from .conftest import TINY, Command, Ended, command_line, environment

STEPS = 240
BUDGET = ("--steps", STEPS, "--training.evaluate-every", 10, *TINY)


def stopped(number: signal.Signals, *arguments: object) -> Ended:
    """Train in a process of its own and send it a signal after its second evaluation."""
    with subprocess.Popen(
        command_line("train", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        evaluations = (line for line in process.stderr if line.startswith("step "))
        assert next(evaluations, None) and next(evaluations, None), "training ended by itself"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    return Ended(process.returncode, out, err)


def test_a_training_that_is_stopped_three_times_ends_with_the_same_weights(textvae: Command, corpus: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "the parts"
    assert textvae("train", corpus, "--out", whole, *BUDGET).code == 0

    ended = stopped(signal.SIGINT, corpus, "--out", parts, *BUDGET)
    line = ended.err.splitlines()[-1]
    assert ended.code == 1 and ended.out == "" and "Traceback" not in ended.err
    assert line == f"textvae: interrupted; go on with: textvae train --resume --out '{parts}'"
    _, command, *go_on = shlex.split(line.split("go on with: ")[1])
    assert command == "train" and not (parts / "README.md").exists()

    ended = stopped(signal.SIGTERM, *go_on)
    assert ended.code == 1 and ended.err.splitlines()[-1] == line
    assert stopped(signal.SIGKILL, *go_on).code == -signal.SIGKILL

    assert f"{STEPS}/{STEPS}" in textvae("train", *go_on).err
    assert (parts / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert "there is nothing to go on with" in textvae("train", *go_on).err
    assert (parts / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()


def test_ctrl_c_before_the_first_step(textvae: Command, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("textvae.training.session.load_corpus", press)
    ended = textvae("train", corpus, "--out", tmp_path / "run", *TINY)
    assert (ended.code, ended.err) == (1, "textvae: interrupted before the first step: nothing was saved\n")
    monkeypatch.setattr("textvae.hub.located", press)
    assert textvae("sample", tmp_path).err == "textvae: interrupted\n"


class DiskFull:
    """Writes to the disk fail after the first few."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, handle: int) -> None:
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("room", [0, 1, 3, 8])
def test_a_full_disk_leaves_what_stood_there(
    textvae: Command, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", DiskFull(room))
        told = textvae("train", corpus, "--out", folder, "--steps", 20, "--training.evaluate-every", 4, *TINY).refused()
    assert "the disk is full" in told and "free some space" in told
    assert not list(folder.glob(".*"))
    if room > 1:  # tokenizer and config were written: the run can go on
        assert textvae("train", "--resume", "--out", folder).code == 0
        assert textvae("sample", folder, "-n", 1).code == 0


def test_a_full_disk_under_encode_and_under_the_output(
    textvae: Command, run: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", DiskFull(0))
        assert "the disk is full" in textvae("encode", run, corpus, "--out", tmp_path / "z.npy").refused()
    assert list(tmp_path.iterdir()) == []
    if not os.path.exists("/dev/full"):
        return
    with open("/dev/full", "w") as device, monkeypatch.context() as full:
        full.setattr(sys, "stdout", device)
        assert "the disk is full" in textvae("sample", run).refused()


def test_numbers_that_are_none_stop_the_training_by_name(textvae: Command, corpus: Path, tmp_path: Path) -> None:
    wild = ("--training.learning-rate", "1e30", "--training.clip", 0, "--training.lr-warmup", 0)
    told = textvae("train", corpus, "--out", tmp_path / "run", "--steps", 60, *wild, *TINY).refused()
    assert "no longer a number" in told and ("distortion" in told or "rate of rung 1" in told) and "training.learning_rate" in told


def test_the_last_good_checkpoint_stays(textvae: Command, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(step: int, *_: object) -> float:
        return 1e-3 if step < 12 else 1e30

    monkeypatch.setattr(trainer, "learning_rate_at", late)
    flags = ("--steps", 60, "--training.evaluate-every", 5, "--training.clip", 0, "--training.keep", "last")
    told = textvae("train", corpus, "--out", tmp_path / "run", *flags, *TINY).refused()
    assert "the last good checkpoint is kept" in told
    for name in ("weights.safetensors", "training.safetensors"):
        tensors = load_file(tmp_path / "run" / name)
        assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values() if tensor.is_floating_point())
    assert textvae("sample", tmp_path / "run", "-n", 2).code == 0


TORCH_SAYS = "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


def test_memory_that_runs_out_in_a_step(textvae: Command, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*_: object) -> None:
        raise RuntimeError(TORCH_SAYS)

    monkeypatch.setattr(trainer.LossOfBatch, "forward", step)
    told = textvae("train", corpus, "--out", tmp_path / "run", "--steps", 5, *TINY).refused()
    assert "memory ran out with batches of 8 lines: train a new run with a lower training.batch" in told


def test_memory_that_runs_out_elsewhere(textvae: Command, run: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = ("--model.hidden", 30_000_000, "--steps", 5)  # more than any machine's addresses
    assert "memory ran out for the model or its first batches" in textvae("train", corpus, "--out", tmp_path / "run", *huge).refused()

    def measure(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("textvae.api.measure", measure)
    assert "fewer --importance-samples" in textvae("evaluate", run).refused()


def test_a_defect_of_ours_keeps_its_traceback(textvae: Command, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("textvae.api.measure", broken)
    ended = textvae("evaluate", run)
    assert ended.code == 1 and ended.err.startswith("Traceback") and ended.err.endswith("RuntimeError: a defect\n")
