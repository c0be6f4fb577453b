"""Download one large file over HTTP: resumed where it broke off, checked for size, put in place at once.

The bytes go to `NAME.part` beside the target and are renamed only when all of them are on the disk, so a
file under its final name is always a whole one. What arrived before a cut connection or Ctrl-C is kept
and continued by the next call.
"""

from __future__ import annotations

import errno
import http.client
import io
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from textvae.errors import CorpusError

CHUNK: Final = 1 << 18
"""Most bytes read and written at a time."""

PATIENCE: Final = 30.0
"""Seconds a silent server is waited for."""

Report = Callable[[int, int | None], object]
"""Told (bytes here so far, bytes of the whole file or None where the server does not say) after every chunk."""


@final
@dataclass(frozen=True)
class _Answer:
    """What a server sends: the bytes of the file from `start` on, and the size of the whole file where known."""

    body: io.BufferedIOBase
    start: int
    total: int | None


def download(url: str, target: Path, *, report: Report | None = None, advice: str = "") -> Path:
    """Download `url` to the file `target` and return it; continue `target.part` where one was left behind.

    Progress (size, rate, time left) goes to stderr, or to `report` where one is given. A server that does
    not know byte ranges is asked for everything again. `advice` ends the message of a download that fails;
    by default it says where to put the file by hand.

    Raises `CorpusError` without a network, for an address that is wrong or gone, for a connection that
    breaks off, and for a disk that is full or not writable.
    """
    advice = advice or f"Download it with a browser and save it as {target}"
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        answer = _ask(url, part.stat().st_size if part.exists() else 0, advice)
        showing = _bar(target.name) if report is None else nullcontext(report)
        with answer.body:
            _store(answer, part, _chunks(answer.body, url, advice), showing)
        _check_size(part, answer.total, url, advice)
        os.replace(part, target)
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise CorpusError(f"cannot write {part}: {why}. Make room, or choose another folder with TEXTVAE_CACHE, and run again") from error
    return target


def _ask(url: str, start: int, advice: str) -> _Answer:
    """Ask for the file from byte `start` on; the answer may start at 0 all the same."""
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "textvae"} | ({"Range": f"bytes={start}-"} if start else {}))
        response = urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        with error:
            if start and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return _nothing_left(url, start, error, advice)
            raise CorpusError(f"cannot download {url}: the server answers {error.code} {error.reason}. {advice}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        why = getattr(reason, "strerror", None) or str(reason) or type(error).__name__
        raise CorpusError(f"cannot download {url}: {why}. Look at the address and the network. {advice}") from error
    stated = response.headers.get("Content-Length") or ""
    length = int(stated) if stated.isdigit() else None
    if not start or response.status != HTTPStatus.PARTIAL_CONTENT:
        return _Answer(response, 0, length)
    sent_from, total = _content_range(response.headers.get("Content-Range"))
    if sent_from == start:
        return _Answer(response, start, start + length if total is None and length is not None else total)
    response.close()  # another range than the one asked for
    return _ask(url, 0, advice)


def _nothing_left(url: str, start: int, error: urllib.error.HTTPError, advice: str) -> _Answer:
    """Answer a range beyond the end (416): the part is the whole file, or one of another file and worthless."""
    _, total = _content_range(error.headers.get("Content-Range"))
    return _Answer(io.BytesIO(), start, total) if total == start else _ask(url, 0, advice)


def _content_range(header: str | None) -> tuple[int | None, int | None]:
    """Read (first byte, size of the whole file) from a Content-Range header; None for what it does not say."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", (header or "").strip())
    if found is None:
        return None, None
    first, total = found.groups()
    return int(first) if first else None, int(total) if total != "*" else None


def _chunks(body: io.BufferedIOBase, url: str, advice: str) -> Iterator[bytes]:
    """Yield what the server sends. Turns a broken connection into `CorpusError`: other `OSError`s are then the disk's."""
    while True:
        try:
            chunk = body.read1(CHUNK)  # what has come, not a full chunk: nothing read is lost when the next read fails
        except (OSError, http.client.HTTPException) as error:
            raise CorpusError(f"the connection to {url} broke off. Run again to continue where it stopped. {advice}") from error
        if not chunk:
            return
        yield chunk


def _store(answer: _Answer, part: Path, chunks: Iterator[bytes], showing: AbstractContextManager[Report]) -> None:
    """Write the chunks behind the first `answer.start` bytes of the part, and make sure that they are on the disk."""
    done = answer.start
    with showing as report, open(part, "ab" if answer.start else "wb") as file:
        report(done, answer.total)
        for chunk in chunks:
            file.write(chunk)
            done += len(chunk)
            report(done, answer.total)
        file.flush()
        os.fsync(file.fileno())


def _check_size(part: Path, total: int | None, url: str, advice: str) -> None:
    """Refuse a part that is not as long as the server said. A short one is kept to be continued, a long one deleted."""
    size = part.stat().st_size
    if total is None or size == total:
        return
    if size > total:
        part.unlink()
    raise CorpusError(f"{url} broke off after {size:,} of {total:,} bytes. Run again to continue where it stopped. {advice}")


@contextmanager
def _bar(name: str) -> Iterator[Report]:
    """Show a line on stderr with the name, a bar, the size, the rate and the time left."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
