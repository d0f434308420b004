"""Files and functions stay small (the hard limits of docs/architecture.md)."""

import ast
from pathlib import Path

import pytest

from tests.house.source_files import ROOT, is_test, module_trees, tracked

PYTHON_LINES, RUST_LINES, TEST_LINES, FUNCTION_LINES, PUBLIC_NAMES = 400, 500, 500, 40, 12
# The drawn tree of errors is one noun, and shorter whole than scattered.
MANY_NAMES = {"python/cortex/errors.py"}


def limit(path: Path) -> int:
    if is_test(path):
        return TEST_LINES
    return RUST_LINES if path.suffix == ".rs" else PYTHON_LINES


def test_no_file_is_too_long() -> None:
    too_long = []
    for path in tracked("*.py", "*.rs"):
        lines = len(path.read_text().splitlines())
        if lines > limit(path):
            too_long.append(f"{path.relative_to(ROOT)}: {lines} lines, at most {limit(path)}")
    assert too_long == []


def test_no_function_is_too_long() -> None:
    too_long = []
    for path, tree in module_trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                lines = node.end_lineno - node.lineno + 1 - docstring_lines(node)
                if lines > FUNCTION_LINES:
                    too_long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines")
    assert too_long == []


def docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    if not is_docstring or first.end_lineno is None:
        return 0
    return first.end_lineno - first.lineno + 1


def exported(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            names = ast.literal_eval(node.value)
            assert isinstance(names, list)
            return names
    return None


def defined(tree: ast.Module) -> set[str]:
    """Public classes and functions; what a decorator registers (a command) is found by it, not by its name."""
    names: set[str] = set()
    for node in tree.body:
        match node:
            case ast.FunctionDef(decorator_list=[ast.Call()]):
                pass
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize(("path", "tree"), module_trees(), ids=lambda value: getattr(value, "name", ""))
def test_public_names_are_few_listed_and_sorted(path: Path, tree: ast.Module) -> None:
    names = exported(tree)
    if names is None:
        assert path.name in ("__init__.py", "__main__.py"), f"{path} has no __all__"
        return
    # ruff's order: CONSTANTS, then Classes, then functions.
    assert len(names) == len(set(names))
    assert defined(tree) <= set(names), f"public but not in __all__: {sorted(defined(tree) - set(names))}"
    if path.name != "__init__.py" and str(path.relative_to(ROOT)) not in MANY_NAMES:
        assert len(names) <= PUBLIC_NAMES, f"{path.name} has {len(names)} public names"


def test_every_module_says_its_job_in_its_first_line() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path, tree in module_trees()
        if tree.body and not (ast.get_docstring(tree) or "").strip()
    ]
    assert silent == []


def test_every_rust_file_says_its_job_in_its_first_line() -> None:
    silent = [
        str(path.relative_to(ROOT)) for path in tracked("*.rs") if not path.read_text().startswith(("//!", "//", "#!"))
    ]
    assert silent == []
