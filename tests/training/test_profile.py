"""Where a step's time goes: the stopwatch by hand, a profile of a tiny run, and that it leaves nothing behind."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from textvae.nn.kernel.compiling import kernel
from textvae.settings import from_dict
from textvae.training.profile import PARTS, StepProfile, Stopwatch, profile_rows, profile_training


def test_a_part_has_its_own_time_only() -> None:
    watch, began = Stopwatch(torch.device("cpu")), time.perf_counter()
    with watch.within("outer"):
        time.sleep(0.02)
        with watch.within("inner"):
            time.sleep(0.1)
        time.sleep(0.02)
    whole = time.perf_counter() - began
    assert watch.seconds["inner"] >= 0.1 and watch.seconds["outer"] >= 0.04
    assert watch.seconds["inner"] + watch.seconds["outer"] <= whole


def test_a_timed_method_still_does_what_it_did() -> None:
    watch, layer = Stopwatch(torch.device("cpu")), torch.nn.Linear(3, 2)
    x = torch.randn(4, 3)
    before = layer(x)
    watch.timed(layer, "forward", "layer")
    assert torch.equal(layer(x), before)
    assert watch.seconds["layer"] > 0


def test_the_table_tells_shares_and_rates() -> None:
    found = StepProfile(
        {"encoder": 3.0, "backward": 1.0}, kernel=2.0, passes=0.5, products=1.0, sequences=8.0, characters=40.0, conditions="4 steps"
    )
    rows = dict(profile_rows(found))
    assert rows["encoder"].split() == ["3.000", "ms", "75.0%"]
    assert rows["a step"].split() == ["4.000", "ms", "100.0%"]
    assert rows["of it: the compiled kernel's layers (recurrent, convolutions, linear)"].split() == ["2.000", "ms", "50.0%"]
    assert rows["of it: the kernel's passes (embedding, dropout, loss, optimizer)"].split() == ["0.500", "ms", "12.5%"]
    assert rows["of it: all else (Python, dispatch, small operations)"].split() == ["0.500", "ms", "12.5%"]
    assert rows["timed"] == "4 steps"
    assert rows["sequences a second"].strip() == "2,000"
    assert rows["characters a second"].strip() == "10,000"


@pytest.mark.parametrize("architecture", ["rnn", "lm", "hybrid"])
def test_a_profile_of_a_run(architecture: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    model = {"architecture": architecture, "decoder": {"hidden": 8, "embedding": 4}}
    training = {"batch": 8, "precision": "32-true", "device": "cpu", "minutes": 5, "average": 0.9}
    found = profile_training(from_dict({"corpus": {"path": str(corpus)}, "model": model, "training": training}))
    assert list(found.parts) == [part for part in PARTS if part in found.parts]
    assert {"batch", "emitter (recurrence, output)", "loss", "backward", "optimizer", "weight average"} <= set(found.parts)
    assert ("encoder" in found.parts) == (architecture != "lm")
    assert (found.kernel > 0) == (found.passes > 0) == (kernel().library is not None)
    assert found.conditions.startswith(f"40 steps of {architecture}, 8 lines each, 32-true on cpu, ")
    assert 0 < found.products < 10 * found.step
    assert 1 <= found.sequences <= 8
    assert found.sequences <= found.characters <= 7 * found.sequences
    assert sorted(tmp_path.rglob("*")) == before
