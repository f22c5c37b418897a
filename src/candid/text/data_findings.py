"""The words of every finding about the data, by its code."""

from __future__ import annotations

from typing import Literal, NamedTuple

from candid.records import Finding, State
from candid.text.corrections import CORRECTION_WORDINGS
from candid.text.data_checks import CHECK_WORDINGS
from candid.text.data_duplicates import DUPLICATE_WORDINGS
from candid.text.data_layouts import LAYOUT_WORDINGS
from candid.text.wording import Values, Wording, fill_in

_WORDINGS: dict[str, Wording] = {
    **DUPLICATE_WORDINGS,
    **CHECK_WORDINGS,
    **LAYOUT_WORDINGS,
    **CORRECTION_WORDINGS,
}

WhyNot = Literal["no-image", "few-images", "one-split", "no-people", "no-values", "no-attributes"]
_WHY_NOT: dict[WhyNot, str] = {
    "no-image": "No image can be read.",
    "few-images": "There are fewer than two usable images.",
    "one-split": "There is only one split.",
    "no-people": "Nobody says who is in the pictures.",
    "no-values": "There are no attributes with values to count.",
    "no-attributes": "There are no attributes.",
}


class FindingText(NamedTuple):
    """A finding in words."""

    title: str
    detail: str
    todo: str


def finding_text(code: str, state: State, values: Values) -> FindingText:
    """What a finding about the data says; `why` is the value of what does not apply."""
    wording = _WORDINGS[code]
    title = fill_in(wording.title, values)
    if state == "not applicable":
        return FindingText(title, _WHY_NOT[values["why"]], "")
    if state == "too few to say":
        return FindingText(title, f"There are {values['of']} training images.", "")
    if state == "not found":
        return FindingText(title, fill_in(wording.absent, values), "")
    return FindingText(title, fill_in(wording.found, values), fill_in(wording.todo, values))


def source_detail(detail: str, source: str) -> str:
    """What a finding says, where it is about one of several data sets."""
    return f"{source}: {detail}"


def tells_share(finding: Finding) -> bool:
    """Whether the finding's own sentence says how many of how many."""
    wording = _WORDINGS.get(finding.code)
    if wording is None or wording.tells_share == "never":
        return False
    return wording.tells_share == "always" or finding.state == "found"
