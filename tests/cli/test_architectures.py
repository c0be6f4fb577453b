"""A file more in `architectures/` is a model more everywhere; a file less takes only that model away."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import textvae

from .conftest import Ended, environment

NEW = '''
"""One width for everything."""

from dataclasses import dataclass, field

from textvae.architectures import architecture
from textvae.parts import LatentSettings, RecurrentDecoderSettings


@dataclass(frozen=True, kw_only=True)
class PlainSettings:
    """Settings of the plain VAE."""

    plainness: int = 7
    """How wide everything is."""

    latent: LatentSettings = field(default_factory=LatentSettings)
    """The latent variable."""


@architecture("plain", PlainSettings, "one width for everything", latents=("dense",))
def build(settings, vocabulary, max_tokens):
    from textvae.model.assembly import recurrent_emitter, single_latent
    from textvae.model.decoder import Decoder
    from textvae.model.encoder import RecurrentEncoder
    from textvae.model.text_model import LatentTextModel
    from textvae.nn.layers import Chain, Repeat

    width = settings.plainness
    encoder = RecurrentEncoder(vocabulary, width, "gru", width, 0.0)
    latents = single_latent(encoder.outlet, settings.latent)
    expander = Chain(latents.bottom, [Repeat(latents.bottom, max_tokens)])
    decoder = RecurrentDecoderSettings(cell="gru", hidden=width, embedding=width)
    return LatentTextModel(encoder, latents, Decoder(expander, recurrent_emitter(expander.outlet, latents.bottom, vocabulary, decoder)))
'''


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, to be changed."""
    source = Path(textvae.__file__).parent
    shutil.copytree(source, tmp_path / "textvae", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "textvae"


def commands(package: Path, *lines: list[str]) -> list[Ended]:
    """Run several command lines of a copied package, in one process to save the imports."""
    code = f"""
import contextlib, io, json
from textvae.cli import main
ended = []
for line in {lines!r}:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(line)
    ended.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(ended))
"""
    settings = environment() | {"PYTHONPATH": str(package.parent), "COLUMNS": "200"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=settings, cwd=package.parent)
    assert done.returncode == 0, done.stderr
    return [Ended(*row) for row in json.loads(done.stdout)]


def test_a_new_file_is_a_model_with_flags_presets_and_checkpoints(package: Path, corpus: Path) -> None:
    (package / "architectures" / "plain.py").write_text(NEW)
    shown, listed, trained, sampled, back, wrong = commands(
        package,
        ["train", "--help"],
        ["presets"],
        ["train", str(corpus), "--preset", "plain", "--model.plainness", "5", "--model.latent.channels", "2", "--out", "r", "--steps", "4"],
        ["sample", "r", "-n", "3", "--json"],
        ["reconstruct", "r", "oak elm", "--json"],
        ["train", str(corpus), "--preset", "rnn", "--model.plainness", "5", "--out", "q"],
    )
    assert "plain: one width for everything" in shown.out
    assert "--model.plainness" in shown.out and "How wide everything is." in shown.out
    assert "\nplain " in listed.out
    assert trained.code == 0 and "plain, " in trained.out, trained.err
    assert len(json.loads(sampled.out)) == 3 and json.loads(back.out)[0]["input"] == "oak elm"
    assert "Only plain have it" in wrong.refused()
    assert json.loads((package.parent / "r" / "config.json").read_text())["model"]["plainness"] == 5


def test_a_deleted_file_takes_only_its_model_away(package: Path, corpus: Path) -> None:
    (package / "architectures" / "hybrid.py").unlink()
    shown, listed, trained, sampled, gone, row = commands(
        package,
        ["train", "--help"],
        ["presets"],
        ["train", str(corpus), "--preset", "cnn", "--out", "r", "--steps", "2"],
        ["sample", "r", "-n", "3"],
        ["train", str(corpus), "--preset", "hybrid", "--out", "q"],
        ["train", str(corpus), "--preset", "best/toy/hybrid-dense", "--out", "q"],
    )
    assert shown.code == 0 and "hybrid: " not in shown.out and "cnn: " in shown.out
    assert listed.code == 0 and "\nhybrid " not in listed.out and "\ncnn " in listed.out
    assert trained.code == 0 and sampled.code == 0, trained.err
    assert "there is no preset 'hybrid'" in gone.refused()
    assert "'hybrid'" in row.refused()
