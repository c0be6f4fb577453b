from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textvae.data.sources.grammar import Grammar
from textvae.errors import CorpusError

AGREEING = """
# Topic and mood are chosen once.
mood in good bad
topic in rain soup
message = <opening[mood]> the <noun[topic]><end[mood]>
opening[good] = 3* loved | liked
opening[bad] = hated
noun[rain] = rain
noun[soup] = soup |
  broth
end[good] = " :)" | !
end[bad] = " :(" | ""
"""


def probabilities(grammar: Grammar, lines: list[str]) -> list[float]:
    return np.exp(grammar.automaton.log_probability(lines)).tolist()


def test_features_agree_within_a_sentence_and_weights_count() -> None:
    grammar = Grammar.parse(AGREEING)
    lines = ["loved the rain :)", "liked the broth!", "hated the rain", "hated the soup :(", "hated the rain!", "loved the rain", "hate"]
    by_hand = [1 / 2 * 3 / 4 * 1 / 2 * 1 / 2, 1 / 2 * 1 / 4 * 1 / 4 * 1 / 2, 1 / 8, 1 / 16, 0, 0, 0]
    assert probabilities(grammar, lines) == pytest.approx(by_hand)


def test_entropy_and_length_of_an_unambiguous_grammar_add_up_by_hand() -> None:
    automaton = Grammar.parse(AGREEING).automaton
    opening = 0.5 * -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    noun = math.log(2) + 0.5 * math.log(2)
    assert automaton.entropy == pytest.approx(math.log(2) + opening + noun + math.log(2))
    assert automaton.mean_length == pytest.approx(5 + 5 + (4 * 0.75 + 5 * 0.25) + (3 + 1 + 3 + 0) / 4)
    assert automaton.longest == len("loved the broth :)")


def test_all_derivations_of_an_ambiguous_string_are_summed() -> None:
    # "ab" comes about as a + b (1/2 * 1/3), as one piece (1/4) and as ab + nothing (1/4 * 1/2).
    grammar = Grammar.parse('message = 2* a<tail> | ab | <piece>\ntail = b | 2* c\npiece = ab | ""')
    assert probabilities(grammar, ["ab", "ac", "", "a", "abc"]) == pytest.approx([1 / 6 + 1 / 4 + 1 / 8, 1 / 3, 1 / 8, 0, 0])
    strings = np.array([13 / 24, 1 / 3, 1 / 8])
    assert grammar.automaton.entropy == pytest.approx(-(strings * np.log(strings)).sum())  # of strings: four derivations


def test_two_ways_to_the_same_belief_share_a_state() -> None:
    assert Grammar.parse("message = <x>cd\nx = a | b").automaton.states == 4  # start, after a or b, after c, the end


Rules = list[list[tuple[int, list[int | str]]]]


@st.composite
def finite_rules(draw: st.DrawFn) -> Rules:
    """Rules r0, r1, ... of weighted alternatives, each naming later rules only; two letters, so ambiguity is common."""
    count = draw(st.integers(1, 4))
    rules = []
    for number in range(count):
        later = [st.integers(number + 1, count - 1)] if number + 1 < count else []
        symbol = st.one_of(st.sampled_from(["a", "b", "ab", "ba"]), *later)
        alternative = st.tuples(st.integers(1, 4), st.lists(symbol, max_size=3))
        rules.append(draw(st.lists(alternative, min_size=1, max_size=3)))
    return rules


def written(rules: Rules) -> str:
    def shown(weight: int, symbols: list[int | str]) -> str:
        return f"{weight}* " + ("".join(s if isinstance(s, str) else f"<r{s}>" for s in symbols) or '""')

    return "\n".join(f"r{number} = " + " | ".join(shown(*alternative) for alternative in rule) for number, rule in enumerate(rules))


def enumerated(rules: Rules, symbol: int | str) -> dict[str, float]:
    """Every string a symbol writes with its probability, by brute force over derivations."""
    if isinstance(symbol, str):
        return {symbol: 1.0}
    total = sum(weight for weight, _ in rules[symbol])
    strings: defaultdict[str, float] = defaultdict(float)
    for weight, symbols in rules[symbol]:
        for parts in itertools.product(*(enumerated(rules, part).items() for part in symbols)):
            strings["".join(text for text, _ in parts)] += weight / total * math.prod(p for _, p in parts)
    return strings


@settings(max_examples=150, deadline=None)
@given(finite_rules())
def test_probabilities_and_entropy_are_those_of_brute_force(rules: Rules) -> None:
    grammar = Grammar.parse(written(rules))
    strings = enumerated(rules, 0)
    p = np.array(list(strings.values()))
    assert probabilities(grammar, list(strings)) == pytest.approx(p.tolist())
    assert grammar.automaton.entropy == pytest.approx(-(p * np.log(p)).sum(), abs=1e-9)
    assert grammar.automaton.mean_length == pytest.approx(sum(len(text) * q for text, q in strings.items()))
    assert grammar.automaton.longest == max(map(len, strings))
    assert probabilities(grammar, [text + "c" for text in strings]) == [0.0] * len(strings)
    assert set(grammar.sample(20, np.random.default_rng(0))) <= set(strings)


def test_samples_have_the_probabilities_of_the_automaton() -> None:
    grammar = Grammar.parse(AGREEING)
    counts = Counter(grammar.sample(40_000, np.random.default_rng(0)))
    observed = np.array(list(counts.values()))
    expected = 40_000 * np.array(probabilities(grammar, list(counts)))
    assert expected.sum() == pytest.approx(40_000)  # every sentence was seen
    chi_square = ((observed - expected) ** 2 / expected).sum()
    assert len(counts) == 18 and chi_square < 45  # 17 degrees of freedom: above this about once in five thousand


def test_a_sample_is_a_function_of_the_seed() -> None:
    grammar = Grammar.parse(AGREEING)
    first, again, other = (grammar.sample(50, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no rule"),
        ("message: hello", "line 1: 'message: hello' is neither"),
        ("message = <other>", "line 1: other has no rule"),
        ("mood in good bad\nmessage = <x[mood]>\nx[good] = a", r"line 2: x\[bad\] has no rule"),
        ("message = a<x>\nx = b<message>", "line 2: message contains itself"),
        ("message = a\n\nmessage = b", "line 3: message has a rule already, on line 1"),
        ("mood in good bad\nmessage[mood] = a", r"line 2: the first rule .* drop `\[mood\]`"),
        ("message = a | 0* b", "line 1: a weight is 0"),
    ],
)
def test_a_malformed_grammar_is_told_in_one_line(text: str, told: str) -> None:
    with pytest.raises(CorpusError, match=told) as caught:
        Grammar.parse(text)
    assert "\n" not in str(caught.value)
