"""`textvae report` as a user meets it: one page that needs no other, and says no more than the lines do."""

from __future__ import annotations

import json
import shlex
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from textvae import api, load
from textvae.evaluation.measure import Evaluation
from textvae.report.content import tell, told_of_latent
from textvae.report.write import names
from textvae.settings import resolve
from textvae.study.commands import command_for

from .conftest import LINES, TINY, Command

EVALUATION = Evaluation(
    **dict.fromkeys(("corpus", "split"), "x"),
    **dict.fromkeys(("sequences", "tokens", "characters", "latent_units", "parameters", "importance_samples"), 100),
    **dict.fromkeys(("elbo", "distortion", "rate", "importance_bound", "bits_per_character", "perplexity_per_token"), 1.0),
    **dict.fromkeys(("mutual_information", "mutual_information_cap", "rate_below_cap", "length_nats", "training_seconds"), 0.0),
    **dict.fromkeys(("standard_error", "reconstruction", "paper")),
    rate_per_rung=[1.0], active_units=1, active_units_per_rung=[1], unknown_tokens=0, entropy=None, gap=None,
)  # fmt: skip
"""Of a latent that is in use."""


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


def verdict(page: Page) -> str:
    """Which run is the best."""
    (told,) = [text for text in page.text if "has the best ELBO" in text]
    return told


