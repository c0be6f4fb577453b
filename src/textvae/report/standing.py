"""How runs stand to each other: only on lines that all of them read whole, and only as surely as those lines tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from textvae.evaluation.bounds import Bounds
from textvae.evaluation.comparison import Difference, better_of, compared
from textvae.evaluation.familiar import known_lines, source_of
from textvae.layering import dotted
from textvae.report.content import Told
from textvae.settings import to_dict


@final
@dataclass(frozen=True)
class Group:
    """Runs that were measured on the same split of one corpus."""

    members: Sequence[int]
    """Which of the report's runs."""

    rows: Sequence[np.ndarray]
    """Of each of them the rows of the lines that all read whole, in one order."""

    best: int | None
    """Which run has the best ELBO on these lines; None for a run alone, and where there is no such line."""

    differences: Sequence[Difference | None]
    """ELBO of each - that of the best; None of the best itself, and where there is none."""

    apart: Sequence[bool]
    """Whether the lines tell a run from the best one."""

    @property
    def lines(self) -> int:
        """How many lines all of them read whole."""
        return len(self.rows[0])


def groups_of(runs: Sequence[Told]) -> list[Group]:
    """The runs by what they were measured on, in order."""
    by: dict[Hashable, list[int]] = {}
    for i, run in enumerate(runs):
        by.setdefault((source_of(run.measured_on), run.measured.evaluation.split), []).append(i)
    return [_group(runs, members) for members in by.values()]


def _group(runs: Sequence[Told], members: Sequence[int]) -> Group:
    of = [runs[i] for i in members]
    rows = common_rows(of)
    none = Group(members, rows, None, [None] * len(of), [False] * len(of))
    if len(of) == 1 or not len(rows[0]):
        return none
    bounds = [_of_rows(run.measured.bounds, chosen) for run, chosen in zip(of, rows, strict=True)]
    first = int(np.argmax([one.elbo.mean() for one in bounds]))
    observed = np.unique(of[first].measured.groups[rows[first]], return_inverse=True)[1]
    different = len({of[first].measured.lines[row] for row in rows[first].tolist()})
    found = [compared(one, bounds[first], observed)["elbo"] for one in bounds]
    differences = [None if i == first else one for i, one in enumerate(found)]
    apart = [one is not None and better_of(one, different) is not None for one in differences]
    return Group(members, rows, members[first], differences, apart)


def common_rows(runs: Sequence[Told]) -> list[np.ndarray]:
    """For each run the rows of the lines that all of them read whole, in one order; the k-th copy of a line is one of its own."""
    same = all(run.tokenizer == runs[0].tokenizer for run in runs)
    where = [dict(_rows(run, same)) for run in runs]
    shared = [key for key in where[0] if all(key in one for one in where)]
    return [np.array([one[key] for key in shared], dtype=np.int64) for one in where]


def _rows(run: Told, same_tokens: bool) -> Iterator[tuple[tuple[str, int], int]]:
    seen: Counter[str] = Counter()
    for row, (line, whole) in enumerate(zip(run.measured.lines, run.whole.tolist(), strict=True)):
        if whole or same_tokens:
            seen[line] += 1
            yield (line, seen[line]), row


def _of_rows(bounds: Bounds, rows: np.ndarray) -> Bounds:
    names = ("elbo", "importance_bound", "distortion", "rates")
    return replace(bounds, **{name: getattr(bounds, name)[rows] for name in names})


def verdicts(runs: Sequence[Told], groups: Sequence[Group]) -> Iterator[str]:
    """What to take away: the best run, those that the lines do not tell from it, what does not compare, what is known by heart."""
    for group in groups:
        of = [runs[i] for i in group.members]
        if len(of) > 1 and not group.lines:
            yield f"no line was measured on and read whole by all of {_and([run.name for run in of])}: their ELBOs do not compare"
        if group.best is not None:
            every = all(len(run.measured.lines) == group.lines for run in of)
            these = "these lines" if len(groups) == 1 else f"the lines of {Path(of[0].measured.evaluation.corpus).name}"
            on = these if every else f"the {group.lines:,} lines that all were measured on and read whole"
            level = [runs[i].name for i, apart in zip(group.members, group.apart, strict=True) if not apart and i != group.best]
            tied = f"; they do not tell {_and(level)} from it" if level else ""
            silent = "; its latent has collapsed, see below" if runs[group.best].collapsed else ""
            yield f"{runs[group.best].name} has the best ELBO on {on}{_margin(runs, group)}{tied}{silent}"
        yield from _known(runs, group)
    if len(groups) > 1:
        yield "not all runs were measured on the same lines: ELBOs of different lines do not compare"


def _margin(runs: Sequence[Told], group: Group) -> str:
    """By how much the best run is before the next one."""
    others = [(one, i) for one, i in zip(group.differences, group.members, strict=True) if one is not None]
    next_best, i = max(others, key=lambda other: other[0].difference)
    error = f" ± {next_best.standard_error:.3f}" if next_best.standard_error else ""
    return f", by {abs(next_best.difference):.3f}{error} nats a line before {runs[i].name}"


def _known(runs: Sequence[Told], group: Group) -> Iterator[str]:
    """Which runs may know lines that others of the group were not trained on."""
    first, *others = (runs[i] for i in group.members)
    split, lines = first.measured.evaluation.split, first.measured.lines
    told = (known_lines(first.measured_on, split, lines, (first, one), (first.name, one.name)) for one in others)
    yield from dict.fromkeys(message for messages in told for message in messages)


def differing(runs: Sequence[Told]) -> dict[str, list[Any]]:
    """The settings in which runs differ, by dotted name: a value a run, None where it has no such setting, or none that does anything."""
    leaves = [_settings(run) for run in runs]
    names = dict.fromkeys(name for one in leaves for name in one)
    found = {name: [one.get(name) for one in leaves] for name in names}
    return {name: values for name, values in found.items() if any(value != values[0] for value in values)}


def _settings(run: Told) -> dict[str, Any]:
    """By dotted name; without a latent there is one term, and no objective weighs it."""
    found = dotted(to_dict(run.settings))
    latent = bool(run.measured.evaluation.latent_units)
    return {name: value for name, value in found.items() if latent or not name.startswith("objective.")}


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
