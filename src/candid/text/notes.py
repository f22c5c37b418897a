"""What a reader must know of figures before believing them: the notes of each record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from candid.records import Estimate
from candid.text import words

_MOST_NAMED = 5  # attributes that lack values

# --- of any predictions --------------------------------------------------------------------------

NO_ATTRIBUTES = "The predictions have no attributes, so there are no groups to compare."


def no_label(missing: int, n: int) -> str:
    """Where images have no label."""
    have = words.plural(missing, "has no label and does", "have no label and do")
    return f"{words.count(missing)} of {words.images(n)} {have} not count."


def absent_splits(absent: Sequence[str]) -> str:
    """Where splits that were asked for have nothing to judge."""
    return f"No labelled images with predictions in: {', '.join(absent)}."


def no_image_labelled(split: str, classes: Sequence[str]) -> str:
    """Where a split lacks classes."""
    return f"No image in {split} is labelled {' or '.join(classes)}: what needs one is undefined."


# --- of an evaluation ----------------------------------------------------------------------------

BEST_WAS_KEPT = (
    "Where the weights of the best evaluation on validation are kept, figures on "
    "validation are slightly optimistic; no choice was made on test."
)
CURVE_OF_ALL = (
    "The network learned several labels at once: its training curve, and what is said of it, is "
    "that of all of them, a mean of their losses and scores."
)


def temperature_fitted(temperature: float) -> str:
    """Where validation chose the temperature."""
    return (
        f"The temperature ({temperature:.3g}) was fitted on validation, so log loss, Brier "
        "score and calibration error there are slightly optimistic; those on test are not."
    )


def evaluated_without_people(split: str) -> str:
    """Where images have no people."""
    return (
        f"Nobody knows who is in the pictures of {split}: its intervals take each for "
        "another person's, and are too narrow where that is wrong."
    )


def some_without_people(split: str, unknown: int, n: int) -> str:
    """Where some images have people and others none."""
    return (
        f"Nobody knows who is in {unknown:,} of {words.images(n)} of {split}: each counts as "
        "another person's, and intervals are too narrow where that is wrong."
    )


def labels_corrected(split: str, corrected: int, n: int, as_read: Estimate, now: Estimate) -> str:
    """The same predictions against the labels as they were read, and as they were corrected."""
    were = words.plural(corrected, "label was", "labels were")
    return (
        f"{corrected:,} of {n:,} {split} {were} corrected. Weighted F1 against the labels as they "
        f"were read is {words.with_ends(as_read)}, and against the corrected ones, as in every "
        f"other figure, {words.with_ends(now)}."
    )


def figure_undefined(split: str, lost: int, draws: int) -> str:
    """Where the bootstrap lost draws."""
    return (
        f"In {split}, up to {lost:,} of {draws:,} draws left a "
        "figure undefined; its interval comes from the others."
    )


# --- of an audit ---------------------------------------------------------------------------------

SUMMED_UP = (
    "A folder of tables is summed up row by row, so what needs all images at once is left out: "
    "areas under curves, calibration errors, intervals of pairs of values, the search for slices, "
    "shortcuts, adjusted gaps, abstention, label noise and pictures."
)


def audited_without_people(split: str) -> str:
    """Where images have no people."""
    return (
        f"Nobody knows who is in the pictures of {split}: the audit takes each for another "
        "person's, and intervals are too narrow where that is wrong."
    )


def people_hashed(most: int) -> str:
    """Where people were counted by hashing, at most so many."""
    return (
        "People were counted by hashing, within about 1% up to 300,000 of them; "
        f"{most:,} stands for that many or more."
    )


def no_prediction(missing: int, n: int, columns: Sequence[str] = ()) -> str:
    """Where rows have no prediction, in these columns if they are known."""
    have = words.plural(missing, "has no prediction", "have no prediction")
    scope = f" in {', '.join(columns)}" if columns else ""
    were = words.plural(missing, "was", "were")
    return f"{words.count(missing)} of {_rows(n)} {have}{scope} and {were} left out."


def rows_unlabelled(unlabelled: int, n: int) -> str:
    """Where rows have no label."""
    have = words.plural(unlabelled, "has no label and does", "have no label and do")
    return f"{words.count(unlabelled)} of {_rows(n)} {have} not count."


def counted_otherwise(column: str, as_read: float, shifted: float, step: int) -> str:
    """Where answers agree with far more labels one number on, or one back."""
    moved = "one is added" if step > 0 else "one is taken away"
    return (
        f"{column!r} agrees with {words.percent(as_read, 0)} of the labels, and with "
        f"{words.percent(shifted, 0)} where {moved}: it may count the classes from another number."
    )


def rows_repeated(n: int) -> str:
    """Where rows stand there twice."""
    repeat, were = words.many(n, "row repeats", "rows repeat"), words.plural(n, "was", "were")
    return f"{repeat} another one word for word and {were} left out."


def rows_unnamed(n: int, column: str) -> str:
    """Where rows have no name of an image."""
    have = words.many(n, "row has", "rows have")
    return f"{have} no {column!r}; {words.plural(n, 'it goes by its', 'they go by their')} number."


def answer_columns_note(names: Sequence[str]) -> str:
    """Where columns are left out that hold the model's answers, or follow from them."""
    follow = words.plural(len(names), "follows", "follow")
    are = words.plural(len(names), "it is no group", "they are no groups")
    return (
        f"{', '.join(names)} {follow} from what the model said or whether it was right, so {are} "
        "unless named."
    )


