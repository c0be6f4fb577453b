from __future__ import annotations

import csv
import gzip
import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textvae.data.files import read_lines, read_splits, require_text, usual_column
from textvae.data.printable import shown_whole
from textvae.errors import CorpusError, PackageError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def write(tmp_path: Path):
    def written(name: str, content: bytes | str) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return written


def refusal(path: Path, column: str | None = None) -> str:
    with pytest.raises(CorpusError) as caught:
        read_lines(path, column)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("content", ["a\nb\n", "a\nb", "a\r\nb\r\n", "a\rb\r", "a\r\nb"])
def test_every_line_end_is_one_line_end(write, content):
    assert read_lines(write("x.txt", content)) == (["a", "b"], ())


def test_lines_are_kept_as_they_are(write):
    text = " a \n\n\u2028b\x85\x0c\n\tc\n\n"
    assert read_lines(write("x.txt", text)) == ([" a ", "", "\u2028b\x85\x0c", "\tc", ""], ())


@pytest.mark.parametrize("name", ["x", "x.log", "x.smi", "v1.2"])
def test_any_other_suffix_is_text(write, name):
    assert read_lines(write(name, "a,b\n"))[0] == ["a,b"]


def test_a_byte_order_mark_is_dropped_and_told(write):
    lines, notices = read_lines(write("x.txt", b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n"))
    assert lines == ["a", "\ufeffb"]
    assert len(notices) == 1
    assert "byte order mark" in notices[0]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"a\r\nb\nc\xff\n", "line 3: not valid UTF-8 (byte 0xff)"),
        (b"a\rb\xc3", "line 2: not valid UTF-8"),
        (b"a\nb\0\n", "line 2: holds a NUL"),
        ("ab\n".encode("utf-16"), "UTF-16"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_bad_text_is_refused_with_its_place(write, content, told, packed):
    path = write("x.txt.gz", gzip.compress(content)) if packed else write("x.txt", content)
    assert told in refusal(path)


def test_missing_and_unreadable_files(tmp_path):
    assert "does not exist" in refusal(tmp_path / "no.txt")
    assert "is a folder, not a file of lines" in refusal(tmp_path)


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"plain text", lambda data: data[:14] + b"\xff\xff" + data[16:]])
def test_a_damaged_gzip_file(write, damage):
    assert "gzip" in refusal(write("x.txt.gz", damage(gzip.compress(b"some text\n" * 50))))


def test_csv_with_quotes_commas_and_line_ends(write):
    path = write("x.csv", 'id,text\r\n1,"a, ""b"""\r\n2,"c\r\nd\ne"\r\n\r\n3,\r\n')
    lines, notices = read_lines(path, "text")
    assert lines == ['a, "b"', "c d e", ""]
    assert len(notices) == 1
    assert "1 records" in notices[0]


def test_one_column_needs_no_name(write):
    assert read_lines(write("x.csv", "text\na\nb\n"))[0] == ["a", "b"]
    assert read_lines(write("x.jsonl", '{"t": "a"}\n\n{"t": "b"}\n'))[0] == ["a", "b"]


def test_a_missing_column_lists_the_others(write):
    for path in (write("x.csv", "id,text\n1,a\n"), write("x.tsv", "id\ttext\n1\ta\n"), write("x.jsonl", '{"id": 1, "text": "a"}')):
        message = refusal(path, "txt")
        assert "id, text" in message
        assert "Did you mean 'text'?" in message
        assert "--column" in refusal(path)


@pytest.mark.parametrize("content", ["", "\n", "text\n", "text\n\n"])
def test_a_table_without_rows_is_empty(write, content):
    assert "empty" in refusal(write("x.csv", content), "text")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("id,text\n1,a\n2\n", "line 3: has 1 of the 2 columns"),
        ('id,text\n1,"a\n', "not well-formed"),
        ('id,text\n1,"a"b\n', "not well-formed"),
        (b"id,text\n1,\xff\n", "line 2: not valid UTF-8"),
    ],
)
def test_a_malformed_csv(write, content, told):
    assert told in refusal(write("x.csv", content), "text")


@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_a_cell_is_as_long_as_it_is(write, name):
    """The csv module's own limit is 131,072 characters."""
    mark, long = {".csv": ",", ".tsv": "\t"}[name[1:]], "ab" * 100_000
    assert read_lines(write(name, f"id{mark}text\n{long}{mark}short\n1{mark}{long}\n"), "text")[0] == ["short", long]


