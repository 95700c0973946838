"""The project's own files and syntax trees, for the tests that read the project itself."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ("agent", "drivers", "fleet")
PACKAGES = (*SHIPPED, "simulators")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def files(*suffixes: str) -> tuple[Path, ...]:
    """Files of the project, relative to its root: tracked ones, and new ones git does not ignore."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
        timeout=30,
    ).stdout.split("\0")
    paths = sorted({Path(name) for name in listed if name and (not suffixes or name.endswith(suffixes))})
    return tuple(path for path in paths if (ROOT / path).is_file())


def python_files(*folders: str) -> Iterator[Path]:
    """Python files below any of the folders (all of the project's when none is named), generated ones left out."""
    for path in files(".py"):
        inside = not folders or any(path.is_relative_to(folder) for folder in folders)
        if inside and "_generated" not in path.parts:
            yield path


@cache
def text(path: Path) -> str | None:
    """What a file says; None when it is not text."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


@cache
def syntax(path: Path) -> ast.Module:
    """Syntax tree of a Python file."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def names_defined(path: Path) -> set[str]:
    """Functions, classes, methods (``Class.method``) and constants a Python file defines."""

    def inside(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    yield prefix + node.name
                case ast.ClassDef():
                    yield prefix + node.name
                    yield from inside(node.body, f"{prefix}{node.name}.")
                case ast.Assign():
                    yield from (prefix + target.id for target in node.targets if isinstance(target, ast.Name))
                case ast.AnnAssign(target=ast.Name(id=name)):
                    yield prefix + name

    return set(inside(syntax(path).body, ""))


def modules_imported(path: Path) -> set[str]:
    """Dotted names a Python file imports, wherever in the file it does."""
    found: set[str] = set()
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def is_standard(module: str) -> bool:
    """Whether a module belongs to the standard library."""
    return module.partition(".")[0] in sys.stdlib_module_names
