"""Tables 1 and 2 as a page: our figures in nats a sequence, and the study's three columns in its own convention beside the printed ones."""

from __future__ import annotations

from collections.abc import Sequence

from textvae.study.jobs import SAMPLES, Budget, run_name
from textvae.study.pages.markdown import number, numbers, table
from textvae.study.summaries import Summary
from textvae.study.tables import LONGER, SMOKE_SAMPLES, WITHOUT_LATENT, Table, jobs

ABOUT: dict[Budget, str] = {
    "smoke": "Budget `smoke`: every row for a few steps. It shows that all of it runs; the figures mean nothing.",
    "paper": "Budget `paper`: the study's sizes, passes over the lines, optimiser, batch, β and decoders that read their own output "
    "(presets `study/…`). Where the corpus has fewer lines than the study's 150,000, so many fewer steps are taken.",
    "best": "Budget `best`: our settings within each row's parameter budget (presets `best/…`).",
}

MEASURED = """On {sequences} sequences of test, nats a sequence; ± is the standard deviation over seeds, where there are several. \
*Error* is the ELBO's standard error over those sequences: what another test set of this size would change. Rows share their test set, so \
two of them differ by less than their errors; what another seed would change, only several seeds tell. Each row's file under \
`results/{table}/{budget}/` names the command and the commits that made it, its history on valid and the machine.
"""

WORDS = """DLS and FMP are the study's dense latent space and feature map. The run `elbo` is the row's best ELBO; `dominating` has \
other settings, chosen on valid, for less distortion *and* less rate than the printed row; `longer` more steps; `self-fed` a decoder that \
reads its own symbols; `free-N` N free nats. *Free nats* cost nothing: a rate a little above or below them is what was asked for, not \
found. *Rate a rung* and *active units* go from the bottom rung to the top one. *MI* is the mutual information of z and x, an estimate \
that cannot exceed its cap, log N. *Characters back* are those of a line that stand at the same place in its greedy reconstruction; \
without a latent that is one string for all lines. The importance bound is of K {samples} samples.{gap}
"""

GAP = """ *Gap* is the mean of log p\\*(x) − ELBO over the same lines, whose own log p\\* is not quite the entropy of the source."""

LINES = """The lines are those of `{name}`, taken for the study's as --corpus says. Where they are others, nothing here compares with a \
printed row.
"""

CONVENTION = """The study's columns add a position's mean to a sequence's sum, and are those of one validation batch of 32 sequences. \
*Dominates* says whether our distortion and our rate, in nats a sequence, are both below the printed row's{least}.
"""


def page(study: Table, budget: Budget, found: Sequence[Summary], command: str, lines: str | None = None) -> str:
    """The whole page in Markdown; `lines` names the corpus in place of the study's."""
    least = f", with a rate of at least {study.least_rate:g}" if study.least_rate else ""
    parts = [
        f"# {study.title}, budget `{budget}`\n",
        f"    {command}\n",
        f"{ABOUT[budget]}\n",
        *([LINES.format(name=lines)] if lines else []),
        *_about_the_figures(study, budget, found),
        measured(found),
        *_missing(study, budget, found),
    ]
    if any(one.printed for one in found):
        parts += ["## In the study's convention\n", CONVENTION.format(least=least), printed(found)]
    if any(one.row == WITHOUT_LATENT for one in found):
        parts.append(language_model(study, found))
    return "\n".join(parts)


def _about_the_figures(study: Table, budget: Budget, found: Sequence[Summary]) -> list[str]:
    if not found:
        return []
    gap = GAP if any(one.mean["gap"] is not None for one in found) else ""
    told = MEASURED.format(sequences=f"{found[0].sequences:,}", table=study.name, budget=budget)
    return [told, WORDS.format(samples=SMOKE_SAMPLES if budget == "smoke" else SAMPLES, gap=gap)]


def _missing(study: Table, budget: Budget, found: Sequence[Summary]) -> list[str]:
    """Which trainings of the table are not done yet."""
    done = {(one.row, one.variant, seed) for one in found for seed in one.seeds}
    wanted: dict[str, list[int]] = {}
    for job in jobs(study, budget):
        if (job.row, job.variant, job.seed) not in done:
            wanted.setdefault(f"`{run_name(job.row, job.variant)}`", []).append(job.seed)
    if not wanted:
        return []
    told = [f"{name} (seed {', '.join(map(str, seeds))})" for name, seeds in wanted.items()]
    return [f"Not trained yet: {', '.join(told)}.\n"]


