"""How much of a line comes back: character accuracy, exact matches, character error rate."""

from __future__ import annotations

from collections.abc import Sequence

from textvae.config import require


def reconstruction_quality(references: Sequence[str], outputs: Sequence[str]) -> dict[str, float]:
    """Compare outputs with the lines they stand for; totals over the set, so that long lines count for more.

    - character_accuracy: positions with the right character over the longer of the two lengths (1 is perfect).
    - exact_match: share of lines that came back whole.
    - character_error_rate: Levenshtein distance over the characters of the references (0 is perfect; may exceed 1).

    A set of empty lines only counts as one character.

    Raises:
        ConfigError: no line, or not one output a line.
    """
    from rapidfuzz.distance import Levenshtein

    require(len(references) == len(outputs), f"there are {len(references)} lines and {len(outputs)} outputs: give one output a line")
    require(len(references) >= 1, "there is no line to compare: give at least one")
    pairs = list(zip(references, outputs, strict=True))
    positions = sum(max(len(reference), len(output)) for reference, output in pairs)
    matches = sum(a == b for reference, output in pairs for a, b in zip(reference, output, strict=False))
    edits = sum(Levenshtein.distance(reference, output) for reference, output in pairs)
    return {
        "character_accuracy": matches / positions if positions else 1.0,
        "exact_match": sum(reference == output for reference, output in pairs) / len(pairs),
        "character_error_rate": edits / max(1, sum(map(len, references))),
    }
