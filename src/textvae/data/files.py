"""Reading a corpus from disk: text, csv, tsv, jsonl, parquet, each also gzipped, and folders of splits.

Every way a file can be wrong ends in a `CorpusError` that names the file and the line. What is mended
instead of refused (a BOM, line ends inside a cell) is told in a notice.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from textvae.data.surrogates import mend_surrogates
from textvae.errors import CorpusError, PackageError, did_you_mean, extra

SPLIT_FILES = {"train": "train.txt", "valid": "valid.txt", "test": "test.txt"}
"""What a corpus folder holds."""

BOM = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
LARGEST_CELL = 2**31 - 1
"""Characters in a cell of a csv or tsv file; the reader's own limit is 131,072."""

LINE_END = re.compile("\r\n|\n|\r")


def read_lines(path: Path, column: str | None = None) -> tuple[list[str], tuple[str, ...]]:
    """Read the sequences of one file, and notices of what was mended.

    The suffix names the format: `.csv`, `.tsv`, `.jsonl` and `.parquet` hold the text in `column` (not
    needed where there is only one); anything else is text, one sequence a line. `.gz` may follow any.
    In text only `\\n`, `\\r\\n` and `\\r` end a line; lines are not stripped, and empty lines count.

    Raises:
        CorpusError: the file is missing, empty, not UTF-8, damaged, holds a NUL, or has no such column.
    """
    data = _read_bytes(path)
    suffix = _format(path)
    if suffix not in READERS:
        if column is not None:
            raise CorpusError(f"{path}: column {column!r} was asked for, but only {', '.join(READERS)} files have columns")
        text, notices = _decode(path, data)
        lines = text.split("\n")
        if lines[-1] == "":
            lines.pop()
    else:
        lines, notices = READERS[suffix](path, data, column)
    if not lines:
        raise CorpusError(f"{path} is empty: give a file with at least one line of text")
    return lines, notices


def usual_column(path: Path, column: str | None) -> str | None:
    """The column of that name where a file has it, else None: what is read where none is named."""
    reader = HEADERS.get(_format(path))
    if column is None or reader is None:
        return None
    try:
        return column if column in reader(path, _read_bytes(path)) else None
    except (CorpusError, PackageError, csv.Error, ValueError, OSError, RecursionError):  # whoever reads all of it tells
        return None


def require_text(path: Path, lines: list[str]) -> None:
    """Raise `CorpusError` where all lines of a file are empty: one may be scored, but nothing is learned or told of them."""
    if not any(lines):
        what = "a column" if _format(path) in READERS else "a file"
        raise CorpusError(f"{path} has no text in any of its {len(lines):,} rows: give {what} of texts")


