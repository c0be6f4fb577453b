"""Table 3: samples, reconstructions and interpolations of trained models, with metrics beside those of real text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from textvae.api import TextVAE
from textvae.config import require
from textvae.evaluation.text.metrics import COMPARED, DISTINCT_DRAWN, real_metrics, text_metrics
from textvae.evaluation.text.novelty import LONG
from textvae.evaluation.text.perplexity import CHARACTER_ORDER, WORD_ORDER
from textvae.study.pages.markdown import table as markdown_table

SCHEMA = 1
SHOWN = 10
"""Samples and reconstructions of each model that are printed: the first ones, whatever they look like."""

STEPS = 8
"""Strings of an interpolation, both ends included."""

Told = Callable[[str], None]
"""Told what is being measured next."""


def table3(
    models: Mapping[str, TextVAE],
    splits: Mapping[str, Sequence[str]],
    samples: int = 1000,
    seed: int = 0,
    compared: int = COMPARED,
    tell: Told | None = None,
) -> dict[str, Any]:
    """Measure models by label, on the splits train, valid and test of one corpus; returns plain data:

        {"schema": 1, "samples": int, "compared": int, "seed": int, "temperature": 1.0,
         "real": {"real valid text": METRICS, "real test text": METRICS},
         "models": {label: {"metrics": METRICS,
                            "samples": [str],                                          the first SHOWN of those measured
                            "reconstructions": [{"input", "output", "distortion", "rate"}],   of the first SHOWN test lines
                            "interpolation": [str]}}}                                  STEPS strings from test line 1 to 2

    METRICS is `TextMetrics.to_dict`. Samples are of z from the prior, drawn at temperature 1 with the seed; reconstructions are
    greedy from posterior means; the interpolation is linear between the posterior means of the first two test lines. A
    model without a latent has neither. Nothing is chosen by its looks.

    Raises:
        ConfigError: fewer than two samples, a split with too few lines.
        PackageError: sacrebleu is not installed.
    """
    train, valid, test = splits["train"], splits["valid"], splits["test"]
    require(min(len(train), len(valid), len(test)) >= 2, "Table 3 needs at least two lines of train, valid and test each")
    require(samples >= 2, f"samples is {samples}: must be at least 2")
    tell = tell or (lambda what: None)
    compared = min(compared, samples, len(valid), len(test))
    tell("real text")
    real = {name: metrics.to_dict() for name, metrics in real_metrics(train, valid, test, seed, compared).items()}
    rows = {}
    for label, model in models.items():
        tell(label)
        drawn = model.sample(samples, temperature=1.0, seed=seed)
        metrics = text_metrics(drawn, train, test, seed, compared)
        rows[label] = {"metrics": metrics.to_dict(), "samples": drawn[:SHOWN], **_through_latent(model, test)}
    return {
        "schema": SCHEMA,
        "samples": samples,
        "compared": compared,
        "seed": seed,
        "temperature": 1.0,
        "real": real,
        "models": rows,
    }


def _through_latent(model: TextVAE, test: Sequence[str]) -> dict[str, Any]:
    if not model.model.latents.shapes:
        return {"reconstructions": [], "interpolation": []}
    return {
        "reconstructions": [asdict(row) for row in model.reconstructions(test[:SHOWN])],
        "interpolation": model.interpolate(test[0], test[1], steps=STEPS),
    }


def table3_markdown(table: Mapping[str, Any]) -> str:
    """What `table3` returned as Markdown: the metrics, one column a set of strings, then each model's strings."""
    metrics = {**table["real"], **{label: row["metrics"] for label, row in table["models"].items()}}
    parts = ["## Metrics", _metrics_markdown(metrics), _explanation(table)]
    for label, row in table["models"].items():
        parts += [f"## {label}", f"The first {len(row['samples'])} samples (Gaussian noise, temperature 1, seed {table['seed']}):"]
        parts.append(_block(row["samples"]))
        if row["reconstructions"]:
            back = [line for pair in row["reconstructions"] for line in (pair["input"], f"→ {pair['output']}")]
            parts += [f"The first {len(row['reconstructions'])} test lines, through the posterior mean and back:", _block(back)]
        if row["interpolation"]:
            parts += ["From the first test line to the second, linearly between their posterior means:", _block(row["interpolation"])]
    return "\n\n".join(parts) + "\n"


def _metrics_markdown(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """One column a set of strings, one row a metric."""
    columns = {name: dict(_shown(row)) for name, row in metrics.items()}
    rows = [[metric, *(column[metric] for column in columns.values())] for metric in next(iter(columns.values()))]
    return markdown_table(["metric", *columns], rows).rstrip()


def _shown(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Metrics in the order they are printed, as (name, value)."""
    return [
        ("lines", f"{metrics['samples']:,}"),
        ("characters a line", f"{metrics['mean_characters']:.1f}"),
        ("words a line", f"{metrics['mean_words']:.2f}"),
        ("words that stand in the training text", f"{metrics['known_words']:.1%}"),
        *((f"distinct-{n}", f"{share:.3f}") for n, share in enumerate(metrics["distinct"], 1)),
        ("self-BLEU", f"{metrics['self_bleu']:.1f}"),
        ("copied from train", f"{metrics['copied']:.1%}"),
        (f"copied, of those over {LONG} characters", f"{metrics['copied_long']:.2%} of {metrics['long_samples']:,}"),
        ("edits to the nearest training line", f"{metrics['nearest']:.3f}"),
        ("perplexity a character under the reference", _cost(metrics["characters"])),
        ("perplexity a character of the reference under these lines", _cost(metrics["characters_reverse"])),
        ("perplexity a word under the reference", _cost(metrics["words"])),
        ("perplexity a word of the reference under these lines", _cost(metrics["words_reverse"])),
    ]


def _cost(cost: Mapping[str, float]) -> str:
    digits = 2 if cost["perplexity"] < 100 else 0
    return f"{cost['perplexity']:,.{digits}f} ({cost['nats']:.1f} nats)"


def _explanation(table: Mapping[str, Any]) -> str:
    return (
        f"distinct-n, self-BLEU, edits and the reference's perplexities are of {table['compared']:,} lines in every column: they change "
        f"with their number. distinct-n is the expected share of different ones among {DISTINCT_DRAWN} word n-grams. Perplexities are "
        f"under Kneser-Ney models ({CHARACTER_ORDER} characters; {WORD_ORDER} words, unknown ones spelled out), nats a line in brackets; "
        "the reference is test text, and valid text where test text itself is measured. Real text is the scale: a figure beyond it, in "
        "either direction, is no merit. Where the corpus keeps only one of equal lines, held-out text has no copies by construction."
    )


def _block(lines: Sequence[str]) -> str:
    """Lines as a code block, in which no character is markup; a line break inside one is shown as ⏎."""
    return "\n".join(f"    {' ⏎ '.join(line.splitlines())}".rstrip() or "   " for line in lines)
