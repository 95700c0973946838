"""What the documents say is there, is there."""

import re
import tomllib
from pathlib import Path

from tests.tree import ROOT, files, names_defined, python_files, text

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
RULE = re.compile(r"\"((?:SR|LR)-\d+)\"")
PLACE = re.compile(r"`([\w./-]+\.py)(?:::|:)([\w.]+)(?:\[[^`]*\])?`")
SAFETY = Path("docs/safety.md")
SAFETY_COLUMNS = ["id", "shall", "why", "enforced in", "tested by"]


def tables(path: Path) -> list[list[str]]:
    """Rows of a document's tables: the cells of each line between bars."""
    lines = (text(path) or "").splitlines()
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line.startswith("|")]
    return [cells for cells in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in cells)]


def slug(heading: str) -> str:
    """How a heading is addressed in a link."""
    words = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    return {slug(line.lstrip("#")) for line in (text(path) or "").splitlines() if line.startswith("#")}


def leads_somewhere(page: Path, target: str) -> bool:
    place, _, anchor = target.partition("#")
    path = ((ROOT / page).parent / place).resolve() if place else ROOT / page
    if not path.exists():
        return False
    return not anchor or path.suffix != ".md" or anchor in anchors(path.relative_to(ROOT))


def test_every_link_leads_somewhere() -> None:
    broken = []
    for page in files(".md"):
        prose = re.sub(r"```.*?```|`[^`\n]*`", "", text(page) or "", flags=re.DOTALL)
        inside = [target for target in LINK.findall(prose) if not re.match(r"[a-z]+:", target)]
        broken += [f"{page}: {target}" for target in inside if not leads_somewhere(page, target)]
    assert broken == []


def direct_dependencies() -> set[str]:
    project = tomllib.loads(text(Path("pyproject.toml")) or "")["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower() for group in groups for requirement in group}
    return names - {project["name"]}


def test_every_direct_dependency_has_a_reason_and_a_licence() -> None:
    rows = {cells[0]: cells for cells in tables(Path("docs/dependencies.md")) if cells[0] != "package"}
    assert set(rows) == direct_dependencies()
    assert all(len(cells) == 3 and all(cells) for cells in rows.values())


def test_every_decision_is_listed() -> None:
    listed = text(Path("docs/decisions/README.md")) or ""
    pages = [path.name for path in files(".md") if re.match(r"docs/decisions/\d{4}-", str(path))]
    assert pages
    assert [page for page in pages if f"({page})" not in listed] == []


def test_readme_names_the_two_commands() -> None:
    readme = text(Path("README.md")) or ""
    assert "make run" in readme
    assert "make test" in readme


def test_makefile_has_every_target_the_documents_name() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text(Path("Makefile")) or "", flags=re.MULTILINE))
    for page in files(".md"):
        named = set(re.findall(r"(?:^|`)make ([a-z-]+)", text(page) or "", flags=re.MULTILINE))
        assert named <= targets, page


def safety_rows() -> list[list[str]]:
    if not (ROOT / SAFETY).is_file():
        return []
    return [cells for cells in tables(SAFETY) if cells and re.fullmatch(r"(SR|LR)-\d+", cells[0])]


def test_every_rule_the_cabinet_names_is_a_row_of_the_safety_page() -> None:
    folders = ("agent/safety", "agent/wire", "agent/guard", "agent/process", "agent/runtime")
    named = {rule for folder in folders for path in python_files(folder) for rule in RULE.findall(text(path) or "")}
    assert len(named) > 15
    assert named <= {cells[0] for cells in safety_rows()}


def test_safety_rows_are_complete_and_single() -> None:
    rows = safety_rows()
    if rows:
        assert SAFETY_COLUMNS in [[cell.lower() for cell in cells] for cells in tables(SAFETY)]
    assert [cells[0] for cells in rows if len(cells) != len(SAFETY_COLUMNS) or not all(cells)] == []
    ids = [cells[0] for cells in rows]
    assert sorted(ids) == sorted(set(ids))


def test_a_safety_row_names_functions_and_tests_that_exist() -> None:
    wrong = []
    for row in safety_rows():
        for column, folder in ((3, ""), (4, "tests/")):
            places = PLACE.findall(row[column])
            if not places:
                wrong.append(f"{row[0]}: '{SAFETY_COLUMNS[column]}' names nothing in the form `path.py:name`")
            for path, name in places:
                if not path.startswith(folder) or not (ROOT / path).is_file():
                    wrong.append(f"{row[0]}: no file {path}")
                elif name not in names_defined(Path(path)):
                    wrong.append(f"{row[0]}: {path} defines no {name}")
    assert wrong == []


def test_every_test_that_a_document_names_exists() -> None:
    named = {
        (page, *place)
        for page in files(".md")
        for place in PLACE.findall(text(page) or "")
        if place[0].startswith("tests/")
    }
    assert len(named) > 30
    wrong = [
        f"{page}: {path}::{name}"
        for page, path, name in sorted(named)
        if not (ROOT / path).is_file() or name not in names_defined(Path(path))
    ]
    assert wrong == []
