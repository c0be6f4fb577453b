"""Tiny models and tables that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from textvae.architectures import find_architecture
from textvae.data.tokens import TokenTable
from textvae.model.text_model import LatentTextModel
from textvae.parts import ConvolutionSettings, LadderSettings, LatentSettings, RecurrentDecoderSettings

V, T_MAX = 6, 5


@pytest.fixture
def table_of() -> Callable[[Sequence[Sequence[int]]], TokenTable]:
    """A table of sequences given without `EOS`."""

    def build(lines: Sequence[Sequence[int]]) -> TokenTable:
        lengths = np.array([len(line) for line in lines], dtype=np.int64)
        return TokenTable.ended(np.array([token for line in lines for token in line], dtype=np.int64), lengths)

    return build


@pytest.fixture
def lines(table_of: Callable[[Sequence[Sequence[int]]], TokenTable]) -> TokenTable:
    return table_of([[2, 3, 4, 5], [], [5], [3, 3], [2, 2, 2], [4, 5], [4, 5, 2, 3]])


@pytest.fixture
def tiny() -> Callable[..., LatentTextModel]:
    """Build a small model of a family; the decoder's weights are scaled up so that z and every symbol matter."""

    def build(name: str, scale: float = 3.0, seed: int = 0, **settings: Any) -> LatentTextModel:
        torch.manual_seed(seed)
        family = find_architecture(name)
        if name != "cnn":
            settings.setdefault("decoder", RecurrentDecoderSettings(hidden=8, embedding=4))
        if name in ("cnn", "hybrid"):
            settings.setdefault("convolutions", ConvolutionSettings(embedding=4, channels=6, kernels=(3, 2), strides=(1, 2)))
            settings.setdefault("latent", LatentSettings(channels=(2,)))
        if name.startswith("ladder"):
            settings.setdefault("ladder", LadderSettings(embedding=4, hidden=(6, 4), reconstruction=6))
            shape = "dense" if name == "ladder" else "map"
            settings.setdefault("latent", LatentSettings(shape=shape, channels=(2, 1)))
        elif name == "rnn":
            settings = {"hidden": 6, "embedding": 4, "latent": LatentSettings(channels=(1,))} | settings
        model = family.build(family.settings(**settings), V, T_MAX)
        with torch.no_grad():
            for parameter in model.decoder.parameters():
                parameter.mul_(scale)
        return model

    return build
