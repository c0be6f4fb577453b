"""Data parallel: two processes of torchrun train one run, stop together, and go on where they stood."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from textvae.settings import to_dict
from textvae.training.checkpoint import read_tensors

PROGRAM = """
import json, signal, sys
from textvae.settings import from_dict
from textvae.training import session
from textvae.training.engine import is_main_process
from textvae.training.hooks import Hook
from textvae.training.trainer import AGREE_EVERY

class StopAt(Hook):
    def on_step(self, record):
        if record.step == 2:
            signal.raise_signal(signal.SIGTERM)  # only the first process is asked; both must stop

settings, run = from_dict(json.loads(sys.argv[1])), sys.argv[2]
assert session.start(settings, run + "/whole")
assert not session.start(settings, run + "/stopped", [StopAt()])
if is_main_process():
    assert json.loads(open(run + "/stopped/training.json").read())["step"] == AGREE_EVERY  # the first time that they ask each other
assert session.resume(run + "/stopped")
"""


def test_two_processes_train_one_run_and_resume_it_exactly(settings: Any, corpus: Path, compare: Any, metrics: Any, tmp_path: Path) -> None:
    with (corpus / "train.txt").open("a") as file:
        file.write("fed\n")  # 32 lines: every batch gives both processes four, so equal seeds would stay equal
    # The auxiliary head has no weight, so no gradient: data parallel must be told.
    chosen = settings("hybrid", training={"devices": 2, "steps": 12, "evaluate_every": 6})
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launcher, program, json.dumps(to_dict(chosen)), tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert compare(tmp_path / "whole", tmp_path / "stopped") == []
    assert [record["step"] for record in metrics(tmp_path / "whole")] == [6, 12]
    random = read_tensors(tmp_path / "whole" / "training.safetensors")[0]["random.cpu"]
    assert len(random) == 2
    assert not random[0].equal(random[1])  # every process has noise of its own
