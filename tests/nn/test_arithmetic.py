"""fp32 keeps its bits as long as somebody asks for them, however the user has set them, and stands as set afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from textvae.nn.arithmetic import all_bits, product_precision

GPU = torch.device("cuda")
cudnn: Any = torch.backends.cudnn
backends: Any = torch.backends


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    backends.fp32_precision = cudnn.fp32_precision = "none"
    cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")


def set_layers(conv: str, rnn: str) -> None:
    cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = conv, rnn


WAYS: dict[str, Callable[[], None]] = {
    "nothing set": lambda: None,
    "the older switch off": lambda: setattr(cudnn, "allow_tf32", False),
    "one kind of layers": lambda: set_layers("ieee", "tf32"),
    "both kinds": lambda: set_layers("ieee", "ieee"),
    "all of cuDNN": lambda: setattr(cudnn, "fp32_precision", "ieee"),
    "all of cuDNN with TF32": lambda: setattr(cudnn, "fp32_precision", "tf32"),
    "everything": lambda: setattr(backends, "fp32_precision", "ieee"),
    "everything with TF32": lambda: setattr(backends, "fp32_precision", "tf32"),
}


@pytest.mark.parametrize("way", WAYS)
def test_all_bits_inside_and_what_was_set_afterwards(way: str) -> None:
    def found() -> tuple[str, str]:
        return cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision

    WAYS[way]()
    before = found()
    with pytest.raises(ValueError, match="inside"), all_bits(GPU):
        with all_bits(GPU):
            pass
        assert found() == ("ieee", "ieee")
        assert not cudnn.allow_tf32  # the older switch may be asked, and agrees
        raise ValueError("inside")
    assert found() == before
    with all_bits(torch.device("cpu")):
        assert found() == before


def test_what_a_user_does_with_the_older_switch_inside_is_over_afterwards() -> None:
    with all_bits(GPU):
        with cudnn.flags(enabled=True, allow_tf32=False):
            pass
        assert not cudnn.allow_tf32
    assert cudnn.allow_tf32


def test_the_precision_of_products_is_the_users() -> None:
    before = product_precision()
    torch.set_float32_matmul_precision("high")
    assert product_precision() != before
    with all_bits(GPU):
        assert product_precision() != before
