"""Tables that `candid predict` wrote, and labels that are a model's answers after all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from candid.errors import ConfigError, PredictionsError

PREDICTION = "prediction"

# Beside the probabilities; faces have more.
_ALWAYS = frozenset((PREDICTION, "abstained", "reason", "error"))
_FACES = frozenset(("face", "box_left", "box_top", "box_width", "box_height", "box_score"))
_LEAST_TO_REFUSE = 100  # rows: by chance a very good model is right about fewer


def own_columns(names: Iterable[str]) -> frozenset[str]:
    """The columns that `candid predict` added to a table; none where it wrote another."""
    there = frozenset(names)
    return there & (_ALWAYS | _FACES) if there >= _ALWAYS else frozenset()


def unnamed(name: str, columns: Iterable[str]) -> ConfigError:
    """What to say of a table (or a folder of tables) whose columns are not named."""
    if own_columns(columns):
        what, first = (
            f"{name} was written by candid predict: predictions alone",
            "join them by id: ",
        )
        prediction = "'p_*'"
    else:
        what, first = f"{name} holds no predictions of a run, so its columns must be named", ""
        prediction = "p_Male"
    return ConfigError(
        f"{what}.",
        expected="the labels of annotators beside them, and --label and --prediction",
        todo=f"{first}candid audit {name} --label gender --prediction {prediction} --group race "
        "--identity person",
    )


def refuse_answers(label: str, prediction: Sequence[str], n: int, wrong: int) -> None:
    """Raise a PredictionsError where a label agrees with the likeliest class in every row.

    Parameters
    ----------
    label, prediction
        The columns.
    n, wrong
        Rows with a label and a prediction, and those in which they differ.
    """
    if wrong or n < _LEAST_TO_REFUSE:
        return
    raise PredictionsError(
        f"The label {label!r} is the likeliest class of {', '.join(prediction)} in each of {n:,} "
        "rows, so it seems to be the model's own answer.",
        expected="what an annotator wrote, about which a model is wrong now and then",
        todo="name the annotators' column with --label; where it is theirs, no mistake is to be "
        "audited",
    )
