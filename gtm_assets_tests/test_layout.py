"""The package's layout: imports go one way, and only a source's own folder knows the source."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import gtm_assets
from gtm_assets.sources.registry import SOURCES

PACKAGE = Path(gtm_assets.__file__).parent
BASE = ("bucket", "clock", "errors", "finding", "partitions", "place", "settings")
"""Modules at the top that import each other alone."""
FOLDERS = (
    "catalog",
    "lake",
    "engines",
    "dbt",
    "checks",
    "sources",
    "publishing",
    "explaining",
    "reporting",
    "serving",
    "dashboards",
    "agents",
    "privacy",
    "automation",
    "cli",
)
"""Each may import those before it, the base and the runtime."""
ALLOWED = {
    "runtime": set(BASE),
    "definitions": {*BASE, "runtime", *FOLDERS} - {"cli"},
    **{folder: {*BASE, "runtime", *FOLDERS[:number]} for number, folder in enumerate(FOLDERS)},
    **{module: set(BASE) for module in BASE},
}
ALLOWED["cli"].add("definitions")


def unit(module: str) -> str:
    """The folder or the module at the top that a module belongs to."""
    return module.split(".")[1]


def imports(tree: ast.AST) -> Iterator[str]:
    """The package's modules that a module imports, at its top, in a function or for its types."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("gtm_assets."))
        elif isinstance(node, ast.ImportFrom) and node.module == "gtm_assets":
            yield from (f"gtm_assets.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and f"{node.module}".startswith("gtm_assets."):
            yield f"{node.module}"


def modules() -> dict[str, ast.AST]:
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): ast.parse(path.read_text())
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "__init__.py"
    }


def test_imports_go_one_way():
    against = {
        f"{name} imports {imported}"
        for name, tree in modules().items()
        for imported in imports(tree)
        if unit(imported) not in {unit(name), *ALLOWED[unit(name)]}
    }
    assert against == set()


def test_each_module_at_the_top_and_each_folder_has_its_place():
    assert {unit(name) for name in modules()} == set(ALLOWED)


def test_a_source_imports_no_other_and_is_imported_by_the_registry_alone():
    """But for a synthetic export, which tells of the accounts and users of the synthetic organisation."""
    folders = {source.name for source in SOURCES}
    found = set()
    for name, tree in modules().items():
        own = name.split(".")[2] if unit(name) == "sources" else None
        for imported in imports(tree):
            parts = imported.split(".")
            if unit(imported) == "sources" and len(parts) > 2 and parts[2] in folders - {own}:
                found.add((name, parts[2]))
    allowed = {("gtm_assets.sources.registry", name) for name in folders}
    assert found - allowed == {("gtm_assets.sources.pipedrive.synthetic", "salesforce")}


def test_no_module_outside_of_the_sources_mentions_one():
    """The settings do: a source's have its name as prefix. The lake reads texts as they are written there."""
    names = re.compile("|".join(source.name for source in SOURCES), re.IGNORECASE)
    excused = {PACKAGE / "settings.py", PACKAGE / "lake" / "coerce.py"}
    mentions = [
        f"{path.relative_to(PACKAGE)}:{number}: {line.strip()}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path not in excused and PACKAGE / "sources" not in path.parents
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if names.search(line)
    ]
    assert mentions == []
