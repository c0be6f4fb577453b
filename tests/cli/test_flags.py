from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from cyclopts import App, CycloptsError, Parameter

from textvae import architectures
from textvae.cli.flags import Flags, flags_dataclass, given
from textvae.settings import resolve

ECHO = '''
from dataclasses import dataclass
from textvae.architectures import architecture

@dataclass(frozen=True, kw_only=True)
class EchoSettings:
    """Settings of the echo."""

    delay: int = 3
    """Steps until it is heard."""

@architecture("echo", EchoSettings, "says it again")
def build(settings, vocabulary, max_tokens):
    raise AssertionError("never built here")
'''


def parse(*tokens: str, annotation: object = Flags) -> dict:
    app = App(result_action="return_value")

    def train(corpus: str, /, *, flags: object = None) -> dict:
        return given(flags)

    train.__annotations__["flags"] = annotation
    app.default(train)
    return app(["corpus.txt", *tokens], exit_on_error=False, print_error=False)


def test_nothing_is_given_unless_it_is() -> None:
    assert parse() == {} == given(None)


def test_flags_become_a_nested_dict_that_resolves() -> None:
    flags = parse("--model.architecture", "ladder", "--model.latent.prior", "mixture", "--objective.beta", "0.5", "--training.minutes", "5")
    assert flags == {
        "model": {"architecture": "ladder", "latent": {"prior": "mixture"}},
        "objective": {"beta": 0.5},
        "training": {"minutes": 5.0},
    }
    run = resolve(flags=flags)
    assert (run.architecture, run.model.latent.prior, run.objective.beta, run.training.minutes) == ("ladder", "mixture", 0.5, 5.0)


@pytest.mark.parametrize(
    "tokens",
    [
        ["--model.latent.channels", "16", "8", "8"],
        ["--model.latent.channels", "16,8,8"],
        ["--model.latent.channels=16,8,8"],
        ["--model.latent.channels", "16", "--model.latent.channels", "8,8"],
    ],
)
def test_numbers_of_a_list_in_every_way_of_typing(tokens: list[str]) -> None:
    assert parse(*tokens, "--training.seed", "1") == {"model": {"latent": {"channels": (16, 8, 8)}}, "training": {"seed": 1}}


def test_underscores_hyphens_and_short_names() -> None:
    assert parse("--training.learning_rate", "1e-3") == parse("--training.learning-rate", "1e-3") == {"training": {"learning_rate": 1e-3}}
    assert parse("--steps", "3", "--column", "text") == {"training": {"steps": 3}, "corpus": {"column": "text"}}


@pytest.mark.parametrize(
    ("tokens", "part"),
    [
        (["--training.bach", "3"], "Did you mean --training.batch?"),
        (["--model.lattent.shape", "map"], "Did you mean --model.latent.shape?"),
        (["--model.architecture", "hybird"], 'Did you mean "hybrid"?'),
        (["--model.latent.channels", "16,x"], 'expected numbers such as 16,8,8, got "16,x"'),
        (["--training.batch", "many"], "--training.batch"),
    ],
)
def test_a_wrong_flag_is_told_with_the_nearest(tokens: list[str], part: str) -> None:
    with pytest.raises(CycloptsError) as caught:
        parse(*tokens)
    assert part in str(caught.value)


def test_help_shows_docstrings_choices_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    parse("--help")
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Sequences in a batch. [default: 64]" in text
    assert "[choices: teacher, self]" in text
    assert "(Only cnn, hybrid.)" in text
    assert "--corpus.path" not in text


@pytest.fixture
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One more architecture, in a folder of the user's."""
    (tmp_path / "echo.py").write_text(ECHO)
    monkeypatch.setattr(architectures, "_registry", dict(architectures._registry))
    monkeypatch.setattr(architectures, "__path__", list(architectures.__path__))
    monkeypatch.setenv(architectures.FOLDERS, str(tmp_path))
    flags_dataclass.cache_clear()
    yield
    flags_dataclass.cache_clear()
    sys.modules.pop("textvae.architectures.echo", None)


@pytest.mark.usefixtures("echo")
def test_a_new_architectures_file_is_new_flags_and_a_preset() -> None:
    annotation: object = Annotated[flags_dataclass() | None, Parameter(name="*")]
    flags = parse("--model.architecture", "echo", "--model.delay", "4", annotation=annotation)
    run = resolve("echo", flags=flags)
    assert (run.architecture, run.model.delay) == ("echo", 4)
