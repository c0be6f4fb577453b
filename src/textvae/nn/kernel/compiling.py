"""The compiled kernel: built once by the system's compiler, kept in the user's cache, or absent for a reason that is remembered."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from ctypes import CDLL, c_double, c_float, c_int, c_int64, c_uint32, c_void_p
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import final

from textvae.nn.kernel.processor import processor_features
from textvae.storage import cache_folder

SWITCH = "TEXTVAE_KERNEL"
"""The environment variable that switches the kernel off where it is `off`."""

LINE = 64
"""Bytes to a line of the processor's cache."""

_HERE = Path(__file__).parent
SOURCES, HEADERS = (tuple(sorted(_HERE.glob(f"*.{kind}"))) for kind in ("cpp", "h"))
PATIENCE_SECONDS, AT_ONCE = 180, 4
"""How long a compiler may take over a file, and how many of them work side by side."""

_I, _P = c_int64, c_void_p
SIGNATURES = {
    "textvae_huge_pages": (_P, _I),
    "textvae_same": (_I, _P, _P, _P, _P, _I),
    "textvae_pack_forward": (_I, _I, _I, _I, _I, _P, _P, _P, _P, _I),
    "textvae_lay_rows": (_I, _I, _I, _I, _P, _I, _P, _I, _I, _I, _I, _P, _I, _I),
    "textvae_pack_backward": (_I, _I, _I, _I, _P, _P, _I),
    "textvae_in_blocks": (_I, _I, _I, _I, _P, _I, _P, _I),
    "textvae_by_gate": (_I, _I, _I, _I, _P, _I, _I, _P, _P, _I),
    "textvae_lstm_forward": (_I, _I, _I, _I, _I, _P, _P, _I, _P, _I, _P, _P, _P, _P, _P, c_int, _I),
    "textvae_gru_forward": (_I, _I, _I, _I, _I, _P, _P, _I, _P, _I, _P, _P, _P, _P, _P, c_int, _I),
    "textvae_lstm_backward": (_I, _I, _I, _I, _P, _P, _I, _P, _I, _P, _P, _I, _I, _P, _P, _P, c_int, _I),
    "textvae_gru_backward": (_I, _I, _I, _I, _P, _P, _I, _P, _I, _P, _I, _I, _P, _P, c_int, _I),
    "textvae_embed": (_I, _I, _I, _P, _P, _I, _P, _P, _I, c_uint32, c_float, _I),
    "textvae_sum_by_symbol": (_I, _I, _I, _I, _P, _I, _I, _P, _I, _P, _I, c_uint32, c_float, _I),
    "textvae_drop": (_I, _I, _I, _I, _P, _I, _I, _P, c_int, _I, c_uint32, c_float, _I),
    "textvae_drop_backward": (_I, _I, _P, _P, _P, _I, c_uint32, c_float, _I),
    "textvae_layer_room": (_P, _P),
    "textvae_layers_forward": (_P, _I, _P, _P),
    "textvae_layers_backward": (_P, _I, _I, _P, _P, _P, _P, _P, _I),
    "textvae_distortion": (_I, _I, _I, _I, _P, _P, _I, _P, _P, _P, _I),
    "textvae_distortion_backward": (_I, _I, _I, _I, _P, _P, _I, _P, _P, _P, _I),
    "textvae_shorten": (_I, _P, _P, c_double, _P, _I),
    "textvae_adam": (_I, _P, _P, _P, _P, _P, _P, c_double, c_double, c_double, c_double, c_double, c_int, _I),
    "textvae_approach": (_I, _P, _P, _P, c_float, _I),
    "textvae_generate": (_P, _P, _P, _P, _P, _I),
    "textvae_path": (_P, _I, _P, _P, _P, _I),
    "textvae_search": (_P, _P, _P, _P, _P, _I),
}


@final
@dataclass(frozen=True)
class Kernel:
    """The kernel where it is there, and in words why it is or is not."""

    library: CDLL | None
    reason: str
    path: Path | None = None
    bf16: bool = False
    """Whether the processor multiplies bf16, so that the kernel computes in it too: under autocast, and what is drawn."""


def kernel() -> Kernel:
    """The kernel of this machine, compiled at its first use; absent where it is switched off, cannot be built or errs. Never raises."""
    if os.environ.get(SWITCH, "").lower() == "off":
        return Kernel(None, f"switched off by {SWITCH}=off")
    return loaded()


def loaded() -> Kernel:
    """The kernel of this machine, switched off or not."""
    return _on_trial.get() or _tested()


_on_trial: ContextVar[Kernel | None] = ContextVar("_on_trial", default=None)
"""The kernel that this thread compares with torch, before others may use it."""


def kernel_folder() -> Path:
    """Where compiled kernels are kept."""
    return cache_folder() / "kernel"


def compiler() -> tuple[str, ...] | None:
    """The C++ compiler's path, and what its command begins with: $CXX (`ccache g++`), or the first of c++, g++ and clang++."""
    try:
        chosen = shlex.split(os.environ.get("CXX", ""))
    except ValueError:  # a quotation that is not closed
        return None
    commands = [chosen] if chosen else [["c++"], ["g++"], ["clang++"]]
    return next(((found, *more) for name, *more in commands if (found := shutil.which(name))), None)


