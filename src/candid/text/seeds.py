"""What is said of other seeds: how much is luck, whose answers it decides, what is withheld."""

from __future__ import annotations

import math
from collections.abc import Iterator

from candid.records.seeds import (
    ChangingImage,
    GroupChanges,
    SeedFigure,
    Seeds,
    SeedSplit,
    WithheldChanges,
)
from candid.text import words
from candid.text.metrics import metric_text

_MOST_GROUPS = 3  # groups that sentences tell of

FIGURE_HEAD = ("Figure", "This run", "Mean over seeds", "From", "To", "Spread over seeds")
GROUP_HEAD = ("Group", "Images", "Changing", "Others", "Difference, points", "Adjusted p", "Found")
ABSTENTION_HEAD = (
    *("Withheld", "Threshold", "Changing among withheld", "Changing among given"),
    "Withheld of the changing",
)
WHAT_IT_IS = (
    "These networks differ in the seed alone: the weights that they began with, the order of the "
    "pictures, what augmentation drew. They saw the same pictures and share what frames and "
    "examines a new one. Intervals of means hold for other seeds and other people together: the "
    "variance over seeds and that of a bootstrap by person are added, which counts what is both a "
    "little twice."
)


def seeds_clause(seeds: Seeds, split: str) -> str:
    """The mean and the range over seeds, for the first screen; "" if unknown."""
    seed_split = next((s for s in seeds.splits if s.split == split), None)
    if seed_split is None:
        return ""
    f1 = seed_split.figures["weighted_f1"]
    return (
        f"Over {words.count(len(seeds.seeds))} seeds: {words.figure_of(f1.mean)} "
        f"({words.interval(f1.mean)}, for other seeds and people), from "
        f"{words.number(min(f1.values))} to {words.number(max(f1.values))}."
    )


def seeds_summary(seeds: Seeds | None) -> list[str]:
    """How much is luck, in a few sentences about the headline split."""
    if seeds is None:
        return []
    if not seeds.splits:
        return ["There are no labelled images to compare the seeds on."]
    split = seeds.splits[-1]  # test, else whatever comes last
    return [
        _luck_sentence(seeds, split),
        _changing_sentence(seeds, split),
        *_group_sentences(split),
        *_abstention_sentences(split),
    ]


def _luck_sentence(seeds: Seeds, split: SeedSplit) -> str:
    f1 = split.figures["weighted_f1"]
    rank = 1 + sum(v > f1.values[0] for v in f1.values)
    count = words.count(len(seeds.seeds))
    return (
        f"Trained {count} times, each with another seed, weighted F1 on {split.split} is "
        f"{words.figure_of(f1.mean)} on average ({words.confidence(f1.mean.confidence)} "
        f"{words.interval(f1.mean)}, for other seeds and other people; {words.support(f1.mean)}). "
        f"The seed alone moves it by {words.figure_of(f1.spread, 4)} (standard deviation; "
        f"{words.interval(f1.spread, 4)}), from {words.number(min(f1.values))} to "
        f"{words.number(max(f1.values))}; this run's {words.number(f1.values[0])} is number "
        f"{words.count(rank)} of {count}. {_share_of_seeds(f1)}"
    )


def _share_of_seeds(f1: SeedFigure) -> str:
    total = f1.seeds_variance + f1.people_variance
    if not total > 0:
        return "Neither seeds nor people make a difference."
    return (
        f"Of the variance of this mean, {words.percent(f1.seeds_variance / total, 0)} is owed to "
        "the seeds, the rest to the people in the pictures."
    )


def _changing_sentence(seeds: Seeds, split: SeedSplit) -> str:
    people = ""
    if split.changing_people is not None:
        people = (
            f" {words.percent_interval(split.changing_people)} of "
            f"{words.persons(split.people or 0)} have at least one such picture."
        )
    return (
        f"The answer to {words.percent_interval(split.changing)} of {words.images(split.n)} on "
        f"{split.split} is not the same with all {words.count(len(seeds.seeds))} seeds; two seeds "
        f"disagree on {words.percent_interval(split.disagreement)}.{people}"
    )


