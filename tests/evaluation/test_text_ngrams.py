"""n-gram models: proper distributions, Kneser-Ney by hand, perplexities of lines under lines."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.errors import ConfigError
from textvae.evaluation.text.ngrams import END, START, UNKNOWN, NgramModel
from textvae.evaluation.text.perplexity import CharacterModel, WordModel

LINES = st.lists(st.text("abc", max_size=8), min_size=0, max_size=12)


@given(LINES, st.integers(1, 6), st.lists(st.integers(UNKNOWN, 5), max_size=7), st.booleans())
def test_probabilities_sum_to_one_after_any_context(lines: list[str], order: int, context: list[int], at_start: bool) -> None:
    model = NgramModel(lines, "ab", order)  # "c" is unknown
    symbols = range(END, END + model.events)
    probabilities = [model.probability(symbol, [START, *context] if at_start else context) for symbol in symbols]
    assert sum(probabilities) == pytest.approx(1) and min(probabilities) > 0


def test_probabilities_sum_to_one_where_the_discounts_are_estimated() -> None:
    lines = ["abab" * (i % 5) + "ba" * (i % 3) + "aab" * (i % 7) + "c" * (i % 2) for i in range(40)]
    model = NgramModel(lines, "abc", 4)
    for length in range(4):
        for context in product(range(UNKNOWN, 6), repeat=length):
            assert sum(model.probability(symbol, context) for symbol in range(END, 6)) == pytest.approx(1)


@given(LINES.filter(bool), st.integers(1, 4))
def test_lines_of_a_length_and_their_longer_ones_share_all_probability(lines: list[str], order: int) -> None:
    """Over all lines of up to two symbols, with what goes on after them: a distribution over strings."""
    model = NgramModel(lines, "ab", order)
    known = ["a", "b", "?"]  # "?" stands for all that is unknown
    ended = sum(math.exp(sum(model.log_probabilities(line))) for n in range(3) for line in product(known, repeat=n))
    going_on = sum(math.exp(sum(model.log_probabilities(line)[:-1])) for line in product(known, repeat=3))
    assert ended + going_on == pytest.approx(1)


def test_bigrams_by_hand() -> None:
    """Lines "ab", "ab", "b" of the vocabulary {a, b}; so few that the usual discounts 1/2, 1, 3/2 hold."""
    model = NgramModel(["ab", "ab", "b"], "ab", 2)
    a, b = model.read("ab")[:2]
    # Kinds of symbols before: a has 1 (start), b 2 (a, start), the end 1 (b). 4 in all; 1/2 + 1 + 1/2 = 2 of them are set free.
    unigram = {a: 0.5 / 4 + 0.5 / 4, b: 1 / 4 + 0.5 / 4, END: 0.5 / 4 + 0.5 / 4, UNKNOWN: 0.5 / 4}
    for symbol, probability in unigram.items():
        assert model.probability(symbol, []) == pytest.approx(probability)
    # After the start: a twice, b once; 1 + 1/2 of 3 are set free.
    assert model.probability(a, [START]) == pytest.approx((2 - 1) / 3 + 0.5 * unigram[a])
    assert model.probability(b, [START]) == pytest.approx((1 - 0.5) / 3 + 0.5 * unigram[b])
    assert model.probability(END, [START]) == pytest.approx(0.5 * unigram[END])
    # After b: the end three times, 3/2 of them set free.
    assert model.probability(END, [b]) == pytest.approx(0.5 + 0.5 * unigram[END])
    assert model.probability(b, [UNKNOWN]) == pytest.approx(unigram[b])  # never seen: as if nothing stood there
    line = [(2 - 1) / 3 + 0.5 * unigram[a], (2 - 1) / 2 + 0.5 * unigram[b], 0.5 + 0.5 * unigram[END]]
    assert model.log_probabilities("ab") == pytest.approx([math.log(p) for p in line])


def test_discounts_follow_the_counts_of_counts() -> None:
    """Unigrams that occur 1, 1, 1, 2, 2, 3, 4 times beside an end: n1 3, n2 2, n3 1, n4 1."""
    symbols = ["a", "b", "c", *"dd", *"ee", *"fff", *"gggg"]
    model = NgramModel([symbols], "abcdefg", 1)  # the end occurs once as well: n1 is 4
    share = 4 / (4 + 2 * 2)
    one, two, more = 1 - 2 * share * 2 / 4, 2 - 3 * share * 1 / 2, 3 - 4 * share * 1 / 1
    freed = (4 * one + 2 * two + 2 * more) / 15
    base = freed / 9
    numbers = model.read("adfg")
    found = [model.probability(number, []) for number in numbers]
    assert found == pytest.approx([(1 - one) / 15 + base, (2 - two) / 15 + base, (3 - more) / 15 + base, (4 - more) / 15 + base,
                                   (1 - one) / 15 + base])  # fmt: skip


def test_without_lines_all_symbols_are_alike_and_an_order_below_one_is_refused() -> None:
    assert NgramModel([], "ab", 3).log_probabilities("a?") == pytest.approx([-math.log(4)] * 3)
    with pytest.raises(ConfigError, match="order is 0"):
        NgramModel([], "ab", 0)


def test_costs_are_nats_a_line_and_perplexity_a_symbol() -> None:
    uniform = CharacterModel([], ["abc"])  # a, b, c, unknown and the end: 5 alike
    cost = uniform.cost(["", "abc", "x"])
    assert cost.nats == pytest.approx((1 + 4 + 2) * math.log(5) / 3) and cost.perplexity == pytest.approx(5)
    with pytest.raises(ConfigError, match="no line"):
        uniform.cost([])


@pytest.mark.parametrize("family", [CharacterModel, WordModel])
def test_lines_like_those_fitted_cost_less(family: type[CharacterModel] | type[WordModel]) -> None:
    train = ["the cat sat", "the dog sat", "the cat ran", "a dog ran"] * 3
    model = family(train, train)
    fitted, turned, strange = (model.cost([line]).perplexity for line in ("the dog ran", "ran dog the", "xq dog zzv"))
    assert fitted < turned < strange


def test_unknown_words_pay_for_their_spelling() -> None:
    train = ["good day", "good night"]
    model = WordModel(["good day", "good noon", "bad noon"], train)
    spelling = CharacterModel(["good", "day", "noon", "bad"], train)
    short, long = "dan", "ggggyyyytttt"
    assert model.nats(f"good {long}") - model.nats(f"good {short}") == pytest.approx(spelling.nats(long) - spelling.nats(short))
    assert model.symbols("good day") == 3
