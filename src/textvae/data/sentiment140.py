"""Sentiment140, the study's tweets: found or downloaded, cleaned as the study did, and split.

The archive (Go, Bhayani and Huang 2009, "Twitter Sentiment Classification using Distant Supervision")
holds 1.6 million tweets as `training.1600000.processed.noemoticon.csv`: latin-1, no header, columns
polarity, id, date, query, user, text. Its text is HTML, and stays it: of `&lt;3` the cleaning leaves
`lt;3`, as in the study.
"""

from __future__ import annotations

import csv
import io
import os
import re
import string
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Final, TextIO

from textvae.config import CorpusSettings
from textvae.data.corpus import Corpus, fill_empty_splits, split_by_hash
from textvae.errors import CorpusError
from textvae.storage import cache_folder

NAME: Final = "sentiment140"
# Plain http, as its authors give the address.
URL: Final = "http://cs.stanford.edu/people/alecmgo/trainingandtestdata.zip"
ARCHIVE: Final = "trainingandtestdata.zip"
TABLE: Final = "training.1600000.processed.noemoticon.csv"

COLUMNS: Final = ("polarity", "id", "date", "query", "user", "text")
POLARITIES: Final = frozenset("024")

STUDY_LONGEST: Final = 31
"""Most characters of a line in the study: fewer than 32."""

STUDY_TRAIN: Final = 150_000
"""Kept lines that the study trains on: the first in file order."""

STUDY_TEST: Final = 52_990
"""Kept lines that the study tests on: the next."""

_MENTION: Final = re.compile(r"@(?!url\b)[A-Za-z0-9_]{2,}")
_ADDRESS: Final = re.compile(r"http\S+")
_KEPT_CHARACTERS: Final = (string.ascii_letters + string.digits + " !#$'()*+,-./:;=?@^").encode()
_DROPPED_CHARACTERS: Final = bytes(set(range(128)) - set(_KEPT_CHARACTERS) - set(b"\n"))
_BLOCK: Final = 50_000  # tweets cleaned as one string


def load_sentiment140(settings: CorpusSettings) -> Corpus:
    """Return the study's tweets, cleaned, selected and split; downloads the archive where there is no copy yet.

    A line is kept if it has at most `settings.max_length` characters (the study's 31 by default) and no word
    that occurs once (`select`). Equal lines are kept as often as they occur. With tokens longer than a
    character (`words`, `bpe`) a given `max_length` selects nothing here: it is applied to the tokens.

    `settings.split` is "random" (by a stable hash of the line, so that equal lines are on the same side) or
    "file-order": the study's first 150,000 kept lines and the next 52,990 as test. The file is sorted by
    polarity, so that test split is all positive. The study has no valid split of its own: the 5% of its
    150,000 that the same hash names are held out for it, and train has the rest.

    Raises `CorpusError` if the tweets cannot be found, downloaded or read, and if too few of them are kept.
    """
    path = fetch_sentiment140()
    lines, notice = select(clean(read_sentiment140(path)), _longest(settings))
    if not lines:
        raise CorpusError(f"{path}: no tweet is left after cleaning. {notice}")
    splits, reused = fill_empty_splits(split_by_hash(lines) if settings.split == "random" else split_in_file_order(lines))
    return Corpus(NAME, splits, notices=(notice, *reused))


def fetch_sentiment140() -> Path:
    """Return the archive or the CSV: the one $TEXTVAE_SENTIMENT140 names, else the cache's, else download the archive.

    The cache folder is $TEXTVAE_CACHE, or `textvae` in the user's cache folder; $TEXTVAE_SENTIMENT140_URL names
    another address than Stanford's for the archive.

    Raises `CorpusError` if the named file does not exist or the download fails.
    """
    named = os.environ.get("TEXTVAE_SENTIMENT140")
    if named:
        if not Path(named).expanduser().is_file():
            raise CorpusError(f"TEXTVAE_SENTIMENT140 names {named}, which is no file: name {TABLE}, or the zip that holds it")
        return Path(named).expanduser()
    folder = cache_folder()
    cached = (path for name in (ARCHIVE, TABLE) if (path := folder / name).is_file())
    return next(cached, None) or _download_archive(folder / ARCHIVE)


def _download_archive(target: Path) -> Path:
    from textvae.data.download import download  # urllib's client and rich: only for those who download

    url = os.environ.get("TEXTVAE_SENTIMENT140_URL") or URL
    download(url, target, advice=f"Or download it with a browser and save it as {target}, or name your CSV in TEXTVAE_SENTIMENT140")
    if not zipfile.is_zipfile(target):
        target.unlink()
        raise CorpusError(f"{url} sends something that is no zip archive: name another address in TEXTVAE_SENTIMENT140_URL")
    return target


def read_sentiment140(path: str | Path) -> list[str]:
    """Return the tweets of the CSV, or of a zip that holds it, in file order and as they were written.

    Raises `CorpusError` if the file is missing, damaged, or not in the format of Sentiment140.
    """
    path = Path(path)
    with _opened_table(path) as table:
        rows = csv.reader(table)
        texts = []
        for row in rows:
            if len(row) != len(COLUMNS) or row[0] not in POLARITIES:
                raise CorpusError(f"{path}, line {rows.line_num}: not a row of Sentiment140 (no header, columns {', '.join(COLUMNS)})")
            texts.append(row[-1])
    if not texts:
        raise CorpusError(f"{path} is empty: name {TABLE}, or the zip that holds it")
    return texts


