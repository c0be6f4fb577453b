from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest

import textvae
from textvae import hub
from textvae.errors import RunError


@pytest.mark.parametrize(
    ("name", "is_hub"), [("user/model", True), ("a-b/c.d_e", True), ("folder", False), ("a/b/c", False), ("./a", True)]
)
def test_what_reads_like_a_hub_name(name: str, is_hub: bool) -> None:
    assert hub.is_hub_name(name) is is_hub


def test_a_name_that_is_nowhere_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(RunError, match="neither a local folder nor a run on the hub"):
        textvae.load("someone/some-model")


def test_a_published_run_is_fetched_without_its_training_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, object] = {}

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.update(name=name, files=allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert hub.fetch("someone/some-model") == tmp_path
    assert asked["name"] == "someone/some-model"
    assert asked["files"] == ["config.json", "tokenizer.json", "weights.safetensors", "README.md", "metrics.jsonl", "environment.json"]


def test_publishing_uploads_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[str, object]] = []
    api = SimpleNamespace(
        create_repo=lambda name, exist_ok: calls.append(("create", name)),
        upload_folder=lambda repo_id, folder_path, allow_patterns: calls.append(("upload", folder_path)) or "address",
    )
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
    assert hub.publish(tmp_path, "me/mine") == "address"
    assert calls == [("create", "me/mine"), ("upload", tmp_path)]


def test_a_refused_upload_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused() -> None:
        raise OSError("no token")

    monkeypatch.setattr(huggingface_hub, "HfApi", refused)
    with pytest.raises(RunError, match="log in with"):
        hub.publish(tmp_path, "me/mine")
