"""The YAML head of a Markdown file, as Hugging Face reads it."""

from __future__ import annotations

import json
import re
from typing import Any


def front_matter(head: dict[str, Any]) -> str:
    """A head as YAML between its two lines of dashes."""
    return "\n".join(["---", *yaml_lines(head), "---"])


def yaml_lines(value: dict[str, Any] | list[Any]) -> list[str]:
    """Block YAML, line by line, of dicts (keys of our own), lists, words and numbers."""
    lines = []
    items = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for key, item in items:
        start = "- " if key is None else f"{key}:"
        if isinstance(item, dict | list) and item:
            below = yaml_lines(item)
            if key is None:
                lines += [f"- {below[0]}", *(f"  {line}" for line in below[1:])]
            else:
                lines += [start, *(f"  {line}" for line in below)]
        else:
            lines.append(f"{start.rstrip()} {_scalar(item)}")
    return lines


# Words that YAML 1.1 reads as something else.
_RESERVED = frozenset(("true", "false", "yes", "no", "on", "off", "null", "y", "n"))
_PLAIN = re.compile(r"[a-z]+(?:[_-][a-z]+)*|[a-z]+\d")


def _scalar(value: Any) -> str:
    if isinstance(value, str) and value not in _RESERVED and _PLAIN.fullmatch(value):
        return value
    if isinstance(value, str):
        # JSON's strings are YAML's, but for what YAML does not hold to be printable, and the
        # surrogates of file names that are no text.
        quoted = json.dumps(value.encode("utf-8", "backslashreplace").decode(), ensure_ascii=False)
        return re.sub(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", _yaml_escape, quoted)
    return json.dumps(value, allow_nan=False)


def _yaml_escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
