"""An evaluation in plain words. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textvae.evaluation.collapse import ENOUGH, verdict_on

if TYPE_CHECKING:
    from rich.table import Table

    from textvae.evaluation.measure import Evaluation
    from textvae.settings import RunSettings


def _error(e: Evaluation, name: str) -> str:
    return f" ± {e.standard_error[name]:.3f}" if e.standard_error[name] else ""


def evaluation_rows(e: Evaluation) -> list[tuple[str, str, str]]:
    """What was measured as (name, value with its unit, meaning), the most important first."""
    several = len(e.rate_per_rung) > 1
    rates = f" (rungs, bottom first: {', '.join(f'{rate:.2f}' for rate in e.rate_per_rung)})" if several else ""
    units = f" (rungs: {', '.join(map(str, e.active_units_per_rung))})" if several else ""
    back, latent = e.reconstruction, bool(e.latent_units)
    rows = [
        ("ELBO", f"{e.elbo:.3f}{_error(e, 'elbo')} nats", "-(distortion + rate): lower bound on log p(x) of a line"),
        ("distortion", f"{e.distortion:.3f} nats", "cost of the line given z" if latent else "cost of the line"),
        ("rate", f"{e.rate:.3f} nats{rates}", "cost of z: what it holds at most"),
        (
            "importance bound",
            f"{e.importance_bound:.3f}{_error(e, 'importance_bound')} nats",
            f"tighter bound on log p(x), {e.importance_samples} samples" if e.rate_per_rung else "log p(x) itself: there is no z",
        ),
    ]
    if e.unknown_tokens:
        share = f"{e.unknown_tokens:,} of {e.tokens:,} tokens ({100 * e.unknown_tokens / e.tokens:.2g}%)"
        rows.append(("unknown symbols", share, "all read as one: the bounds, and bits per character, flatter the model"))
    if e.entropy is not None:
        rows.append(("entropy of the source", f"{e.entropy:.3f} nats", "no model costs less on average"))
    if e.gap is not None:
        rows.append(("gap to the truth", f"{e.gap:.3f} nats", "log p*(x) - ELBO(x), on the same lines"))
    rows.append(("bits per character", f"{e.bits_per_character:.4f}", "from the importance bound, ends not counted as characters"))
    if latent:
        rows.append(("active units", f"{e.active_units} of {e.latent_units}{units}", "units that vary with the line"))
        information = f"{max(0.0, e.mutual_information):.3f} nats (cap {e.mutual_information_cap:.3f})"  # noise may take it below 0
        rows.append(("mutual information", information, "what z tells of the single line: an estimate that cannot pass log N"))
        shares = (
            f"{back['character_accuracy']:.1%} characters, {back['exact_match']:.1%} lines, {back['character_error_rate']:.1%} error rate"
        )
        rows.append(("reconstruction", shares, "greedy decoding from posterior means: in place, whole, edits"))
    rows += [
        ("perplexity per token", f"{e.perplexity_per_token:.3f}", "from the importance bound, ends counted"),
        (
            "the study's columns",
            f"{e.paper['elbo']:.3f} / {e.paper['reconstruction']:.4f} / {e.paper['kl']:.3f}",
            "ELBO / reconstruction a position / KL: mixed units, to compare with its tables only",
        ),
        ("parameters", f"{e.parameters:,}", f"trained for {e.training_seconds:.0f} s"),
    ]
    return rows


def evaluation_table(e: Evaluation, settings: RunSettings) -> Table:
    """The rows as a table for the terminal, and below what there is to say of the latent; settings are the run's."""
    from rich.table import Table
    from rich.text import Text

    sizes = f"{e.corpus}, {e.split}: {e.sequences:,} lines, {e.tokens:,} tokens, {e.characters:,} characters"
    verdict = verdict_on(e.latent_use, settings)
    caption = verdict.message if verdict else ""
    if not verdict and e.latent_use.leaves_open(settings):
        caption = f"too few lines to say whether the latent is in use: give {ENOUGH} at least"
    # Text, not str: a corpus may have brackets in its name, which rich would read as its markup.
    table = Table(
        title=Text(sizes, style="table.title"),
        caption=Text(caption, style="table.caption") if caption else None,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("measure", no_wrap=True)
    table.add_column("value")
    table.add_column("meaning", style="dim")
    for row in evaluation_rows(e):
        table.add_row(*row)
    return table
