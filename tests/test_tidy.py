"""House rules that no other tool checks."""

import ast
import builtins
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.tree import (
    PACKAGES,
    ROOT,
    SHIPPED,
    Function,
    files,
    is_standard,
    modules_imported,
    python_files,
    syntax,
    text,
)

LINES_PER_FILE_MAX = 400
LINES_PER_FUNCTION_MAX = 60
LINES_OF_THE_KERNEL_MAX = 1_500
"""Not counting blank ones: what a stranger reads in an afternoon."""
# Names that say nothing about what is inside.
EMPTY_WORDS = {
    "util",
    "utils",
    "helper",
    "helpers",
    "manager",
    "handler",
    "handlers",
    "connector",
    "connectors",
    "misc",
}
EMPTY_STEMS = EMPTY_WORDS | {"data", "info", "common"}
EMPTY_CLASS_ENDINGS = ("Manager", "Helper", "Utils", "Connector")

# One root for each layer, so that a caller's `except` catches all of it. The wire has two, for two kinds of fault.
ERROR_LAYERS = (
    "drivers", "agent/model", "agent/safety", "agent/wire", "agent/ledger", "agent/process",
    "agent/guard", "agent/runtime", "agent/cli", "fleet", "simulators",
)  # fmt: skip
ERROR_ROOTS = {"drivers": {"DriverError"}, "agent/wire": {"WireError", "TrustError"}}

# Written in pieces, or this file would break its own rules.
UNFINISHED = re.compile(rf"\b({'TO'}DO|{'FIX'}ME|{'XX'}X)\b")
REGISTRY_HOSTS = re.compile(rf"\b({'py'}pi\.org|{'python'}hosted\.org|{'npm'}js\.(org|com)|deb\.{'debian'}\.org)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.~/-])/(root|work|home/\w+|Users/\w+)/|file:" r"///")


def complain(violations: Iterable[str]) -> None:
    found = sorted(set(violations))
    assert not found, "\n  ".join(["", *found])


def functions(path: Path) -> list[Function]:
    return [node for node in ast.walk(syntax(path)) if isinstance(node, Function)]


def called_name(call: ast.Call) -> str:
    """Last word of what is called: ``Approved`` for ``verdict.Approved[SetLevel](...)``."""
    called = call.func.value if isinstance(call.func, ast.Subscript) else call.func
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def calls(*folders: str) -> Iterable[tuple[Path, ast.Call]]:
    for path in python_files(*folders):
        for node in ast.walk(syntax(path)):
            if isinstance(node, ast.Call):
                yield path, node


def test_no_file_is_longer_than_one_idea() -> None:
    code = [path for path in files(".py", ".js", ".css") if "_generated" not in path.parts]
    lengths = {path: len((text(path) or "").splitlines()) for path in code}
    complain(f"{path}: {lines} lines" for path, lines in lengths.items() if lines > LINES_PER_FILE_MAX)


def test_the_kernel_is_read_in_an_afternoon() -> None:
    lines = [line for path in (ROOT / "agent/safety").glob("*.py") for line in path.read_text("utf-8").splitlines()]
    assert sum(bool(line.strip()) for line in lines) <= LINES_OF_THE_KERNEL_MAX


def test_no_function_is_longer_than_a_screen() -> None:
    lengths = [
        (path, node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
        for path in python_files()
        for node in functions(path)
    ]
    complain(f"{path}:{name}: {lines} lines" for path, name, lines in lengths if lines > LINES_PER_FUNCTION_MAX)


def test_no_file_or_class_has_a_name_that_says_nothing() -> None:
    for path in files():
        for part in (*path.parent.parts, path.stem):
            words = set(part.lower().split("_"))
            assert part.lower() not in EMPTY_STEMS, f"{path}: name it by its noun"
            assert not words & EMPTY_WORDS, f"{path}: name it by its noun"
    complain(
        f"{path}:{node.lineno}: class {node.name}"
        for path in python_files()
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.ClassDef) and node.name.endswith(EMPTY_CLASS_ENDINGS)
    )


def lines_matching(pattern: re.Pattern[str], exempt: tuple[str, ...] = ()) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()[:120]}"
        for path in files()
        if str(path) not in exempt
        for number, line in enumerate((text(path) or "").splitlines(), 1)
        if pattern.search(line)
    ]


def test_nothing_is_left_for_later() -> None:
    complain(lines_matching(UNFINISHED))


def test_no_file_names_a_package_registry() -> None:
    complain(lines_matching(REGISTRY_HOSTS))


def test_no_file_names_a_place_on_one_machine() -> None:
    complain(lines_matching(MACHINE_PATHS) + lines_matching(re.compile(re.escape(f"{ROOT}/"))))


def test_lock_files_name_no_index() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        complain(line for line in (text(Path(name)) or "").splitlines() if line.startswith("-") or "://" in line)


