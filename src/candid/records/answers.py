"""What a model says of some images, a row for each, as it is asked from Python."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.errors import PredictionsError
from candid.records.frames import Tabular, html_of

_MOST_ROWS = 20


@dataclass(frozen=True, slots=True)
class AnsweredImages(Tabular):
    """The rows that `candid.predict` gives, one per image; with faces looked for, one per face.

    Attributes
    ----------
    target, classes
        The label's name and its values; of a number, or of several labels, their names and none.
    answers
        By the names of the columns: `id`, `prediction` (None where there is none), `p_<class>`,
        `abstained`, `reason`, `width`, `height`, `error`. Of a number `<label>`, `<label>_low` and
        `<label>_high`, of several labels those of each, in the place of the first two.
    """

    target: str
    classes: tuple[str, ...]
    answers: tuple[dict[str, Any], ...]

    def __len__(self) -> int:
        return len(self.answers)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.answers)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.answers[row]

    @property
    def prediction(self) -> list[str | None]:
        """The most probable class of each row; None where the model does not answer.

        Raises PredictionsError for a number or several labels, as `probability` does.
        """
        self._require_one_label()
        return [row["prediction"] for row in self.answers]

    @property
    def probability(self) -> NDArray[np.float64]:
        """(rows, classes), in the order of `classes`; NaN where there was nothing to look at."""
        self._require_one_label()
        columns = [f"p_{name}" for name in self.classes]
        rows = [[row[name] for name in columns] for row in self.answers]
        return np.array(rows, np.float64).reshape(len(rows), len(columns))

    def _require_one_label(self) -> None:
        if not self.classes:
            raise PredictionsError(
                f"These are answers about {self.target}: not of one label with classes.",
                expected="a run of one label with classes",
                todo="take the columns by the labels' names, from rows() or to_frame()",
            )

    def rows(self) -> list[dict[str, Any]]:
        """One per image, or per face."""
        return list(self.answers)

    def _repr_html_(self) -> str:
        more = len(self) - _MOST_ROWS
        title = f"{self.target}: {len(self):,} answers" + (
            f", the first {_MOST_ROWS} shown" if more > 0 else ""
        )
        return html_of(self.answers[:_MOST_ROWS], title)
