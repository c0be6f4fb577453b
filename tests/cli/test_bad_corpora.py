"""Corpora that are wrong: each is refused in one line, or read with a note of what was mended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import LINES, TINY, Command, Ended


@pytest.fixture
def train(textvae: Command, tmp_path: Path) -> Command:
    """Train a few steps on the bytes of a file."""

    def on(content: bytes, *flags: object, name: str = "lines.txt") -> Ended:
        (tmp_path / name).write_bytes(content)
        return textvae("train", tmp_path / name, "--out", tmp_path / "run", "--steps", 2, *TINY, *flags)

    return on


def notes(ended: Ended) -> list[str]:
    assert ended.code == 0, ended.err
    return [line for line in ended.err.splitlines() if line.startswith("note: ")]


def test_a_missing_file_with_the_nearest_name(textvae: Command, tmp_path: Path) -> None:
    (tmp_path / "tweets.txt").touch()
    told = textvae("train", tmp_path / "tweest.txt", "--out", tmp_path / "run").refused()
    assert "tweest.txt is neither a file" in told and "Did you mean" in told and "tweets.txt" in told
    other = textvae("train", tmp_path / "missing.txt", "--out", tmp_path / "run").refused()
    assert "Did you mean" not in other, "a file that only shares the folder and the ending is none that was meant"
    assert "Did you mean 'sinusoids'" in textvae("train", "sinusoid", "--out", tmp_path / "run").refused()
    assert "no corpus is named" in textvae("train", "--out", tmp_path / "run").refused()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["score", "encode", "reconstruct"])
def test_a_missing_input(textvae: Command, run: Path, tmp_path: Path, command: str) -> None:
    missing = tmp_path / "none.txt"
    rest = {"score": (missing,), "encode": (missing, "--out", tmp_path / "z.npy"), "reconstruct": ("--input", missing)}[command]
    assert textvae(command, run, *rest).refused() == f"{missing} does not exist: check the path"


@pytest.mark.parametrize("content", [b"", b"\n\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file(train: Command, content: bytes) -> None:
    told = "has no text in any of its 3 rows" if content == b"\n\n\n" else "is empty: give a file with at least one line of text"
    assert told in train(content).refused()


def test_a_column_without_text(textvae: Command, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,label\n"",1\n"",2\n')
    told = textvae("train", tmp_path / "a.csv", "--corpus.column", "text", "--out", tmp_path / "run").refused()
    assert told == f"{tmp_path / 'a.csv'} has no text in any of its 2 rows: give a column of texts"


def test_a_folder_without_splits(textvae: Command, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("oak\n")
    told = textvae("train", tmp_path, "--out", tmp_path / "run").refused()
    assert "has no valid.txt and no test.txt" in told


def test_invalid_utf8_names_the_line(train: Command) -> None:
    assert "line 3: not valid UTF-8 (byte 0xff)" in train(b"oak\nelm\nfi\xffr\n").refused()
    assert "UTF-16" in train("oak\nelm\n".encode("utf-16")).refused()


def test_a_nul_byte_names_the_line(train: Command) -> None:
    assert "line 2: holds a NUL byte" in train(b"oak\nel\0m\n").refused()


def test_broken_tables(train: Command) -> None:
    assert "is not a whole gzip file" in train(b"no gzip at all", name="lines.txt.gz").refused()
    assert "line 2: not valid JSON" in train(b'{"a": "b"}\n{"a": \n', name="lines.jsonl").refused()
    assert "no column 'txt'; its columns are text. Did you mean 'text'?" in train(b"text\noak\n", "--column", "txt", name="t.csv").refused()


def test_long_lines_are_left_out_or_cut_and_counted(train: Command, textvae: Command, tmp_path: Path) -> None:
    content = "".join(f"{line}\n" for line in [*LINES[:60], *("a far too long line of text",) * 9]).encode()
    ended = train(content, "--corpus.max-length", 10)
    assert any("9 of" in note and "longer than 10 tokens and were left out" in note for note in notes(ended)), ended.err
    cut = textvae("train", tmp_path / "lines.txt", "--out", tmp_path / "cut", "--steps", 2, "--corpus.max-length", 10,
                  "--corpus.long-lines", "cut", *TINY)  # fmt: skip
    assert any("9 of" in note and "were cut" in note for note in notes(cut)), cut.err


def test_lines_that_are_all_too_long(train: Command) -> None:
    assert "all training lines are longer than 1 tokens" in train(b"oak\nelm\n", "--corpus.max-length", 1).refused()


def test_texts_that_are_too_long_for_the_model_are_cut_and_told(textvae: Command, run: Path) -> None:
    ended = textvae("reconstruct", run, "oak elm and more", "oak elm", "--json")
    assert notes(ended) == [
        "note: 1 of 2 texts are longer than 7 tokens and were cut (number 1): what is said of them is said of their beginnings"
    ]
    assert [row["input"] for row in json.loads(ended.out)] == ["oak elm", "oak elm"]


def test_unseen_characters_show_as_a_replacement_and_are_counted(textvae: Command, run: Path, tmp_path: Path) -> None:
    ended = textvae("reconstruct", run, "Oak Elm", "sea Øk")
    assert "note: not in the vocabulary and read as unknown: 'E', 'O', 'Ø', 3 in all" in ended.err.splitlines()
    assert "�ak �lm → " in ended.out and "sea �k → " in ended.out
    (tmp_path / "in.txt").write_text("Øk\n")
    assert "'Ø'" in textvae("score", run, tmp_path / "in.txt", "--importance-samples", 1).err
    (tmp_path / "lines.txt").write_text("oak Elm\n" * 3)
    assert "not in the vocabulary ('E')" in textvae("evaluate", run, tmp_path / "lines.txt", "--importance-samples", 1).err


def test_one_line_alone(train: Command, textvae: Command, tmp_path: Path) -> None:
    ended = train(b"the only line")
    assert any("stand in for valid and test" in note for note in notes(ended))
    found = textvae("evaluate", tmp_path / "run", "--importance-samples", 2, "--json")
    assert json.loads(found.out)["sequences"] == 1 and any("stand in for valid and test" in note for note in notes(found))


def test_lines_that_are_all_the_same(train: Command, textvae: Command, tmp_path: Path) -> None:
    assert any("too few different lines" in note for note in notes(train(b"oak elm\n" * 50)))
    assert textvae("sample", tmp_path / "run", "-n", 3).code == 0


def test_windows_line_ends_and_a_byte_order_mark(train: Command, tmp_path: Path) -> None:
    ended = train(b"\xef\xbb\xbf" + b"".join(f"{line}\r\n".encode() for line in LINES[:50]))
    assert any("dropped the byte order mark" in note for note in notes(ended))
    symbols = json.loads((tmp_path / "run" / "tokenizer.json").read_text())["symbols"]
    assert "\r" not in symbols and "\ufeff" not in symbols


def test_a_line_of_one_character_and_lines_that_are_empty(train: Command) -> None:
    assert train(b"a\n\nb\n\n").code == 0


@pytest.mark.parametrize("command", [("corpora", "show", "sinusoid"), ("corpora", "fetch", "sinusoid")])
def test_an_unknown_corpus_with_the_nearest_name(textvae: Command, command: tuple[str, ...]) -> None:
    assert "Did you mean 'sinusoids'?" in textvae(*command).refused()
    assert "needs a name" in textvae(*command[:2]).refused()


def test_a_run_is_not_measured_on_another_file_of_the_same_name(textvae: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ("--model.decoder.hidden", 4, "--model.decoder.embedding", 4, "--training.batch", 4, "--training.device", "cpu")
    for folder in ("here", "there", "nowhere"):
        (tmp_path / folder).mkdir()
    (tmp_path / "here" / "words.txt").write_text("".join(f"{line}\n" for line in LINES[:60]))
    (tmp_path / "there" / "words.txt").write_text("".join(f"{line}\n" for line in LINES[30:90]))
    monkeypatch.chdir(tmp_path / "here")
    assert textvae("train", "words.txt", "--preset", "lm", "--steps", 1, "--out", "run", *small).code == 0
    assert textvae("evaluate", "run").code == 0
    monkeypatch.chdir(tmp_path / "there")
    for command in (("evaluate", "../here/run"), ("compare", "../here/run", "../here/run")):
        assert "../here/run was trained on words.txt, and that file has other training lines" in textvae(*command).refused()
        assert textvae(*command, "words.txt").code == 0
    monkeypatch.chdir(tmp_path / "nowhere")
    assert "../here/run was trained on words.txt, which is not here: name the corpus" in textvae("evaluate", "../here/run").refused()


def test_lines_that_stand_in_for_a_split_are_counted_once(textvae: Command, tmp_path: Path) -> None:
    path = tmp_path / "two.txt"
    path.write_text("oak\noak\n")
    assert "1 of 2" in textvae("corpora", "show", path).out
