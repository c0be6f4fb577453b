"""Every command on a trained run: what it prints and writes."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from textvae.evaluation.measure import Evaluation
from textvae.settings import from_dict, resolve

from .conftest import LINES, TINY, Command, command_line, environment

NUMBER = (int, float)


def test_training_leaves_a_whole_run_and_says_what_to_do_next(textvae: Command, corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    ended = textvae("train", corpus, "--out", folder, "--steps", 6, *TINY)
    assert ended.code == 0
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "tokenizer.json", "weights.safetensors", "README.md"),
        *("training.safetensors", "training.json", "metrics.jsonl", "environment.json"),
    }
    assert f"textvae sample '{folder}'" in ended.out and "6/6" in ended.err
    assert json.loads((folder / "config.json").read_text())["training"]["steps"] == 6


def test_evaluate_prints_the_keys_and_types_of_the_contract(textvae: Command, run: Path) -> None:
    ended = textvae("evaluate", run, "--importance-samples", 3, "--json")
    found = json.loads(ended.out)
    assert ended.code == 0
    assert set(found) == {field.name for field in fields(Evaluation)}
    whole = {"sequences", "tokens", "characters", "importance_samples", "active_units", "latent_units", "parameters"}
    assert all(type(found[name]) is int for name in whole)
    assert all(isinstance(found[name], NUMBER) for name in ("elbo", "rate", "mutual_information_cap", "length_nats", "training_seconds"))
    assert found["entropy"] is None and found["gap"] is None  # nobody knows the distribution of a file
    assert found["elbo"] == pytest.approx(-(found["distortion"] + found["rate"])) and found["elbo"] <= found["importance_bound"] < 0
    assert found["importance_samples"] == 3 and found["latent_units"] == 3 and found["split"] == "test"


def test_evaluate_measures_another_corpus_and_split_and_tells_what_it_left_out(textvae: Command, run: Path, tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text("oak oak\nsun sea, and much more than that\n")
    ended = textvae("evaluate", run, tmp_path, "--split", "valid", "--importance-samples", 1, "--json")
    assert json.loads(ended.out)["sequences"] == 1 and json.loads(ended.out)["corpus"] == str(tmp_path)
    (note,) = ended.err.splitlines()  # of the other splits nothing is told
    assert note.startswith("note: valid: 1 of 2 lines")


def test_evaluate_measures_every_line_of_a_file_when_asked(textvae: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("oak oak\nash ash\nyew yew\n")
    ended = textvae("evaluate", run, tmp_path / "few.txt", "--split", "all", "--importance-samples", 1, "--json")
    assert (json.loads(ended.out)["sequences"], json.loads(ended.out)["split"], ended.err) == (3, "all", "")
    assert "no line has at most" in textvae("evaluate", run, long_line(tmp_path), "--split", "all").refused()


def long_line(folder: Path) -> Path:
    (folder / "long.txt").write_text("a line that is much too long for this model\n")
    return folder / "long.txt"


def test_oddest_names_the_lines(textvae: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("oak elm\nelm oak\nyeooyks\nsun sea\n")
    ended = textvae("oddest", run, tmp_path / "in.txt", "-n", 2, "--importance-samples", 5)
    assert (
        ended.code == 0
        and ended.err == "note: number of the line, nats above the usual for its length, importance bound in nats, then the line\n"
    )
    assert len(ended.out.splitlines()) == 2
    rows = json.loads(textvae("oddest", run, tmp_path / "in.txt", "-n", 4, "--importance-samples", 5, "--json").out)
    assert sorted(row["number"] for row in rows) == [1, 2, 3, 4] and set(rows[0]) == {"number", "text", "excess", "importance_bound"}
    assert ended.out.split()[0] == str(rows[0]["number"])


def test_train_is_followed_elsewhere_when_asked(textvae: Command, corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ended = textvae("train", corpus, "--out", run, "--steps", 2, "--tracker", "tensorboard", *TINY)
    assert ended.code == 0 and ended.err.startswith("training on ") and len(list((run / "tensorboard").iterdir())) == 1
    assert "Invalid value" in textvae("train", corpus, "--out", run, "--tracker", "mlflow").refused()
    assert "leave out --out, --resume and --tracker" in textvae("train", corpus, "--profile", "--tracker", "wandb").refused()


def test_json_loses_no_character_where_stdout_is_not_utf8(run: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("é→ oak\n", encoding="utf-8")
    score = command_line("score", run, tmp_path / "texts.txt", "--json", "--importance-samples", 1)
    done = subprocess.run(score, check=True, capture_output=True, env=environment() | {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"})
    assert json.loads(done.stdout.decode("ascii"))[0]["text"] == "é→ oak"


def test_evaluate_prints_a_corpus_name_as_it_is(textvae: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("[") / "quote]"  # [/quote] ends what was never begun, where it is read as markup
    folder.mkdir(parents=True)
    for split in ("train", "valid", "test"):
        (folder / f"{split}.txt").write_text("oak elm\n")
    ended = textvae("evaluate", run, folder, "--importance-samples", 1)
    assert ended.code == 0 and "[/quote], test: 1 lines" in ended.out


def test_evaluate_prints_a_table_with_words_and_the_same_seed_the_same_numbers(textvae: Command, run: Path) -> None:
    once, again, other = (textvae("evaluate", run, "--importance-samples", 2, "--seed", seed).out for seed in (1, 1, 2))
    assert once == again != other
    assert "ELBO" in once and "nats" in once and "active units" in once


def test_compare_says_whether_the_lines_tell_two_runs_apart(textvae: Command, run: Path, corpus: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert textvae("train", corpus, "--out", other, "--start-from", run, "--steps", 30, "--training.seed", 1).code == 0
    told = textvae("compare", run, other, "--importance-samples", 4)
    found = json.loads(textvae("compare", run, other, "--importance-samples", 4, "--json").out)
    assert set(found) == {
        *("corpus", "split", "sequences", "different", "left_out", "importance_samples"),
        *("elbo", "distortion", "rate", "importance_bound", "share_first_better", "better"),
    }
    size = f"{abs(found['elbo']['difference']):.3f} ± {found['elbo']['standard_error']:.3f} nats a line"
    assert told.code == 0 and size in told.out.splitlines()[-1], told.err
    alone = json.loads(textvae("evaluate", run, "--importance-samples", 4, "--json").out)
    assert found["elbo"]["first"] == pytest.approx(alone["elbo"]) and found["sequences"] == alone["sequences"]
    assert "does not exist" in textvae("compare", run, tmp_path / "nowhere").refused()


def test_sample_prints_as_many_as_asked_for_and_repeats_with_the_seed(textvae: Command, run: Path) -> None:
    found = json.loads(textvae("sample", run, "-n", 7, "--json").out)
    assert len(found) == 7 and all(isinstance(text, str) for text in found)
    assert textvae("sample", run, "-n", 7).out == "".join(f"{text}\n" for text in found)
    assert json.loads(textvae("sample", run, "-n", 7, "--seed", 1, "--json").out) != found
    assert textvae("sample", run, "-n", 0).out == "" and json.loads(textvae("sample", run, "-n", 0, "--json").out) == []
    assert len(textvae("sample", run).out.splitlines()) == 10


def test_a_model_may_be_put_on_a_device(textvae: Command, run: Path, corpus: Path, tmp_path: Path) -> None:
    assert textvae("sample", run, "--device", "cpu").out == textvae("sample", run).out
    assert textvae("encode", run, corpus, "--out", tmp_path / "z.npy", "--device", "cpu").code == 0
    for command in (("reconstruct", run, "oak"), ("interpolate", run, "oak", "elm"), ("decode", run, tmp_path / "z.npy")):
        assert textvae(*command, "--device", "cpu").out == textvae(*command).out != ""
    for command in (("evaluate", run), ("score", run, corpus)):
        assert textvae(*command, "--importance-samples", 1, "--device", "cpu").out == textvae(*command, "--importance-samples", 1).out


def test_sample_takes_every_way_of_drawing(textvae: Command, run: Path) -> None:
    cold = textvae("sample", run, "--temperature", 0)
    assert cold.out == textvae("sample", run, "--top-k", 1).out == textvae("sample", run, "--beams", 1).out
    assert len(textvae("sample", run, "--beams", 3, "-n", 2).out.splitlines()) == 2
    assert len(textvae("sample", run, "--top-p", 0.5, "-n", 2).out.splitlines()) == 2


def test_sample_stops_quietly_when_nobody_reads_on(run: Path) -> None:
    with subprocess.Popen(
        command_line("sample", run, "-n", 100_000), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_reconstruct_keeps_the_order_and_agrees_with_encode_and_decode(textvae: Command, run: Path, tmp_path: Path) -> None:
    texts = ["oak elm", "", "sun sea", "oak elm", "a"]
    (tmp_path / "in.txt").write_text("".join(f"{text}\n" for text in texts))
    rows = json.loads(textvae("reconstruct", run, *texts, "--json").out)
    assert [row["input"] for row in rows] == texts
    assert all(set(row) == {"input", "output", "distortion", "rate"} for row in rows)
    assert all(row["distortion"] > 0 and row["rate"] >= 0 for row in rows) and rows[0] == rows[3]
    assert json.loads(textvae("reconstruct", run, "--input", tmp_path / "in.txt", "--json").out) == rows
    for name in ("z.npy", "z.parquet"):
        assert textvae("encode", run, tmp_path / "in.txt", "--out", tmp_path / name).code == 0
        assert json.loads(textvae("decode", run, tmp_path / name, "--json").out) == [row["output"] for row in rows]
    z = np.load(tmp_path / "z.npy", allow_pickle=False)
    assert z.shape == (5, 3) and z.dtype == np.float32
    printed = textvae("reconstruct", run, *texts).out.splitlines()
    assert [line.endswith(f"{row['input']} → {row['output']}") for line, row in zip(printed, rows, strict=True)] == [True] * 5


def test_parquet_keeps_the_texts_beside_their_vectors(textvae: Command, run: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "in.txt").write_text("oak elm\nsun sea\n")
    textvae("encode", run, tmp_path / "in.txt", "--out", tmp_path / "z.parquet")
    table = parquet.read_table(tmp_path / "z.parquet")
    assert table.column_names == ["text", "z"] and table.column("text").to_pylist() == ["oak elm", "sun sea"]


def test_score_has_the_keys_of_the_contract_and_one_line_an_input(textvae: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("oak elm\n\nsun sea\n")
    rows = json.loads(textvae("score", run, tmp_path / "in.txt", "--importance-samples", 4, "--json").out)
    assert [row["text"] for row in rows] == ["oak elm", "", "sun sea"]
    assert all(set(row) == {"text", "elbo", "importance_bound", "bits_per_character", "sampling_error"} for row in rows)
    assert all(set(row["sampling_error"]) == {"elbo", "importance_bound"} for row in rows)
    assert all(row["elbo"] <= row["importance_bound"] < 0 < row["bits_per_character"] for row in rows)
    assert rows[0]["bits_per_character"] == pytest.approx(-rows[0]["importance_bound"] / np.log(2) / 7)
    printed = textvae("score", run, tmp_path / "in.txt", "--importance-samples", 4).out.splitlines()
    assert [float(line.split()[0]) for line in printed] == pytest.approx([row["elbo"] for row in rows], abs=1e-3)


def test_a_control_character_shows_as_its_picture_and_leaves_the_terminal_alone(textvae: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "a\x1b[2Jb\x7f\tc"}))
    scored = ("score", run, tmp_path / "in.jsonl", "--importance-samples", 1)
    assert textvae(*scored).out.endswith("  a␛[2Jb␡\tc\n")
    assert json.loads(textvae(*scored, "--json").out)[0]["text"] == "a\x1b[2Jb\x7f\tc"


def test_texts_may_be_piped_in(typed: Command, run: Path) -> None:
    ended = typed("score", run, "-", "--importance-samples", 1, "--json", stdin=b"oak elm\r\nsun sea")
    assert [row["text"] for row in json.loads(ended.out)] == ["oak elm", "sun sea"]


def test_interpolation_starts_and_ends_at_the_reconstructions(textvae: Command, run: Path) -> None:
    ends = [row["output"] for row in json.loads(textvae("reconstruct", run, "oak elm", "sun sea", "--json").out)]
    for path in ("linear", "spherical"):
        found = json.loads(textvae("interpolate", run, "oak elm", "sun sea", "--steps", 5, "--path", path, "--json").out)
        assert len(found) == 5 and [found[0], found[-1]] == ends
    assert len(textvae("interpolate", run, "oak elm", "sun sea").out.splitlines()) == 8


def test_presets_are_listed_and_shown_as_a_file_that_gives_the_same_settings(textvae: Command, tmp_path: Path) -> None:
    listed = textvae("presets").out
    assert listed == textvae("presets", "list").out and listed.startswith("default ")
    for name in ("hybrid", "study/toy/ladder-3"):
        assert f"\n{name} " in listed
        shown = textvae("presets", "show", name).out
        assert "# minutes is not set\n" in shown, "every setting there is can be seen"
        (tmp_path / "config.toml").write_text(shown)
        assert resolve(config_file=tmp_path / "config.toml") == resolve(name) == from_dict(tomllib.loads(shown))


def test_corpora_are_listed_and_shown(textvae: Command) -> None:
    listed = textvae("corpora").out
    assert all(name in listed for name in ("sinusoids", "messages", "pydoc", "sentiment140"))
    shown = textvae("corpora", "show", "sinusoids").out
    assert "8.506 nats" in shown and "test 5,000" in shown
    lines = [line.split()[-1] for line in shown.splitlines() if line.startswith("such as")]
    assert len(lines) == 5 and all(len(line) == 16 and line.isdigit() for line in lines)


def test_a_users_own_corpus_is_shown_with_what_matters_for_training(textvae: Command, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("code,price\n" + "\n".join(f"AB-{i % 50},1" for i in range(100)))
    shown = dict(line.split(maxsplit=1) for line in textvae("corpora", "show", tmp_path / "own.csv", "--column", "code").out.splitlines())
    assert shown["different"] == "50 of 100" and shown["longest"] == "5 characters"
    assert "name the one that holds the text with --column" in textvae("corpora", "show", tmp_path / "own.csv").refused()
    (tmp_path / "long.txt").write_text(("x" * 5000 + "\n") * 10)
    long = textvae("corpora", "show", tmp_path / "long.txt")
    assert "raise corpus.max_length, or cut" in long.refused(), "as `textvae train` does: 512 tokens are the most that is chosen unasked"
    whole = textvae("corpora", "show", tmp_path / "long.txt", "--corpus.max-length", 5000).out
    assert "(5,000 characters)" in whole and max(map(len, whole.splitlines())) < 300


def test_a_corpus_is_shown_as_it_would_be_trained_on(textvae: Command, tmp_path: Path) -> None:
    """The settings of `textvae train` hold here too: what they leave out is not shown, and told."""
    (tmp_path / "own.txt").write_text("".join(f" {'ab'[i % 2] * (1 + i % 20)} \n" for i in range(400)) + "\n" * 9)
    flags = "--corpus.spaces", "strip", "--corpus.blank-lines", "skip", "--corpus.copies", "skip", "--corpus.max-length", 12
    ended = textvae("corpora", "show", tmp_path / "own.txt", *flags)
    shown = dict(line.split(maxsplit=1) for line in ended.out.splitlines())
    assert shown["longest"] == "12 characters" and shown["different"] == "12 of 12"
    assert shown["tokens"] == "characters: up to 12 a line, 2 kinds of them known"
    assert "longer than 12 tokens and were left out" in ended.err and "9 of 409 lines" in ended.err
    pieces = textvae("corpora", "show", tmp_path / "own.txt", "--corpus.tokenizer", "bytes").out
    assert "bytes: up to 22 a line" in pieces


def test_only_the_corpus_that_is_downloaded_is_fetched(textvae: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "tweets.csv"
    here.write_text("")
    monkeypatch.setenv("TEXTVAE_SENTIMENT140", str(here))
    assert textvae("corpora", "fetch", "sentiment140").out == f"{here}\n"
    assert "nothing to fetch" in textvae("corpora", "fetch", "sinusoids").err


def test_the_text_of_a_table_is_named_by_its_column(textvae: Command, tmp_path: Path) -> None:
    with open(tmp_path / "table.csv", "w", newline="") as file:
        csv.writer(file).writerows([["id", "text"], *enumerate(LINES[:40])])
    (tmp_path / "table.jsonl").write_text("".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(LINES[:40])))
    assert "--column" in textvae("train", tmp_path / "table.csv", "--out", tmp_path / "none", "--steps", 2, *TINY).refused()
    for name in ("table.csv", "table.jsonl"):
        ended = textvae("train", tmp_path / name, "--out", tmp_path / name.replace(".", "-"), "--column", "text", "--steps", 2, *TINY)
        assert ended.code == 0
    score = textvae("score", tmp_path / "table-csv", tmp_path / "table.jsonl", "--column", "text", "--importance-samples", 1, "--json")
    assert [row["text"] for row in json.loads(score.out)] == LINES[:40]
    again = textvae("score", tmp_path / "table-csv", tmp_path / "table.jsonl", "--importance-samples", 1, "--json")
    assert again.out == score.out, "the run's own column is the usual one"
    measured = textvae("evaluate", tmp_path / "table-csv", tmp_path / "table.jsonl", "--split", "all", "--importance-samples", 1, "--json")
    assert json.loads(measured.out)["sequences"] == 40


def test_a_config_file_may_hold_everything_and_flags_lie_over_it(textvae: Command, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        f"preset = 'rnn'\n[corpus]\npath = {json.dumps(str(corpus))}\n[training]\nepochs = 3\nbatch = 16\nprecision = '32-true'\n"
        "[model]\nhidden = 4\nembedding = 4\nlatent = { channels = 2 }\ndecoder = { hidden = 4, embedding = 4 }\n"
    )
    assert textvae("train", "--config", tmp_path / "c.toml", "--out", tmp_path / "r", "--steps", 3, "--training.batch", 4).code == 0
    config = json.loads((tmp_path / "r" / "config.json").read_text())
    assert config["training"]["steps"] == 3 and config["training"]["epochs"] is None and config["training"]["batch"] == 4
    assert config["model"]["latent"]["channels"] == [2] and config["preset"] == "rnn"


def test_a_gzipped_corpus_and_a_source_with_known_entropy(textvae: Command, tmp_path: Path) -> None:
    (tmp_path / "lines.txt.gz").write_bytes(gzip.compress("\n".join(LINES[:50]).encode()))
    assert textvae("train", tmp_path / "lines.txt.gz", "--out", tmp_path / "gz", "--steps", 2, *TINY).code == 0
    draws = ("--corpus.draws", 60, "--corpus.held-out-draws", 20)
    assert textvae("train", "sinusoids", "--out", tmp_path / "s", "--steps", 2, *draws, *TINY).code == 0
    found = json.loads(textvae("evaluate", tmp_path / "s", "--importance-samples", 1, "--json").out)
    assert found["entropy"] == pytest.approx(8.506, abs=1e-3) and found["gap"] > 0
    assert found["paper"]["reconstruction"] == pytest.approx(-found["distortion"] / 16)
