"""A probabilistic grammar whose sentences are drawn fast and whose probabilities and entropy are exact.

A grammar is text. Each rule names a symbol and its alternatives, and the first rule's symbol is the start:

    mood in good bad
    message = <opening[mood]> the <thing><ending[mood]>
    opening[good] = loved | 2* enjoyed
    opening[bad] = hated
    thing = rain | sun
    ending[good] = " :)" | !
    ending[bad] = " :("

`name in values` declares a feature. A rule whose head names a feature holds for each of its values. A
feature named in an alternative but not in the head is chosen there, each value with the same probability,
and everything in that alternative that names it agrees: so the first and the last word of a sentence can
depend on each other. `2*` weighs an alternative (1 if not said); quotes keep outer spaces, and `""` is the
empty string. Lines that begin with a space continue a rule; lines that begin with `#` are comments.

No symbol may contain itself, so the sentences are finitely many and the grammar is a finite automaton.
`Automaton` is that automaton made deterministic: one path a string, however many derivations it has.
Sampling walks the grammar and never touches the automaton, so each is a check on the other.
"""

from __future__ import annotations

import itertools
import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np

from textvae.errors import CorpusError

Symbol = int | str
"""The number of a rule, or a string of characters that stands for itself."""

Stack = tuple[Symbol, ...]
"""What of a sentence is still to be written."""

Belief = dict[Stack, float]
"""The probability of each stack, given the characters so far."""


@final
@dataclass(frozen=True)
class Alternative:
    """One way to write a symbol, with its probability among the alternatives of that symbol."""

    probability: float
    symbols: Stack


@final
class Grammar:
    """A finite probabilistic context-free grammar; rule 0 writes a sentence.

    Every question about probabilities is answered by `automaton`, which is built when first asked for.
    """

    def __init__(self, rules: list[list[Alternative]]) -> None:
        self._rules = rules
        self._choices = [_choice(alternatives) for alternatives in rules]

    @classmethod
    def parse(cls, text: str) -> Grammar:
        """Read a grammar in the notation of this module. Raises `CorpusError` where it is malformed."""
        return cls(_Reader(text).rules())

    def sample(self, count: int, rng: np.random.Generator) -> list[str]:
        """Draw `count` sentences independently."""
        uniforms = _uniforms(rng)
        return [self._sentence(uniforms) for _ in range(count)]

    def _sentence(self, uniforms: Iterator[float]) -> str:
        """Write one sentence from left to right, one number of [0, 1) a choice."""
        written = []
        stack: list[Symbol] = [0]
        while stack:
            symbol = stack.pop()
            if isinstance(symbol, str):
                written.append(symbol)
            else:
                edges, reversed_symbols = self._choices[symbol]
                stack += reversed_symbols[bisect_right(edges, next(uniforms)) if edges else 0]
        return "".join(written)

    @cached_property
    def automaton(self) -> Automaton:
        """The deterministic automaton of this grammar's strings."""
        return Automaton(self._rules)


