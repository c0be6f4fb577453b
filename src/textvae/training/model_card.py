"""The model card: README.md of a run, with the numbers that were measured and how to use it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from textvae.config import ObjectiveSettings
from textvae.evaluation.collapse import collapse_warning
from textvae.storage import write_atomically
from textvae.training.run_folder import RunConfig


def write_card(folder: Path, config: RunConfig, parameters: int, metrics: dict[str, Any], seconds: float) -> None:
    """Write the card of a trained run from the line of metrics of the weights that were kept."""
    settings, valid = config.settings, metrics["valid"]
    objective: ObjectiveSettings = settings.objective
    active = ", ".join(map(str, valid["active_units_per_rung"])) or "no latent"
    rates = ", ".join(f"{rate:.2f}" for rate in valid["rate_per_rung"]) or "no latent"
    warning = collapse_warning(valid["rate_per_rung"], sum(valid["active_units_per_rung"]))
    collapse = f"\n> **Collapse:** {warning}\n" if warning else ""
    start_from = settings.training.start_from
    start = f"\nStarted from the weights of `{start_from}`, whose own training these figures leave out." if start_from else ""
    run = shlex.quote(str(folder))
    card = f"""---
library_name: textvae
tags: [variational-autoencoder, text-generation]
---
# {folder.resolve().name}

Text model (`{settings.architecture}`) trained by textvae on `{settings.corpus.path}` ({settings.corpus.tokenizer},
lines of at most {config.max_length} tokens, vocabulary {config.vocabulary_size}), {parameters:,} parameters,
{metrics["step"]:,} of {config.steps:,} steps, {seconds:,.0f} s of training. Preset: `{settings.preset}`.{start}

## Measured on valid, nats a sequence
One sample a line, at most 2,000 lines, at the step whose weights were kept.

| ELBO | distortion | rate | rate a rung (bottom first) | active units a rung |
|---|---|---|---|---|
| {valid["elbo"]:.3f} | {valid["distortion"]:.3f} | {valid["rate"]:.3f} | {rates} | {active} |
{collapse}
Objective: beta {objective.beta} ({objective.schedule}), free bits {objective.free_bits} a {objective.free_bits_per},
alpha {objective.alpha}.
The ELBO above has weight 1 whatever the objective. For the importance bound, standard errors and the test split:
`textvae evaluate {run}`.

## Use
    textvae sample {run}
    textvae reconstruct {run} "some text"

    import textvae
    vae = textvae.load({json.dumps(str(folder), ensure_ascii=False)})
    vae.sample(10)
"""
    write_atomically(folder / "README.md", card.encode())