def _rows(n: int) -> str:
    return words.many(n, "row", "rows")


def split_instead(split: str) -> str:
    """Where none of the splits that were asked for has anything to audit."""
    return f"So {split} was audited instead."


def too_many_values(name: str, values: int, most: int) -> str:
    """Where an attribute is left out of the audit."""
    return (
        f"{name} has {values:,} values and looks like a name, so it was "
        f"left out; audit.most_values ({most}) decides."
    )


def unknown_values(missing: Mapping[str, int], n: int) -> Iterator[str]:
    """Where some of n images have no value for attributes: by name how many."""
    names = [f"{name} ({words.count(count)})" for name, count in missing.items() if count]
    if names:
        n_more = len(names) - _MOST_NAMED
        if n_more > 0:
            names[_MOST_NAMED:] = [words.many(n_more, "other", "others")]
        yield (
            f"Of {words.images(n)}, some have no value for {words.conjoin(names)}: they count "
            "neither in a group nor in its rest."
        )


def cut_at_quartiles(attributes: Sequence[str]) -> str:
    """How numeric attributes became groups."""
    return f"Cut at the quartiles of all images: {', '.join(attributes)}."


def group_undefined(lost: int, draws: int) -> str:
    """Where the bootstrap lost draws of a group."""
    return (
        f"Up to {lost:,} of {draws:,} draws left a group without images, or a "
        "figure undefined; the interval comes from the others."
    )


def more_findings(total: int, listed: int) -> Iterator[str]:
    """Where there are more findings than the record lists."""
    if total > listed:
        yield (
            f"There are {total:,} findings; the {listed:,} surest are told (audit.findings). "
            "Groups, pairs and slices say what else was found."
        )


def nothing_found(gaps: int, n_wide: int = 0) -> str:
    """Where none of so many gaps is a finding, though so many are too wide to be chance."""
    if not gaps:
        return "no groups could be compared"
    if not n_wide:
        return f"nothing found among {words.gaps(gaps)}"
    return (
        f"no finding among {words.gaps(gaps)}; {words.many(n_wide, 'is', 'are')} too wide to be "
        "chance: in another figure than mistakes, in a group's favour, or of a pair that does no "
        "worse than its parts"
    )


def looked_at(gaps: int, threshold: float, rate: float) -> Iterator[str]:
    """How many gaps were looked at, where any was."""
    if gaps:
        yield (
            f"{words.many(gaps, 'gap was', 'gaps were')} looked at; one counts as found "
            "where its p is at most "
            f"{threshold:.2g}, so that at most {100 * rate:g}% of those found are "
            "chance. Opposite values of an attribute with two values count once."
        )


# --- of gaps held constant -----------------------------------------------------------------------

ONLY_ANNOTATED = (
    "Only what was annotated is held constant. An adjusted gap that stays may be due to "
    "something that nobody annotated, and one that vanishes may work through what it goes with."
)


def all_labelled_count(split: str, n: int) -> str:
    """Where the split that was asked for has no labels."""
    count = words.many(n, "labelled image counts", "labelled images count")
    return f"No labelled image is in {split}, so all {count}."


def few_mistakes(mistakes: int, columns: int, prior_sd: float) -> str:
    """Where a regression has little to go by."""
    return (
        f"There {words.plural(mistakes, 'is', 'are')} "
        f"{words.many(mistakes, 'mistake', 'mistakes')} for "
        f"{words.many(columns, 'column', 'columns')}. With fewer than five each, "
        f"effects are rough; the prior of {prior_sd:g} logits keeps them from running away."
    )


def unknown_columns(attributes: Sequence[str]) -> str:
    """Where values that are held constant are unknown for some images."""
    return (
        f"Some values are unknown ({', '.join(attributes)}); such images stay, with a column that "
        "says so, which holds constant less than the value itself would."
    )


# --- of label noise ------------------------------------------------------------------------------

OUT_OF_SAMPLE = (
    "The model was not trained on these splits, so its probabilities are out of sample. A "
    "mistake that annotators make again and again in training it has learned as well, and "
    "it will not show here."
)
BOUNDS_OF_TWO = "Bounds for annotators who err without regard to the answer are for two classes."


