"""What is said of how data were read: rows and pictures left out, splits chosen, sets joined."""

from __future__ import annotations

from candid.text import words
from candid.text.wording import Values, Wording

_BY_HASH = "by a hash of the person or the image's name, each class in the same shares"
_NOT_PACKED = "Copies were not kept on one side: which there are shows once all images are packed."
_MOST_CLASSES = 6  # classes that some sources lack


def _copies_sentence(v: Values) -> str:
    """What became of copies when the split was chosen."""
    if v["moved"] is None:
        return _NOT_PACKED
    pronoun = words.plural(v["moved"], "its", "their")
    copies = "copies and near copies" if v["near"] else "copies"
    text = f"{words.images(v['moved'])} went along with {pronoun} {copies}."
    if not v["near"]:
        text += " Near copies are too many, so they were not kept on one side."
    return text


def _validation_detail(v: Values) -> str:
    return (
        f"The data has train and test but no validation; {v['count']:,} of its {v['of']:,} "
        f"training images became validation, {_BY_HASH}. {_copies_sentence(v)}"
    )


def _split_detail(v: Values) -> str:
    return (
        f"The data has no split of its own; validation ({v['validation']:,}) and test "
        f"({v['test']:,} of {v['of']:,} images) were chosen {_BY_HASH}. {_copies_sentence(v)}"
    )


def _columns_detail(v: Values) -> str:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in v["columns"].items())
    return f"Columns that were not read as attributes: {reasons}."


def _dates_detail(v: Values) -> str:
    pairs = ", ".join(f"{date} ({range})" for date, range in v["ranges"].items())
    outcome = "they were read as the ranges" if v["certain"] else "they were left as they are"
    return (
        f"{v['column']}: {pairs} in {v['count']:,} of {v['of']:,} rows: a spreadsheet takes "
        f"ranges for dates; {outcome}."
    )


def _sampled_detail(v: Values) -> str:
    return (
        f"Training reads all {v['of']:,} training pictures from their shards, and all are "
        f"counted. What else is told of training pictures here is of {v['count']:,} of them, in "
        f"runs of {v['run']} neighbours drawn at random, and so is what is looked for between "
        "splits."
    )


def lacking_class(name: str, sources: list[str]) -> str:
    """A class, and the data sets in which it does not occur."""
    return f"{name!r} not in {', '.join(sources)}"


def _missing_classes_detail(v: Values) -> str:
    classes = [lacking_class(*entry) for entry in v["lacking"][:_MOST_CLASSES]]
    return f"Classes that some of the data sets lack: {'; '.join(classes)}."


def _unknown_people_detail(v: Values) -> str:
    return (
        f"Nobody says who is in the pictures of {' and '.join(v['sources'])}. Each counts as a "
        "person of its own there, so intervals are too narrow where that is wrong."
    )


def _same_wording(title: str, detail: str, todo: str = "") -> Wording:
    """The same words, whether any were found or none."""
    return Wording(title, detail, detail, todo, tells_share="always")


LAYOUT_WORDINGS = {
    "LABELS-WITHOUT-IMAGE": _same_wording(
        "Rows without a picture",
        "{count:,} of {of:,} {of:row|rows} {count:names|name} a picture that is not there; "
        "{count:it is|they are} left out.",
        "Complete the pictures, or remove the rows.",
    ),
    "IMAGES-WITHOUT-LABEL": _same_wording(
        "Pictures without a label",
        "{count:,} of {of:,} {of:picture|pictures} {count:has|have} no row that describes "
        "{count:it|them}; {count:it is|they are} left out.",
        "Complete the labels, or remove the pictures.",
    ),
    "ROWS-REPEATED": _same_wording(
        "Images with several rows",
        "{count:,} of {of:,} {of:image|images} {count:has|have} more than one row; each counts "
        "once, with its first row.",
        "Remove the surplus rows.",
    ),
    "ROWS-CONTRADICT": _same_wording(
        "Images whose rows contradict each other",
        "{count:,} of {of:,} {of:image|images} {count:has|have} rows with different labels; "
        "{count:it counts|they count} as unlabelled.",
        "Look at them and keep the right row.",
    ),
    "CLASSES-EXCLUDED": _same_wording(
        "Images of classes to leave out",
        "{count:,} of {of:,} {of:row|rows} {count:is|are} of a class that data.exclude_classes "
        "names; {count:it is|they are} left out.",
    ),
    "FILES-LEFT-OUT": _same_wording(
        "Files that are no pictures",
        "{count:,} of {of:,} {of:file|files} {count:does|do} not end like a picture and "
        "{count:was|were} left out.",
    ),
    "NAMES-NOT-READ": _same_wording(
        "Names that do not say age, gender and race",
        "{count:,} of {of:,} {of:picture|pictures} {count:is|are} not named age_gender_race_date; "
        "{count:it is|they are} left out.",
        "Rename them, or leave them.",
    ),
    "LABEL-COUNT": Wording(
        "The label file's own count is wrong",
        "{file} says that it has {said:,} {said:row|rows} and has {rows:,}.",
        todo="Fetch the file again if it was cut off.",
    ),
    "COLUMNS-LEFT-OUT": Wording("Columns that are no attribute", _columns_detail),
    "RANGES-AS-DATES": Wording(
        "Ranges that a spreadsheet took for dates",
        _dates_detail,
        todo=lambda v: "Mend the column in the table." if v["certain"] else "Look at the column.",
        tells_share="found",
    ),
    "TRAINING-SAMPLED": Wording("Training pictures are a sample here", _sampled_detail),
    "CLASSES-OF-SOME-SOURCES": Wording(
        "Classes that some data sets lack",
        _missing_classes_detail,
        "Every class occurs in every data set.",
        "see how the model does by source: it can tell such a class by where its images come from",
    ),
    "PEOPLE-OF-SOME-SOURCES": Wording("Data sets in which nobody is known", _unknown_people_detail),
    "NO-TEST-SPLIT": Wording(
        "No test images",
        "Nothing is set aside for test, so every figure stems from validation images.",
    ),
    "VALIDATION-FROM-TRAIN": Wording("Validation from train", _validation_detail),
    "SPLIT-BY-HASH": Wording("Split by hash", _split_detail),
}
