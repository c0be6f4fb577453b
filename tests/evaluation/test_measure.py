"""The report: its fields, its arithmetic, and its rendering in plain words."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.data.sources.source import Source
from textvae.data.tokenizers import CharacterTokenizer, WordTokenizer
from textvae.errors import ConfigError
from textvae.evaluation import measure as measure_module
from textvae.evaluation.collapse import verdict_on
from textvae.evaluation.measure import Evaluation, measure, perplexity, reads_back
from textvae.evaluation.reconstruction import reconstruction_quality
from textvae.evaluation.table import evaluation_rows, evaluation_table
from textvae.model.text_model import LatentTextModel
from textvae.settings import resolve

Tiny = Callable[..., LatentTextModel]
LINES = ["abcd", "", "d", "bb", "cd", "abcd"]
FAMILIES = ["rnn", "cnn", "hybrid", "ladder", "ladder-cnn", "ladder-rnn", "lm"]


class Uniform(Source):
    """Every line of LINES with its share."""

    name = "uniform"
    description = "for these tests"
    paper_positions = 16

    @property
    def entropy(self) -> float:
        return -float(self.log_probability(LINES).mean())

    def sample(self, count: int, rng: np.random.Generator) -> list[str]:
        return [LINES[i] for i in rng.integers(0, len(LINES), count)]

    def log_probability(self, lines: Sequence[str]) -> np.ndarray:
        return np.array([math.log(LINES.count(line) / len(LINES)) if line in LINES else -math.inf for line in lines])


def measured(model: LatentTextModel, lines: Sequence[str] = LINES, **settings: Any) -> Evaluation:
    tokenizer = CharacterTokenizer("abcd")
    return measure(model, tokenizer, tokenizer.encode(lines), lines, corpus_name="letters", split="test", **settings).evaluation


CONTRACT = {
    "corpus": str, "split": str, "sequences": int, "tokens": int, "unknown_tokens": int, "characters": int,
    "elbo": float, "distortion": float, "rate": float, "rate_per_rung": list,
    "importance_bound": float, "importance_samples": int, "standard_error": dict,
    "bits_per_character": float, "perplexity_per_token": float,
    "active_units": int, "latent_units": int, "active_units_per_rung": list,
    "mutual_information": float, "mutual_information_cap": float, "rate_below_cap": float,
    "reconstruction": dict, "paper": dict,
    "entropy": float, "gap": float, "length_nats": float, "parameters": int, "training_seconds": float,
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_reports_the_fields_of_the_contract(tiny: Tiny, name: str) -> None:
    model = tiny(name)
    report = measured(model, source=Uniform(), importance_samples=3, training_seconds=2.5)
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert {key: type(value) for key, value in content.items()} == CONTRACT
    assert list(content) == list(CONTRACT)
    assert set(content["standard_error"]) == {"elbo", "importance_bound"}
    assert set(content["reconstruction"]) == {"character_accuracy", "exact_match", "character_error_rate"}
    assert set(content["paper"]) == {"reconstruction", "kl", "elbo"}
    assert len(report.rate_per_rung) == len(report.active_units_per_rung) == len(model.latents.shapes)
    assert report.latent_units == sum(shape.channels for shape in model.latents.shapes)


def test_the_arithmetic_of_a_report(tiny: Tiny) -> None:
    model = tiny("ladder")
    report = measured(model, source=Uniform(), importance_samples=5)
    assert (report.sequences, report.characters, report.tokens) == (6, 13, 19)
    assert report.elbo == pytest.approx(-(report.distortion + report.rate))
    assert report.rate == pytest.approx(sum(report.rate_per_rung))
    assert report.elbo <= report.importance_bound
    assert report.bits_per_character == pytest.approx(-report.importance_bound * 6 / 13 / math.log(2))
    assert report.perplexity_per_token == pytest.approx(math.exp(-report.importance_bound * 6 / 19))
    assert report.mutual_information_cap == pytest.approx(math.log(6))
    assert report.entropy is not None and report.gap is not None
    assert report.gap == pytest.approx(-report.entropy - report.elbo)  # here the set is the source itself
    assert report.paper["reconstruction"] == pytest.approx(-report.distortion / 16)
    assert report.paper["kl"] == pytest.approx(report.rate)
    assert report.paper["elbo"] == pytest.approx(-report.distortion / 16 - report.rate)
    assert report.parameters == sum(p.numel() for p in model.parameters())
    assert report == measured(model, source=Uniform(), importance_samples=5)
    assert report.elbo != measured(model, source=Uniform(), importance_samples=5, seed=1).elbo


def test_standard_errors_are_those_of_the_mean(tiny: Tiny) -> None:
    model = tiny("lm")
    alone = [measured(model, [line]).elbo for line in LINES]
    drawn = measured(model, source=Uniform()).standard_error["elbo"]
    assert drawn == pytest.approx(np.std(alone, ddof=1) / math.sqrt(6), rel=1e-4), "draws of a source are independent, equal ones too"
    assert measured(model, LINES[:-1]).standard_error["elbo"] == pytest.approx(np.std(alone[:-1], ddof=1) / math.sqrt(5), rel=1e-4)
    assert measured(model, ["ab"]).standard_error["elbo"] == 0.0


def test_copies_of_a_files_line_are_one_observation(tiny: Tiny) -> None:
    model = tiny("lm")
    once, thrice = (measured(model, LINES[:-1] * copies).standard_error["elbo"] for copies in (1, 3))
    assert thrice == pytest.approx(once, rel=1e-4)


def test_symbols_that_the_model_does_not_know_are_counted_and_shown(tiny: Tiny) -> None:
    found = measured(tiny("lm"), ["abx", "yz"])
    assert (found.unknown_tokens, found.tokens) == (3, 7)
    (row,) = [row for row in evaluation_rows(found) if row[0] == "unknown symbols"]
    assert row[1] == "3 of 7 tokens (43%)" and "flatter" in row[2]
    without_latent = {row[0] for row in evaluation_rows(measured(tiny("lm")))}
    assert not without_latent & {"unknown symbols", "active units", "reconstruction"}


def test_few_lines_tell_nothing_of_an_error_or_of_a_collapse(tiny: Tiny) -> None:
    table = evaluation_table(measured(tiny("rnn"), ["ab"], importance_samples=2), resolve("rnn"))
    assert str(table.caption) == "too few lines to say whether the latent is in use: give 30 at least"
    assert evaluation_table(measured(tiny("lm"), ["ab"]), resolve("lm")).caption is None
    assert "±" not in evaluation_rows(measured(tiny("rnn"), ["ab"], importance_samples=2))[0][1]


def test_columns_of_the_study_fall_back_to_t_max(tiny: Tiny) -> None:
    report = measured(tiny("rnn"), importance_samples=2)
    assert report.paper["reconstruction"] == pytest.approx(-report.distortion / 5)
    assert report.entropy is None and report.gap is None


def test_no_gap_where_the_source_cannot_write_a_line(tiny: Tiny) -> None:
    report = measured(tiny("rnn"), ["ab", "abcd"], source=Uniform(), importance_samples=2)
    assert report.gap is None and report.entropy is not None


@pytest.mark.parametrize("decoded", [1_000, 2])
def test_no_gap_where_tokens_do_not_hold_the_lines(decoded: int, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that read alike share their probability: the bound on what is read is none on what was written."""
    monkeypatch.setattr(measure_module, "DECODED", decoded)
    for symbols, known in (("abcd", True), ("abce", False)):
        tokenizer = CharacterTokenizer(symbols)
        report = measure(
            tiny("rnn"), tokenizer, tokenizer.encode(LINES), LINES, corpus_name="x", split="test", source=Uniform(), importance_samples=2
        ).evaluation
        assert (report.gap is not None) == known and report.entropy is not None