def test_a_page_of_two_runs(textvae: Command, run: Path, other: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    ended = textvae("report", run, other, "--out", out, "--importance-samples", 3, "--split", "all")
    assert ended.code == 0 and ended.out == "" and f"{out} holds the report" in ended.err
    page = Page(out)
    assert any("importance bound is of K 3 samples of z a line" in text for text in page.text)
    assert page.open == [] and all(picture.startswith("data:image/svg+xml;base64,") for picture in page.pictures)
    assert len(page.pictures) == 4, "the plane, the curves, a training each"
    assert "2 runs compared" in page.text and verdict(page).startswith("tiny has the best ELBO on these lines, by ")
    assert " nats a line before short" in verdict(page) and " ± " in verdict(page)
    collapsed = any(text.startswith("the latent has collapsed") for text in page.text)
    assert verdict(page).endswith("; its latent has collapsed, see below") == collapsed
    assert "lines" not in page.rows, "both measured as many"
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
    assert verdict(page).startswith("tiny has the best ELBO on these lines, by 0.000 nats a line before copied")
    assert "; they do not tell copied from it" in verdict(page)
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
    assert "not all runs were measured on the same lines: ELBOs of different lines do not compare" in page.text
    assert not any("has the best ELBO" in text for text in page.text) and page.rows["lines"][0] != page.rows["lines"][1]
    assert page.rows["active units"][1] == "no latent" and "A model without a latent." in page.text
    assert "ELBO − the best one's" not in page.text, "each is the best on its own lines"
    assert len(page.pictures) == 1, "nothing to compare, and no picture of a training that left no history"
    told = textvae("report", run, lm, "--out", out, "--importance-samples", 2, "--corpus", lines, "--split", "train")
    assert told.code == 0, told.err
    text = " ".join(Page(out).text)
    assert "no line was measured on and read whole by all of tiny and lm: their ELBOs do not compare" in text
    assert f"tiny was trained on other lines ({run_corpus(run)}): it knows none of these " in text


def run_corpus(run: Path) -> str:
    return str(json.loads((run / "config.json").read_text())["corpus"]["path"])


def test_what_is_to_be_known_of_the_figures_stands_on_the_page(textvae: Command, run: Path, copied: Path, tmp_path: Path) -> None:
    """Lines left out, symbols it does not know, lines it was trained on, and that it was stopped early."""
    config = json.loads((copied / "config.json").read_text())
    config["steps"] += 100
    (copied / "config.json").write_text(json.dumps(config))
    lm, out = tmp_path / "lm", tmp_path / "page.html"
    flags = ["--steps", 2, "--model.decoder.hidden", 8, "--model.decoder.embedding", 4]
    assert textvae("train", run_corpus(run), "--preset", "lm", "--out", lm, *flags).code == 0
    ended = textvae("report", copied, lm, "--out", out, "--importance-samples", 2, "--split", "all")
    assert ended.code == 0 and "most of these lines are those it was trained on" in ended.err
    page = Page(out)
    assert page.rows["steps"][0] == f"{config['steps'] - 100} of {config['steps']}" and page.rows["steps"][1] == "2"
    assert sum(text.startswith("Note: most of these lines are those it was trained on") for text in page.text) == 2
    assert page.rows["objective.beta"][1] == "–", "without a latent nothing is weighed"


def test_a_librarys_warning_is_for_its_programmer(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is passed on as it was, and stands in no note of the page."""
    measured = api.measure

    def warned(*arguments: Any, **named: Any) -> Any:
        warnings.warn_explicit("of another library", UserWarning, "/elsewhere/library.py", 7)
        return measured(*arguments, **named)

    monkeypatch.setattr(api, "measure", warned)
    with pytest.warns(UserWarning) as told:
        page = tell("run", load(run), split="all", importance_samples=2)
    assert [note[:19] for note in page.notes] == ["most of these lines"]
    assert ("of another library", "/elsewhere/library.py") in [(str(one.message), one.filename) for one in told]


def test_runs_compare_on_the_lines_that_both_read_whole(textvae: Command, run: Path, corpus: Path, tmp_path: Path) -> None:
    """A model that knows few words reads the others as one, cheaply: that is no bound on the lines."""
    words, out = tmp_path / "words", tmp_path / "page.html"
    flags = ["--corpus.tokenizer", "words", "--corpus.vocabulary", 12, "--steps", 20, *TINY]
    assert textvae("train", corpus, "--out", words, *flags).code == 0
    assert textvae("report", run, words, "--out", out, "--importance-samples", 2, "--split", "all").code == 0
    page = Page(out)
    (told,) = [text for text in page.text if "has the best ELBO" in text]
    both = json.loads(textvae("compare", run, words, "--importance-samples", 2, "--split", "all", "--json").out)
    assert both["left_out"] > 0 and f"on the {both['sequences']} lines that all were measured on and read whole" in told
    assert told.startswith("tiny" if both["elbo"]["difference"] > 0 else "words")
    shown = [cell for cell in page.rows["ELBO − the best one's"][:2] if cell != "–"]
    assert [float(cell.split(" ± ")[0].replace("−", "-")) for cell in shown] == [pytest.approx(-abs(both["elbo"]["difference"]), abs=0.05)]


def test_a_latent_is_judged_only_where_enough_lines_tell(textvae: Command, run: Path, tmp_path: Path) -> None:
    few, out = tmp_path / "few.csv", tmp_path / "page.html"
    few.write_text("text,label\noak elm,1\nash fir,2\n")
    flags = ["--corpus", few, "--column", "text", "--split", "all", "--importance-samples", 2]
    assert textvae("report", run, "--out", out, *flags).code == 0
    assert not any(text.startswith(("The latent is in use", "no unit")) for text in Page(out).text)
    told, bad = told_of_latent(replace(EVALUATION, sequences=12), resolve("rnn"))
    assert told.startswith("Too few lines to say whether the latent is in use: it carries") and not bad
    collapsed = told_of_latent(replace(EVALUATION, rate=0.0, rate_per_rung=[0.0], active_units=0), resolve("rnn"))
    assert collapsed[1] and collapsed[0].startswith("the latent has collapsed")
    free = told_of_latent(replace(EVALUATION, rate=0.0, rate_per_rung=[0.0]), resolve("rnn", flags={"objective": {"beta": 0}}))
    assert not free[1] and free[0].startswith("Trained with a beta of 0")


def test_the_command_of_a_run_says_all_that_differs_from_its_preset(tmp_path: Path) -> None:
    changed = resolve("best/tweets/rnn-map", flags={"corpus": {"path": "my words.txt"}, "training": {"steps": 7}})
    assert command_for(changed, tmp_path) == "textvae train 'my words.txt' --preset best/tweets/rnn-map --training.steps 7 --out RUN"
    unset = replace(changed, corpus=replace(changed.corpus, max_length=None))  # no flag takes a preset's value away
    assert command_for(unset, tmp_path) == f"textvae train 'my words.txt' --config {tmp_path / 'config.json'} --out RUN"
    own = replace(resolve("cnn", flags={"objective": {"free_bits": 5.0}}), preset="gone/preset")
    assert command_for(own, tmp_path) == "textvae train '' --preset cnn --objective.free-bits 5.0 --out RUN"


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