def label_suspects(suspects: int, mistakes: int) -> str:
    """What a list of likely wrong labels is worth."""
    is_sure = words.plural(suspects, "is", "are")
    return (
        f"{suspects:,} of the model's {words.many(mistakes, 'mistake', 'mistakes')} {is_sure} so "
        "sure that the label may be wrong instead. Only a person who looks can say which; a model "
        "that is sure of its mistakes makes this list long on perfect labels, too."
    )


def none_surely_of(classes: Sequence[str]) -> str:
    """Where no image is labelled as some classes."""
    return f"No image is labelled {' or '.join(classes)}, so none is surely of it."


# --- of two models -------------------------------------------------------------------------------

COMPARED_WITHOUT_PEOPLE = (
    "Nobody knows who is in the images: intervals and p-values take each for another "
    "person's, and are too sure where that is wrong."
)


PAIRED_BY_NUMBER = (
    "Nothing names the images, so the first row of the one is taken for the first of the other, "
    "and so on."
)


def only_in(name: str, n: int) -> str:
    """Where images stand in one of the two alone."""
    return f"{_count_labelled(n)} in {name} alone and {_not_counted(n)}."


def relabelled(n: int) -> str:
    """Where the two disagree about labels."""
    are = words.many(n, "image is", "images are")
    return f"{are} labelled differently in the two and {_not_counted(n)}."


def not_in_all(n: int) -> str:
    """Where not all of several models speak of an image."""
    return f"{_count_labelled(n)} not in all of them and {_not_counted(n)}."


def relabelled_by_some(n: int) -> str:
    """Where several disagree about labels."""
    are = words.many(n, "image is", "images are")
    return f"{are} not labelled the same in all of them and {_not_counted(n)}."


def _count_labelled(n: int) -> str:
    return words.many(n, "labelled image is", "labelled images are")


def _not_counted(n: int) -> str:
    return words.plural(n, "does not count", "do not count")


def targets_differ(targets: tuple[str, str], names: tuple[str, str]) -> str:
    """Where the two call the label differently."""
    return f"The label is called {targets[0]!r} in {names[0]} and {targets[1]!r} in {names[1]}."


def classes_differ(classes: Sequence[str]) -> str:
    """Where one of the two knows classes that the other does not."""
    return f"Only one of the two knows the classes {', '.join(classes)}."


# --- of an explanation ---------------------------------------------------------------------------

NO_GRAD_CAM = "Grad-CAM is left out: the network has no layer that still knows where things are."
NO_REGIONS = "There are no regions: nothing says where the parts of the faces are."
AVERAGE_REGIONS = (
    "The regions are those of an average face, laid over every image alike. Hair, neck and "
    "background are the least certain of them."
)
NOTHING_CLAIMED = "There are no labels, so no F1 to lose, and nothing is claimed."
NO_MASKING = "nothing was painted over"
FEWER_MASKED = "some regions were painted over in fewer images than would have decided"
NO_CHECKS = "no map was checked"
NOTHING_CHECKED = "Nothing was checked, so no method bears a badge."


def few_to_differ(subsets: Sequence[tuple[str, int]], fewest: int) -> str:
    """Where sets of images are too small; each by its title and how many it holds."""
    sets = ", ".join(f"{title} ({n})" for title, n in subsets)
    return f"Too few to say how their mean maps differ, below {fewest} people or images: {sets}."


def failed_early(methods: Sequence[str], n: int) -> str:
    """Where methods failed their checks, and made no more maps than these took."""
    return (
        f"{words.conjoin([*methods])} failed a check, and made no more maps: their means stand on "
        f"the {words.count(n)} images of the checks."
    )


def decided_early(methods: Sequence[str], n: int, total: int) -> str:
    """Where fewer maps than could be made decided."""
    return (
        f"{words.conjoin([*methods])}: {words.count(n)} of {words.count(total)} images decided, "
        "for every region, whether maps are denser there than if they were spread evenly. "
        "Intervals of figures that may be decided before all images are wider accordingly."
    )


def budget_used_up(seconds: float, left_out: Sequence[str]) -> str:
    """Where the time for an explanation ended before its work."""
    return f"explain.budget ({seconds:g} s) was used up: {'; '.join(left_out)}."


def fewer_maps(method: str, n: int, total: int) -> str:
    """Where a method's maps were made of fewer images than would have decided, or of none."""
    if not n:
        return f"there are no maps by {method}"
    return f"there are maps by {method} of {words.count(n)} of {words.count(total)} images"


def no_such_attribute(names: Sequence[str]) -> str:
    """Where the settings name attributes that the data do not have."""
    return f"There is no attribute called {', '.join(names)}."
