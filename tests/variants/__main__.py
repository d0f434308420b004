"""Writes variants of model families with the outputs of the reference, as the fixtures are.

    python -m tests.variants --out /tmp/variants
    CORTEX_VARIANTS=/tmp/variants cargo test --test variants

Each gets a GGUF twin in single precision where the format has words for its settings. Needs torch and transformers,
which are not among the development packages. `--twins` makes copies of the fixtures with twins instead, and needs
neither.
"""

import argparse
import os
import sys
import traceback
from pathlib import Path

from tests.variants.draws import DRAWS
from tests.variants.gguf_twin import twin

FIXTURES = Path(os.environ.get("CORTEX_SHARED", "../shared")) / "fixtures/models"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fixtures", type=Path, default=FIXTURES, help="has the oracle")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--only", default="", help="comma-separated families")
    parser.add_argument("--count", type=int, default=3, help="variants of each family")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--twins", action="store_true", help="only GGUF twins of the fixtures")
    arguments = parser.parse_args()
    if arguments.twins:
        return _twins(arguments.fixtures, arguments.out)
    return _variants(arguments)


def _twins(fixtures: Path, out: Path) -> int:
    if not fixtures.is_dir():
        print(f"SKIPPED: {fixtures} is not there (set CORTEX_SHARED)")
        return 0
    for folder in sorted(fixtures.iterdir()):
        if (folder / "generation_config.json").exists():
            print(twin(folder, out / folder.name), flush=True)
    return 0


def _variants(arguments: argparse.Namespace) -> int:
    sys.path.insert(0, str(arguments.fixtures.resolve()))
    from tests.variants.reference import write

    failed = 0
    for family in filter(None, arguments.only.split(",")) if arguments.only else DRAWS:
        for number in range(arguments.first, arguments.first + arguments.count):
            try:
                print(write(family, number, arguments.out), flush=True)
                folder = arguments.out / f"{family.replace('_', '-')}-{number}"
                print(twin(folder, folder), flush=True)
            except Exception:
                failed += 1
                print(f"{family} {number}: no variant\n{traceback.format_exc(limit=-3)}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
