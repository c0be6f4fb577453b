"""Who may import whom, what stays light, and how the code is written: read from the source with `ast`."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import textvae

ROOT = Path(textvae.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60

LEVELS: tuple[tuple[str, ...], ...] = (
    ("errors", "heap"),
    ("shapes", "config", "parts", "storage"),
    ("nn", "data"),
    ("model",),
    ("architectures",),
    ("settings", "layering", "descriptions", "presets", "arguments"),
    ("generation", "latent_vectors"),
    ("evaluation",),
    ("hub",),
    ("training",),
    ("api",),
    ("sklearn_transformer", "study", "serve", "doctor", "plots", "report"),
    ("cli",),
    ("__init__", "__main__"),
)
"""Lowest first: a part imports from its own level and from those below. (The package itself imports the API when it is first used.)"""

LEVEL_OF = {part: level for level, parts in enumerate(LEVELS) for part in parts}


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in a file, inside functions as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield from (f"{node.module}.{name.name}" for name in node.names)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


every_file = pytest.mark.parametrize("path", FILES, ids=name_of)


@every_file
def test_imports_go_downwards_only(path: Path) -> None:
    part = part_of(path)
    assert part in LEVEL_OF, f"{part} has no level: say in LEVELS where it stands"
    for imported in imports_of(parsed(path)):
        if imported.split(".")[0] != "textvae" or imported.count(".") == 0:
            continue
        below = imported.split(".")[1]
        if below not in LEVEL_OF:
            continue  # a public name of the package itself
        assert LEVEL_OF[below] <= LEVEL_OF[part], f"{name_of(path)} imports {imported}, which stands above it"


def test_nothing_imports_the_command_line() -> None:
    importing = [
        name_of(path)
        for path in FILES
        if part_of(path) not in ("cli", "__main__") and any(i.startswith("textvae.cli") for i in imports_of(parsed(path)))
    ]
    assert importing == []


@every_file
def test_only_what_stands_above_the_api_uses_the_public_package(path: Path) -> None:
    """Parts of the library import each other's modules; `import textvae` would hide which."""
    assert "textvae" not in imports_of(parsed(path)) or LEVEL_OF[part_of(path)] > LEVEL_OF["api"]


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh Python holds after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {"torch", "matplotlib", "pyarrow", "tokenizers", "sklearn", "huggingface_hub", "pandas"}


@pytest.mark.parametrize(
    "statement",
    [
        "import textvae",
        "import textvae.settings; textvae.settings.resolve(flags={'corpus': {'path': 'x'}})",
        "from textvae.architectures import architectures; [a.settings() for a in architectures().values()]",
        "import textvae.data.corpora, textvae.data.batches, textvae.data.tokenizers",
        "import textvae.cli",
        "from textvae.cli import main; main(['evaluate', '/nowhere'])",
        "from textvae.cli import main; main(['train', '/nowhere.txt', '--out', '/nowhere'])",
        "from textvae.cli import main; main(['train', 'messages', '--out', '/nowhere', '--start-from', '/nowhere'])",
    ],
)
def test_what_must_start_fast_loads_nothing_heavy(statement: str) -> None:
    assert loaded_by(statement) & HEAVY == set()


def classes() -> list[tuple[str, ast.ClassDef]]:
    return [(name_of(path), node) for path in FILES for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef)]


def names(nodes: list[ast.expr]) -> set[str]:
    """The last word of each decorator or base: `dataclass` of `dataclass(frozen=True)`, `Module` of `nn.Module`."""
    bare = [node.func if isinstance(node, ast.Call) else node for node in nodes]
    bare = [node.value if isinstance(node, ast.Subscript) else node for node in bare]
    return {node.attr if isinstance(node, ast.Attribute) else node.id for node in bare if isinstance(node, ast.Attribute | ast.Name)}


BASES_OF_MISTAKES = {"UserError"}
"""The one class that is concrete and has heirs: an exception is caught by it."""


def test_every_class_is_abstract_or_final() -> None:
    loose = []
    for file, node in classes():
        final = "final" in names(node.decorator_list)
        abstract = bool({"ABC", "Protocol"} & names(node.bases))
        if final == abstract and node.name not in BASES_OF_MISTAKES:
            loose.append(f"{file}: {node.name}")
    assert loose == []


def test_abstract_classes_say_what_their_heirs_must_do() -> None:
    """By abstract methods; a `Hook` alone has none, its no-op methods are the interface."""
    free = []
    for file, node in classes():
        if "ABC" not in names(node.bases):
            continue
        methods = [method for method in node.body if isinstance(method, ast.FunctionDef)]
        if not any("abstractmethod" in names(method.decorator_list) for method in methods):
            free.append(node.name)
            assert all(len(method.body) == 1 for method in methods), f"{file}: {node.name}"
    assert free == ["Hook"]


def length(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


@every_file
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < MAX_FILE_LINES
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = length(node) - (length(node.body[0]) if ast.get_docstring(node) else 0)
            assert lines < MAX_FUNCTION_LINES, f"{name_of(path)}: {node.name} has {lines} lines"


def undocumented(body: list[ast.stmt], inside: str) -> Iterator[str]:
    """Public functions, classes and methods without a docstring."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        overload = not isinstance(node, ast.ClassDef) and "overload" in names(node.decorator_list)
        if ast.get_docstring(node) is None and not overload:
            yield f"{inside}.{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body, f"{inside}.{node.name}")


@every_file
def test_everything_public_has_a_docstring(path: Path) -> None:
    tree = parsed(path)
    assert list(undocumented(tree.body, name_of(path))) == []
    if path.read_text(encoding="utf-8").strip():
        assert ast.get_docstring(tree)
