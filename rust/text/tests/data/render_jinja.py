"""Render the sources of jinja.json with transformers and write what they give; null = an error.

usage: python render_jinja.py jinja.json (with transformers 5 and jinja2 3.1 installed)
"""

import datetime
import json
import sys
from pathlib import Path
from typing import Any

import transformers.utils.chat_template_utils as chat_templates


class Frozen(datetime.datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> "Frozen":
        return cls(2024, 7, 26, 13, 14, 15, tzinfo=tz)


def render(source: str, context: dict[str, Any]) -> str | None:
    """What a template gives, or None where it fails."""
    try:
        return str(chat_templates._compile_jinja_template(source).render(**context))
    except Exception:
        return None


def main() -> None:
    """Rewrite the file in place, one case a line."""
    path = Path(sys.argv[1])
    data = json.loads(path.read_text())
    chat_templates.datetime = Frozen
    cases = [{"source": case["source"], "expected": render(case["source"], data["context"])} for case in data["cases"]]
    lines = ",\n".join(json.dumps(case) for case in cases)
    path.write_text(f'{{\n"context": {json.dumps(data["context"])},\n"cases": [\n{lines}\n]\n}}\n')


if __name__ == "__main__":
    main()