def test_catching_everything_has_a_reason_beside_it() -> None:
    directive = re.compile(r"#\s*(noqa|type|pragma)\b[^#]*?(?=\s-\s|#|$)")
    violations = []
    for path in python_files():
        lines = (text(path) or "").splitlines()
        for node in ast.walk(syntax(path)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = ast.unparse(node.type) if node.type else ""
            if node.type and not re.search(r"\b(Base)?Exception\b(?!Group)", caught):
                continue
            beside = [line for line in lines[node.lineno - 2 : node.lineno + 1] if "#" in line]
            reasons = [directive.sub("", line.partition("#")[1] + line.partition("#")[2]) for line in beside]
            if not any(re.search(r"\w{3,}", reason) for reason in reasons):
                violations.append(f"{path}:{node.lineno}: why everything?")
    complain(violations)


def test_only_the_kernel_approves() -> None:
    complain(
        f"{path}:{call.lineno}"
        for path, call in calls(*PACKAGES)
        if called_name(call) in {"Approved", "_KernelSeal"} and not path.is_relative_to("agent/safety")
    )
    complain(
        f"{path}: takes the kernel's seal"
        for path in python_files(*PACKAGES)
        if re.search(r"\b(_SEAL|_KernelSeal)\b", text(path) or "") and not path.is_relative_to("agent/safety")
    )


def second_doors(tree: ast.Module) -> list[str]:
    """Where code outside the drivers and the kernel could move equipment without a verdict of its own.

    Names alone are known here, so the drivers' writes are told by their arguments: a stream's ``write`` takes one and
    an event's ``set`` none. Taking such a method without calling it is handing it on; only an event's may be.
    """
    events = {
        ast.unparse(target)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and called_name(node.value) == "Event"
        for target in node.targets
    }
    plain = {
        id(node.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and len(node.args) + len(node.keywords) <= {"write": 1, "set": 0}.get(node.func.attr, -1)
        and not any(isinstance(each, ast.Starred) for each in node.args)
        and all(each.arg for each in node.keywords)
    }
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr="write_coil" | "write_registers" | "write_register" | "write_coils" as name):
                found.append(f"{node.lineno}: {name} is the line driver's")
            case ast.Attribute(attr="write" | "set" as name, ctx=ast.Load()) if id(node) not in plain and not (
                name == "set" and ast.unparse(node.value) in events
            ):
                found.append(f"{node.lineno}: {name} with a driver's arguments")
            case ast.Call(args=[first, *_]) if called_name(node) == "replace" and re.search(
                r"approv|verdict", ast.unparse(first), re.IGNORECASE
            ):
                found.append(f"{node.lineno}: another command under an old approval")
    return found


def test_there_is_no_second_door_to_the_equipment() -> None:
    complain(
        f"{path}:{door}"
        for path in python_files(*PACKAGES)
        if not path.is_relative_to("drivers") and not path.is_relative_to("simulators")
        for door in second_doors(syntax(path))
    )


@pytest.mark.parametrize(
    "code",
    [
        "await self._unit.write('raise', True)",
        "await unit.write(*arguments)",
        "await unit.write('raise', value=1)",
        "await self._attempt('x', unit.write(name, 1, 0, insist=True))",
        "functools.partial(unit.write, 'raise')('on')",
        "line.write_coil(1, 2, True)",
        "group.create_task(line.write_registers(1, 2, words))",
        "await self._session.set(oid, 255)",
        "await session.set(**request)",
        "dataclasses.replace(approved, command=other)",
        "replace(lease.approved, command=other)",
    ],
)
def test_each_way_to_a_second_door_is_found(code: str) -> None:
    body = ast.parse(f"async def work(self):\n    {code}\n")
    assert len(second_doors(body)) == 1


def test_streams_events_and_other_replacements_are_no_doors() -> None:
    code = "writer.write(frame(x))\nself._wake.set()\nstop = asyncio.Event()\nloop.call_soon(stop.set)\nreplace(lease, ends_at_ms=1)\ntext.replace(a, b)"
    assert second_doors(ast.parse(code)) == []


def test_the_model_and_the_kernel_need_only_the_standard_library() -> None:
    own = {"agent/model": ("agent.model",), "agent/safety": ("agent.model", "agent.safety")}
    complain(
        f"{path}: {module}"
        for folder, allowed in own.items()
        for path in python_files(folder)
        for module in modules_imported(path)
        if not is_standard(module) and not module.startswith(allowed)
    )


def error_parents(folder: str) -> dict[str, tuple[Path, set[str]]]:
    """Classes of a layer with the names of their bases."""
    return {
        node.name: (path, {ast.unparse(base).rpartition(".")[2] for base in node.bases})
        for path in python_files(folder)
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.ClassDef)
    }


def is_builtin_exception(name: str) -> bool:
    value = getattr(builtins, name, None)
    return isinstance(value, type) and issubclass(value, BaseException)


def test_every_layer_has_one_root_of_its_errors() -> None:
    violations = []
    for layer in ERROR_LAYERS:
        roots = {
            name: path
            for name, (path, bases) in error_parents(layer).items()
            if any(is_builtin_exception(base) for base in bases)
        }
        allowed = ERROR_ROOTS.get(layer)
        if allowed is None and len(roots) > 1 and layer != "simulators":
            violations.append(f"{layer}: one root, not {', '.join(sorted(roots))}")
        if allowed is not None:
            violations += [
                f"{path}: {name} is outside {allowed}" for name, path in roots.items() if name not in allowed
            ]
    complain(violations)


def test_every_task_belongs_to_a_group() -> None:
    complain(
        f"{path}:{call.lineno}: asyncio.{called_name(call)}"
        for path, call in calls(*SHIPPED)
        if isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id in {"asyncio", "loop"}
        and call.func.attr in {"create_task", "ensure_future"}
    )


def test_every_queue_has_a_limit() -> None:
    queues = {"Queue", "LifoQueue", "PriorityQueue", "SimpleQueue"}
    complain(
        f"{path}:{call.lineno}: {called_name(call)}()"
        for path, call in calls(*PACKAGES)
        if called_name(call) in queues and not call.args and not call.keywords
    )
