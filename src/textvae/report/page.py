"""The page of a report: one HTML file that needs no other."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from textvae.data.printable import shown
from textvae.errors import ConfigError, extra
from textvae.evaluation.measure import Evaluation
from textvae.layering import dotted
from textvae.report.content import Standing, Told, differing, standings
from textvae.report.figures import curves, plane, training
from textvae.settings import to_dict

MARKER = "<!-- a textvae report: written over by the next one of this name -->"
"""Its second line, by which a page is known to be ours to write over."""

NONE = "–"
"""What is not known, or not there."""


def check_page(path: Path) -> None:
    """Raise `ConfigError` for a file that is no page's, and for one that is there and none of ours; `PackageError` without jinja2."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{path}: a report is a page: give --out a name that ends in .html")
    if path.exists() and not _is_ours(path):
        raise ConfigError(f"{path} is there already and is no report: give --out another name, or remove it")
    _template_class()


def page(runs: Sequence[Told]) -> str:
    """The page of some runs, as HTML; raises `PackageError` without jinja2 or matplotlib."""
    standing = standings(runs)
    first = runs[0].measured.evaluation
    several = len(runs) > 1
    environment = _template_class()(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["shown"] = shown
    template = environment.from_string(files("textvae.report").joinpath("page.html.j2").read_text(encoding="utf-8"))
    return str(
        template.render(
            marker=MARKER,
            title=f"{len(runs)} runs compared" if several else f"The run {runs[0].name}",
            subtitle=f"{_on(first)}; textvae {version('textvae')}, {datetime.now(UTC):%Y-%m-%d}",
            verdicts=_verdicts(runs, standing),
            several=several,
            columns=[
                {"name": run.name, "anchor": f"run-{i}", "best": several and one.difference is None}
                for i, (run, one) in enumerate(zip(runs, standing, strict=True))
            ],
            rows=_rows(runs, standing),
            plane=_embedded(plane(runs)) if several else "",
            curves=_embedded(curves(runs)) if several else "",
            differing=[(name, [_value(value) for value in values]) for name, values in differing(runs).items()],
            runs=[_section(i, run) for i, run in enumerate(runs)],
        )
    )


def _verdicts(runs: Sequence[Told], standing: Sequence[Standing]) -> list[str]:
    """What to take away, in words: the best run, those the lines do not tell from it, and what does not compare."""
    told = []
    for best in dict.fromkeys(one.best for one in standing):
        others = [(run, one) for run, one in zip(runs, standing, strict=True) if one.best == best and one.difference is not None]
        level = [run.name for run, one in others if not one.told_apart]
        if others:
            told.append(f"{best} has the best ELBO on these lines" + (f"; they do not tell {_and(level)} from it" if level else ""))
    if len({one.best for one in standing}) > 1:
        told.append("Not all runs were measured on the same lines: ELBOs of different lines do not compare")
    return told


def _rows(runs: Sequence[Told], standing: Sequence[Standing]) -> list[tuple[str, list[str]]]:
    """Measures by name, a cell a run; one that no run has is left out."""
    cells = [_cells(run, one) for run, one in zip(runs, standing, strict=True)]
    rows = [(name, [one[name] for one in cells]) for name in cells[0]]
    return [(name, row) for name, row in rows if any(cell != NONE for cell in row)]


def _cells(run: Told, standing: Standing) -> dict[str, str]:
    e, best = run.measured.evaluation, standing.difference
    back = e.reconstruction
    return {
        "ELBO": _number(e.elbo, 3, e.standard_error["elbo"]),
        "ELBO − the best one's": NONE if best is None else _number(best.difference, 3, best.standard_error or 0.0),
        "distortion": _number(e.distortion, 3),
        "rate": _number(e.rate, 3),
        "importance bound": _number(e.importance_bound, 3, e.standard_error["importance_bound"]),
        "gap to the truth": NONE if e.gap is None else _number(e.gap, 3),
        "bits a character": f"{e.bits_per_character:.3f}",
        "active units": f"{' + '.join(map(str, e.active_units_per_rung))} of {e.latent_units}" if e.latent_units else "no latent",
        "mutual information, of at most": f"{e.mutual_information:.2f}, {e.mutual_information_cap:.2f}" if e.latent_units else NONE,
        "characters back, whole lines": f"{back['character_accuracy']:.1%}, {back['exact_match']:.1%}" if e.latent_units else NONE,
        "parameters": f"{e.parameters:,}",
        "steps": f"{run.steps:,}",
        "minutes of training": f"{e.training_seconds / 60:.1f}" if e.training_seconds else NONE,
    }


def _section(i: int, run: Told) -> dict[str, Any]:
    e = run.measured.evaluation
    units = f"{' + '.join(map(str, e.active_units_per_rung))} of {e.latent_units} units move with the line"
    rungs = f" ({' + '.join(f'{rate:.2f}' for rate in e.rate_per_rung)} by rung, bottom first)" if len(e.rate_per_rung) > 1 else ""
    return {
        "name": run.name,
        "anchor": f"run-{i}",
        "about": f"{run.settings.architecture}, preset {run.settings.preset or NONE}, {e.parameters:,} parameters; measured on {_on(e)}",
        "collapse": run.collapse,
        "in_use": f"The latent is in use: it carries {e.rate:.2f} nats{rungs}, {units}." if e.latent_units else "A model without a latent.",
        "picture": _embedded(training(run.folder, e.entropy)) if run.history else "",
        "samples": [shown(text) for text in run.samples],
        "costly": run.costly,
        "reconstructions": run.reconstructions,
        "interpolation": [shown(text) for text in run.interpolation],
        "command": run.command,
        "all_settings": "\n".join(f"{name} = {_value(value)}" for name, value in dotted(to_dict(run.settings)).items()),
    }


def _on(e: Evaluation) -> str:
    entropy = f", whose source has an entropy of {e.entropy:.3f} nats" if e.entropy is not None else ""
    return f"{Path(e.corpus).name}, {e.split}: {e.sequences:,} lines{entropy}"


def _number(value: float, digits: int, error: float = 0.0) -> str:
    text = f"{value:.{digits}f}".replace("-", "−")
    return f"{text} ± {error:.{digits}f}" if error else text


def _value(value: Any) -> str:
    if value is None:
        return NONE
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _embedded(svg: str) -> str:
    """A picture as an address that holds it."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}" if svg else ""


def _is_ours(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return MARKER in file.read(1_000)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): give --out another name") from None


def _template_class() -> Any:
    with extra("report", "a report"):
        import jinja2
    return jinja2.Environment
