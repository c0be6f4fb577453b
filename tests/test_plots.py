from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from textvae.errors import PackageError, RunError
from textvae.plots.training import training_figure


def metrics(step: int, rates: list[float]) -> str:
    valid = {"elbo": -9.0 - sum(rates), "distortion": 9.0, "rate": sum(rates), "rate_per_rung": rates}
    return json.dumps({"step": step, "valid": valid})


def written(folder: Path, rates: list[float]) -> Path:
    (folder / "metrics.jsonl").write_text("".join(metrics(step, rates) + "\n" for step in (10, 20, 30)))
    return folder


def size_of(png: Path) -> tuple[int, int]:
    """Width and height from a PNG's header."""
    content = png.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


@pytest.mark.parametrize("rates", [[], [2.5], [1.0, 0.05, 2.0]])
def test_the_figure_is_a_picture_in_the_runs_folder(tmp_path: Path, rates: list[float]) -> None:
    picture = training_figure(written(tmp_path, rates), entropy=8.5)
    assert picture == tmp_path / "training.png"
    assert size_of(picture) == (1500 if rates else 810, 540)  # without a latent there is no rate to draw


def test_the_figure_goes_where_it_is_asked_to(tmp_path: Path) -> None:
    assert training_figure(str(written(tmp_path, [1.0])), out=str(tmp_path / "picture.png")).exists()


def test_a_run_without_metrics_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has no metrics to draw: train it first"):
        training_figure(tmp_path)


def test_a_missing_matplotlib_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PackageError, match="pip install"):
        training_figure(written(tmp_path, [1.0]))