@pytest.mark.parametrize("lines", [[""], ["", ""], ["a"]])
def test_empty_and_single_lines_work(tiny: Tiny, lines: list[str]) -> None:
    report = measured(tiny("rnn"), lines, importance_samples=2)
    json.dumps(report.to_dict(), allow_nan=False)
    assert report.bits_per_character > 0


def test_progress_names_what_is_measured(tiny: Tiny) -> None:
    seen: list[str] = []
    measured(tiny("rnn"), importance_samples=2, progress=lambda what, done, total: seen.append(what))
    assert list(dict.fromkeys(seen)) == ["bounds", "latent", "reconstruction"]


def test_what_an_evaluation_was_made_of(tiny: Tiny) -> None:
    model, tokenizer = tiny("ladder"), CharacterTokenizer("abcd")
    made = measure(model, tokenizer, tokenizer.encode(["ab", "c", "ab"]), ["ab", "c", "ab"], corpus_name="x", split="test")
    assert list(made.lines) == ["ab", "c", "ab"] and made.groups.tolist() == [0, 1, 0], "copies are one observation"
    assert made.evaluation.elbo == pytest.approx(made.bounds.elbo.mean()) and made.bounds.elbo.shape == (3,)


def test_nonsense_is_refused(tiny: Tiny) -> None:
    tokenizer, model = CharacterTokenizer("abcd"), tiny("rnn")
    with pytest.raises(ConfigError, match="importance samples is 0"):
        measured(model, importance_samples=0)
    with pytest.raises(ConfigError, match="no sequence"):
        measured(model, [])
    with pytest.raises(ConfigError, match="2 lines and 1 token sequences"):
        measure(model, tokenizer, tokenizer.encode(["a"]), ["a", "b"], corpus_name="letters", split="test")


