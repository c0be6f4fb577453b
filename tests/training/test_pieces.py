"""The pieces of the loop on their own: window, averages, metrics, writing, devices, the request to stop."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from textvae import storage
from textvae.config import TrainingSettings
from textvae.data.batches import BucketedBatches
from textvae.data.tokens import TokenTable
from textvae.errors import ConfigError, RunError
from textvae.nn.kernel.compiling import SWITCH
from textvae.nn.kernel.processor import multiplies_bf16_faster
from textvae.storage import append_line, write_atomically, write_json
from textvae.training import feed
from textvae.training.adam import Adam
from textvae.training.averages import WeightAverage
from textvae.training.engine import chosen_device, chosen_precision, computes_bf16, launch
from textvae.training.feed import Feed
from textvae.training.interrupt import StopRequest
from textvae.training.metrics import MetricsLog
from textvae.training.window import REMEMBERED, Window

CPU = torch.device("cpu")


# ── window ──


def test_a_window_means_what_was_added_since_the_last_reset() -> None:
    window = Window(2, CPU)
    window.add(torch.tensor([1.0, 10.0]))
    window.add(torch.tensor([3.0, 20.0]))
    assert window.read() == [2.0, 15.0]
    window.reset()
    assert window.read() == [0.0, 0.0]
    window.add(torch.tensor([5.0, 6.0]))
    assert window.read() == [5.0, 6.0]


def test_a_window_names_the_first_culprits_only() -> None:
    window = Window(3, CPU)
    window.add(torch.tensor([1.0, 1.0, 1.0]))
    assert window.first_bad() == []
    window.add(torch.tensor([1.0, float("inf"), 1.0]))
    window.add(torch.tensor([float("nan")] * 3))
    assert window.first_bad() == [1]


def test_a_window_names_the_first_culprits_of_the_last_steps() -> None:
    window = Window(2, CPU)
    for step in range(REMEMBERED + 6):
        window.add(torch.tensor([float(step), 1.0]))
    window.add(torch.tensor([1.0, float("inf")]))
    window.add(torch.tensor([float("nan")] * 2))
    assert window.first_bad() == [1]


def test_a_window_goes_on_from_its_state() -> None:
    window, other = Window(1, CPU), Window(1, CPU)
    window.add(torch.tensor([4.0]))
    other.load(window.state())
    window.add(torch.tensor([100.0]))  # what was saved does not move with the window
    other.add(torch.tensor([6.0]))
    assert other.read() == [5.0]


# ── averages ──


def test_the_average_is_its_closed_form() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 1.0)
    average = WeightAverage(module, 0.5)
    expected = 1.0
    for step, value in enumerate([3.0, 5.0, -2.0, 7.0, 7.0, 1.0]):
        nn.init.constant_(module.weight, value)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert average.values["weight"].item() == pytest.approx(expected)


def test_applied_puts_the_averages_in_and_the_weights_back_exactly() -> None:
    linear, norm = nn.Linear(2, 2), nn.BatchNorm1d(2)
    module = nn.Sequential(linear, norm)
    average = WeightAverage(module, 0.9)
    module(torch.randn(8, 2))
    with torch.no_grad():
        linear.weight.mul_(3)
    live = {name: value.clone() for name, value in module.state_dict().items()}
    kept = {name: value.clone() for name, value in average.values.items()}
    assert "1.running_mean" in kept and "1.num_batches_tracked" not in kept
    with pytest.raises(KeyError), average.applied():
        assert all(torch.equal(module.state_dict()[name], value) for name, value in kept.items())
        raise KeyError("whatever happens inside")
    assert all(torch.equal(module.state_dict()[name], value) for name, value in live.items())
    assert all(torch.equal(average.values[name], value) for name, value in kept.items())
    assert not torch.equal(live["0.weight"], kept["0.weight"])


# ── metrics ──


def test_metrics_are_cut_after_a_step_and_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    assert log.read() == []
    for step in (2, 4, 6):
        log.append({"step": step, "valid": {}})
    with log.path.open("a") as file:
        file.write('{"step": 8, "va')
    assert [record["step"] for record in log.read()] == [2, 4, 6]
    log.cut_after(4)
    log.append({"step": 5, "valid": {}})
    assert [record["step"] for record in log.read()] == [2, 4, 5] and log.path.read_bytes().count(b"\n") == 3


@pytest.mark.parametrize("line", [b'{"step": 4, "va', b"\xff", b"null", b'{"step": 4}', b'{"valid": {}}', b""])
def test_a_damaged_line_of_metrics_is_told_and_what_stands_behind_it_stays(line: bytes, tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    whole = b'{"step": 2, "valid": {}}\n' + line + b'\n{"step": 6, "valid": {}}\n'
    log.path.write_bytes(whole)
    for use in (log.read, lambda: log.cut_after(2)):
        with pytest.raises(RunError, match=r"metrics\.jsonl is damaged in line 2: restore it from a copy"):
            use()
    assert log.path.read_bytes() == whole


# ── writing ──


def test_writing_replaces_whole_files_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file"]
    write_json(path, {"ü": [1]})
    assert path.read_text(encoding="utf-8") == '{\n  "ü": [\n    1\n  ]\n}\n'


@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_a_crash_while_writing_leaves_the_old_content_and_nothing_else(at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, at, full)
    with pytest.raises(RunError, match=r"the disk is full.* what stood there before is untouched"):
        write_atomically(path, b"new, longer")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/below cannot be written, for .*/file does not allow it .* choose another place"):
        write_atomically(tmp_path / "file" / "below", b"")
    with pytest.raises(RunError, match="cannot be written"):
        append_line(tmp_path / "none" / "metrics.jsonl", "{}")


# ── devices ──

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


@no_gpu
def test_a_gpu_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match=r"training\.device is 'cuda', but torch sees no GPU here: set it to cpu or auto"):
        chosen_device(TrainingSettings(device="cuda"))
    assert chosen_device(TrainingSettings()) == "cpu"


def test_precision_is_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textvae.training.engine.computes_bf16", lambda: True)
    assert chosen_precision(TrainingSettings(precision="bf16-mixed"), "cpu") == "bf16-mixed"
    assert chosen_precision(TrainingSettings(precision="32-true"), "cuda") == "32-true"
    assert chosen_precision(TrainingSettings(), "cpu") in ("bf16-mixed", "32-true")


@pytest.mark.parametrize(
    ("amx", "avx512", "name", "precision"),
    [
        (True, True, "Intel(R) Xeon(R) Processor", "bf16-mixed"),
        (False, True, "Intel(R) Xeon(R) Processor", "32-true"),
        (False, True, "AMD EPYC", "bf16-mixed"),
        (False, False, "AMD EPYC", "32-true"),
    ],
)
def test_bf16_is_chosen_where_the_processor_gains_by_it(
    amx: bool, avx512: bool, name: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr("textvae.nn.kernel.processor.processor", lambda: name)
    multiplies_bf16_faster.cache_clear()
    assert chosen_precision(TrainingSettings(), "cpu") == precision
    multiplies_bf16_faster.cache_clear()


def test_a_processor_without_bf16_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(*given: object) -> None:
        raise RuntimeError("could not create a primitive descriptor")

    computes_bf16.cache_clear()
    monkeypatch.setattr(nn.LSTM, "forward", unable)
    with pytest.raises(ConfigError, match=r"precision is 'bf16-mixed', but torch has no recurrent .* set it to auto or 32-true"):
        chosen_precision(TrainingSettings(precision="bf16-mixed"), "cpu")
    assert chosen_precision(TrainingSettings(precision="bf16-mixed"), "cuda") == "bf16-mixed"
    computes_bf16.cache_clear()


def test_several_devices_need_torchrun() -> None:
    with pytest.raises(ConfigError, match=r"training\.devices is 3, but 1 process started: run it as torchrun --nproc-per-node 3"):
        launch(TrainingSettings(devices=3, device="cpu"), *a_line())


def a_line() -> tuple[nn.Module, Adam]:
    """The smallest module, and its optimizer."""
    module = nn.Linear(1, 1)
    return module, Adam(module.parameters(), 0.5)


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
def test_one_process_computes_at_the_precision_and_follows_the_clipped_gradient(
    precision: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textvae.training.engine.computes_bf16", lambda: True)  # a linear layer can, everywhere
    module, optimizer = a_line()
    before = module.weight.detach().clone()
    engine = launch(TrainingSettings(device="cpu", precision=precision), module, optimizer)  # type: ignore[arg-type]
    found = engine.forward(torch.ones(2, 1))
    assert found.dtype == dtype
    engine.backward(-100.0 * found.float().sum())
    engine.clip(1.0)
    assert float(module.weight.grad) == pytest.approx(-(0.5**0.5), abs=1e-3)  # weight and bias share a gradient of length 1
    engine.step()
    assert module.weight.grad is None
    assert float((module.weight - before).detach()) == pytest.approx(0.5, abs=1e-3)  # Adam's first step is the learning rate
    assert (engine.rank, engine.world, engine.agreed("yes")) == (0, 1, "yes")
    assert engine.gathered(torch.tensor([1.0, 2.0])).tolist() == [[1.0, 2.0]]


# ── the optimizer ──


@pytest.mark.parametrize("way", ["kernel", "off"])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_adam_takes_torchs_steps_and_skips_what_has_no_gradient(
    kind: type[torch.optim.Optimizer], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, way)
    torch.manual_seed(0)
    ours, theirs = nn.ModuleList([nn.Linear(3, 2), nn.Linear(1, 1)]), nn.ModuleList([nn.Linear(3, 2), nn.Linear(1, 1)])
    theirs.load_state_dict(ours.state_dict())
    one = Adam(ours.parameters(), 0.1, weight_decay=0.3, decoupled=kind is torch.optim.AdamW)
    other = kind(theirs.parameters(), lr=0.1, weight_decay=0.3, fused=True)  # type: ignore[call-arg]
    for _ in range(3):
        x = torch.randn(4, 3)
        for model in (ours, theirs):
            model[0](x).square().sum().backward()
        one.step()
        one.forget()
        other.step()
        other.zero_grad()
    for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-6, atol=1e-6)
    assert sorted(one.state()) == [f"{index}.{slot}" for index in (0, 1) for slot in ("exp_avg", "exp_avg_sq", "step")]


def test_adam_refuses_the_state_of_other_parameters() -> None:
    module, optimizer = a_line()
    module(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    with pytest.raises(ValueError, match=r"its parameter 0 is \(1, 1\), this run's \(2, 1\)"):
        Adam(nn.Linear(1, 2).parameters(), 0.5).load(optimizer.state())
    with pytest.raises(ValueError, match="it has a parameter 0, this run only 0"):
        Adam([], 0.5).load(optimizer.state())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_adam_goes_on_from_a_state_of_another_precision(dtype: torch.dtype) -> None:
    module, optimizer = a_line()
    other, twin = a_line()
    other.load_state_dict(module.state_dict())
    for model, adam in ((module, optimizer), (other, twin)):
        model(torch.ones(1, 1)).sum().backward()
        adam.step()
    twin.load({name: value.to(dtype) for name, value in optimizer.state().items()})
    assert {value.dtype for value in twin.state().values()} == {torch.float32}
    for adam in (optimizer, twin):
        adam.step()
    torch.testing.assert_close(module.weight, other.weight, rtol=1e-2, atol=1e-2)


# ── the request to stop ──


def test_the_first_signal_asks_and_a_second_interrupt_stops_at_once() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert not stop.asked
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_outside_the_main_thread_nothing_listens() -> None:
    seen: list[bool] = []

    def train() -> None:
        with StopRequest() as stop:
            seen.append(stop.asked)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert seen == [False]


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    start=st.integers(0, 4),
    world=st.integers(1, 2),
    at_once=st.sampled_from([1, 50, 100, 1 << 18]),
)
def test_a_feed_gathers_what_the_batches_take(lengths: list[int], start: int, world: int, at_once: int) -> None:
    table = TokenTable.ended(np.arange(sum(lengths)) + 2, np.array(lengths))
    for rank in range(world if len(lengths) >= world else 0):
        batches = BucketedBatches(table, 4, 0, 12, rank=rank, world=world)
        fed = Feed(batches, torch.device("cpu"))
        for epoch in (0, 1):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(feed, "AT_ONCE", at_once)
                expected, found = list(batches.iterate(epoch, start)), list(fed.iterate(epoch, start))
            assert len(expected) == len(found)
            assert all(one.dtype == torch.int64 and (one.numpy() == other).all() for one, other in zip(found, expected, strict=True))