@final
class Automaton:
    """Strings of a finite grammar, with exact probabilities: deterministic, acyclic, over characters.

    A state is a belief: the probability of every stack the grammar may have, given the characters read.
    Two prefixes with the same belief share a state. A string has one path, whose steps are
    p(next character | characters so far): their product sums over all derivations of the string, and the
    chain rule gives the entropy of strings (not of derivations) exactly. Building recurses once a character:
    strings of up to about 250 characters.
    """

    def __init__(self, rules: list[list[Alternative]]) -> None:
        self._rules = rules
        self._openings: dict[Stack, Belief] = {}
        self._numbers: dict[frozenset[tuple[Stack, float]], int] = {}
        self._arcs: list[dict[str, tuple[float, int]]] = []  # a state: character -> (log p, next state); "" ends
        self._entropies: list[float] = []
        self._lengths: list[float] = []
        self._longest: list[int] = []
        self._start = self._state(self._opened((0,)))

    @property
    def states(self) -> int:
        """Number of states."""
        return len(self._arcs)

    @property
    def entropy(self) -> float:
        """Entropy of a string, in nats."""
        return self._entropies[self._start]

    @property
    def mean_length(self) -> float:
        """Expected characters of a string."""
        return self._lengths[self._start]

    @property
    def longest(self) -> int:
        """Characters of the longest string."""
        return self._longest[self._start]

    def log_probability(self, lines: Iterable[str]) -> np.ndarray:
        """Return log p of each line in nats, (N,); -inf for a line that is no sentence."""
        return np.array([self._log_probability(line) for line in lines], dtype=np.float64)

    def _log_probability(self, line: str) -> float:
        state, total = self._start, 0.0
        for character in (*line, ""):
            step = self._arcs[state].get(character)
            if step is None:
                return -math.inf
            total += step[0]
            state = step[1]
        return total

    def _state(self, belief: Belief) -> int:
        """Return the number of a belief's state, made with all that follow it on first sight.

        Probabilities are compared to twelve digits: the same belief reached along two ways may differ in
        the last ones.
        """
        key = frozenset((stack, round(probability, 12)) for stack, probability in belief.items())
        if key not in self._numbers:
            arcs = {char: (math.log(mass), self._state(after) if char else -1) for char, mass, after in self._steps(belief)}
            self._numbers[key] = len(self._arcs)
            self._arcs.append(arcs)
            self._measure(arcs)
        return self._numbers[key]

    def _measure(self, arcs: dict[str, tuple[float, int]]) -> None:
        """Note what is expected from a state on: its own step, and what the states after it expect."""
        entropy, length, longest = 0.0, 0.0, 0
        for character, (log_mass, after) in arcs.items():
            mass = math.exp(log_mass)
            entropy -= mass * log_mass
            if character:
                entropy += mass * self._entropies[after]
                length += mass * (1 + self._lengths[after])
                longest = max(longest, 1 + self._longest[after])
        self._entropies.append(entropy)
        self._lengths.append(length)
        self._longest.append(longest)

    def _steps(self, belief: Belief) -> Iterator[tuple[str, float, Belief]]:
        """Yield each next character ("" for the end) with its probability and the belief after it."""
        after: dict[str, Belief] = {}
        for stack, probability in belief.items():
            head = stack[0] if stack else ""
            assert isinstance(head, str)  # a belief holds opened stacks only
            rest = (head[1:], *stack[1:]) if len(head) > 1 else stack[1:]
            reached = after.setdefault(head[:1], {})
            for opened, share in self._opened(rest).items():
                reached[opened] = reached.get(opened, 0.0) + probability * share
        for character, reached in after.items():
            mass = sum(reached.values())
            yield character, mass, {stack: probability / mass for stack, probability in reached.items()}

    def _opened(self, stack: Stack) -> Belief:
        """Return the belief of a stack whose leading symbols are written out until a character leads, or nothing."""
        if not stack or (isinstance(stack[0], str) and stack[0]):
            return {stack: 1.0}
        if stack not in self._openings:
            head, rest = stack[0], stack[1:]
            alternatives = [Alternative(1.0, ())] if isinstance(head, str) else self._rules[head]
            belief: Belief = {}
            for alternative in alternatives:
                for opened, share in self._opened((*alternative.symbols, *rest)).items():
                    belief[opened] = belief.get(opened, 0.0) + alternative.probability * share
            self._openings[stack] = belief
        return self._openings[stack]


def _choice(alternatives: list[Alternative]) -> tuple[list[float], list[Stack]]:
    """Return where in [0, 1) one alternative gives way to the next, and the alternatives' symbols, last first."""
    edges = list(itertools.accumulate(alternative.probability for alternative in alternatives[:-1]))
    return edges, [alternative.symbols[::-1] for alternative in alternatives]


def _uniforms(rng: np.random.Generator) -> Iterator[float]:
    """Yield numbers of [0, 1) without end; drawn in blocks, because a call a number is what costs."""
    while True:
        yield from rng.random(4096).tolist()


Head = tuple[str, ...]
"""A symbol's name and the values of its features."""


@final
@dataclass(frozen=True)
class _Template:
    """A rule as written: its symbol, the features or values it names, its alternatives, and its line."""

    name: str
    arguments: tuple[str, ...]
    alternatives: tuple[str, ...]
    line: int


