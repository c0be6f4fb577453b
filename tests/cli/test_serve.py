"""`textvae serve`: what the page may ask, and the page itself over HTTP as a browser meets it."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

import textvae as package
from textvae.errors import ConfigError
from textvae.serve.explorer import Explorer

from .conftest import Command, command_line, environment, with_ctrl_c


@pytest.fixture(scope="module")
def explorer(run: Path) -> Explorer:
    return Explorer(package.load(run), "runs/tiny")


def test_what_a_run_is(explorer: Explorer, run: Path) -> None:
    found = explorer.answer("run", {})["result"]
    assert found["name"] == "runs/tiny" and found["architecture"] == "rnn" and found["parameters"] > 0
    assert found["valid"]["elbo"] == pytest.approx(-found["valid"]["distortion"] - found["valid"]["rate"])
    latent = found["latent"]
    assert len(latent["spread"]) == latent["positions"] * latent["channels"] == 3
    drawn = explorer.answer("draw", {"n": 50, "seed": 0})["result"]
    assert len(drawn) == 50 and drawn != explorer.answer("draw", {"n": 50, "seed": 1})["result"]
    for i in range(3):
        assert latent["low"][i] <= min(z[i] for z in drawn) < max(z[i] for z in drawn) <= latent["high"][i]
    json.dumps(found, allow_nan=False)


def test_answers_are_those_of_the_library(explorer: Explorer, run: Path) -> None:
    vae = package.load(run)
    assert explorer.answer("sample", {"n": 3, "seed": 5})["result"] == vae.sample(3, seed=5)
    assert explorer.answer("interpolate", {"start": "oak elm", "end": "sun", "steps": 4})["result"] == vae.interpolate("oak elm", "sun", 4)
    (back,) = explorer.answer("reconstruct", {"texts": ["oak elm"]})["result"]
    assert back["output"] == vae.reconstruct(["oak elm"])[0] and back["distortion"] > 0
    (score,) = explorer.answer("score", {"texts": ["oak elm"], "importance_samples": 5})["result"]
    assert score["elbo"] == pytest.approx(vae.score(["oak elm"], 5)[0].elbo)
    z = explorer.answer("encode", {"texts": ["oak elm", "sun sea"]})["result"]
    assert explorer.answer("decode", {"z": z})["result"] == vae.reconstruct(["oak elm", "sun sea"])
    assert explorer.answer("decode", {"z": []})["result"] == [] and explorer.answer("score", {"texts": []})["result"] == []
    told = explorer.answer("score", {"texts": ["☃"]})
    assert len(told["notes"]) == 1 and "☃" in told["notes"][0]


@pytest.mark.parametrize(
    ("way", "question", "told"),
    [
        ("smaple", {}, "Did you mean 'sample'"),
        ("sample", {"n": "3"}, "n is '3': must be a whole number from 0 to 1,000"),
        ("sample", {"n": 10**9}, "must be a whole number"),
        ("sample", {"temperature": -1}, "temperature is -1"),
        ("sample", {"temperature": float("nan")}, "temperature is nan"),
        ("sample", {"top_p": 0.0}, "top_p"),
        ("sample", {"colour": 1}, "sample takes no 'colour'"),
        ("reconstruct", {"texts": "oak"}, "texts is not a list"),
        ("reconstruct", {"texts": [1]}, "texts hold 1, of type int"),
        ("reconstruct", {}, "reconstruct needs 'texts'"),
        ("interpolate", {"start": "a", "end": "b", "path": "round"}, "must be one of linear, spherical"),
        ("interpolate", {"start": "a", "end": 1}, "end is a int"),
        ("score", {"texts": ["a"] * 500, "importance_samples": 100}, "whole number from 1 to 40"),
        ("reconstruct", {"texts": ["a"] * 1000, "beams": 21}, "whole number from 1 to 20"),
        ("draw", {"n": -1}, "n is -1"),
        ("decode", {"z": [[1.0]]}, "vectors of 3 numbers"),
        ("decode", {"z": [[1.0, 2.0, "x"]]}, "vectors of 3 numbers"),
        ("decode", {"z": 3}, "z is not a list"),
        ("decode", {"z": [[1.0, 2.0, float("inf")]]}, "not finite"),
    ],
)
def test_questions_without_an_answer(explorer: Explorer, way: str, question: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        explorer.answer(way, question)


def test_a_model_without_a_latent_is_sampled_and_scored(textvae: Command, corpus: Path, tmp_path: Path) -> None:
    flags = ["--steps", 2, "--model.decoder.hidden", 8, "--model.decoder.embedding", 4]
    assert textvae("train", corpus, "--preset", "lm", "--out", tmp_path / "lm", *flags).code == 0
    explorer = Explorer(package.load(tmp_path / "lm"), "lm")
    assert explorer.answer("run", {})["result"]["latent"] is None
    assert len(explorer.answer("sample", {"n": 2})["result"]) == 2 and explorer.answer("score", {"texts": ["oak"]})["result"]
    with pytest.raises(ConfigError, match="lm has no latent"):
        explorer.answer("reconstruct", {"texts": ["oak"]})


def test_a_stopped_explorer_answers_nothing_more(run: Path) -> None:
    explorer = Explorer(package.load(run), "tiny")
    explorer.stop()
    with pytest.raises(ConfigError, match="is being stopped"):
        explorer.answer("sample", {})


@pytest.fixture
def address(run: Path) -> Iterator[str]:
    """A run that is served; Ctrl-C then ends it, without a word and as done."""
    words = with_ctrl_c(command_line("serve", run, "--port", 0))
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[0]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and err == ""


def asked(address: str, way: str, body: bytes, **headers: str) -> tuple[int, Any]:
    named = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urlopen(Request(f"{address}api/{way}", data=body, headers=named, method="POST"), timeout=60) as reply:
            return reply.status, json.load(reply)
    except HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


def test_the_page_over_http(address: str) -> None:
    with urlopen(address, timeout=60) as reply:
        page, headers = reply.read().decode(), reply.headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert not re.search(r"(src|href)=|https?://|@import|url\(", page), "it takes nothing from elsewhere"
    for way in re.findall(r'ask\("(\w+)"', page):
        assert "there is no way" not in str(asked(address, way, b"{}")[1]), way
    status, answer = asked(address, "sample", b'{"n": 2}')
    assert status == 200 and len(answer["result"]) == 2 and answer["notes"] == []
    for path in ("api/sample", "nothing"):
        with pytest.raises(HTTPError) as got, urlopen(address + path, timeout=60):
            pass
        with got.value as reply:
            assert f"GET /{path} is no question: the page is at GET /" in json.load(reply)["error"]
    halves, deep, large = b'{"texts": ["\\ud800"]}', b"[" * 200_000, b" " * 10_000_001
    for body, said in [
        (b'{"n": "x"}', "takes no 'n'"),
        (b"{", "no JSON"),
        (b"[1]", "no JSON object"),
        (halves, "no JSON of whole characters"),
        (deep, "no JSON"),
        (large, "more than 10,000,000 bytes"),
    ]:
        status, answer = asked(address, "score", body)
        assert status == 400 and said in answer["error"]
    for foreign in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Content_Type": "text/plain"}):
        status, answer = asked(address, "sample", b"{}", **foreign)
        assert status == 403 and answer["error"], "a page of another site asks in vain"
    assert asked(address, "sample", b"{}", Origin=address.rstrip("/"))[0] == 200


def test_ctrl_c_while_a_question_is_answered(run: Path) -> None:
    words = with_ctrl_c(command_line("serve", run, "--port", 0))
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        where = process.stdout.readline().split()[0]
        question = json.dumps({"texts": ["oak elm"] * 1000, "importance_samples": 20}).encode()
        answers: list[Any] = []
        asking = Thread(target=lambda: answers.append(asked(where, "score", question)))
        asking.start()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        asking.join()
    assert process.returncode == 0 and "Traceback" not in err
    assert len(answers) == 1


def test_a_port_that_is_taken(textvae: Command, run: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        told = textvae("serve", run, "--port", taken.getsockname()[1]).refused()
    assert "cannot be served" in told and "give another --port" in told
    assert "is no address of this machine" in textvae("serve", run, "--host", "nowhere.invalid").refused()
    assert textvae("serve", run, "--host", "192.0.2.1", "--port", 0).refused().endswith("give another --host")
    assert "--port" in textvae("serve", run, "--port", 70000).refused()
