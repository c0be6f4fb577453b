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


def commands(package: Path, *lines: list[str], **variables: str) -> list[Ended]:
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
    settings = environment() | {"PYTHONPATH": str(package.parent), "COLUMNS": "200", **variables}
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
    help = " ".join(shown.out.replace("│", " ").split())
    assert "plain: one width for everything" in help
    assert "--model.plainness" in shown.out and "How wide everything is." in shown.out
    assert "\nplain " in listed.out
    assert trained.code == 0 and "plain, " in trained.out, trained.err
    assert len(json.loads(sampled.out)) == 3 and json.loads(back.out)[0]["input"] == "oak elm"
    assert "Only plain have it" in wrong.refused()
    assert json.loads((package.parent / "r" / "config.json").read_text())["model"]["plainness"] == 5


def test_a_file_may_lie_in_a_folder_of_its_own(package: Path, corpus: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "plain.py").write_text(NEW)
    plain = ["train", str(corpus), "--preset", "plain", "--model.latent.channels", "2", "--steps", "2"]
    trained, sampled, other = commands(
        package,
        [*plain, "--out", "r"],
        ["sample", "r", "-n", "3", "--json"],
        [*plain, "--out", "q", "--model.latent.shape", "map"],
        TEXTVAE_ARCHITECTURES=str(mine),
    )
    assert trained.code == 0 and len(json.loads(sampled.out)) == 3, trained.err
    assert "model.latent.shape is 'map': plain comes with dense only; set it to that" in other.refused()
    for right, mistake, told in (
        ("[Repeat(latents.bottom, max_tokens)]", "[]", "plain: its expander makes 1 steps, expected "),
        ("    return LatentTextModel(", "    LatentTextModel(", "plain: its build returns a NoneType, and has to return a LatentTextModel"),
        ("plainness: int = 7", "plainness: int", "the architecture 'plain': each of its settings needs a default"),
        ('"plain", PlainSettings', '"own/plain", PlainSettings', "the architecture 'own/plain': name it by small letters"),
        (
            "    latents = single",
            "    encoder.outlet = type(encoder.outlet)(1, 99)\n    latents = single",
            "RecurrentEncoder gives 1 positions of 14 ",
        ),
    ):
        (mine / "plain.py").write_text(NEW.replace(right, mistake))
        (wrong,) = commands(package, [*plain, "--out", told[:9]], TEXTVAE_ARCHITECTURES=str(mine))
        assert told in wrong.refused()
    (mine / "plain.py").write_text(NEW)
    for variables, told in (
        (
            {},
            "r/config.json names the architecture 'plain', whose file is not here: name the folder that holds it in TEXTVAE_ARCHITECTURES",
        ),
        ({"TEXTVAE_ARCHITECTURES": str(mine / "no")}, "which is no folder: correct it"),
    ):
        (gone,) = commands(package, ["sample", "r"], **variables)
        assert told in gone.refused()
    (mine / "rnn.py").write_text(NEW)
    (wrong,) = commands(package, ["presets"], TEXTVAE_ARCHITECTURES=str(mine))
    assert "rnn.py, which stands before it: give it another name" in wrong.refused()
    (mine / "rnn.py").rename(mine / "other.py")
    (wrong,) = commands(package, ["presets"], TEXTVAE_ARCHITECTURES=str(mine))
    assert "two files register the architecture 'plain', " in wrong.refused()
    (mine / "other.py").unlink()
    (mine / "plain.py").write_text("import nothing_of_that_name")
    (wrong,) = commands(package, ["presets"], TEXTVAE_ARCHITECTURES=str(mine))
    assert "plain.py cannot be imported (ModuleNotFoundError: No module named 'nothing_of_that_name'): correct it" in wrong.refused()


EXAMPLES = Path(__file__).parents[2] / "examples" / "models"


def test_the_example_is_a_model_in_a_script(corpus: Path, tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(EXAMPLES)!r})
import bag, textvae
vae = textvae.train({str(corpus)!r}, preset="bag", out={str(tmp_path / "run")!r}, model={{"width": 8}}, training={{"steps": 3}}, hooks=[])
print(type(vae.model.latents.prior).__name__, len(textvae.load({str(tmp_path / "run")!r}).sample(2)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout == "LearnedNormalPrior 2\n"


def test_the_example_keeps_the_contract() -> None:
    """As docs/extending.md says it is run."""
    contract = Path(__file__).parents[1] / "model" / "test_contract.py"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", str(contract), "-k", "bag"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment() | {"TEXTVAE_ARCHITECTURES": str(EXAMPLES)})
    assert done.returncode == 0, done.stdout[-3000:]


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