def _group_sentences(split: SeedSplit) -> Iterator[str]:
    significant = [g for g in split.groups if g.state == "found"]
    for word in ("more", "less"):
        groups = [g for g in significant if _frequency(g) == word]
        for g in groups[:_MOST_GROUPS]:
            yield (
                f"The seed decides {word} often for {g.attribute}: {g.value}: "
                f"{words.percent_interval(g.changing)} of {words.count(g.changing.n)} images, "
                f"others {words.percent_interval(g.rest)}."
            )
    if not significant and any(g.state == "not found" for g in split.groups):
        yield "It does so for no group more or less often than chance explains."


def _abstention_sentences(split: SeedSplit) -> Iterator[str]:
    rows = [w for w in split.abstention if w.withheld.n and w.given.n]
    for w in rows[:1]:
        verdict = "It is not clear whether it withholds just these"
        if w.withheld.low > w.given.high:
            verdict = "So what it withholds are the answers that luck decides more often"
            if w.caught.low <= 0.5:
                verdict += ", but it withholds only some of them"
        elif w.withheld.high < w.given.low:
            verdict = "So it withholds the wrong ones"
        yield (
            f"{_rule(w)} withholds {words.count(w.withheld.n)} answers, of which "
            f"{words.percent_interval(w.withheld)} change with the seed; of the "
            f"{words.count(w.given.n)} given ones {words.percent_interval(w.given)} do. Of the "
            f"{words.count(w.caught.n)} that change it withholds "
            f"{words.percent_interval(w.caught)}. {verdict}."
        )


def _rule(w: WithheldChanges) -> str:
    if math.isnan(w.target_error):
        return "Giving no answer to the least sure tenth"
    return f"The threshold for at most {100 * w.target_error:.3g}% wrong answers"


# --- tables --------------------------------------------------------------------------------------


def figure_rows(split: SeedSplit) -> list[list[str]]:
    """The rows under `FIGURE_HEAD`."""
    return [
        [
            metric_text(name).name,
            words.number(f.values[0]),
            words.with_ends(f.mean),
            words.number(min(f.values)),
            words.number(max(f.values)),
            words.with_ends(f.spread, 4),
        ]
        for name, f in split.figures.items()
    ]


def group_rows(split: SeedSplit) -> list[list[str]]:
    """The rows under `GROUP_HEAD`."""
    return [
        [
            f"{g.attribute}: {g.value}",
            words.images(g.changing.n, g.changing.people),
            words.percent_interval(g.changing),
            words.percent_interval(g.rest),
            words.points_with_ends(g.difference),
            words.number(g.adjusted_p) if math.isfinite(g.adjusted_p) else "–",
            g.state if g.state != "found" else f"{_frequency(g)} often",
        ]
        for g in split.groups
    ]


def _frequency(g: GroupChanges) -> str:
    return "more" if g.difference.value > 0 else "less"


def abstention_rows(split: SeedSplit) -> list[list[str]]:
    """The rows under `ABSTENTION_HEAD`."""
    return [
        [
            _rule(w),
            words.number(w.threshold),
            f"{words.percent_interval(w.withheld)}; n = {words.count(w.withheld.n)}",
            f"{words.percent_interval(w.given)}; n = {words.count(w.given.n)}",
            f"{words.percent_interval(w.caught)}; n = {words.count(w.caught.n)}",
        ]
        for w in split.abstention
    ]


def answer_counts(image: ChangingImage) -> str:
    """How many seeds gave which answer."""
    return ", ".join(f"{name} {words.count(n)}" for name, n in image.answers.items())


def person_lines(split: SeedSplit) -> list[str]:
    """The people whose answers change most."""
    return [
        f"person {p.person} ({p.id}): {words.count(p.changing)} of {words.images(p.n)}"
        for p in split.persons
    ]


def seeds_lines(seeds: Seeds) -> Iterator[str]:
    """What a reader should know in a minute."""
    yield from (f"seeds: {sentence}" for sentence in seeds_summary(seeds))
