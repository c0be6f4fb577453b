"""The model card: README.md of a run, with the numbers that were measured and how to use it.

Corpus and starting run go by their names: where they lie on this machine is told to nobody who is given the card.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from textvae.config import ObjectiveSettings
from textvae.evaluation.collapse import LatentUse, verdict_on
from textvae.storage import write_atomically
from textvae.training.run_folder import RunConfig

CARD = "README.md"
"""Its name in the run's folder."""


def write_card(folder: Path, config: RunConfig, parameters: int, metrics: dict[str, Any], seconds: float) -> None:
    """Write the card of a trained run from the line of metrics of the weights that were kept."""
    settings, valid = config.settings, metrics["valid"]
    objective: ObjectiveSettings = settings.objective
    active = ", ".join(map(str, valid["active_units_per_rung"])) or "no latent"
    rates = ", ".join(f"{rate:.2f}" for rate in valid["rate_per_rung"]) or "no latent"
    verdict = verdict_on(LatentUse.on_valid(valid), settings)
    latent = f"\n> **{'Collapse' if verdict.collapsed else 'Latent'}:** {verdict.message}\n" if verdict else ""
    start_from = settings.training.start_from
    start = f"\nStarted from the weights of `{Path(start_from).name}`, whose own training these figures leave out." if start_from else ""
    card = f"""---
library_name: textvae
tags: [variational-autoencoder, text-generation]
---
# {folder.resolve().name}

Text model (`{settings.architecture}`) trained by textvae on `{Path(settings.corpus.path).name}` ({settings.corpus.tokenizer},
lines of at most {config.max_length} tokens, vocabulary {config.vocabulary_size}), {parameters:,} parameters,
{metrics["step"]:,} of {config.steps:,} steps, {seconds:,.0f} s of training. Preset: `{settings.preset}`.{start}

## Measured on valid, nats a sequence
One sample a line, at most 2,000 lines, at the step whose weights were kept.

| ELBO | distortion | rate | rate a rung (bottom first) | active units a rung |
|---|---|---|---|---|
| {valid["elbo"]:.3f} | {valid["distortion"]:.3f} | {valid["rate"]:.3f} | {rates} | {active} |
{latent}
Objective: beta {objective.beta} ({objective.schedule}), free bits {objective.free_bits} a {objective.free_bits_per},
alpha {objective.alpha}.
The ELBO above has weight 1 whatever the objective.
"""
    write_atomically(folder / CARD, for_use(card, str(folder)).encode())


USE = "\n## Use\n"


def for_use(card: str, name: str) -> str:
    """A card that ends with how to use the run by this name, a folder or user/model on the hub; what it said of that before is left out."""
    run = shlex.quote(name)
    return f"""{card.partition(USE)[0]}{USE}
    textvae sample {run}
    textvae score {run} FILE     # how probable each of its lines is
    textvae evaluate {run}     # importance bound, standard errors, the test split; of another corpus where one is named

    import textvae
    vae = textvae.load({json.dumps(name, ensure_ascii=False)})
    vae.sample(10)
"""
