"""What the checks of the data say: files, labels, counts."""

from __future__ import annotations

from candid.text import words
from candid.text.wording import Values, Wording, join_few, value_counts


def _unreadable_detail(v: Values) -> str:
    files = f"{words.count(v['count'])} of {words.many(v['of'], 'file', 'files')} cannot be read"
    verb = words.plural(v["count"], "is", "are")
    return f"{files} and {verb} left out: {'; '.join(value_counts(v['causes']))}."


def alike(name: str, spellings: list[str]) -> str:
    """A label's or an attribute's values that differ in case only."""
    return f"{name}: {' and '.join(map(repr, spellings))}"


def _alike_detail(v: Values) -> str:
    values = join_few([alike(*pair) for pair in v["alike"]])
    return f"Values that differ in case only count as different ones: {values}."


def _mixed_detail(v: Values) -> str:
    counts = value_counts(v["values"])
    listed = ", ".join(counts)
    if v["kinds"] > len(counts):
        listed += f" and {v['kinds'] - len(counts):,} more"
    return f"There are {v['kinds']:,} {v['what']}: {listed}.{_association_sentence(v)}"


def _association_sentence(v: Values) -> str:
    if v["association"] is None:
        return ""
    value, low, high, n = v["association"]
    verdict = "goes" if v["telling"] else "does not surely go"
    figure = f"Cramér's V {value:.2f} [{low:.2f}, {high:.2f}], n = {n:,}"
    return f" Being {v['common']} {verdict} with {v['target']} ({figure})."


def _mixed_todo(v: Values) -> str:
    if v["telling"]:
        return "make them alike before training: a model can learn the file instead of the face"
    return "see whether they come from different sources"


def _format_shares(v: Values) -> str:
    return ", ".join(f"{name} {count / v['of']:.1%}" for name, count in v["classes"].items())


def _imbalance_detail(v: Values) -> str:
    share, low, high = v["share"]
    return (
        f"{v['rarest']} has {share:.1%} [{low:.1%}, {high:.1%}] of {v['of']:,} "
        f"training images; an even share were {1 / len(v['classes']):.1%}. In all: "
        f"{_format_shares(v)}."
    )


def _balance_detail(v: Values) -> str:
    return (
        f"Every class has at least half of its even share of {v['of']:,} training images: "
        f"{_format_shares(v)}."
    )


def _format_groups(v: Values) -> list[str]:
    return [f"{name} in {split} ({count})" for name, split, count in v["groups"]]


def _absent_classes_detail(v: Values) -> str:
    return f"There is {join_few([f'no {name} in {split}' for name, split in v['classes']])}."


def _tiny_groups_detail(v: Values) -> str:
    return (
        f"{words.count(v['count'])} of {words.many(v['of'], 'group', 'groups')} "
        f"{words.plural(v['count'], 'has', 'have')} fewer than {v['few']} images in a split: "
        f"{join_few(_format_groups(v))}."
    )


def _constant_detail(v: Values) -> str:
    attributes = v["attributes"].items()
    names = [name if is_known else f"{name} (never known)" for name, is_known in attributes]
    return f"{join_few(names)}: the same for every image, so nothing can be compared by it."


_MIXED_ABSENT = "All {of:,} usable images are alike: {common}."

CHECK_WORDINGS = {
    "UNREADABLE-FILES": Wording(
        "Files that cannot be read",
        _unreadable_detail,
        "All {of:,} files can be read.",
        "mend or remove them",
        tells_share="found",
    ),
    "MISSING-LABELS": Wording(
        "Images without a label",
        "{count:,} of {of:,} {of:image|images} {count:has|have} no {target}; {count:it is|they "
        "are} left out of training and of every figure.",
        "Every image has a {target}.",
        "label them, or see why {target} is missing",
        tells_share="found",
    ),
    "ALIKE-VALUES": Wording(
        "Values that differ in case only",
        _alike_detail,
        "No two values of the label or an attribute differ in case only.",
        "write them alike; of the label, data.class_names makes one class of them",
    ),
    "MIXED-SIZES": Wording("Pictures of several sizes", _mixed_detail, _MIXED_ABSENT, _mixed_todo),
    "MIXED-CHANNELS": Wording(
        "Pictures with different channels", _mixed_detail, _MIXED_ABSENT, _mixed_todo
    ),
    "MIXED-FORMATS": Wording("Files in several formats", _mixed_detail, _MIXED_ABSENT, _mixed_todo),
    "BLANK-IMAGES": Wording(
        "Pictures of one colour",
        "{count:,} {count:image shows|images show} nothing: {count:its|their} luma deviates by "
        "less than {limit:g} of 255 levels.",
        "Every usable image shows something.",
        "remove them or replace the files",
    ),
    "CLASS-IMBALANCE": Wording(
        "A rare class",
        _imbalance_detail,
        _balance_detail,
        "weigh the loss by class, and read the figures per class rather than accuracy",
    ),
    "TINY-CLASSES": Wording(
        "Classes with fewer than {few} images in a split",
        lambda v: f"Fewer than {v['few']} images: {join_few(_format_groups(v))}.",
        "Every class has at least {few} images in every split that has it.",
        "read their intervals, not their figures; collect more",
    ),
    "LABEL-ABSENT-IN-SPLIT": Wording(
        "A class that a split lacks",
        _absent_classes_detail,
        "Every split has every class.",
        "split anew, so that every class stands in every split",
    ),
    "TINY-GROUPS": Wording(
        "Groups with fewer than {few} images in a split",
        _tiny_groups_detail,
        "Every attribute's value has at least {few} images in every split.",
        "expect an audit to say nothing of them",
        tells_share="found",
    ),
    "CONSTANT-ATTRIBUTES": Wording(
        "Attributes with a single value",
        _constant_detail,
        "Every attribute has at least two values.",
        "leave them out with data.attributes",
    ),
}
