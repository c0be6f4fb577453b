"""`textvae doctor`: which path runs, and why."""

from __future__ import annotations

import json
import re

import pytest

from textvae.config import TrainingSettings
from textvae.doctor import examine, report
from textvae.training.engine import chosen_precision

from .conftest import Command


def test_it_says_which_path_runs(textvae: Command) -> None:
    ended = textvae("doctor")
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in ended.out.splitlines())
    assert ended.code == 0
    assert int(rows["threads"]) >= 1
    assert rows["layers"].startswith(("the compiled kernel", "torch's own"))
    assert rows["devices"].startswith("cpu")
    assert re.fullmatch("by default on (cpu|cuda), (32-true|bf16-mixed)", rows["training"])


def test_switched_off_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTVAE_KERNEL", "off")
    rows = dict(report(examine()))
    assert rows["layers"] == "torch's own"
    assert rows["kernel"] == "absent: switched off by TEXTVAE_KERNEL=off"


def test_a_switch_that_says_neither_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTVAE_KERNEL", "no")
    assert dict(report(examine()))["kernel"].endswith(" (TEXTVAE_KERNEL=no is neither on nor off, and does not switch it off)")
    monkeypatch.setenv("TEXTVAE_KERNEL", "on")
    assert "neither" not in dict(report(examine()))["kernel"]


def test_json_is_one_object(textvae: Command) -> None:
    found = json.loads(textvae("doctor", "--json").out)
    assert found["torch"][0].isdigit()
    assert isinstance(found["kernel"], bool)
    assert isinstance(found["kernel_bf16"], bool)
    assert found["trains_in"] == chosen_precision(TrainingSettings(), found["trains_on"])
    assert (found["kernel_path"] is not None) == found["kernel"]