@final
class _Reader:
    """Reads the notation: `rules` instantiates every template from the start symbol on."""

    _FEATURE = re.compile(r"(\w+) in (.+)")
    _RULE = re.compile(r"(\w+)(?:\[([\w, ]+)\])? = (.+)")
    _REFERENCE = re.compile(r"<(\w+)(?:\[([\w, ]+)\])?>")
    _WEIGHT = re.compile(r"(\d+(?:\.\d+)?)\* ?")

    def __init__(self, text: str) -> None:
        self._features: dict[str, tuple[str, ...]] = {}
        self._templates: dict[Head, _Template] = {}
        self._start: Head | None = None
        for number, line in _logical_lines(text):
            self._read(number, line)

    def rules(self) -> list[list[Alternative]]:
        """Return the rules by number, the start symbol's first, only those a sentence can use."""
        if self._start is None:
            raise CorpusError("The grammar has no rule: write one such as `message = hello | good morning`.")
        self._numbers: dict[Head, int] = {}
        self._rules: list[list[Alternative]] = []
        self._open: list[Head] = []
        self._number(self._start, 0)
        return self._rules

    def _read(self, number: int, line: str) -> None:
        if feature := self._FEATURE.fullmatch(line):
            self._features[feature[1]] = tuple(feature[2].split())
            return
        rule = self._RULE.fullmatch(line)
        if rule is None:
            raise CorpusError(f"Grammar line {number}: {line!r} is neither `name in values` nor `name = alternatives`.")
        template = _Template(rule[1], _names(rule[2]), tuple(part.strip() for part in rule[3].split("|")), number)
        for values in itertools.product(*(self._features.get(name, (name,)) for name in template.arguments)):
            head = (template.name, *values)
            if head in self._templates:
                raise CorpusError(f"Grammar line {number}: {_shown(head)} has a rule already, on line {self._templates[head].line}.")
            self._templates[head] = template
        if self._start is None:
            if template.arguments:
                raise CorpusError(f"Grammar line {number}: the first rule writes a sentence and has no features: drop `[{rule[2]}]`.")
            self._start = (template.name,)

    def _number(self, head: Head, line: int) -> int:
        """Return the number of a symbol's rule, instantiated on first sight."""
        if head in self._open:
            raise CorpusError(f"Grammar line {line}: {_shown(head)} contains itself; its sentences would never end.")
        if head not in self._templates:
            raise CorpusError(f"Grammar line {line}: {_shown(head)} has no rule.")
        if head not in self._numbers:
            self._numbers[head] = len(self._rules)
            self._rules.append([])
            self._open.append(head)
            self._rules[self._numbers[head]] = self._alternatives(self._templates[head], head[1:])
            self._open.pop()
        return self._numbers[head]

    def _alternatives(self, template: _Template, values: tuple[str, ...]) -> list[Alternative]:
        """Return a template's alternatives for given values of its features, a feature not named in the head chosen in each."""
        bound = {name: value for name, value in zip(template.arguments, values, strict=True) if name in self._features}
        weighted: list[tuple[float, Stack]] = []
        for text in template.alternatives:
            weight = self._WEIGHT.match(text)
            body = _unquoted(text[weight.end() :] if weight else text)
            named = {name for _, names in self._REFERENCE.findall(body) for name in _names(names)}
            free = sorted(named & self._features.keys() - bound.keys())
            choices = list(itertools.product(*(self._features[name] for name in free)))
            for choice in choices:
                symbols = self._symbols(body, bound | dict(zip(free, choice, strict=True)), template.line)
                weighted.append((float(weight[1]) / len(choices) if weight else 1 / len(choices), symbols))
        if not all(weight > 0 for weight, _ in weighted):
            raise CorpusError(f"Grammar line {template.line}: a weight is 0; leave out an alternative that is never taken.")
        total = sum(weight for weight, _ in weighted)
        return [Alternative(weight / total, symbols) for weight, symbols in weighted]

    def _symbols(self, body: str, bound: dict[str, str], line: int) -> Stack:
        """Return the text and the rule numbers of one alternative, every feature in it having its value."""
        symbols: list[Symbol] = []
        end = 0
        for reference in self._REFERENCE.finditer(body):
            symbols.append(body[end : reference.start()])
            values = (bound.get(name, name) for name in _names(reference[2]))
            symbols.append(self._number((reference[1], *values), line))
            end = reference.end()
        symbols.append(body[end:])
        return tuple(symbol for symbol in symbols if symbol != "")


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each feature or rule with its line number, continuation lines joined, comments and blanks dropped."""
    number, gathered = 0, ""
    for here, line in enumerate(text.splitlines(), start=1):
        if line.startswith("#") or not line.strip():
            continue
        if line.startswith(" "):
            gathered += " " + line.strip()
            continue
        if gathered:
            yield number, gathered
        number, gathered = here, line.strip()
    if gathered:
        yield number, gathered


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",")) if text else ()


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _shown(head: Head) -> str:
    return f"{head[0]}[{','.join(head[1:])}]" if len(head) > 1 else head[0]
