"""What a Gaussian-mixture prior has learned (the study's section 7.3): components used, lines and samples of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from textvae.api import TextVAE
from textvae.config import require
from textvae.latent_vectors import bottom_of
from textvae.nn.priors import MixturePrior
from textvae.study.pages.markdown import number, table

SHOWN = 3
"""Lines and samples of a component that are shown: the first ones."""


def has_mixture(vae: TextVAE) -> bool:
    """Whether a model has what the report is about: a mixture prior over a single latent."""
    latents = vae.model.latents
    return len(latents.shapes) == 1 and isinstance(latents.prior, MixturePrior)


@torch.no_grad()
def mixture_report(vae: TextVAE, lines: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Which components a model uses, on held-out lines; plain data:

        {"components": K, "used": exp(entropy of the mean responsibilities), between 1 and K,
         "decided": mean over lines of the largest responsibility, 1 where every line has one component,
         "each": [{"weight", "share", "lines": [str], "samples": [str]}]}     the most used first

    `weight` is the prior's, `share` the lines' mean responsibility at their posterior means. `lines` are the first ones that belong
    to the component, `samples` the likeliest strings of the first z drawn from it.

    Raises:
        ConfigError: the model has several rungs or its prior is no mixture, or there is no line.
    """
    prior = vae.model.latents.prior
    require(isinstance(prior, MixturePrior), "this model's prior is no mixture: train one with --model.latent.prior mixture")
    require(len(vae.model.latents.shapes) == 1, "this model has several rungs: the report reads the components of a single latent")
    require(len(lines) > 0, "there is no line to see which components are used")
    assert isinstance(prior, MixturePrior)
    responsibilities = prior.responsibilities(bottom_of(vae.model, vae.encode(lines))).numpy()  # (N, K)
    share = responsibilities.mean(0)
    generator = torch.Generator().manual_seed(seed)
    belongs = responsibilities.argmax(1)
    each = []
    for k in np.argsort(-share):
        drawn = prior.component(int(k)).repeat(SHOWN).sample(generator=generator)  # (SHOWN, S, Z)
        each.append(
            {
                "weight": float(prior.logits.softmax(-1)[k]),
                "share": float(share[k]),
                "lines": [lines[i] for i in np.flatnonzero(belongs == k)[:SHOWN]],
                "samples": vae.decode(drawn.flatten(1).numpy()),
            }
        )
    used = float(np.exp(-(share * np.log(share.clip(1e-12))).sum()))
    return {"components": len(share), "used": used, "decided": float(responsibilities.max(1).mean()), "each": each}


def mixture_markdown(title: str, report: dict[str, Any]) -> str:
    """A report as a section of a page."""
    rows = [
        [
            str(rank),
            number(one["weight"], 3),
            number(one["share"], 3),
            "<br>".join(f"`{line}`" for line in one["lines"]) or "–",
            "<br>".join(f"`{line}`" for line in one["samples"]),
        ]
        for rank, one in enumerate(report["each"], start=1)
    ]
    return (
        f"## {title}\n\n{report['components']} components, of which held-out lines use {report['used']:.1f} (the exponential of the "
        f"entropy of their mean responsibilities); a line's likeliest component has {report['decided']:.0%} of it on average.\n\n"
        + table(["component", "weight", "share of lines", f"its first {SHOWN} lines", f"likeliest strings of {SHOWN} draws"], rows)
    )
