from __future__ import annotations

import json
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


def uploads(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """What is uploaded from now on: the texts of its files by their names, by the name it goes by."""
    told: dict[str, dict[str, str]] = {}

    def upload(repo_id: str, folder_path: str) -> str:
        told[repo_id] = {path.name: path.read_text() for path in Path(folder_path).iterdir()}
        return "address"

    api = SimpleNamespace(create_repo=lambda name, exist_ok: None, upload_folder=upload)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
    return told


def test_publishing_uploads_what_others_need(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("config.json", "README.md", "training.safetensors", "notes.txt"):
        (tmp_path / name).write_text(f"of {name}")
    told = uploads(monkeypatch)
    assert hub.publish(tmp_path, "me/mine", {"README.md": "another"}) == "address"
    assert told == {"me/mine": {"config.json": "of config.json", "README.md": "another"}}
    assert (tmp_path / "README.md").read_text() == "of README.md"


def test_what_is_published_names_nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("oak\nelm\nash\n" * 20)
    model = {"hidden": 4, "embedding": 4, "latent": {"channels": 2}, "decoder": {"hidden": 4, "embedding": 4}}
    training = {"steps": 1, "batch": 4}
    textvae.train(tmp_path / "words.txt", out=tmp_path / "first", preset="rnn", model=model, training=training, hooks=())
    vae = textvae.train(out=tmp_path / "second", training={"steps": 1, "start_from": str(tmp_path / "first")}, hooks=())
    card = tmp_path / "second" / "README.md"
    card.write_text(card.read_text().replace("## Measured", "My own words.\n\n## Measured"))
    told = uploads(monkeypatch)
    monkeypatch.setattr("textvae.hub.shutil.copyfile", lambda source, target: Path(target).write_text(""))  # weights are no text
    vae.push_to_hub("me/mine")
    published = told["me/mine"]
    assert "textvae sample me/mine" in published["README.md"] and "My own words." in published["README.md"]
    assert str(tmp_path) not in "".join(published.values())
    config = json.loads(published["config.json"])
    assert (config["corpus"]["path"], config["training"]["start_from"]) == ("words.txt", "first")
    assert f"textvae sample {tmp_path}/second" in card.read_text()


def test_a_refused_upload_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unconnected = type("ConnectError", (Exception,), {"__module__": "httpx2._exceptions"})
    for error in (OSError("no token"), unconnected("")):

        def refused(error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(huggingface_hub, "HfApi", refused)
        with pytest.raises(RunError, match=r"could not be published \((no token|ConnectError)\): log in with"):
            hub.publish(tmp_path, "me/mine")
