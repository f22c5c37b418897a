"""What the report says about where the network looks, in sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from candid.records import ModelCard
from candid.records.explanation import (
    ExplainedImage,
    Explanation,
    MapCheck,
    Method,
    NumberExplained,
    NumberMasking,
)
from candid.text import number, words
from candid.text.window import part_seen

FILLS = {"mean": "mean colour", "blur": "blur", "noise": "noise", "other": "another image"}
TEMPLATES = {
    "masks": "from the masks that come with the images",
    "landmarks": "from landmarks",
    "celeba": "from CelebA’s mean landmarks",
}

# A method's title, what it does to a score and to a number, and whether its maps say for and
# against or only how much.
MAP_WORDS = {
    "gradient": (
        "Gradient",
        "How much the score changes when a pixel changes a little.",
        "How much the number changes when a pixel changes a little.",
        False,
    ),
    "smoothgrad": (
        "SmoothGrad",
        "The gradient, averaged over noisy copies of the image.",
        "The gradient, averaged over noisy copies of the image.",
        False,
    ),
    "integrated_gradients": (
        "Integrated gradients",
        "The gradient, collected on the way from a grey image to this one.",
        "The gradient, collected on the way from a grey image to this one.",
        True,
    ),
    "grad_cam": (
        "Grad-CAM",
        "Where a late layer's units answer that the class depends on.",
        "Where a late layer's units answer that the number depends on.",
        True,
    ),
    "occlusion": (
        "Occlusion",
        "How far the score falls when a patch is painted over.",
        "How far the number falls when a patch is painted over.",
        True,
    ),
    "rise": (
        "RISE",
        "How the score goes with what random masks leave to see.",
        "How the number goes with what random masks leave to see.",
        True,
    ),
}


def explanation_lead(e: Explanation, model: ModelCard | None = None) -> list[str]:
    """The section in short; with a model, also which part of a picture it sees."""
    methods = words.many(len(e.methods), "method", "methods")
    images = words.many(e.n, f"{e.split} image", f"{e.split} images")
    sentences = [
        f"{images}{words.of_people(e.people)} {words.plural(e.n, 'was', 'were')} explained with "
        f"{methods}: each map marks where the picture {_map_meaning(e)}."
    ]
    passed = [m.title for m in e.methods if m.state == "passed"]
    failed = [m.title for m in e.methods if m.state == "failed"]
    if passed:
        sentences.append(f"{words.conjoin(passed)} passed every check that applies.")
    elif e.methods:
        sentences.append("No method passed its checks: the maps below are not to be relied on.")
    if failed:
        sentences.append(f"{words.conjoin(failed)} failed at least one.")
    if model is not None and (part := part_seen(model)):
        sentences.append(part)
    sentences += _costliest_region(e) if e.number is None else _furthest_region(e)
    return sentences + _claim_sentences(e)


def _map_meaning(e: Explanation) -> str:
    """What each map marks."""
    if e.number is not None:
        return (
            "raises and where it lowers the number that the network expects, the mean of its "
            "distribution"
        )
    if e.explained == "prediction":
        return "speaks for the class that the network answered"
    return "speaks for the class that the image is labelled with"


def _costliest_region(e: Explanation) -> list[str]:
    """Which region costs most when it is painted over, and how much it costs elsewhere."""
    first = _first_region(e)
    if not first:
        return []
    maskings = [m for m in e.maskings if m.region == first]
    costs = [
        f"{words.hundredths(m.f1_loss)} with {FILLS.get(m.fill, m.fill)}"
        for m in maskings
        if math.isfinite(m.f1_loss.value)
    ]
    text = (
        f"Of all regions, painting over the {first} costs most. Weighted F1 falls by "
        f"{words.conjoin(costs)} (in points, with {100 * e.confidence:g}% intervals)"
    )
    losses = (100 * m.control_f1_loss.value for m in maskings)
    if span := _format_range(losses, lambda x: words.number(x, 1)):
        text += f"; the same shape at random places costs {span}"
    return [text + "."]


def _furthest_region(e: Explanation) -> list[str]:
    """Which region moves a number furthest when it is painted over, and how far and which way."""
    first = _first_region(e)
    if e.number is None or not first:
        return []
    maskings = [m for m in e.number.maskings if m.region == first]
    measured = [m for m in maskings if math.isfinite(m.moved.value)]
    distances = [
        f"{number.figure_in_unit(m.moved)} ({number.interval_in_unit(m.moved)}) with "
        f"{FILLS.get(m.fill, m.fill)}"
        for m in measured
    ]
    support = measured[0].moved
    text = (
        f"Of all regions, painting over the {first} moves the number furthest: on average by "
        f"{words.conjoin(distances)} (with {100 * e.confidence:g}% intervals; "
        f"{words.images(support.n, support.people)})"
    )
    if span := _format_range([m.control_moved.value for m in maskings], number.in_digits):
        text += f"; the same shape at random places moves it by {span}"
    return [f"{text}.", *_direction_sentences(first, measured)]


def _direction_sentences(region: str, maskings: Sequence[NumberMasking]) -> list[str]:
    """Whether a number is lower or higher without a region, where all fills agree."""
    if all(m.excess_shift.high < 0 for m in maskings):
        direction = "lower"
    elif all(m.excess_shift.low > 0 for m in maskings):
        direction = "higher"
    else:
        return []
    return [
        f"Without the {region} it is {direction} than with the same shape painted over elsewhere, "
        "under every fill."
    ]


def _first_region(e: Explanation) -> str:
    """The region that costs most, or moves a number furthest; "" where nothing was measured."""
    losses = [(e.mean_loss(r.name), r.name) for r in e.regions]
    return max((x for x in losses if math.isfinite(x[0])), default=(math.nan, ""))[1]


def _format_range(values: Iterable[float], format_value: Callable[[float], str]) -> str:
    """The least and the largest of the values that are known; "" without any."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    low, high = format_value(min(finite)), format_value(max(finite))
    return low if low == high else f"{low} to {high}"