@contextmanager
def _opened_table(path: Path) -> Iterator[TextIO]:
    """Open the CSV, in its zip or alone; what goes wrong while it is read becomes a `CorpusError`."""
    try:
        if path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive, archive.open(_member(archive, path)) as file:
                yield io.TextIOWrapper(file, encoding="latin-1", newline="")
        else:
            with open(path, encoding="latin-1", newline="") as table:
                yield table
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: encrypted, or an unknown compression
        raise CorpusError(f"{path} is a damaged archive ({error or 'cut short'}): delete it and fetch it again") from error
    except csv.Error as error:
        raise CorpusError(f"{path} is not the CSV of Sentiment140: {error}") from error
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror or error}. Name {TABLE}, or the zip that holds it") from error


def _member(archive: zipfile.ZipFile, path: Path) -> str:
    """Name the archive's training table, wherever in it, or its only CSV."""
    tables = [name for name in archive.namelist() if name.lower().endswith(".csv")]
    named = [name for name in tables if Path(name).name == TABLE] or tables
    if len(named) != 1:
        raise CorpusError(f"{path} does not hold {TABLE}: it holds {', '.join(archive.namelist()[:5]) or 'nothing'}")
    return named[0]


def clean(texts: Sequence[str]) -> list[str]:
    """Clean tweets as the study did: @name becomes `@user`, http… `@url`, and 81 characters are left.

    Those are space, letters, digits and ``! # $ ' ( ) * + , - . / : ; = ? @ ^``; a character outside is dropped
    and leaves nothing in its place. The ends are stripped. A name has two characters or more (`@` and one
    letter mostly means "at"), an address begins with a small `http` and goes on to the next white space. `@url`
    is left alone, so that lines cleaned before stay as they are.
    """
    blocks = (texts[start : start + _BLOCK] for start in range(0, len(texts), _BLOCK))
    return list(chain.from_iterable(map(_clean_block, blocks)))


def _clean_block(texts: Sequence[str]) -> list[str]:
    """Clean many tweets as one string, a line each: three passes over it instead of three calls a tweet."""
    joined = "\n".join(text.replace("\n", "\t") for text in texts)  # a tab is white space too, and dropped below
    joined = _ADDRESS.sub("@url", _MENTION.sub("@user", joined))
    kept = joined.encode("ascii", "ignore").translate(None, _DROPPED_CHARACTERS)
    return [line.strip() for line in kept.decode("ascii").split("\n")]


def select(lines: Sequence[str], longest: int | None) -> tuple[list[str], str]:
    """Return the cleaned lines worth keeping, in order, and a notice that says how many were left out and why.

    Kept are lines of 1 to `longest` characters without a word that occurs once. A word is what stands between
    spaces, its case and punctuation included ("Hi" and "hi!" are two words), and is counted over all lines, the
    too long ones too: the study says "in the corpus" and no more.
    """
    filled = [line for line in lines if line]
    fitting = filled if longest is None else [line for line in filled if len(line) <= longest]
    too_long = [] if longest is None else [line for line in filled if len(line) > longest]
    counts = Counter(chain.from_iterable(map(str.split, fitting)))
    singles = {word for word, count in counts.items() if count == 1}
    for line in too_long:  # most of the file: striking out its words is far cheaper than counting them
        singles.difference_update(line.split())
    kept = [line for line in fitting if singles.isdisjoint(line.split())]
    reasons = [f"{len(fitting) - len(kept):,} have a word that occurs once", f"{len(lines) - len(filled):,} are empty"]
    if longest is not None:
        reasons.insert(0, f"{len(too_long):,} are longer than {longest} characters")
    return kept, f"{len(kept):,} of {len(lines):,} tweets kept: {', '.join(reasons)}"


def _longest(settings: CorpusSettings) -> int | None:
    """Return the most characters of a kept line; None where `max_length` counts longer tokens."""
    if settings.max_length is None:
        return STUDY_LONGEST
    return settings.max_length if settings.tokenizer in ("characters", "bytes") else None


def split_in_file_order(lines: list[str]) -> dict[str, list[str]]:
    """Split kept lines as the study did: 150,000 train (5% of them held out as valid, by their hash), 52,990 test.

    Raises `CorpusError` where there is no line for test.
    """
    if len(lines) <= STUDY_TRAIN:
        raise CorpusError(
            f"the study's split in file order trains on the first {STUDY_TRAIN:,} kept tweets, and there are only {len(lines):,}: "
            "use the whole file of 1,600,000, or corpus.split random"
        )
    first = lines[:STUDY_TRAIN]
    valid = split_by_hash(first)["valid"]
    held_out = set(valid)
    train = [line for line in first if line not in held_out]
    return {"train": train, "valid": valid, "test": lines[STUDY_TRAIN : STUDY_TRAIN + STUDY_TEST]}
