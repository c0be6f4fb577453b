"""A step that is replayed moves the weights as one that is not. The recorder of these tests, for any machine, does the work again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from textvae.architectures import find_architecture
from textvae.config import ObjectiveSettings, TrainingSettings
from textvae.data.batches import WIDTHS
from textvae.errors import ConfigError, TrainingError
from textvae.nn.recording import CudaRecorder, Recorder, RecordingError
from textvae.parts import LatentSettings
from textvae.training.adam import optimizer_for
from textvae.training.engine import launch
from textvae.training.step import EAGER_FIRST, MOST, EagerStep, RecordedStep, step_for
from textvae.training.trainer import LossOfBatch

VOCABULARY, MAX_TOKENS = 9, 12


class Again(Recorder):
    """Does what a graph does, slowly."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        result = torch.zeros(2)
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            result.copy_(work())

        return replay, result


def trained(recorder: Recorder | None, widths: list[int]) -> tuple[dict[str, Tensor], list[list[float]]]:
    """Weights after a step of each width, and each step's means; beta and the learning rate change from step to step."""
    torch.manual_seed(0)
    family = find_architecture("rnn")
    model = family.build(family.settings(hidden=6, latent=LatentSettings(shape="dense", channels=(3,))), VOCABULARY, MAX_TOKENS)
    settings = TrainingSettings(device="cpu", precision="32-true")
    optimizer = optimizer_for(model, settings)
    engine = launch(settings, LossOfBatch(model, ObjectiveSettings()), optimizer)
    eager = EagerStep(engine, optimizer, clip=1.0)
    step = eager if recorder is None else RecordedStep(eager, recorder, torch.device("cpu"))
    means = []
    for number, width in enumerate(widths):
        tokens = torch.randint(1, VOCABULARY, (4, width), generator=torch.Generator().manual_seed(number))
        means.append(step.take(tokens, beta=0.1 * number, learning_rate=1e-3 * (1 + number % 3)).tolist())
    return {name: value.clone() for name, value in model.state_dict().items()}, means


def test_recorded_steps_move_the_weights_as_eager_ones_do() -> None:
    widths = [8, 5] * (EAGER_FIRST + 3) + [11]  # the last is too seldom to be recorded
    recorder = Again()
    weights, means = trained(recorder, widths)
    expected, expected_means = trained(None, widths)
    assert (recorder.recorded, recorder.replayed) == (2, 6)
    torch.testing.assert_close(weights, expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(torch.tensor(means), torch.tensor(expected_means), rtol=1e-5, atol=1e-6)


def test_all_widths_of_a_corpus_are_kept_recorded() -> None:
    assert MOST >= 2 * WIDTHS  # each full, and cut short by an epoch's end


def test_a_step_that_cannot_be_recorded_says_what_to_do() -> None:
    class Unable(Recorder):
        def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
            raise RecordingError("operation not permitted when stream is capturing")

    with pytest.raises(TrainingError, match=r"cannot be recorded \(operation not .* train a new run with --training.graphs=false"):
        trained(Unable(), [8] * (EAGER_FIRST + 1))


def test_without_a_gpu_there_is_nothing_to_record() -> None:
    settings = TrainingSettings(device="cpu", graphs=True)
    module = torch.nn.Linear(1, 1)
    optimizer = optimizer_for(module, settings)
    with pytest.raises(ConfigError, match=r"training\.graphs records steps of a GPU, and this run is on the CPU"):
        step_for(settings, launch(settings, module, optimizer), optimizer)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_replays_have_noise_and_settings_of_their_own() -> None:
    torch.manual_seed(0)
    family = find_architecture("rnn")
    model = family.build(family.settings(hidden=32, latent=LatentSettings(shape="dense", channels=(3,))), VOCABULARY, MAX_TOKENS)
    settings = TrainingSettings(device="cuda", precision="32-true")
    optimizer = optimizer_for(model, settings)
    engine = launch(settings, LossOfBatch(model, ObjectiveSettings()), optimizer)
    step = RecordedStep(EagerStep(engine, optimizer, clip=1.0), CudaRecorder(engine.device), engine.device)
    tokens = torch.randint(1, VOCABULARY, (16, 8), generator=torch.Generator().manual_seed(0)).to(engine.device)
    still = [step.take(tokens, beta=1.0, learning_rate=0.0).tolist() for _ in range(EAGER_FIRST + 3)]
    assert len({distortion for distortion, _ in still}) == len(still)  # noise goes on
    assert len({round(rate, 4) for _, rate in still}) == 1  # a rate has no noise, and nothing was learnt
    for _ in range(50):
        step.take(tokens, beta=10.0, learning_rate=1e-2)
    assert step.take(tokens, beta=10.0, learning_rate=0.0).tolist()[1] < still[0][1]  # a dear rate falls
