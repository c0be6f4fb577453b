"""The commands, over the public API. What takes long to import is imported inside: `textvae --help` waits for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from textvae.cli.loading import column_of, loaded
from textvae.cli.output import note, print_columns, print_json, print_lines, print_table, progress
from textvae.cli.parameters import Beams, Column, Corpus, Device, ImportanceSamples, Json, Run, Seed, Split, Texts
from textvae.config import Way, require
from textvae.data.printable import shown, shown_whole
from textvae.errors import ConfigError

if TYPE_CHECKING:
    from textvae.api import TextVAE

STDIN = "-"
"""Typed for a text file, it means what is piped in."""

app = App(
    name="textvae",
    help="Train, measure, sample and explore variational autoencoders of short strings.",
    help_format="plaintext",
    version=lambda: version("textvae"),
    default_parameter=Parameter(negative=""),
    suppress_keyboard_interrupt=False,  # ours saves first and says how to go on
)
app.command("textvae.cli.training:train", help="Train a model on a corpus, in a folder of its own.")
app.command("textvae.cli.compare:compare", help="Measure two runs on the same lines, and say whether these tell one from the other.")
app.command("textvae.cli.corpora:corpora", help="Built-in corpora: list them, show one or your own, or fetch the one that is downloaded.")
app.command("textvae.cli.doctor:doctor", help="Say what training runs on here, and whether the compiled kernel does.")
app.command("textvae.cli.report:report", help="Write one page about some runs: which is best, how they learned, what they write.")
app.command("textvae.cli.reproduce:reproduce", help="Train a table of the study again, and print it beside the printed one.")
app.command("textvae.cli.serve:serve", help="Serve a page to explore a run: sample, reconstruct, interpolate, walk in its latent.")
app.command("textvae.cli.sweep:sweep", help="Search for settings: train a corpus many times and tell which runs are best.")


@app.command
def evaluate(
    run: Run,
    corpus: Corpus = None,
    /,
    *,
    split: Split = "test",
    importance_samples: ImportanceSamples = 100,
    column: Column = None,
    seed: Seed = 0,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Measure a run on a split of a corpus: bounds on log p(x), what the latent holds, reconstruction."""
    from textvae.evaluation.table import evaluation_table

    vae = loaded(run, device)
    with progress() as report:
        found = vae.evaluate(corpus, split=split, importance_samples=importance_samples, column=column, seed=seed, progress=report)
    if json:
        print_json(found.to_dict())
    else:
        print_table(evaluation_table(found, vae.settings))