@cache
def _tested() -> Kernel:
    """The kernel that was built, if it computes what torch does."""
    built = _built()
    if built.library is None:
        return built
    from textvae.nn.kernel.trial import bf16_mistake, mistake

    wrong = _found(mistake, built)
    if wrong:
        return Kernel(None, f"it was {built.reason}, but {wrong}: not used", built.path)
    wrong = _found(bf16_mistake, built) if built.bf16 else None
    return replace(built, bf16=False, reason=f"{built.reason}; not used in bf16: {wrong}") if wrong else built


def _found(trial: Callable[[], str | None], built: Kernel) -> str | None:
    """What a trial of the kernel says; an error of any kind counts, for torch does the same work."""
    token = _on_trial.set(built)
    try:
        return trial()
    except Exception as error:
        return f"raises an error ({' '.join(str(error).split())[:200]})"
    finally:
        _on_trial.reset(token)


@cache
def _built() -> Kernel:
    """Compile or find the kernel and load it: with threads if they can be torch's own, else without."""
    found = compiler()
    if found is None:
        return Kernel(None, "no C++ compiler is installed (c++, g++ or clang++; or name one in CXX)")
    named = shlex.join(found)
    import torch  # noqa: F401  # brings the OpenMP functions that the kernel is not linked with

    reason = ""
    for threads in (True, False):
        try:
            path = _compiled(found, threads)
            library = CDLL(str(path))
            for name, types in SIGNATURES.items():
                getattr(library, name).argtypes = types
                getattr(library, name).restype = None
        except (OSError, RuntimeError, AttributeError, subprocess.SubprocessError) as error:
            reason = reason or f"it could not be built: {' '.join(str(error).split())[:300]}"
            continue
        how = "" if threads else f", for one thread ({reason.removeprefix('it could not be built: ')})"
        return Kernel(library, f"compiled by {named}{how}", path, bool(library.textvae_has_bf16()))
    return Kernel(None, reason)


def _compiled(compiler: tuple[str, ...], threads: bool) -> Path:
    """The library's path in the cache, compiled if it is not there yet, or not whole.

    Its name says all that it depends on, and its own checksum: loading a damaged one would kill the process. It is put there whole,
    by renaming, so that processes that start together may all build it. Raises `OSError`, `RuntimeError` or
    `subprocess.SubprocessError`.
    """
    told = _run(*compiler, "--version")
    flags = _flags(threads)
    texts = [source.read_text(encoding="utf-8") for source in (*HEADERS, *SOURCES)]
    parts = (*texts, *compiler, told, *flags, platform.machine(), *sorted(processor_features()))
    name, folder = f"kernel-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:20]}", kernel_folder()
    kept = _kept(folder, name)
    if kept:
        return kept
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        room = tempfile.TemporaryDirectory(dir=folder)
    except OSError as error:
        raise RuntimeError(f"{folder} cannot be written ({error.strerror}): name another cache folder in TEXTVAE_CACHE") from None
    with suppress(UserWarning):  # where warnings are errors
        warnings.warn("compiling the kernel for this processor, once: some ten seconds", stacklevel=2)
    with room as place:
        library = _built_in(Path(place), compiler, flags)
        path = folder / f"{name}-{_checksum(library)}.so"
        os.replace(library, path)
    return path


def _kept(folder: Path, name: str) -> Path | None:
    """The whole library of that name in the cache. Damaged ones are passed over: the same one, compiled anew, is put in their place."""
    return next((path for path in sorted(folder.glob(f"{name}-*.so")) if path.stem == f"{name}-{_checksum(path)}"), None)


def _checksum(path: Path) -> str:
    return f"{zlib.crc32(path.read_bytes()):08x}"


def _built_in(folder: Path, compiler: tuple[str, ...], flags: list[str]) -> Path:
    """A fresh library, its sources compiled side by side."""
    from concurrent.futures import ThreadPoolExecutor  # a hundredth of a second that only a fresh kernel costs

    compiled, library = [folder / f"{source.stem}.o" for source in SOURCES], folder / "kernel.so"
    with ThreadPoolExecutor(min(AT_ONCE, os.cpu_count() or 1)) as pool:
        commands = ((*compiler, *flags, "-c", str(source), "-o", str(to)) for source, to in zip(SOURCES, compiled, strict=True))
        list(pool.map(lambda command: _run(*command), commands))
    # Linked without OpenMP's library: its functions are those of the process, torch's own, so that there is one pool of
    # threads and not two that wait, spinning, in each other's way. Where torch has none, loading fails.
    undefined = ["-Wl,-undefined,dynamic_lookup"] if sys.platform == "darwin" else []
    _run(*compiler, "-shared", *undefined, *map(str, compiled), "-o", str(library))
    return library


def _flags(threads: bool) -> list[str]:
    """How the kernel is compiled."""
    native = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
    return ["-std=c++17", "-O3", native, "-fPIC", "-fno-exceptions", "-fno-math-errno", *(["-fopenmp"] if threads else [])]


def _run(*command: str) -> str:
    """What a command says on stdout, in whatever encoding."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE_SECONDS)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
        raise RuntimeError(f"{command[0]} failed: {said[0] if said else f'exit status {done.returncode}'}")
    return done.stdout
