"""Settings as TOML, the format of config files. Python reads it, but does not write it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def toml(table: Mapping[str, Any], name: str = "") -> str:
    """Return a nested dict of texts, numbers, truth values and lists of them as TOML; None, which TOML has not, is told in a comment."""
    leaves = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    lines = [f"# {key} is not set\n" if value is None else f"{key} = {_value(value)}\n" for key, value in leaves.items()]
    heading = f"\n[{name}]\n" if name and lines else ""
    inner = (toml(value, f"{name}.{key}" if name else key) for key, value in table.items() if isinstance(value, Mapping))
    return heading + "".join(lines) + "".join(inner)


def _value(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)  # texts, numbers, true and false are written alike in both