def read_splits(folder: Path) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Read train.txt, valid.txt and test.txt of a folder, and notices.

    Raises:
        CorpusError: one of the three is missing, or cannot be read (see `read_lines`).
    """
    missing = [name for name in SPLIT_FILES.values() if not (folder / name).is_file()]
    if missing:
        raise CorpusError(f"{folder} has no {' and no '.join(missing)}: a corpus folder holds train.txt, valid.txt and test.txt")
    splits: dict[str, list[str]] = {}
    notices: tuple[str, ...] = ()
    for split, name in SPLIT_FILES.items():
        splits[split], told = read_lines(folder / name)
        require_text(folder / name, splits[split])
        notices += told
    return splits, notices


def _format(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise CorpusError(f"{path} does not exist: check the path") from error
    except IsADirectoryError as error:
        said = f"{path} is a folder, not a file of lines: name a file (after a run's folder, where a command takes both)"
        raise CorpusError(said) from error
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror}): give another file, or change its permissions") from error
    if path.suffix.lower() != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorpusError(f"{path} is not a whole gzip file ({error}): download or compress it again") from error


def _decode(path: Path, data: bytes) -> tuple[str, tuple[str, ...]]:
    """Return the text with `\\n` as its only line end and without a BOM, and a notice of the latter."""
    if data.startswith(UTF16_MARKS):
        raise CorpusError(f"{path}, line 1: the file is UTF-16, not UTF-8: save it as UTF-8")
    notices: tuple[str, ...] = ()
    if data.startswith(BOM):
        data = data[len(BOM) :]
        notices = (f"{path}: dropped the byte order mark at its start",)
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    nul = data.find(b"\0")
    if nul >= 0:
        line = data.count(b"\n", 0, nul) + 1
        raise CorpusError(f"{path}, line {line}: holds a NUL byte: give a text file, or remove such bytes (tr -d '\\0' < FILE > NEW)")
    try:
        return data.decode(), notices
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CorpusError(
            f"{path}, line {line}: not valid UTF-8 (byte 0x{data[error.start]:02x}): "
            "save it as UTF-8 (iconv -f latin1 -t utf-8 FILE > NEW, where it is Latin-1), or drop such bytes (iconv -c -t utf-8 FILE > NEW)"
        ) from error


def _separated(path: Path, data: bytes, column: str | None) -> tuple[list[str], tuple[str, ...]]:
    """Read a .csv or .tsv file whose first row names the columns; a .csv may be separated by semicolons."""
    text, notices = _decode(path, data)
    tabs = _format(path) == ".tsv"
    limit = csv.field_size_limit(LARGEST_CELL)  # of the whole process
    try:
        delimiter = "\t" if tabs else _delimiter(text)
        cells = list(_cells_of_rows(path, csv.reader(io.StringIO(text), delimiter=delimiter, strict=True), column))
    except csv.Error as error:
        if not tabs:
            raise CorpusError(f"{path} is not well-formed csv ({error}): write it again with its quotes doubled") from error
        notices += (f"{path}: its quotes do not pair up, so they were read as part of the text",)
        cells = list(_cells_of_rows(path, csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE), column))
    finally:
        csv.field_size_limit(limit)
    return _lines_of_cells(path, cells, notices)


def _delimiter(text: str) -> str:
    """The comma; the semicolon where it alone parts the names of columns, and the first row into as many: as spreadsheets write it where
    the comma stands in numbers.
    """

    def parts(row: str, delimiter: str) -> int:
        return len(next(csv.reader([row], delimiter=delimiter), []))

    header, first, *_ = [*text.split("\n", 2), ""]
    columns = parts(header, ";")
    return ";" if parts(header, ",") == 1 < columns == parts(first, ";") else ","


def _cells_of_rows(path: Path, rows: Any, column: str | None) -> Iterator[str]:
    header: list[str] = next(rows, [])
    if not header:
        raise CorpusError(f"{path} is empty: give a file with a row of column names and at least one row of text")
    index = header.index(_choose_column(path, header, column))
    for row in rows:
        if row:  # csv gives [] for a blank line, which is no record
            if index >= len(row):
                raise CorpusError(f"{path}, line {rows.line_num}: has {len(row)} of the {len(header)} columns: complete the row")
            yield row[index]


def _json_lines(path: Path, data: bytes, column: str | None) -> tuple[list[str], tuple[str, ...]]:
    """Read a .jsonl file: one object a line."""
    text, notices = _decode(path, data)
    cells: list[Any] = []
    chosen = column
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{path}, line {number}: not valid JSON ({error}): a .jsonl file holds one object a line") from error
        if not isinstance(record, dict):
            raise CorpusError(f"{path}, line {number}: not a JSON object: a .jsonl file holds one object a line")
        chosen = _choose_column(f"{path}, line {number}", list(record), chosen)
        cells.append(record[chosen])
    return _lines_of_cells(path, cells, notices)


def _parquet(path: Path, data: bytes, column: str | None) -> tuple[list[str], tuple[str, ...]]:
    with extra("parquet", f"{path}: reading parquet"):
        import pyarrow
        import pyarrow.parquet
    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
        chosen = _choose_column(path, file.schema_arrow.names, column)
        cells = file.read(columns=[chosen]).column(chosen).to_pylist()
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} is not a whole parquet file ({' '.join(str(error).split())}): write or download it again") from error
    return _lines_of_cells(path, cells, ())


def _names_separated(path: Path, data: bytes) -> Iterable[str]:
    text, _ = _decode(path, data)
    delimiter = "\t" if _format(path) == ".tsv" else _delimiter(text)
    return next(csv.reader(io.StringIO(text), delimiter=delimiter), [])


def _names_json(path: Path, data: bytes) -> Iterable[str]:
    text, _ = _decode(path, data)
    first: Any = json.loads(text.lstrip().split("\n", 1)[0])
    return first if isinstance(first, dict) else ()


def _names_parquet(path: Path, data: bytes) -> Iterable[str]:
    with extra("parquet", f"{path}: reading parquet"):
        import pyarrow
        import pyarrow.parquet
    names: Iterable[str] = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data)).schema_arrow.names
    return names


HEADERS: dict[str, Callable[[Path, bytes], Iterable[str]]] = {
    ".csv": _names_separated,
    ".tsv": _names_separated,
    ".jsonl": _names_json,
    ".parquet": _names_parquet,
}
"""What reads the names of a file's columns, by suffix."""

READERS: dict[str, Callable[[Path, bytes, str | None], tuple[list[str], tuple[str, ...]]]] = {
    ".csv": _separated,
    ".tsv": _separated,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
"""Formats with columns, by suffix."""


def _choose_column(place: Path | str, columns: list[str], column: str | None) -> str:
    if column in columns:
        return column
    listed = ", ".join(columns) or "none"
    if column is not None:
        folded = {name.casefold(): name for name in columns}
        hint = did_you_mean(column, [folded[near] for near in get_close_matches(column.casefold(), folded, n=1)])
        raise CorpusError(f"{place}: has no column {column!r}; its columns are {listed}.{hint}")
    if len(columns) != 1:
        raise CorpusError(f"{place}: has {len(columns)} columns ({listed}): name the one that holds the text with --column")
    return columns[0]


def _lines_of_cells(path: Path, cells: Iterable[Any], notices: tuple[str, ...]) -> tuple[list[str], tuple[str, ...]]:
    """Make each cell one line: skip nulls and replace line ends by a space (both told), refuse what is not text."""
    lines: list[str] = []
    nulls: list[int] = []
    broken = 0
    for number, cell in enumerate(cells, start=1):
        if cell is None:
            nulls.append(number)
            continue
        if not isinstance(cell, str):
            raise CorpusError(f"{path}, record {number}: holds {type(cell).__name__} {cell!r}, not text: choose another with --column")
        if "\0" in cell:
            raise CorpusError(f"{path}, record {number}: holds a NUL character: remove it")
        if "\n" in cell or "\r" in cell:
            broken += 1
            cell = LINE_END.sub(" ", cell)
        lines.append(cell)
    if nulls:
        which = ", ".join(map(str, nulls[:5])) + (", …" if len(nulls) > 5 else "")
        notices += (f"{path}: skipped {len(nulls):,} records without text (number {which}): those after them move up",)
    if broken:
        notices += (f"{path}: replaced line ends inside {broken:,} records by spaces",)
    return list(mend_surrogates(lines)), notices