def measured(found: Sequence[Summary]) -> str:
    """Our figures. Columns that no row has, such as the gap to an entropy that is not known, are left out."""
    gap = any(one.mean["gap"] is not None for one in found)
    head = ["row", "run", "β", "free nats", "steps", "seeds", "distortion", "rate", "ELBO", "error", "importance bound"]
    head += ["gap"] if gap else ["bits/char"]
    head += ["rate a rung", "active units", "MI (cap)", "characters back", "parameters", "seconds"]
    return table(head, [_measured(one, gap) for one in found])


def _measured(one: Summary, gap: bool) -> list[str]:
    def spread(name: str, digits: int = 2) -> str:
        return number(one.mean[name], digits, one.sd[name])

    latent = bool(one.mean["latent_units"])
    return [
        one.label,
        f"`{one.row}` {one.variant}",
        f"{one.beta:g}" if latent else "–",
        (f"{one.free_bits:g} a {one.free_bits_per}" if one.free_bits else "none") if latent else "–",
        f"{one.steps:,}",
        str(len(one.seeds)),
        *(spread(name) for name in ("distortion", "rate", "elbo")),
        number(one.standard_error),
        spread("importance_bound"),
        spread("gap") if gap else spread("bits_per_character", 3),
        numbers(one.rate_per_rung),
        f"{numbers(one.active_units_per_rung, 0 if len(one.seeds) == 1 else 1)} of {number(one.mean['latent_units'], 0)}"
        if latent
        else "–",
        f"{number(one.mean['mutual_information'])} ({number(one.mean['mutual_information_cap'])})" if latent else "–",
        f"{one.character_accuracy:.1%}",
        f"{one.parameters:,}",
        f"{one.seconds:.0f}",
    ]


def printed(found: Sequence[Summary]) -> str:
    """The study's columns, ours beside the printed ones, and what the printed row says in one unit."""
    head = ["row", "run", "ELBO", "printed", "reconstruction", "printed", "KL", "printed"]
    head += ["printed row in nats: distortion + rate = −ELBO", "ours", "dominates"]
    rows = []
    for one in found:
        if one.printed is None:
            continue
        cells = [one.label, f"`{one.row}` {one.variant}"]
        for name, digits in (("elbo", 2), ("reconstruction", 4), ("kl", 2)):
            cells += [number(one.paper[name], digits), number(getattr(one.printed, name), digits)]
        cells.append(f"{one.printed.distortion:.2f} + {one.printed.rate:.2f} = {-one.printed.true_elbo:.1f}")
        distortion, rate = one.mean["distortion"], one.mean["rate"]
        cells.append(f"{number(distortion)} + {number(rate)} = {number(-(one.mean['elbo'] or 0.0))}")
        rows.append([*cells, "yes" if one.dominates else "no"])
    return table(head, rows)


def language_model(study: Table, found: Sequence[Summary]) -> str:
    """Which printed rows the decoder without a latent dominates alone."""
    best = max((one for one in found if one.row == WITHOUT_LATENT), key=lambda one: one.valid_elbo)
    cost = best.mean["distortion"]
    assert cost is not None
    told = f"`lm`, the same decoder without a latent, costs {cost:.2f} nats at rate 0 after {best.steps:,} steps{_behind(best, found)}"
    printed = [(row.label, row.printed) for row in study.rows if row.printed]
    if not printed:
        return f"{told}.\n"
    beaten = [label for label, row in printed if row.dominated_by(cost, 0.0)]
    rest = [label for label, row in printed if not row.dominated_by(cost, 0.0)]
    told += f": alone it has less of both than {', '.join(beaten)}" if beaten else ": alone it has less of both than no printed row"
    return told + (f", and more distortion than {', '.join(rest)}.\n" if rest else ".\n")


def _behind(best: Summary, found: Sequence[Summary]) -> str:
    """How far the other rows' best ELBO lies behind that of the decoder without a latent, or before it."""
    others = [one for one in found if one.row != WITHOUT_LATENT and one.variant in ("elbo", LONGER)]
    others.sort(key=lambda one: -(one.mean["elbo"] or 0.0))
    if not others:
        return ""
    apart = [(one, (best.mean["elbo"] or 0.0) - (one.mean["elbo"] or 0.0)) for one in others]
    ways = [(f"`{run_name(one.row, one.variant)}`", f"{abs(nats):.2f} {'behind' if nats > 0 else 'before'}") for one, nats in apart]
    return f" (in ELBO {', '.join(f'{name} is {way}' for name, way in ways)})"