def test_reconstruction_by_hand() -> None:
    quality = reconstruction_quality(["abcd", "ab", "x"], ["abd", "ab", ""])
    assert quality["character_accuracy"] == pytest.approx((2 + 2 + 0) / (4 + 2 + 1))
    assert quality["exact_match"] == pytest.approx(1 / 3)
    assert quality["character_error_rate"] == pytest.approx((1 + 0 + 1) / 7)


@given(st.lists(st.text(max_size=8), min_size=1, max_size=6))
def test_a_perfect_reconstruction_is_perfect(lines: list[str]) -> None:
    assert reconstruction_quality(lines, lines) == {"character_accuracy": 1.0, "exact_match": 1.0, "character_error_rate": 0.0}


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), min_size=1, max_size=6))
def test_reconstruction_shares_are_shares(pairs: list[tuple[str, str]]) -> None:
    quality = reconstruction_quality([a for a, _ in pairs], [b for _, b in pairs])
    assert 0 <= quality["character_accuracy"] <= 1 and 0 <= quality["exact_match"] <= 1 and quality["character_error_rate"] >= 0


def test_one_output_a_line_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="2 lines and 1 outputs"):
        reconstruction_quality(["a", "b"], ["a"])
    with pytest.raises(ConfigError, match="no line"):
        reconstruction_quality([], [])


FIRST_ROWS = ["ELBO", "distortion", "rate", "importance bound", "entropy of the source", "gap to the truth", "bits per character"]
LATENT_ROWS = ["active units", "mutual information"]


@pytest.mark.parametrize("name", ["rnn", "ladder", "lm"])
def test_the_table_says_the_same_numbers_in_plain_words(tiny: Tiny, name: str) -> None:
    from rich.console import Console

    report = measured(tiny(name), LINES * 5, source=Uniform(), importance_samples=3)
    expected = [*FIRST_ROWS, *(["perplexity per token"] if name == "lm" else [*LATENT_ROWS, "reconstruction"])]
    assert [row[0] for row in evaluation_rows(report)][: len(expected)] == expected
    page = StringIO()
    Console(file=page, width=200).print(evaluation_table(report, resolve(name)))
    assert f"{report.elbo:.3f}" in page.getvalue() and "nats" in page.getvalue()
    assert ("collapsed" in page.getvalue()) == (getattr(verdict_on(report.latent_use, resolve(name)), "collapsed", False))


def test_what_is_not_known_has_no_row(tiny: Tiny) -> None:
    names = [row[0] for row in evaluation_rows(measured(tiny("rnn"), importance_samples=2))]
    assert "gap to the truth" not in names and "entropy of the source" not in names


def test_a_line_with_an_unknown_symbol_does_not_read_back_though_it_holds_the_sign_of_one() -> None:
    lines = ["abc", "a\ufffdc", "axc", ""]
    characters = CharacterTokenizer("abc")
    assert reads_back(characters, characters.encode(lines), lines).tolist() == [True, False, False, True]
    words = WordTokenizer(("a",), unknown_in_training=True)
    told = ["a <unk>", "a b", "a", "a \ufffd"]
    assert reads_back(words, words.encode(told), told).tolist() == [False, False, True, False]


def test_a_perplexity_beyond_all_numbers_is_the_largest() -> None:
    assert perplexity(2.0) == math.exp(2.0)
    assert perplexity(1e6) == perplexity(math.inf) == sys.float_info.max
    assert math.isnan(perplexity(math.nan))