@app.command
def sample(
    run: Run,
    /,
    *,
    n: Annotated[int, Parameter(name="-n", validator=Number(gte=0))] = 10,
    temperature: Annotated[float, Parameter(validator=Number(gte=0))] = 1.0,
    top_k: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    top_p: Annotated[float | None, Parameter(validator=Number(gt=0, lte=1))] = None,
    beams: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Print new strings, one a line.

    Parameters
    ----------
    n
        How many.
    temperature
        Of the symbols: below 1 more cautious, above 1 more surprising, 0 always the most likely.
    top_k
        Draw from the K most likely symbols only.
    top_p
        Draw from the most likely symbols that together reach this probability only.
    beams
        Print each z's most likely string, by a search with this many beams, and draw nothing but z.
    """
    vae = loaded(run, device)
    strings = vae.samples(n, temperature=temperature, top_k=top_k, top_p=top_p, beams=beams, seed=seed)
    if json:
        print_json(list(strings))
    else:
        print_lines(strings)


@app.command
def reconstruct(
    run: Run,
    /,
    *texts: str,
    input: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    column: Column = None,
    beams: Beams = 1,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Put texts through the latent and back: distortion and rate in nats, the text as the model reads it, what comes back.

    Parameters
    ----------
    texts
        The texts; after `--` they may begin with a hyphen.
    input
        A file of texts instead, or - for what is piped in.
    """
    if bool(texts) == (input is not None):
        raise ConfigError("reconstruct takes texts, or a file of them with --input: give one of the two")
    lines = list(texts) if input is None else _lines(run, input, column)
    rows = _with_latent(run, device).reconstructions(lines, beams)
    if json:
        print_json([asdict(row) for row in rows])
        return
    note("distortion and rate in nats, then the text and what comes back")
    for row in rows:
        print(f"{row.distortion:9.3f} {row.rate:9.3f}  {shown(f'{row.input} → {row.output}')}")


@app.command
def interpolate(
    run: Run,
    start: str,
    end: str,
    /,
    *,
    steps: Annotated[int, Parameter(validator=Number(gte=2))] = 8,
    path: Way = "linear",
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Print the strings met on the way from one text to another, both ends included.

    Parameters
    ----------
    start
        The text to start from.
    end
        The text to arrive at.
    steps
        How many strings.
    path
        The straight line, or the arc that keeps the vectors' length.
    """
    strings = _with_latent(run, device).interpolate(start, end, steps, path)
    if json:
        print_json(strings)
    else:
        print_lines(strings)


@app.command
def encode(run: Run, input: Texts, /, *, out: Path, column: Column = None, device: Device = "cpu") -> None:
    """Write the latent vectors of a file's lines: posterior means of all rungs, bottom rung first, (N, D).

    Parameters
    ----------
    out
        A new .npy file, or .parquet file, which keeps the texts as well.
    """
    from textvae.cli.vectors import check_new, write_vectors

    check_new(out)
    lines = _lines(run, input, column)
    vectors = _with_latent(run, device).encode(lines)
    write_vectors(out, vectors, lines)
    note(f"{out} holds {len(vectors):,} vectors of {vectors.shape[1]} numbers")


@app.command
def decode(run: Run, vectors: Path, /, *, beams: Beams = 1, device: Device = "cpu", json: Json = False) -> None:
    """Print the string of every latent vector, one a line: at each step the most likely symbol, or by --beams the most likely string.

    Parameters
    ----------
    vectors
        A .npy or .parquet file as `textvae encode` writes it.
    """
    from textvae.cli.vectors import read_vectors

    z = read_vectors(vectors)
    strings = _with_latent(run, device).decode(z, beams)
    if json:
        print_json(strings)
    else:
        print_lines(strings)


@app.command
def score(
    run: Run,
    input: Texts,
    /,
    *,
    importance_samples: ImportanceSamples = 100,
    column: Column = None,
    seed: Seed = 0,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Print how probable the model finds each line of a file: ELBO and importance bound in nats, bits per character, the line."""
    lines = _lines(run, input, column)
    vae = loaded(run, device)
    with progress() as report:
        rows = vae.score(lines, importance_samples, seed, report)
    if json:
        print_json([asdict(row) for row in rows])
        return
    note("ELBO and importance bound in nats, bits per character, then the line")
    for row in rows:
        print(f"{row.elbo:10.3f} {row.importance_bound:10.3f} {row.bits_per_character:8.4f}  {shown(row.text)}")


@app.command
def oddest(
    run: Run,
    input: Texts,
    /,
    *,
    n: Annotated[int, Parameter(name="-n", validator=Number(gte=1))] = 10,
    importance_samples: ImportanceSamples = 100,
    column: Column = None,
    seed: Seed = 0,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Print the lines of a file that cost most above what lines of their length in it do, the oddest first: number, nats, the line.

    Parameters
    ----------
    n
        How many.
    """
    lines = _lines(run, input, column)
    vae = loaded(run, device)
    with progress() as report:
        rows = vae.oddest(lines, n, importance_samples, seed, report)
    if json:
        print_json([asdict(row) for row in rows])
        return
    note("number of the line, nats above the usual for its length, importance bound in nats, then the line")
    for row in rows:
        print(f"{row.number:8,} {row.excess:+10.3f} {row.importance_bound:10.3f}  {shown_whole(row.text)}")


@app.command
def presets(action: Literal["list", "show"] = "list", name: str | None = None, /) -> None:
    """Presets: list them, or print all settings of one, as a file for `textvae train --config`.

    Parameters
    ----------
    action
        list, or show NAME.
    name
        Which preset.
    """
    require(action == "show" or name is None, f"textvae presets list takes no name: textvae presets show {name}")
    from textvae.cli.toml import toml
    from textvae.presets import preset_names, summary
    from textvae.settings import resolve, to_dict

    if action == "list":
        print_columns([(known, summary(known)) for known in preset_names()])
    elif name is None:
        raise ConfigError("textvae presets show needs a name: textvae presets lists them")
    else:
        print(toml(to_dict(resolve(name))), end="")


def _with_latent(run: str, device: Device) -> TextVAE:
    """A run's model; raises `ConfigError` where it has no latent, and so no vectors and no way between two of them."""
    vae = loaded(run, device)
    require(bool(vae.model.latents.shapes), f"{run} has no latent (preset lm): give a run of another preset")
    return vae


def _lines(run: str, input: str, column: str | None) -> Sequence[str]:
    """The lines of a file, or of what is piped in, with a note of what was mended; of the run's own column where none is named."""
    from textvae.data.files import read_lines, usual_column

    path = Path("/dev/stdin" if input == STDIN else input)
    if column is None and path.is_file():
        column = usual_column(path, column_of(run))
    lines, notices = read_lines(path, column)
    for notice in notices:
        note(notice)
    return lines
