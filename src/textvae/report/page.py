"""The page of a report: one HTML file that needs no other."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from textvae.data.printable import shown, shown_whole
from textvae.errors import ConfigError, extra
from textvae.evaluation.comparison import Difference
from textvae.evaluation.measure import Evaluation
from textvae.layering import dotted
from textvae.report.content import Told
from textvae.report.figures import curves, planes, training
from textvae.report.standing import Group, differing, groups_of, verdicts
from textvae.settings import to_dict
from textvae.storage import require_writable

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
    require_writable(path)
    _template_class()


def page(runs: Sequence[Told]) -> str:
    """The page of some runs, as HTML; raises `PackageError` without jinja2 or matplotlib."""
    groups = groups_of(runs)
    environment = _template_class()(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["whole"] = lambda text: shown_whole(text) or "(the empty string)"
    environment.filters["shown"] = lambda text: shown(text) or "(the empty string)"
    template = environment.from_string(files("textvae.report").joinpath("page.html.j2").read_text(encoding="utf-8"))
    # The figures of the table are of each run's own lines: one of them is marked as the best only where these are the same.
    best = {group.best for group in groups if all(len(runs[i].measured.lines) == group.lines for i in group.members)}
    measured = dict.fromkeys(_on(run.measured.evaluation) for run in runs)
    return str(
        template.render(
            marker=MARKER,
            title=f"{len(runs)} runs compared" if len(runs) > 1 else f"The run {runs[0].name}",
            subtitle=f"{'; '.join(measured)}; textvae {version('textvae')}, {datetime.now(UTC):%Y-%m-%d}",
            verdicts=list(verdicts(runs, groups)),
            columns=[{"name": run.name, "anchor": f"run-{i}", "best": i in best} for i, run in enumerate(runs)],
            rows=_rows(runs, groups),
            compared=any(group.best is not None for group in groups),
            importance_samples=max(run.measured.evaluation.importance_samples for run in runs),
            planes=[_embedded(one) for one in planes(runs, groups)],
            curves=[_embedded(one) for one in curves(runs)],
            differing=[(name, [_value(value) for value in values]) for name, values in differing(runs).items()],
            runs=[_section(i, run) for i, run in enumerate(runs)],
        )
    )


def _rows(runs: Sequence[Told], groups: Sequence[Group]) -> list[tuple[str, list[str]]]:
    """Measures by name, a cell a run; one that no run has is left out, and so are lines that are as many for all."""
    differences = {i: one for group in groups for i, one in zip(group.members, group.differences, strict=True)}
    cells = [_cells(run, differences[i]) for i, run in enumerate(runs)]
    rows = [(name, [one[name] for one in cells]) for name in cells[0]]
    return [(name, row) for name, row in rows if any(cell != NONE for cell in row) and (name != "lines" or len(set(row)) > 1)]


def _cells(run: Told, best: Difference | None) -> dict[str, str]:
    e = run.measured.evaluation
    back = e.reconstruction
    return {
        "lines": f"{e.sequences:,}",
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
        "steps": f"{run.steps:,}" + (f" of {run.planned:,}" if run.steps < run.planned else ""),
        "minutes of training": f"{e.training_seconds / 60:.1f}" if e.training_seconds else NONE,
    }


def _section(i: int, run: Told) -> dict[str, Any]:
    e = run.measured.evaluation
    preset = run.settings.preset or NONE
    return {
        "name": run.name,
        "anchor": f"run-{i}",
        "about": f"{run.settings.architecture}, preset {preset}, {e.parameters:,} parameters, trained on {run.settings.corpus.path}; "
        f"measured on {_on(e)}",
        "verdict": run.verdict,
        "collapsed": run.collapsed,
        "notes": run.notes,
        "picture": _embedded(training(run)),
        "samples": run.samples,
        "costly": run.costly,
        "reconstructions": run.reconstructions,
        "interpolation": run.interpolation,
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
