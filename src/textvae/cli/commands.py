"""The commands, over the public API. What takes long to import is imported inside: `textvae --help` waits for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from textvae.cli.loading import loaded
from textvae.cli.output import note, print_columns, print_json, print_lines, print_table, progress, shown
from textvae.errors import ConfigError

STDIN = "-"
"""Typed for a text file, it means what is piped in."""

Input = Annotated[str, Parameter(allow_leading_hyphen=True)]
Seed = Annotated[int, Parameter(validator=Number(gte=0, lt=2**63))]
Count = Annotated[int, Parameter(name="-n")]
Device = Literal["cpu", "cuda"]
Split = Literal["train", "valid", "test", "all"]

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
app.command("textvae.cli.reproduce:reproduce", help="Train a table of the study again, and print it beside the printed one.")
app.command("textvae.cli.sweep:sweep", help="Search for settings: train a corpus many times and tell which runs are best.")


@app.command
def evaluate(
    run: str,
    corpus: str | None = None,
    /,
    *,
    split: Split = "test",
    importance_samples: int = 100,
    column: str | None = None,
    seed: Seed = 0,
    device: Device = "cpu",
    json: bool = False,
) -> None:
    """Measure a run on a split of a corpus: bounds on log p(x), what the latent holds, reconstruction.

    Parameters
    ----------
    run
        The run's folder, or user/model on the hub.
    corpus
        As for `textvae train`; by default the corpus the run was trained on.
    split
        Which split, or all lines (of a file that the model was not trained on, say).
    importance_samples
        Samples of z a sequence.
    column
        The column of a .csv/.tsv/.jsonl/.parquet corpus that holds the text.
    seed
        Of the noise of z.
    device
        Where to compute: cpu, or cuda for a GPU.
    json
        Print one JSON object.
    """
    from textvae.evaluation.table import evaluation_table

    vae = loaded(run, device)
    with progress() as report:
        found = vae.evaluate(corpus, split=split, importance_samples=importance_samples, column=column, seed=seed, progress=report)
    if json:
        print_json(found.to_dict())
    else:
        print_table(evaluation_table(found))


@app.command
def sample(
    run: str,
    /,
    *,
    n: Count = 10,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    beams: int | None = None,
    seed: Seed = 0,
    device: Device = "cpu",
    json: bool = False,
) -> None:
    """Print new strings, one a line.

    Parameters
    ----------
    run
        The run's folder, or user/model on the hub.
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
    seed
        The same seed gives the same strings.
    device
        Where to compute: cpu, or cuda for a GPU.
    json
        Print a JSON list.
    """
    vae = loaded(run, device)
    strings = vae.samples(n, temperature=temperature, top_k=top_k, top_p=top_p, beams=beams, seed=seed)
    if json:
        print_json(list(strings))
    else:
        print_lines(strings)


@app.command
def reconstruct(
    run: str,
    /,
    *texts: str,
    input: Input | None = None,
    column: str | None = None,
    beams: int = 1,
    device: Device = "cpu",
    json: bool = False,
) -> None:
    """Put texts through the latent and back: distortion and rate in nats, the text as the model reads it, what comes back.

    Parameters
    ----------
    run
        The run's folder, or user/model on the hub.
    texts
        The texts; after `--` they may begin with a hyphen.
    input
        A file of texts instead, or - for what is piped in.
    column
        The column of a .csv/.tsv/.jsonl/.parquet input that holds the text.
    beams
        Search for the most likely string with this many beams.
    device
        Where to compute: cpu, or cuda for a GPU.
    json
        Print a JSON list.
    """
    if bool(texts) == (input is not None):
        raise ConfigError("reconstruct takes texts, or a file of them with --input: give one of the two")
    lines = list(texts) if input is None else _lines(input, column)
    rows = loaded(run, device).reconstructions(lines, beams)
    if json:
        print_json([asdict(row) for row in rows])
        return
    note("distortion and rate in nats, then the text and what comes back")
    for row in rows:
        print(f"{row.distortion:9.3f} {row.rate:9.3f}  {shown(f'{row.input} → {row.output}')}")


@app.command
def interpolate(
    run: str,
    start: str,
    end: str,
    /,
    *,
    steps: int = 8,
    path: Literal["linear", "spherical"] = "linear",
    device: Device = "cpu",
    json: bool = False,
) -> None:
    """Print the strings met on the way from one text to another, both ends included.

    Parameters
    ----------
    run
        The run's folder, or user/model on the hub.
    start
        The text to start from.
    end
        The text to arrive at.
    steps
        How many strings.
    path
        The straight line, or the arc that keeps the vectors' length.
    device
        Where to compute: cpu, or cuda for a GPU.
    json
        Print a JSON list.
    """
    strings = loaded(run, device).interpolate(start, end, steps, path)
    if json:
        print_json(strings)
    else:
        print_lines(strings)


@app.command
def encode(run: str, input: Input, /, *, out: Path, column: str | None = None, device: Device = "cpu") -> None:
    """Write the latent vectors of a file's lines: posterior means of all rungs, bottom rung first, (N, D).

    Parameters
    ----------
    run
        The run's folder, or user/model on the hub.
    input
        A file of texts, or - for what is piped in.
    out
        A .npy file, or a .parquet file that keeps the texts as well.
    column
        The column of a .csv/.tsv/.jsonl/.parquet input that holds the text.
    device
        Where to compute: cpu, or cuda for a GPU.
    """
    from textvae.cli.vectors import check_suffix, write_vectors

    check_suffix(out)
    lines = _lines(input, column)
    vectors = loaded(run, device).encode(lines)
    write_vectors(out, vectors, lines)
    note(f"{out} holds {len(vectors):,} vectors of {vectors.shape[1]} numbers")


@app.command
def decode(run: str, vectors: Path, /, *, beams: int = 1, device: Device = "cpu", json: bool = False) -> None:
    """Print the most likely string of every latent vector, one a line.

    Parameters
    ----------
    run
        The run's folder, or user/model on the hub.
    vectors
        A .npy or .parquet file as `textvae encode` writes it.
    beams
        Search for the most likely string with this many beams.
    device
        Where to compute: cpu, or cuda for a GPU.
    json
        Print a JSON list.
    """
    from textvae.cli.vectors import read_vectors

    z = read_vectors(vectors)
    strings = loaded(run, device).decode(z, beams)
    if json:
        print_json(strings)
    else:
        print_lines(strings)


@app.command
def score(
    run: str,
    input: Input,
    /,
    *,
    importance_samples: int = 100,
    column: str | None = None,
    seed: Seed = 0,
    device: Device = "cpu",
    json: bool = False,
) -> None:
    """Print how probable the model finds each line of a file: ELBO and importance bound in nats, bits per character, the line.

    Parameters
    ----------
    run
        The run's folder, or user/model on the hub.
    input
        A file of texts, or - for what is piped in.
    importance_samples
        Samples of z a line.
    column
        The column of a .csv/.tsv/.jsonl/.parquet input that holds the text.
    seed
        Of the noise of z.
    device
        Where to compute: cpu, or cuda for a GPU.
    json
        Print a JSON list.
    """
    lines = _lines(input, column)
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
def presets(action: Literal["list", "show"] = "list", name: str | None = None, /) -> None:
    """Presets: list them, or print all settings of one, as a file for `textvae train --config`.

    Parameters
    ----------
    action
        list, or show NAME.
    name
        Which preset.
    """
    from textvae.cli.toml import toml
    from textvae.presets import preset_names, summary
    from textvae.settings import resolve, to_dict

    if action == "list":
        print_columns([(known, summary(known)) for known in preset_names()])
    elif name is None:
        raise ConfigError("textvae presets show needs a name: textvae presets lists them")
    else:
        print(toml(to_dict(resolve(name))), end="")


def _lines(input: str, column: str | None) -> Sequence[str]:
    """The lines of a file, or of what is piped in, with a note of what was mended."""
    from textvae.data.files import read_lines

    lines, notices = read_lines(Path("/dev/stdin" if input == STDIN else input), column)
    for notice in notices:
        note(notice)
    return lines
