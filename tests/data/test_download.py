"""Downloads against a server on this machine: whole, resumed, refused, damaged."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from textvae.data.download import download
from textvae.errors import CorpusError

CONTENT = bytes(range(256)) * 4_000  # 1,024,000 bytes: several reads


class Server(ThreadingHTTPServer):
    """Serves `CONTENT` under every path but /gone, in the way that a test sets; keeps the ranges it was asked for."""

    ranges = True  # knows byte ranges
    sends = len(CONTENT)  # bytes after which the connection is cut
    shifted = 0  # bytes by which a range starts too late
    sized = True  # says how long the body is

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.path == "/gone":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start += self.server.shifted if start else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        if self.server.sized:
            self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : start + self.server.sends])

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's stderr for what the download writes there."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "file.zip"


def part_of(target: Path, content: bytes) -> Path:
    target.parent.mkdir(exist_ok=True)
    part = target.with_name("file.zip.part")
    part.write_bytes(content)
    return part


def left(target: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in target.parent.iterdir()}


def test_a_whole_file_arrives_under_its_name_alone(server: Server, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert download(server.url, target) == target
    assert left(target) == {"file.zip": CONTENT}
    assert server.asked == [None]
    out, err = capsys.readouterr()
    assert out == "" and "file.zip" in err and "1.0/1.0 MB" in err


def test_progress_is_told_in_bytes_of_the_whole_file(server: Server, target: Path) -> None:
    part_of(target, CONTENT[:1000])
    told: list[tuple[int, int | None]] = []
    download(server.url, target, report=lambda done, total: told.append((done, total)))
    assert told[0] == (1000, len(CONTENT)) and told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_cut_connection_leaves_a_part_that_the_next_call_continues(server: Server, target: Path) -> None:
    server.sends = 300_000
    with pytest.raises(CorpusError, match=r"broke off after 300,000 of 1,024,000 bytes.*Run again"):
        download(server.url, target)
    assert left(target) == {"file.zip.part": CONTENT[:300_000]}
    server.sends = len(CONTENT)
    download(server.url, target)
    assert left(target) == {"file.zip": CONTENT}
    assert server.asked == [None, "bytes=300000-"]


def test_ctrl_c_leaves_a_part_that_the_next_call_continues(server: Server, target: Path) -> None:
    def interrupt(done: int, total: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(server.url, target, report=interrupt)
    (arrived,) = left(target).values()
    assert 0 < len(arrived) < len(CONTENT) and CONTENT.startswith(arrived)
    download(server.url, target)
    assert left(target) == {"file.zip": CONTENT}
    assert server.asked == [None, f"bytes={len(arrived)}-"]


def test_a_server_without_ranges_sends_everything_again(server: Server, target: Path) -> None:
    server.ranges = False
    part_of(target, b"an older file's beginning")
    download(server.url, target)
    assert left(target) == {"file.zip": CONTENT}


def test_another_range_than_the_one_asked_for_is_not_used(server: Server, target: Path) -> None:
    server.shifted = 5
    part_of(target, CONTENT[:1000])
    download(server.url, target)
    assert left(target) == {"file.zip": CONTENT}
    assert server.asked == ["bytes=1000-", None]


def test_a_complete_part_is_only_renamed(server: Server, target: Path) -> None:
    part_of(target, CONTENT)
    download(server.url, target)
    assert left(target) == {"file.zip": CONTENT}
    assert server.asked == [f"bytes={len(CONTENT)}-"]


def test_a_part_longer_than_the_file_is_fetched_anew(server: Server, target: Path) -> None:
    part_of(target, CONTENT + b"more")
    download(server.url, target)
    assert left(target) == {"file.zip": CONTENT}
    assert server.asked == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_body_of_unknown_length_is_taken_as_it_comes(server: Server, target: Path) -> None:
    server.sized = False
    download(server.url, target)
    assert left(target) == {"file.zip": CONTENT}


def one_line(error: pytest.ExceptionInfo[CorpusError], url: str) -> str:
    message = str(error.value)
    assert url in message and "\n" not in message
    return message


def test_not_found_names_the_address_and_the_place_for_a_file_by_hand(server: Server, target: Path) -> None:
    url = server.url.replace("file.zip", "gone")
    with pytest.raises(CorpusError, match="404 Not Found") as error:
        download(url, target)
    assert f"save it as {target}" in one_line(error, url)
    assert left(target) == {}


def test_a_refused_connection_is_told_with_the_callers_advice(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file.zip"
    with pytest.raises(CorpusError, match="refused") as error:
        download(url, target, advice="Ask a friend for it")
    assert one_line(error, url).endswith("Ask a friend for it")


@pytest.mark.parametrize("url", ["not an address", "http://127.0.0.1:port/x", "gopher://127.0.0.1/x"])
def test_an_address_that_is_none_is_a_corpus_error(url: str, target: Path) -> None:
    with pytest.raises(CorpusError, match="cannot download") as error:
        download(url, target)
    one_line(error, url)


def test_a_full_disk_is_told_and_keeps_the_part(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CorpusError, match="the disk is full"):
        download(server.url, target)
    assert list(left(target)) == ["file.zip.part"]


def test_a_folder_that_cannot_be_made_is_a_corpus_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(CorpusError, match="cannot write"):
        download(server.url, tmp_path / "cache" / "file.zip")