def test_tsv_as_spreadsheets_write_it(write):
    assert read_lines(write("x.tsv", 'id\ttext\n1\t"say ""hi"""\n'), "text") == (['say "hi"'], ())


def test_tsv_with_quotes_that_are_text(write):
    lines, notices = read_lines(write("x.tsv", 'id\ttext\n1\t"Yes" he said\n2\tno "\n'), "text")
    assert lines == ['"Yes" he said', 'no "']
    assert "quotes" in notices[0]


def test_json_lines(write):
    content = b'\xef\xbb\xbf{"text": "a\\nb", "n": 1}\r\n{"text": null}\r\n{"n": 2, "text": "\\ud83d\\ude00 \\ud800"}\n'
    lines, notices = read_lines(write("x.jsonl", content), "text")
    assert lines == ["a b", "😀 \N{REPLACEMENT CHARACTER}"]
    assert [word for word in ("byte order", "without text", "line ends") if not any(word in notice for notice in notices)] == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"t": "a"}\n{"t": \n', "line 2: not valid JSON"),
        ('{"t": "a"}\n["a"]\n', "line 2: not a JSON object"),
        ('{"t": "a"}\n{"u": "b"}\n', "line 2: has no column 't'"),
        ('{"t": "a"}\n{"t": 3}\n', "record 2: holds int 3"),
        ('{"t": "a"}\n{"t": "\\u0000"}\n', "record 2: holds a NUL"),
        ('{"t": null}\n', "empty"),
        ("[" * 100_000, "line 1: not valid JSON"),
    ],
)
def test_malformed_json_lines(write, content, told):
    assert told in refusal(write("x.jsonl", content))


@pytest.fixture
def table():
    return pyarrow.table({"id": [1, 2, 3], "text": ["a", None, "b\nc"]})


def test_parquet(tmp_path, write, table):
    path = tmp_path / "x.parquet"
    parquet.write_table(table, path)
    packed = write("y.parquet.gz", gzip.compress(path.read_bytes()))
    for file in (path, packed):
        lines, notices = read_lines(file, "text")
        assert lines == ["a", "b c"]
        assert len(notices) == 2
    assert "id, text" in refusal(path, "txt")
    assert "record 1: holds int 1" in refusal(path, "id")


def test_parquet_with_dictionary_encoding(tmp_path):
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"text": pyarrow.array(["a", "b", "a"]).dictionary_encode()}), path)
    assert read_lines(path)[0] == ["a", "b", "a"]


def test_a_damaged_parquet_file(tmp_path, write, table):
    path = tmp_path / "x.parquet"
    parquet.write_table(table, path)
    assert "parquet" in refusal(write("cut.parquet", path.read_bytes()[:-20]), "text")
    assert "parquet" in refusal(write("empty.parquet", b""), "text")


def test_parquet_without_pyarrow_says_what_to_install(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(PackageError, match=r"x\.parquet: reading parquet needs .* \(pyarrow\).* pip install '\.\[parquet\]'"):
        read_lines(write("x.parquet", b"PAR1"), "text")


def test_text_has_no_columns(write):
    assert "column 'text'" in refusal(write("x.txt", "a\n"), "text")


def test_suffixes_in_capitals_and_gzipped(write):
    assert read_lines(write("X.CSV", "text\na\n"))[0] == ["a"]
    assert read_lines(write("X.Csv.GZ", gzip.compress(b"text\na\n")))[0] == ["a"]


def test_a_folder_of_splits(write, tmp_path):
    for name in ("train", "valid", "test"):
        write(f"{name}.txt", f"\ufeff{name}\n")
    splits, notices = read_splits(tmp_path)
    assert splits == {"train": ["train"], "valid": ["valid"], "test": ["test"]}
    assert len(notices) == 3


@pytest.mark.parametrize(
    ("present", "told"),
    [
        ([], "has no train.txt and no valid.txt and no test.txt"),
        (["train"], "has no valid.txt and no test.txt"),
        (["train", "valid"], "has no test.txt:"),
    ],
)
def test_a_folder_names_what_it_lacks(write, tmp_path, present, told):
    for name in present:
        write(f"{name}.txt", "a\n")
    with pytest.raises(CorpusError, match=told):
        read_splits(tmp_path)


def test_an_empty_split_file_is_named(write, tmp_path):
    for name in ("train", "valid", "test"):
        write(f"{name}.txt", "" if name == "valid" else "a\n")
    with pytest.raises(CorpusError, match=r"valid\.txt is empty"):
        read_splits(tmp_path)


plain = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=10)


