"""Table 3: what is measured of models and real text, and how it reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import textvae
from textvae import TextVAE
from textvae.errors import ConfigError
from textvae.evaluation.text.metrics import text_metrics
from textvae.study.table3 import SHOWN, STEPS, table3, table3_markdown

WORDS = ["oak", "elm", "ash", "fir", "yew", "box", "bay", "may", "sun", "sea", "sky", "fog"]
LINES = [f"{a} {b} {c}" for a in WORDS for b in WORDS for c in ("sky", "sea")]
SPLITS = {"train": LINES[::2], "valid": LINES[1::8], "test": LINES[3::8]}
TRAINING: dict[str, Any] = {"steps": 20, "batch": 8, "precision": "32-true", "device": "cpu"}
DECODER = {"hidden": 8, "embedding": 4}
MODELS: dict[str, dict[str, Any]] = {
    "rnn | dense": {"hidden": 8, "embedding": 4, "latent": {"channels": 3}, "decoder": DECODER},
    "lm": {"architecture": "lm", "decoder": DECODER},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TextVAE]:
    folder = tmp_path_factory.mktemp("table3")
    corpus: Path = folder / "lines.txt"
    corpus.write_text("\n".join(LINES) + "\n")
    return {
        label: textvae.train(corpus, out=folder / f"run{i}", hooks=(), model=model, training=TRAINING)
        for i, (label, model) in enumerate(MODELS.items())
    }


@pytest.fixture(scope="module")
def table(models: dict[str, TextVAE]) -> dict[str, Any]:
    return table3(models, SPLITS, samples=40)


def test_rows_are_of_the_models_own_strings(models: dict[str, TextVAE], table: dict[str, Any]) -> None:
    vae, row = models["rnn | dense"], table["models"]["rnn | dense"]
    drawn = vae.sample(40, temperature=1.0, seed=0)
    assert row["samples"] == drawn[:SHOWN]
    assert table["compared"] == len(SPLITS["valid"]) == 36
    assert row["metrics"] == text_metrics(drawn, SPLITS["train"], SPLITS["test"], compared=36).to_dict()
    assert [pair["input"] for pair in row["reconstructions"]] == SPLITS["test"][:SHOWN]
    assert [pair["output"] for pair in row["reconstructions"]] == vae.reconstruct(SPLITS["test"][:SHOWN])
    assert row["interpolation"] == vae.interpolate(SPLITS["test"][0], SPLITS["test"][1], steps=STEPS)


def test_real_text_is_the_scale_and_without_a_latent_nothing_comes_back(table: dict[str, Any]) -> None:
    assert list(table["real"]) == ["real valid text", "real test text"] and list(table["models"]) == list(MODELS)
    assert table["real"]["real test text"]["known_words"] == 1.0 and table["real"]["real test text"]["copied"] == 0.0
    lm = table["models"]["lm"]
    assert lm["reconstructions"] == lm["interpolation"] == [] and len(lm["samples"]) == SHOWN


def test_it_is_plain_data_and_a_seed_gives_the_same_again(models: dict[str, TextVAE], table: dict[str, Any]) -> None:
    assert json.loads(json.dumps(table)) == table
    told: list[str] = []
    assert table3(models, SPLITS, samples=40, tell=told.append) == table
    assert told == ["real text", *MODELS]
    assert table3({"lm": models["lm"]}, SPLITS, samples=40, seed=1)["models"]["lm"]["samples"] != table["models"]["lm"]["samples"]


def test_markdown_has_a_column_a_set_and_every_string(table: dict[str, Any]) -> None:
    text = table3_markdown(table)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[0] == "| metric | real valid text | real test text | rnn &#124; dense | lm |"
    assert {row.count(" | ") for row in rows} == {4}
    assert "| words that stand in the training text | 100.0% | 100.0% |" in text
    for row in table["models"].values():
        assert [sample for sample in row["samples"] if f"    {sample}".rstrip() not in text] == []
    pair = table["models"]["rnn | dense"]["reconstructions"][0]
    assert f"    {pair['input']}\n" + f"    → {pair['output']}".rstrip() in text


def test_a_line_break_inside_a_string_stays_on_its_line(table: dict[str, Any]) -> None:
    lm = table["models"]["lm"]
    broken = {**table, "models": {"lm": {**lm, "samples": ["one\ntwo", "`three`"]}}}
    assert "    one ⏎ two\n    `three`" in table3_markdown(broken)


def test_too_little_is_told(models: dict[str, TextVAE]) -> None:
    with pytest.raises(ConfigError, match="samples is 1"):
        table3(models, SPLITS, samples=1)
    with pytest.raises(ConfigError, match="at least two lines"):
        table3(models, {**SPLITS, "valid": LINES[:1]})
