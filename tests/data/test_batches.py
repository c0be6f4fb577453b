from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.data.batches import BucketedBatches, in_order
from textvae.data.tokens import EOS, TokenTable
from textvae.errors import ConfigError


def numbered(lengths: list[int]) -> TokenTable:
    """Sequences of the given lengths without `EOS`, told apart by their symbol: row i is all 2 + i."""
    return TokenTable.ended(np.repeat(np.arange(len(lengths)) + 2, lengths), np.array(lengths))


def bodies(batch: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(row[row != EOS].tolist()) for row in batch]


tables = st.lists(st.integers(1, 40), min_size=1, max_size=60)


def test_ended_appends_the_end_to_each():
    table = TokenTable.ended(np.array([5, 6, 7]), np.array([2, 0, 1]))
    assert table.tokens.tolist() == [5, 6, EOS, EOS, 7, EOS]
    assert table.take(np.array([2, 0])).tolist() == [[7, EOS, EOS], [5, 6, EOS]]


def test_select_and_cut():
    table = TokenTable.ended(np.array([5, 6, 7, 8]), np.array([3, 0, 1]))
    chosen = table.select(np.array([2, 0]))
    assert chosen.take(np.arange(2)).tolist() == [[8, EOS, EOS, EOS], [5, 6, 7, EOS]]
    assert len(table.select(np.array([], dtype=int))) == 0
    cut = table.cut(2)
    assert cut.tokens.tolist() == [5, 6, EOS, EOS, 8, EOS]
    assert cut.lengths.tolist() == [3, 1, 2]


@given(
    lengths=tables,
    batch_size=st.integers(1, 9),
    pool=st.integers(1, 4),
    epoch=st.integers(0, 3),
    bounded=st.booleans(),
)
def test_every_row_exactly_once_an_epoch(lengths, batch_size, pool, epoch, bounded):
    t_max = max(lengths) + 1 if bounded else None
    batches = BucketedBatches(numbered(lengths), batch_size, 7, t_max, pool=pool)
    seen = list(batches.iterate(epoch))
    assert sorted(body for batch in seen for body in bodies(batch)) == [(2 + row,) * length for row, length in enumerate(lengths)]
    assert len(seen) == batches.batches_per_epoch(epoch) == -(-len(lengths) // batch_size)
    assert sum(len(batch) < batch_size for batch in seen) <= 1
    for batch in seen:
        assert batch.dtype == np.int64
        assert (batch[:, -1] == EOS).all()
        assert t_max is None or batch.shape[1] <= t_max
        assert batch.shape[1] > max(len(body) for body in bodies(batch))
    assert len({batch.shape[1] for batch in seen}) <= 16
    positions = sum(batch.size for batch in seen)
    assert batches.padding_share(epoch) == pytest.approx((positions - sum(lengths) - len(lengths)) / positions)


@given(lengths=tables, batch_size=st.integers(1, 9), start=st.integers(0, 70))
def test_starting_later_gives_the_rest_of_the_same_epoch(lengths, batch_size, start):
    whole = list(BucketedBatches(numbered(lengths), batch_size, 3).iterate(5))
    rest = list(BucketedBatches(numbered(lengths), batch_size, 3).iterate(5, start))
    assert [batch.tolist() for batch in rest] == [batch.tolist() for batch in whole[start:]]


@given(lengths=st.lists(st.integers(1, 40), min_size=4, max_size=40), batch_size=st.integers(4, 9), world=st.integers(2, 4))
def test_ranks_share_every_batch(lengths, batch_size, world):
    ranks = [list(BucketedBatches(numbered(lengths), batch_size, 1, rank=rank, world=world, pool=2).iterate(0)) for rank in range(world)]
    assert len({len(batches) for batches in ranks}) == 1
    for parts in zip(*ranks, strict=True):
        assert len({part.shape[1] for part in parts}) == 1  # one shape everywhere
        assert min(len(part) for part in parts) >= 1  # none is left without work
        assert max(len(part) for part in parts) - min(len(part) for part in parts) <= 1
    seen = Counter(body for batches in ranks for batch in batches for body in bodies(batch))
    assert seen == Counter((2 + row,) * length for row, length in enumerate(lengths))


def order(batches: BucketedBatches, epoch: int) -> list[list[int]]:
    return [batch[:, 0].tolist() for batch in batches.iterate(epoch)]


def test_epochs_and_seeds_differ():
    table = numbered([3 + row % 5 for row in range(200)])
    batches = BucketedBatches(table, 8, seed=0)
    assert order(batches, 0) != order(batches, 1)
    assert order(batches, 0) != order(BucketedBatches(table, 8, seed=1), 0)
    assert order(batches, 0) == order(BucketedBatches(table, 8, seed=0), 0)  # also after epoch 1 was planned


def test_lengths_do_not_come_in_order():
    batches = BucketedBatches(numbered(list(range(1, 161))), 4, seed=0)
    widths = [batch.shape[1] for batch in batches.iterate(0)]
    assert widths != sorted(widths)
    assert widths != sorted(widths, reverse=True)


def test_bucketing_saves_padding():
    lengths = np.random.default_rng(0).integers(1, 120, 4000).tolist()
    bucketed = BucketedBatches(numbered(lengths), 32, seed=0).padding_share()
    unsorted = BucketedBatches(numbered(lengths), 32, seed=0, pool=1).padding_share()
    assert unsorted > 0.4
    assert bucketed < 0.08


def test_sequences_may_be_drawn_by_epoch():
    asked = []

    def table_of_epoch(epoch: int) -> TokenTable:
        asked.append(epoch)
        return numbered([1 + epoch] * (3 + epoch))

    batches = BucketedBatches(table_of_epoch, 2, seed=0)
    assert [batches.batches_per_epoch(epoch) for epoch in (0, 1, 2)] == [2, 2, 3]
    assert all(batch.shape[1] == 4 for batch in batches.iterate(2))
    assert asked == [0, 1, 2]  # the latest epoch is kept: drawing costs time


def test_more_ranks_than_sequences_are_refused():
    with pytest.raises(ConfigError, match=r"training\.batch is 2: must be at least training\.devices, 3"):
        BucketedBatches(numbered([1, 1, 1]), 2, 0, world=3)
    with pytest.raises(ConfigError, match=r"training\.devices is 3: must be at most 2"):
        BucketedBatches(numbered([1, 1]), 4, 0, world=3).batches_per_epoch(0)


@given(lengths=st.lists(st.integers(0, 40), max_size=50), batch_size=st.integers(1, 9), bounded=st.booleans())
def test_in_order_gives_rows_to_put_results_back(lengths, batch_size, bounded):
    table = numbered(lengths)
    t_max = max(lengths, default=0) + 1 if bounded else None
    found = np.full(len(lengths), -1)
    widths = []
    for rows, tokens in in_order(table, batch_size, t_max):
        assert len(rows) == len(tokens) <= batch_size
        assert (tokens[:, -1] == EOS).all()
        widths.append(tokens.shape[1])
        found[rows] = (tokens != EOS).sum(axis=1)
    assert found.tolist() == lengths
    assert widths == sorted(widths)
    assert t_max is None or max(widths, default=0) <= t_max
