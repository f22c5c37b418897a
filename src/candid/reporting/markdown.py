"""Words of the data as Markdown: escaped where they would be markup, in code, lists and tables."""

from __future__ import annotations

import re
from collections.abc import Sequence


def text(words: str) -> str:
    """Escape what would be markup; one line."""
    escaped = " ".join(words.split())
    escaped = escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = re.sub(r"([\\`*_{}\[\]|#~$!])", r"\\\1", escaped)
    escaped = re.sub(r"://|@", lambda m: "&#58;//" if m[0] == "://" else "&#64;", escaped)
    # A bare address becomes a link on the hub.
    return re.sub(r"(?i)\bwww\.", "www&#46;", escaped)


def line(words: str) -> str:
    """Escape text that begins a block: no list, no heading."""
    escaped = re.sub(r"^([-+=])", r"\\\1", text(words))
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", escaped)


def code(words: str) -> str:
    """A code span, whatever is in it."""
    span = " ".join(words.split())
    runs = re.findall(r"`+", span)
    fence = "`" * (max(map(len, runs), default=0) + 1)
    pad = " " if runs else ""
    return f"{fence}{pad}{span}{pad}{fence}"


def code_cell(words: str) -> str:
    """A code span in a table, which splits at a bar even within code."""
    return code(words).replace("|", "\\|")


def block(words: str, language: str) -> str:
    """Several lines of code."""
    fence = "`" * max(3, max(map(len, re.findall(r"`+", words)), default=0) + 1)
    return f"{fence}{language}\n{words}\n{fence}"


def bullets(sentences: Sequence[str]) -> str:
    """A list; each sentence is escaped."""
    return "\n".join(f"- {line(sentence)}" for sentence in sentences)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