@given(st.lists(plain, min_size=1, max_size=6).filter(any), st.sampled_from(["\n", "\r\n", "\r"]))
def test_what_is_written_as_lines_is_read_back(tmp_path_factory, lines, end):
    if lines[0].startswith("\ufeff"):
        return
    path = tmp_path_factory.getbasetemp() / "lines.txt"
    path.write_bytes("".join(line + end for line in lines).encode())
    assert read_lines(path) == (lines, ())


@given(st.lists(plain, min_size=1, max_size=6).filter(any), st.sampled_from([("csv", ","), ("tsv", "\t")]))
def test_what_is_written_as_a_table_is_read_back(tmp_path_factory, lines, form):
    path = tmp_path_factory.getbasetemp() / f"table.{form[0]}"
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=form[1]).writerows([["id", "text"], *([number, line] for number, line in enumerate(lines))])
    assert read_lines(path, "text") == (lines, ())
    path = path.with_suffix(".jsonl")
    path.write_text("".join(json.dumps({"text": line}) + os.linesep for line in lines), encoding="utf-8")
    assert read_lines(path, "text") == (lines, ())


def test_a_csv_may_be_separated_by_semicolons(tmp_path: Path) -> None:
    path = tmp_path / "spreadsheet.csv"
    path.write_text('SMILES;act\n"C;C";1,5\nCCO;2,0\n')
    assert read_lines(path, "SMILES") == (["C;C", "CCO"], ())
    with pytest.raises(CorpusError, match=r"has no column 'smiles'; its columns are SMILES, act\. Did you mean 'SMILES'"):
        read_lines(path, "smiles")
    for content, column, expected in (
        ("a;b,c\nx;y,z\n", "a;b", ["x;y"]),
        ('"name, full";age\n"Ada, L";36\n', "name, full", ["Ada, L"]),
        ("title; subtitle\nonly a title\n", "title; subtitle", ["only a title"]),
        ("text;label\n" + 200_000 * "x" + ";1\n", "text", [200_000 * "x"]),
    ):
        path.write_text(content)
        assert read_lines(path, column) == (expected, ())


def test_a_file_of_empty_lines_is_not_called_empty(tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text("\n\n\n")
    lines, _ = read_lines(tmp_path / "blank.txt")
    assert lines == ["", "", ""]  # which may be scored
    with pytest.raises(CorpusError, match="has no text in any of its 3 rows: give a file of texts"):
        require_text(tmp_path / "blank.txt", lines)


@pytest.mark.parametrize(("text", "expected"), [("  a b ", "␠␠a b␠"), ("   ", "␠␠␠"), ("", ""), ("a\tb\x07", "a\tb␇"), ("ab", "ab")])
def test_spaces_that_nobody_would_see_have_a_picture(text: str, expected: str) -> None:
    assert shown_whole(text) == expected


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"id,text\n1,oak\n"),
        ("a.csv", b"id;text\n1;oak\n"),
        ("a.tsv", b"id\ttext\n1\toak\n"),
        ("a.jsonl", b'\n{"id": 1, "text": "oak"}\n'),
        ("a.jsonl", b'{"id": 1, "text": "oak"}\r{"id": 2, "text": "elm"}\r'),
        ("a.csv.gz", gzip.compress(b"id,text\n1,oak\n", mtime=0)),
    ],
)
def test_the_usual_column_is_read_where_a_file_has_it(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert usual_column(tmp_path / name, "text") == "text"
    assert usual_column(tmp_path / name, "title") is None and usual_column(tmp_path / name, None) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"text\n"),
        ("a.csv", b""),
        ("a.csv", b"\xff"),
        ("a.jsonl", b"[1"),
        ("a.jsonl", b"[1]"),
        ("a.jsonl", b"[" * 100_000),
        ("a.parquet", b"PAR1 no PAR1"),
    ],
    ids=["text", "nothing", "no UTF-8", "cut short", "a list", "too deep", "no parquet"],
)
def test_a_file_without_columns_has_no_usual_one(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert usual_column(tmp_path / name, "text") is None
    assert usual_column(tmp_path / "none.csv", "text") is None
