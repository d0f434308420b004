"""Writes variants of model families with the outputs of the reference, as the fixtures are.

    python -m tests.variants --fixtures ../shared/fixtures/models --out /tmp/variants
    CORTEX_VARIANTS=/tmp/variants cargo test --test variants

Needs torch and transformers, which are not among the development packages.
"""

import argparse
import sys
import traceback
from pathlib import Path

from tests.variants.draws import DRAWS


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fixtures", type=Path, default=Path("../shared/fixtures/models"), help="has the oracle")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--only", default="", help="comma-separated families")
    parser.add_argument("--count", type=int, default=3, help="variants of each family")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.fixtures.resolve()))
    from tests.variants.reference import write

    failed = 0
    for family in filter(None, arguments.only.split(",")) if arguments.only else DRAWS:
        for number in range(arguments.first, arguments.first + arguments.count):
            try:
                print(write(family, number, arguments.out), flush=True)
            except Exception:
                failed += 1
                print(f"{family} {number}: no variant\n{traceback.format_exc(limit=-3)}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
