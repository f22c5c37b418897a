"""What the Hub must know of a static Space that shows a report."""

from __future__ import annotations

from candid.reporting import markdown
from candid.reporting.front_matter import front_matter
from candid.text.inputs import ReportInput


def space_card(inputs: ReportInput, repo: str) -> str:
    """README.md of the static Space that shows the report of the model in `repo`."""
    title = f"{inputs.target} on {inputs.data_name}"
    head = {
        "title": f"Candid report: {title}",
        "emoji": "🔍",
        "colorFrom": "blue",
        "colorTo": "gray",
        "sdk": "static",
        "app_file": "index.html",
        "pinned": False,
        "license": "other",
        "models": [repo],
        "short_description": "How well a face classifier does, and for whom it fails",
    }
    sentence = f"The report of [{markdown.text(repo)}](https://huggingface.co/{repo})."
    text = f"{front_matter(head)}\n\n# {markdown.text(title)}\n\n{sentence}\n"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
