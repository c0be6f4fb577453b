"""Runs on the Hugging Face hub: fetched, and published."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from textvae.errors import RunError

PUBLISHED = ("config.json", "tokenizer.json", "weights.safetensors", "README.md", "metrics.jsonl", "environment.json")
"""What of a run's folder is worth publishing: all but the training state."""


NETWORK = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")
"""Packages whose errors the hub's own package lets through, by its version: no network, mostly."""


def is_hub_name(name: str) -> bool:
    """Whether a name reads like `user/model`."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None


def located(name: str | Path) -> Path:
    """The folder of a run: a local one, else that of `user/model` on the hub, downloaded; raises `RunError` where that is not there.

    A local name that is no run is returned as it stands, for `RunFolder` to tell of.
    """
    # A local folder first: asking the hub for a mistyped one takes long without a network.
    local = Path(name).exists() or Path(name).parent.exists()
    return Path(name) if local or not is_hub_name(str(name)) else fetch(str(name))


def fetch(name: str) -> Path:
    """Download a published run and return its folder; raises `RunError` where there is none or no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(PUBLISHED)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise RunError(
            f"{name} is neither a local folder nor a run on the hub that can be reached: check the name or the network"
        ) from error


def publish(folder: Path, name: str, instead: Mapping[str, str] | None = None) -> str:
    """Upload a run's folder as `user/model` and return its address; raises `RunError` where that is refused.

    Args:
        folder: of the run.
        name: `user/model`.
        instead: texts that are published in place of the folder's own, by the names of their files.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api = HfApi()
        api.create_repo(name, exist_ok=True)
        with TemporaryDirectory() as temporary:
            for file in (folder / each for each in PUBLISHED if (folder / each).exists()):
                shutil.copyfile(file, Path(temporary) / file.name)
            for file_name, text in (instead or {}).items():
                (Path(temporary) / file_name).write_text(text, encoding="utf-8")
            return str(api.upload_folder(repo_id=name, folder_path=temporary))
    except Exception as error:
        if not isinstance(error, HfHubHTTPError | OSError | ValueError) and type(error).__module__.split(".")[0] not in NETWORK:
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"{name} could not be published ({reason}): log in with `hf auth login`, or check the name or the network"
        ) from error
