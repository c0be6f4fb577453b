"""Table 3 from trainings: the best rows by valid, their models, and models that are trained again where only records are left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from textvae.errors import CorpusError, RunError
from textvae.study.records import Records
from textvae.study.reproduce import page_command, reproduce_table, reproduce_table3
from textvae.study.tables import Row, Table, jobs

WORDS = ["oak", "elm", "ash", "fir", "yew", "box", "bay", "may", "sun", "sea", "sky", "fog"]
LINES = [f"{first} {second} {third}" for first in WORDS for second in WORDS for third in WORDS if first < second < third]


def test_a_page_s_command_can_be_typed() -> None:
    told = page_command("table2", "best", "/data/my tweets.csv", rows=("lm",))
    assert told == "textvae reproduce table2 --budget best --rows lm --corpus 'my tweets.csv' --out DIR"


TABLE = Table(
    name="table2",
    title="Table 2: words",
    written="table3",
    presets="tweets",
    rows=(Row(name="lm", label="no latent"), Row(name="ladder-3", label="LVAE (3)")),
)


def test_a_record_of_other_settings_is_never_replaced(tmp_path: Path) -> None:
    records, (there,) = Records(tmp_path), jobs(TABLE, "smoke", "words", rows=("lm",))
    kept = {**there.to_dict(), "schema": 1, "identity": there.identity, "commits": ["abc"], "test": {"corpus": "words"}}
    records.keep(there, kept)
    before = records.path(there).read_bytes()
    for again in (reproduce_table, reproduce_table3):
        with pytest.raises(RunError, match=r"lm-elbo-seed0.json holds a training on words, and this is others: give --corpus words"):
            again(TABLE, "smoke", tmp_path, "others")
    assert records.path(there).read_bytes() == before and not (tmp_path / "table2-smoke.md").exists()
    records.keep(there, {**kept, "identity": "changed"})
    with pytest.raises(RunError, match="a training of settings that have changed since commit abc: give another --out, or remove"):
        reproduce_table(TABLE, "smoke", tmp_path, "words", rows=("lm",))


def test_a_corpus_that_is_nowhere_is_told_once_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="tweets23 is neither a file, a folder, nor a built-in corpus"):
        reproduce_table(TABLE, "smoke", tmp_path / "study", "tweets23")
    assert not (tmp_path / "study").exists()


def test_tweets_that_cannot_be_downloaded_are_told_once_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEXTVAE_SENTIMENT140", raising=False)
    monkeypatch.setenv("TEXTVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TEXTVAE_SENTIMENT140_URL", "http://127.0.0.1:9/tweets.zip")  # nobody answers there
    with pytest.raises(CorpusError, match=r"127.0.0.1:9.*test.txt: --corpus"):
        reproduce_table(TABLE, "smoke", tmp_path / "study")
    with pytest.raises(CorpusError, match=r"127.0.0.1:9.*test.txt: --corpus"):
        reproduce_table3(TABLE, "smoke", tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_table_3_of_rows_that_do_not_use_their_latent_is_told(tmp_path: Path) -> None:
    corpus = tmp_path / "words.txt"
    corpus.write_text("".join(f"{line}\n" for line in LINES))
    records, (job,) = Records(tmp_path), jobs(TABLE, "smoke", str(corpus), rows=("ladder-3",))
    kept = {"schema": 1, "identity": job.identity, "valid": {"active_units": 0, "elbo": -9.0}}
    records.keep(job, {**job.to_dict(), **kept})
    with pytest.raises(RunError, match="no row of table2 that is trained uses its latent"):
        reproduce_table3(TABLE, "smoke", tmp_path, str(corpus), rows=("ladder-3",))


def test_table_3_of_the_rows_that_are_trained(tmp_path: Path) -> None:
    corpus = tmp_path / "words.txt"
    corpus.write_text("".join(f"{line}\n" for line in LINES))
    out = tmp_path / "study"
    found = reproduce_table3(TABLE, "smoke", out, str(corpus))
    assert list(found["models"]) == ["LVAE (3), ladder-3", "no latent, lm"]
    assert len(found["models"]["LVAE (3), ladder-3"]["reconstructions"]) == 10
    assert found["models"]["no latent, lm"]["interpolation"] == []
    assert json.loads((out / "table3-smoke.json").read_text()) == found
    page = (out / "table3-smoke.md").read_text()
    assert "textvae reproduce table3 --budget smoke" in page and "LVAE (3), ladder-3" in page

    records = Records(out)
    (job,) = jobs(TABLE, "smoke", str(corpus), rows=("ladder-3",))
    assert records.has_model(job)
    shutil.rmtree(records.run(job))
    assert not records.has_model(job) and records.find(job) is not None
    assert reproduce_table3(TABLE, "smoke", out, str(corpus))["models"] == found["models"]
    assert records.has_model(job)
