"""Using a trained model: the block in which it is measured or sampled, and the check that lines fit its steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from textvae.config import require
from textvae.data.tokens import TokenTable
from textvae.model.text_model import LatentTextModel
from textvae.nn.arithmetic import all_bits

FEW, MANY = 64, 2_048
"""Sequences that go through a model side by side, on a processor and on a GPU: on a processor their activations stay in its cache. (Of 64,
128 and 256 none is faster on an AMD EPYC; on an Intel Xeon 256 took a quarter longer.)"""

LOGITS = 1 << 28
"""Numbers that the logits of all steps may be on a GPU: a gigabyte."""


def lines_at_once(model: LatentTextModel) -> int:
    """Sequences that are best read side by side where the model is."""
    return FEW if model.device.type == "cpu" else min(MANY, lines_held(model))


def lines_held(model: LatentTextModel) -> int:
    """Sequences whose logits a GPU is to hold at once, at least one."""
    return max(1, LOGITS // (model.max_tokens * model.decoder.emitter.vocabulary))


@contextmanager
def inference(model: LatentTextModel) -> Iterator[None]:
    """Evaluation mode, no gradients and fp32 inside (what is drawn at random apart); the model's own mode again afterwards."""
    was_training = model.training
    if was_training:  # walking all modules costs as much as some steps of generation
        model.eval()
    device = model.device
    mixed = torch.is_autocast_enabled(device.type)
    try:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False) if mixed else nullcontext(), all_bits(device):
            yield
    finally:
        if was_training:
            model.train()


def check_fits(model: LatentTextModel, table: TokenTable) -> None:
    """Raise `ConfigError` if a sequence of the table has more tokens than the model has steps."""
    longest = int(table.lengths.max(initial=1))
    require(
        longest <= model.max_tokens,
        f"a line has {longest - 1} tokens, but the model was built for at most {model.max_tokens - 1}: skip or cut longer lines",
    )
