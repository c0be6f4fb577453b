"""`textvae report` as a user meets it: one page that needs no other, and says no more than the lines do."""

from __future__ import annotations

import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest

from textvae.report.write import names

from .conftest import LINES, TINY, Command


class Page(HTMLParser):
    """The text of each cell and paragraph, what is embedded, and whether every tag is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text: list[str] = []
        self.pictures: list[str] = []
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.rows = {self.text[i]: self.text[i + 1 :] for i in range(len(self.text))}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag not in ("script", "link", "iframe")
        if tag == "img":
            self.pictures.append(str(given["src"]))
            assert given["alt"]
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(data)


@pytest.fixture(scope="module")
def other(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learned next to nothing, of a corpus and settings like those of `run`."""
    from textvae.cli import main

    folder = tmp_path_factory.mktemp("others") / "short"
    assert main(["train", str(corpus), "--out", str(folder), "--steps", "2", *TINY, "--objective.beta", "0.5"]) == 0
    return folder


def test_a_page_of_two_runs(textvae: Command, run: Path, other: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    ended = textvae("report", run, other, "--out", out, "--importance-samples", 3, "--split", "all")
    assert ended.code == 0 and ended.out == "" and f"{out} holds the report" in ended.err
    page = Page(out)
    assert page.open == [] and all(picture.startswith("data:image/svg+xml;base64,") for picture in page.pictures)
    assert len(page.pictures) == 4, "the plane, the curves, a training each"
    assert "2 runs compared" in page.text and "tiny has the best ELBO on these lines" in page.text
    first, second = page.rows["ELBO"][:2]
    assert first.startswith("−") and " ± " in first and float(first[1:].split()[0]) < float(second[1:].split()[0])
    none, difference = page.rows["ELBO − the best one's"][:2]
    assert none == "–" and difference.startswith("−") and " ± " in difference
    assert page.rows["objective.beta"][:2] == ["1.0", "0.5"] and page.rows["steps"][:2] == ["40", "2"]
    assert "gap to the truth" not in page.text, "nobody knows the source"
    before = out.read_bytes()
    assert textvae("report", run, "--out", out, "--importance-samples", 1).code == 0 and out.read_bytes() != before
    assert "The run tiny" in Page(out).text


def test_runs_that_the_lines_do_not_tell_apart(textvae: Command, run: Path, copied: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert textvae("report", run, copied, "--out", out, "--importance-samples", 2).code == 0
    page = Page(out)
    assert "tiny has the best ELBO on these lines; they do not tell copied from it" in page.text
    assert page.rows["ELBO − the best one's"][:2] == ["–", "0.000"] and "Settings in which the runs differ" not in page.text


def test_the_command_on_the_page_trains_the_run_again(textvae: Command, other: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert textvae("report", other, "--out", out, "--importance-samples", 1).code == 0
    (command,) = [text for text in Page(out).text if text.startswith("textvae train ")]
    _, *words = shlex.split(command)
    words[words.index("--out") + 1] = str(tmp_path / "again")
    assert textvae(*words).code == 0
    assert (tmp_path / "again" / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()


def test_lines_that_are_markup_stay_text(textvae: Command, tmp_path: Path) -> None:
    lines = tmp_path / "<i>.txt"
    lines.write_text("".join(f"<b>{word}</b>&amp;\x1b[1m{{{{ 1 }}}}\n" for word in LINES[:40]) + "\n")
    out, folder = tmp_path / "page.html", tmp_path / "<u>"
    assert textvae("train", lines, "--out", folder, "--steps", 2, *TINY).code == 0
    assert textvae("report", folder, "--out", out, "--importance-samples", 1, "--split", "all").code == 0
    page = Page(out)
    assert page.open == [] and any("<b>oak elm</b>&amp;␛[1m{{ 1 }}" in text for text in page.text)


def test_runs_of_other_lines_and_one_without_a_latent(textvae: Command, run: Path, tmp_path: Path) -> None:
    lines = tmp_path / "numbers.txt"
    lines.write_text("".join(f"{number}\n" for number in range(100, 400)))
    lm, out = tmp_path / "lm", tmp_path / "page.html"
    flags = ["--steps", 2, "--model.decoder.hidden", 8, "--model.decoder.embedding", 4]
    assert textvae("train", lines, "--preset", "lm", "--out", lm, *flags).code == 0
    (lm / "metrics.jsonl").unlink()
    ended = textvae("report", run, lm, "--out", out, "--importance-samples", 2)
    assert ended.code == 0, ended.err
    page = Page(out)
    assert any("ELBOs of different lines do not compare" in text for text in page.text)
    assert page.rows["active units"][1] == "no latent" and "A model without a latent." in page.text
    assert "ELBO − the best one's" not in page.text, "each is the best on its own lines"
    assert len(page.pictures) == 3, "no picture of a training that left no history"


def test_what_is_no_page_is_left_alone(textvae: Command, run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("<p>mine</p>")
    assert "is there already and is no report" in textvae("report", run, "--out", mine).refused()
    assert mine.read_text() == "<p>mine</p>"
    assert "ends in .html" in textvae("report", run, "--out", tmp_path / "page.pdf").refused()
    assert "no run is named" in textvae("report", "--out", tmp_path / "page.html").refused()
    assert "is named twice" in textvae("report", run, run, "--out", tmp_path / "page.html").refused()
    assert "does not exist" in textvae("report", run, tmp_path / "none", "--out", tmp_path / "page.html").refused()
    assert not (tmp_path / "page.html").exists()


def test_runs_are_called_by_as_little_of_their_path_as_tells_them_apart(tmp_path: Path) -> None:
    assert names(["runs/a", "runs/b"]) == ["a", "b"]
    assert names(["x/a/best", "y/a/best", "y/b/best"]) == ["x/a/best", "y/a/best", "y/b/best"]
    assert names(["one/run", "user/run"]) == ["one/run", "user/run"]
    assert names([tmp_path / "only"]) == ["only"]
