"""`textvae train`. A module of its own: building a flag for every setting takes longer than all else a command line does."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import textvae
from textvae.cli.flags import Flags, given
from textvae.cli.loading import check_training
from textvae.cli.output import print_columns
from textvae.config import TrackerName, require

if TYPE_CHECKING:
    from textvae.api import TextVAE
    from textvae.training.hooks import Hook


def train(
    corpus: str | None = None,
    /,
    *,
    out: Path | None = None,
    preset: str | None = None,
    config: Path | None = None,
    resume: bool = False,
    profile: bool = False,
    tracker: TrackerName | None = None,
    flags: Flags = None,
) -> None:
    """Train a model on a corpus, in a folder of its own. Settings: the preset's, over which the config file's, over which flags.

    Ctrl-C saves and says how to go on.

    Parameters
    ----------
    corpus
        A text file (a sequence a line), a .csv/.tsv/.jsonl/.parquet file, a folder with train/valid/test.txt, or a built-in name.
    out
        The run's folder. Needed, but for --profile.
    preset
        A preset's name (`textvae presets`), or an architecture's.
    config
        A .toml or .json file of settings, as `textvae presets show` prints them.
    resume
        Go on with the run in --out, with the settings it began with.
    profile
        Train nothing: time some dozen steps of these settings, print where a step's time goes, and leave no file.
    tracker
        Follow the run in TensorBoard (whose files go into the run's folder) or Weights & Biases as well.
    """
    settings = given(flags)
    if profile:
        silent = out is None and not resume and tracker is None
        require(silent, "--profile trains nothing and writes nothing: leave out --out, --resume and --tracker")
        _print_profile(corpus, preset, config, settings)
        return
    require(out is not None, "--out is missing, or has no value: the folder of the run")
    assert out is not None
    check_training(corpus, preset, config, out, resume, settings)
    settings["corpus_settings"] = settings.pop("corpus", {})
    hooks = _watching(tracker, out)
    try:
        vae = textvae.train(corpus, preset=preset, config=config, out=out, resume=resume, hooks=hooks, **settings)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_how_to_go_on(out)) from None
    from textvae.training.engine import is_main_process

    if is_main_process():
        _tell_what_next(vae, out)


def _watching(tracker: TrackerName | None, out: Path) -> list[Hook]:
    from textvae.training.progress import ProgressLine
    from textvae.training.trackers import TRACKERS

    return [ProgressLine(), *([TRACKERS[tracker](out)] if tracker else [])]


def _print_profile(corpus: str | None, preset: str | None, config: Path | None, settings: dict[str, Any]) -> None:
    from textvae.training.profile import profile_rows, profile_training
    from textvae.training.starting import run_settings

    if corpus is not None:
        settings["corpus"] = {**settings.get("corpus", {}), "path": corpus}
    print_columns(profile_rows(profile_training(run_settings(preset, config, settings))))


def _tell_what_next(vae: TextVAE, out: Path) -> None:
    run = shlex.quote(str(out))
    print(f"{out} holds the model: {vae.settings.architecture}, {vae.model.parameter_count:,} parameters. Next:")
    for command in ("sample", "evaluate", *(["reconstruct"] if vae.model.latents.shapes else [])):
        print(f"  textvae {command} {run}" + (" 'some text'" if command == "reconstruct" else ""))
    if vae.settings.training.start_from:
        print(f"  textvae compare {shlex.quote(vae.settings.training.start_from)} {run}")


def _how_to_go_on(out: Path) -> str:
    from textvae.training.run_folder import RunFolder

    if not RunFolder(out).exists:
        return "interrupted before the first step: nothing was saved"
    return f"interrupted; go on with: textvae train --resume --out {shlex.quote(str(out))}"