def _claim_sentences(e: Explanation) -> list[str]:
    """The regions on which maps and masking agree."""
    methods: dict[str, list[str]] = {}
    titles = {m.name: m.title for m in e.methods}
    for claim in e.claims:
        if claim.state == "passed":
            methods.setdefault(claim.region, []).append(titles.get(claim.method, claim.method))
    if methods:
        regions = [f"the {region} ({words.conjoin(by)})" for region, by in methods.items()]
        return [f"Maps with a passing badge and masking agree on {words.conjoin(regions)}."]
    if any(claim.state == "failed" for claim in e.claims):
        return ["On no region do maps with a passing badge and masking agree."]
    return []


def map_limits(e: Explanation) -> list[str]:
    """What maps can show, and what they cannot."""
    masking = (
        "Masking is the stronger evidence: something is taken away and the loss is measured. But a "
        "masked face is no natural face, so every region is filled in several ways and held "
        "against the same shape at random places. Where two regions tell the same, the network can "
        "do without either, and both look unimportant."
    )
    return [
        "A map shows where the network’s answer is sensitive. It does not show what it made of "
        "that place: a bright mouth can be about lipstick, a beard or a smile.",
        "A map can look right and say nothing about the network. That is why each method bears a "
        "badge: a method whose map stays the same when the weights are randomised draws the edges "
        "of the picture, not the network’s reasons (Adebayo et al. 2018).",
        *([masking] if e.region_maskings else []),
        *([] if e.number is None else [_reference_sentence(e.number)]),
        "An average over aligned faces says what is common, not what decided about one face.",
        "None of this says why annotators chose a label, nor what is true of the people in the "
        "pictures.",
    ]


def _reference_sentence(explained: NumberExplained) -> str:
    """The reference that a number's map is relative to."""
    return (
        "What raises or lowers the number does so beside a picture with nothing to see, the mean "
        f"colour alone, of which the network says {number.in_digits(explained.blank)}. What is "
        "explained is the mean of its distribution, also where the prediction is the median."
    )


def face_sentence(e: Explanation, x: ExplainedImage) -> str:
    """What an example is, and what its maps show."""
    if e.number is not None:
        return (
            f"Image {x.id}: labelled {x.label}, predicted {x.prediction}. The maps show what "
            f"raises and what lowers the mean of the distribution, {x.explained}."
        )
    return (
        f"Image {x.id}: labelled “{x.label}”, predicted “{x.prediction}” with a "
        f"probability of {words.percent(x.probability)}. The maps show what speaks for "
        f"“{x.explained}”."
    )


def sign_names(e: Explanation) -> tuple[str, str]:
    """The names of values above 0 and below."""
    return ("for", "against") if e.number is None else ("raising", "lowering")


def badge_reason(method: Method) -> str:
    """The figures behind a badge, on one line: of what failed, or of the first that passed."""
    failed = [c for c in method.checks if c.state == "failed"]
    passed = [c for c in method.checks if c.state == "passed"]
    figures = [format_check(c) for c in failed or passed[:1]]
    if not figures:
        return "no check says anything about it"
    n_more = len(passed) - 1
    if not failed and n_more > 0:
        figures.append(f"{words.count(n_more)} more passed")
    return "; ".join(figures)


def format_check(check: MapCheck) -> str:
    """A check's figure and threshold: "stability 0.88 (to lie above 0.50)"."""
    return (
        f"{check.title[:1].lower()}{check.title[1:]} {words.figure_of(check.figure, 2)} (to lie "
        f"{check.direction} {words.number(check.threshold, 2)})"
    )
