"""A run is a folder: settings, tokenizer, weights, training state, metrics and a model card (DESIGN, section 5).

Torch is imported where weights are: a mistyped folder is told of at once.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from textvae.architectures import FOLDERS, architectures, find_architecture
from textvae.config import SCHEMA_VERSION
from textvae.data.tokenizers import Tokenizer
from textvae.data.tokens import TokenTable
from textvae.errors import ConfigError, RunError, UserError
from textvae.hub import PUBLISHED, is_hub_name
from textvae.settings import RunSettings, from_dict, to_dict
from textvae.storage import write_json

if TYPE_CHECKING:
    from torch import Tensor

    from textvae.model.text_model import LatentTextModel

TRAINING_STATE = ("training.safetensors", "training.json")
"""What only going on with a run needs."""

RUN_FILES = (*PUBLISHED, *TRAINING_STATE)
"""Every file that a run writes into its folder."""


@final
@dataclass(frozen=True)
class RunConfig:
    """What rebuilds the model and the data pipeline."""

    settings: RunSettings
    vocabulary_size: int
    max_length: int
    """Tokens of the longest line, the end symbol not counted."""

    fingerprint: str
    """Of the training tokens: resuming on another corpus than the run began with is refused."""

    steps: int
    """Steps of the whole run; minutes and epochs are resolved into it once, so that resume follows the same schedules."""

    def build(self) -> LatentTextModel:
        """The model, freshly initialised."""
        family = find_architecture(self.settings.architecture)
        return family.build(self.settings.model, self.vocabulary_size, self.max_length + 1)


@final
class RunFolder:
    """The files of one run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def exists(self) -> bool:
        """Whether a run stands here."""
        return (self.path / "config.json").exists()

    def claim(self) -> None:
        """Make sure that a new run overwrites nothing here; raises `RunError` where a run, or a file named like a run's, stands already."""
        if self.exists:
            raise RunError(f"{self.path} already holds a run: go on with it by --resume, or choose another folder with --out")
        left = [name for name in ("training.safetensors", "weights.safetensors", "metrics.jsonl") if (self.path / name).exists()]
        if left:
            raise RunError(f"{self.path} holds {left[0]} of a run without its config.json: remove the folder, or choose another with --out")
        foreign = [name for name in RUN_FILES if (self.path / name).exists() and not self._left_by_a_start(name)]
        if foreign:
            raise RunError(f"{self.path} holds a {foreign[0]} that is no run's: choose another folder with --out")
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file, not a folder: choose another --out")

    def _left_by_a_start(self, name: str) -> bool:
        """Whether a file is the tokenizer of a run that was stopped before its config was written: nothing of it is lost."""
        if name != "tokenizer.json":
            return False
        try:
            Tokenizer.from_json(self._read(name))
        except UserError:
            return False
        return True

    def save(self, config: RunConfig, tokenizer: Tokenizer) -> None:
        """Write `tokenizer.json` and, last, `config.json`: a folder with a config is a run."""
        settings = to_dict(config.settings)
        write_json(self.path / "tokenizer.json", tokenizer.to_json())
        write_json(
            self.path / "config.json",
            {
                "schema": SCHEMA_VERSION,
                "textvae": version("textvae"),
                "vocabulary_size": config.vocabulary_size,
                "max_length": config.max_length,
                "fingerprint": config.fingerprint,
                "steps": config.steps,
                **settings,
            },
        )

    def load(self) -> tuple[RunConfig, Tokenizer]:
        """Read settings and tokenizer; raises `RunError` for a folder that is no run, is damaged, or comes from a newer version."""
        data = self._read("config.json")
        schema = data.get("schema")
        if not isinstance(schema, int):
            raise RunError(f"{self.path}/config.json is damaged (schema is {schema!r}): restore it from a copy, or train the run again")
        if schema > SCHEMA_VERSION:
            raise RunError(
                f"{self.path}/config.json has schema {schema}, this textvae reads up to {SCHEMA_VERSION}: install a newer textvae"
            )
        name = data["model"].get("architecture") if isinstance(data.get("model"), dict) else None
        if isinstance(name, str) and name not in architectures():
            raise RunError(
                f"{self.path}/config.json names the architecture {name!r}, whose file is not here: name the folder that holds it in "
                f"{FOLDERS}, or install the textvae that has it"
            )
        try:
            parts = {key: data[key] for key in ("preset", "corpus", "model", "objective", "training")}
            config = RunConfig(
                from_dict(parts), int(data["vocabulary_size"]), int(data["max_length"]), str(data["fingerprint"]), int(data["steps"])
            )
        except (KeyError, ValueError, TypeError, ConfigError) as error:
            raise RunError(f"{self.path}/config.json is damaged ({error}): restore it from a copy, or train the run again") from error
        read = self._read("tokenizer.json")
        try:
            tokenizer = Tokenizer.from_json(read)
        except RunError as error:
            raise RunError(f"{self.path}/{error}") from error
        if tokenizer.vocabulary_size != config.vocabulary_size:
            raise RunError(
                f"{self.path}/tokenizer.json has {tokenizer.vocabulary_size} symbols, config.json {config.vocabulary_size}: "
                "they are of two runs; restore both from one copy, or train the run again"
            )
        return config, tokenizer

    def published_config(self) -> str:
        """config.json for others to read: corpus and starting run by their names, not by where they lie on this machine."""
        data = self._read("config.json")
        data["corpus"]["path"] = Path(data["corpus"]["path"]).name
        start_from = data["training"].get("start_from")
        if start_from and (Path(start_from).exists() or not is_hub_name(start_from)):
            data["training"]["start_from"] = Path(start_from).name
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"

    def weights(self) -> dict[str, Tensor]:
        """The weights that were kept, by name; raises `RunError` where they are missing or damaged."""
        from textvae.training.checkpoint import read_tensors

        return read_tensors(self.path / "weights.safetensors")[0]

    def load_weights(self, model: LatentTextModel) -> None:
        """Put the kept weights into the model; raises `RunError` where they do not fit."""
        tensors = self.weights()
        try:
            model.load_state_dict(tensors)
        except RuntimeError as error:
            told = " ".join(str(error).split())
            raise RunError(
                f"{self.path}/weights.safetensors does not fit config.json ({told[:200]}): restore the run, or train it anew"
            ) from error

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        if not self.path.exists():
            raise RunError(f"{self.path} does not exist: give the folder of a run that `textvae train` wrote")
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except NotADirectoryError:
            raise RunError(
                f"{self.path} is a file, not a run: give the folder of a run that `textvae train` wrote, before a corpus"
            ) from None
        except FileNotFoundError:
            raise RunError(f"{self.path} is not a run, it has no {name}: give the folder of a run that `textvae train` wrote") from None
        except (ValueError, OSError) as error:
            raise RunError(f"{path} is damaged ({error}): restore it from a copy, or train the run again") from error
        if not isinstance(data, dict):
            raise RunError(f"{path} is damaged (it holds no object): restore it from a copy, or train the run again")
        return data

    def save_environment(self, device: str, seconds: float) -> None:
        """Write versions, device, seed, git revision and wall time; the run's config stands already, and the seed is the one it names."""
        packages = ("textvae", "torch", "numpy", "safetensors")
        write_json(
            self.path / "environment.json",
            {
                "python": sys.version.split()[0],
                "platform": platform.platform(),
                "packages": {name: version(name) for name in packages},
                "device": device,
                "seed": self._read("config.json")["training"]["seed"],
                "git_revision": _git_revision(),
                "training_seconds": seconds,
                "written": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )

    @property
    def training_seconds(self) -> float:
        """Wall-clock seconds of training so far; of a published run, which has no checkpoint, those of its end; else 0."""
        for name, key in (("training.json", "seconds"), ("environment.json", "training_seconds")):
            if (self.path / name).exists():
                seconds = self._read(name).get(key, 0.0)
                if not isinstance(seconds, int | float):
                    raise RunError(f"{self.path}/{name} is damaged ({key} is {seconds!r}): restore it from a copy, or train the run again")
                return float(seconds)
        return 0.0


HASHED = 1 << 16
"""Numbers that are hashed at once: they stay in the cache, where a copy of the whole corpus would not."""


def fingerprint_of(table: TokenTable) -> str:
    """A short hash of a table of tokens."""
    digest = blake2b(digest_size=8)
    for numbers in (table.tokens, table.offsets):
        for first in range(0, len(numbers), HASHED):
            digest.update(numbers[first : first + HASHED].astype(np.int64).data)
    return digest.hexdigest()


def _git_revision() -> str | None:
    """The revision of the repository that the command was run in (the user's experiment, not textvae), or None outside of one."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
