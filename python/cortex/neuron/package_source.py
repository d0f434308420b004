"""Weights that an installed Python package ships: `package:module/path`, found without importing the package."""

import re
import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path

from cortex.errors import SourceNotFound

__all__ = ["package_path"]

_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


def package_path(location: str, search: Sequence[str] | None = None) -> Path:
    """The path of `module/path` (`search`: folders to look in, `sys.path` by default).

    Only the module's place is looked up: its code never runs. The path cannot leave the module.
    Raises SourceNotFound.
    """
    module, _, inner = location.partition("/")
    if not _MODULE.fullmatch(module):
        raise SourceNotFound(f"package:{location}: {module!r} is no module name; write package:module/path")
    folders = _folders(module, list(sys.path if search is None else search))
    if not folders:
        raise SourceNotFound(
            f"package:{location}: no package {module!r} is installed; install it, or name another source"
        )
    for folder in folders:
        root = folder.resolve()
        path = (root / inner).resolve()
        if not path.is_relative_to(root):
            raise SourceNotFound(f"package:{location} leads outside the package {module!r}")
        if path.exists():
            return path
    raise SourceNotFound(f"package:{location}: the package {module!r} ships no {inner!r}")


def _folders(module: str, search: list[str]) -> list[Path]:
    """The folders of a package. Parents are not imported either, as importlib's own search would do."""
    top, *rest = module.split(".")
    spec = PathFinder.find_spec(top, search)
    if spec is None or spec.submodule_search_locations is None:
        return []
    folders = [Path(folder).joinpath(*rest) for folder in spec.submodule_search_locations]
    return [folder for folder in folders if folder.is_dir()]
