"""Latent vectors in files: `.npy`, or `.parquet` with the texts beside them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textvae.errors import ConfigError, extra
from textvae.storage import require_writable, write_atomically

COLUMNS = ("text", "z")
"""Columns of a parquet file: the strings, and a list of D numbers each."""


def check_suffix(path: Path) -> None:
    """Raise `ConfigError` for a file whose suffix names no format of latent vectors."""
    if path.suffix.lower() not in (".npy", ".parquet"):
        raise ConfigError(f"{path}: latent vectors are kept in a file that ends in .npy or .parquet: give it one of these names")


def check_new(path: Path) -> None:
    """Raise `ConfigError` for a file that cannot take latent vectors: of another suffix, without its package, there, or not writable."""
    check_suffix(path)
    if path.suffix.lower() == ".parquet":
        _parquet(path)
    if path.exists():
        raise ConfigError(f"{path} is there already, and is not written over: give --out another name, or remove it")
    require_writable(path)


def write_vectors(path: Path, vectors: np.ndarray, texts: Sequence[str]) -> None:
    """Write vectors (N, D), and in a parquet file the N texts, atomically.

    Raises:
        ConfigError: another suffix, or parquet without its package.
        RunError: the disk is full or the folder not writable.
    """
    check_suffix(path)
    content = io.BytesIO()
    if path.suffix.lower() == ".npy":
        np.save(content, vectors, allow_pickle=False)
    else:
        arrow, parquet = _parquet(path)
        flat = arrow.array(vectors.ravel(), type=arrow.float32())
        lists = arrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        parquet.write_table(arrow.Table.from_arrays([arrow.array(texts, type=arrow.string()), lists], names=COLUMNS), content)
    write_atomically(path, content.getvalue())


def read_vectors(path: Path) -> np.ndarray:
    """Read vectors (N, D), float32; whether D is the model's is for the model to say.

    Raises:
        ConfigError: the file is missing, damaged, of another format, or holds no table of numbers.
    """
    check_suffix(path)
    read: Callable[[Path], np.ndarray] = _read_npy if path.suffix.lower() == ".npy" else _read_parquet
    try:
        vectors = read(path)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: give a file that `textvae encode` wrote") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise ConfigError(f"{path} holds {vectors.dtype} of shape {vectors.shape}: latent vectors are numbers of shape (N, D)")
    return vectors.astype(np.float32)


def _read_npy(path: Path) -> np.ndarray:
    try:
        vectors = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:  # other bytes, cut short, or objects, which only pickle could read
        reason = "it holds other bytes" if "pickle" in str(error) else " ".join(str(error).split())
        raise ConfigError(f"{path} is no whole .npy file of numbers ({reason}): encode the texts again") from error
    if not isinstance(vectors, np.ndarray):
        vectors.close()
        raise ConfigError(f"{path} is an archive of several arrays, not a .npy file: save the latent vectors alone")
    return vectors


def _read_parquet(path: Path) -> np.ndarray:
    arrow, parquet = _parquet(path)
    data = path.read_bytes()
    try:
        table = parquet.read_table(io.BytesIO(data))
        column = table.column("z").combine_chunks()
        rows = len(column)
        flat = column.flatten().to_numpy(zero_copy_only=False)
        lengths = np.unique(arrow.compute.list_value_length(column).to_numpy(zero_copy_only=False))
    except (arrow.ArrowException, KeyError, AttributeError, OSError) as error:
        reason = "it holds other bytes" if "pickle" in str(error) else " ".join(str(error).split())
        raise ConfigError(f"{path} is no whole parquet file with a column z of number lists ({reason}): encode the texts again") from error
    if len(lengths) > 1 or flat.size % max(1, rows):
        raise ConfigError(f"{path}: its vectors are not all of one width: encode the texts again")
    return flat.reshape(rows, -1) if rows else np.zeros((0, 0), dtype=np.float32)


def _parquet(path: Path) -> tuple[Any, Any]:
    with extra("parquet", f"{path}: parquet, unlike .npy,"):
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    return pyarrow, pyarrow.parquet
