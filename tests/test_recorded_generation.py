"""Decoding that is recorded, as on a GPU, is decoding; the recorder of these tests, for any machine, does the work again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from textvae import generation
from textvae.architectures import find_architecture
from textvae.generation import Sampling, decode_greedy, decode_sampled, prior_latents, rows_at_once
from textvae.model.inference import lines_at_once
from textvae.nn.recording import Recorder, RecordingError


def padded(tokens: np.ndarray, width: int) -> np.ndarray:
    return np.pad(tokens, ((0, 0), (0, width - tokens.shape[1])))


class Again(Recorder):
    """Does what a recording on a GPU does, slowly: reads and writes the same memory every time."""

    recorded = 0

    def __init__(self, device: torch.device) -> None:
        pass

    def record(self, work: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        Again.recorded += 1
        result = torch.zeros_like(work())

        def replay() -> None:
            result.copy_(work())

        return replay, result


@pytest.mark.parametrize("architecture", ["rnn", "cnn", "lm", "ladder-cnn"])
def test_recorded_decoding_follows_z_the_noise_and_the_weights(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where decoding is recorded at its second use; weights are trained on in place, or moved."""
    torch.manual_seed(0)
    family = find_architecture(architecture)
    model = family.build(family.settings(), 9, 8)
    once = generation._emit
    monkeypatch.setattr(generation, "CudaRecorder", Again)
    monkeypatch.setattr(Again, "recorded", 0)

    def agree(seed: int) -> None:
        z, found = 3 * prior_latents(model, 40, generator=torch.Generator().manual_seed(seed)), []
        for way in (once, generation._recorded):
            monkeypatch.setattr(generation, "_emit", way)
            noise = torch.Generator().manual_seed(seed)
            found.append((decode_greedy(model, z), decode_sampled(model, z, Sampling(top_p=0.9), noise)))
        np.testing.assert_array_equal(*(one[0] for one in found))
        assert (padded(found[0][1], 8) == padded(found[1][1], 8)).all(1).mean() > 0.9  # but for rounding, by the kernel and by torch

    for seed in range(3):
        agree(seed)
    assert Again.recorded == 2  # a greedy and a sampled one
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(0.7)
    agree(3)
    assert Again.recorded == 2
    for parameter in model.decoder.parameters():
        parameter.data = parameter.data.clone()
    for seed in range(4, 7):
        agree(seed)
    assert Again.recorded == 4


def test_a_model_that_cannot_be_recorded_is_not_tried_again_until_it_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unable(Recorder):
        tried = 0

        def __init__(self, device: torch.device) -> None:
            pass

        def record(self, work: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
            Unable.tried += 1
            raise RecordingError("it waits")

    family = find_architecture("cnn")
    model = family.build(family.settings(), 9, 8)
    z = prior_latents(model, 4, generator=torch.Generator().manual_seed(0))
    expected = decode_greedy(model, z)
    monkeypatch.setattr(generation, "CudaRecorder", Unable)
    monkeypatch.setattr(generation, "_emit", generation._recorded)
    for _ in range(5):
        np.testing.assert_array_equal(decode_greedy(model, z), expected)
    assert Unable.tried == 1
    for parameter in model.decoder.parameters():
        parameter.data = parameter.data.clone()
    for _ in range(3):
        np.testing.assert_array_equal(decode_greedy(model, z), expected)
    assert Unable.tried == 2


@pytest.mark.parametrize(
    ("vocabulary", "steps", "lines", "rows"), [(84, 32, 2_048, 4_096), (50_000, 100, 53, 671), (300, 1_000, 894, 4_096)]
)
def test_what_a_gpu_holds_at_once_is_bounded_by_symbols_and_steps(vocabulary: int, steps: int, lines: int, rows: int) -> None:
    """A gigabyte of logits, 2^28 numbers; of probabilities 2^25. A device that is no processor stands for a GPU."""
    family = find_architecture("lm")
    model = family.build(family.settings(), vocabulary, steps)
    assert (lines_at_once(model), rows_at_once(model)) == (64, 256)
    model = model.to("meta")
    assert (lines_at_once(model), rows_at_once(model)) == (lines, rows)


def test_a_wide_expander_of_long_lines_decodes_fewer_at_once() -> None:
    """Again 2^28 numbers: of T_max steps and the expander's channels."""
    family = find_architecture("hybrid")
    model = family.build(family.settings(), 9, 1_000).to("meta")
    channels = model.decoder.expander.outlet.channels
    assert rows_at_once(model) == 2**28 // (1_000 * channels) < 4_096
