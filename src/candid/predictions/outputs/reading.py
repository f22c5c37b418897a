"""Probabilities of a label from what well-known libraries write of the faces in a picture.

Each library has a module of its own. A picture's output is a record of a face, a list of them, or
what human gives for a picture; an empty list: no face was found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from candid.errors import PredictionsError
from candid.predictions.labels import tokens
from candid.predictions.outputs import deepface, fairface, human, insightface
from candid.predictions.outputs.traits import Trait

_Face = Mapping[str, Any]


def _unknown(face: _Face) -> float:
    """No size at all: of several faces the first counts."""
    return 0.0


def _never(face: _Face) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class _Library:
    """Whether a record of one face is the library's, and what it says of which trait.

    Further, how large the face is, and whether the record says that no face was found.
    """

    fits: Callable[[_Face], bool]
    traits: Callable[[_Face], dict[str, Trait]]
    area: Callable[[_Face], float] = _unknown
    is_faceless: Callable[[_Face], bool] = _never


_LIBRARIES = {
    "DeepFace": _Library(
        deepface.is_deepface, deepface.deepface_traits, deepface.deepface_area, deepface.is_faceless
    ),
    "FairFace": _Library(fairface.is_fairface, fairface.fairface_traits),
    "human": _Library(human.is_human, human.human_traits, human.human_area),
    "InsightFace": _Library(
        insightface.is_insightface, insightface.insightface_traits, insightface.insightface_area
    ),
}
# Words for the two values of one trait, which labels and libraries write differently.
_SAME = {"man": "male", "m": "male", "woman": "female", "f": "female"}


def is_output(said: Any) -> bool:
    """Whether something is what one of the libraries writes of a picture with a face.

    Raises PredictionsError where two of them could have written it.
    """
    faces = faces_in(said)
    return bool(faces) and _library(faces[0]) != ""


def faces_in(said: Any) -> list[Mapping[str, Any]]:
    """The records of faces in the output of a picture; none where it is something else."""
    if isinstance(said, Mapping):
        within = said.get("face")
        said = within if isinstance(within, Sequence) and not isinstance(within, str) else [said]
    if isinstance(said, str) or not isinstance(said, Sequence):
        return []
    return list(said) if all(isinstance(face, Mapping) for face in said) else []


def _library(face: Mapping[str, Any]) -> str:
    """Whose record this is; "" where nobody's."""
    found = [name for name, library in _LIBRARIES.items() if library.fits(face)]
    if len(found) > 1:
        raise PredictionsError(
            f"{str(dict(face))[:100]} could be what {' or '.join(found)} writes.",
            expected="the output of one library",
            todo="leave out the columns of the other, or give probabilities by class",
        )
    return found[0] if found else ""


class OutputReader:
    """Probabilities of a label's classes from the outputs of one library, picture by picture.

    Attributes
    ----------
    classes
        The label's, and after them what else the library tells apart.
    hard
        Whether some outputs are mere answers.
    library
        Whose outputs they are; "" before the first.
    several, faceless
        Pictures with more than one face, of which the largest counts, and those of which the
        library answered though it says that it found no face.
    notes
        What a reader of the figures must know of how probabilities were read.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes, self.hard, self.library = classes, False, ""
        self.several = self.faceless = 0
        self.notes: set[str] = set()
        self._labels, self._trait = classes, ""
        self._words: tuple[str, ...] = ()

    def __call__(self, said: Any) -> list[float] | None:
        """(classes,) probabilities that sum to 1; None: no answer.

        Raises PredictionsError where it is nothing that a library writes, another's than the one
        before, or says nothing of the label.
        """
        faces = faces_in(said)
        if not faces:
            return None
        self._know(_library(faces[0]), faces[0])
        library = _LIBRARIES[self.library]
        face = max(faces, key=library.area)
        self.several += len(faces) > 1
        self.faceless += library.is_faceless(face)
        found = library.traits(face)
        if found and not self._trait:
            self._choose(found)
        trait = found.get(self._trait)
        if trait is None:
            return None
        self.hard = self.hard or trait.hard
        if trait.note:
            self.notes.add(trait.note)
        return [trait.shares.get(word, 0.0) for word in self._words]

    def _know(self, library: str, face: Mapping[str, Any]) -> None:
        if not library or self.library not in ("", library):
            raise PredictionsError(
                f"{str(dict(face))[:100]} is not what "
                f"{self.library or 'DeepFace, FairFace, human or InsightFace'} writes.",
                expected="outputs of one library for all pictures",
                todo="give them as they are written, or probabilities by class",
            )
        self.library = library

    def _choose(self, found: Mapping[str, Trait]) -> None:
        """Settle which trait is the label: the one whose words hold all its classes."""
        fitting = []
        for name, trait in found.items():
            by_meaning = {_meaning(word): word for word in trait.words}
            mine = [by_meaning.get(_meaning(c)) for c in self._labels]
            if None not in mine and len({*mine}) == len(mine):
                others = [word for word in trait.words if word not in mine]
                fitting.append((len(others), name, [*mine, *others], others))
        if not fitting:
            there = "; ".join(f"{n}: {', '.join(t.words)}" for n, t in found.items()) or "nothing"
            raise PredictionsError(
                f"{self.library} speaks of {there}; the classes of the label are "
                f"{', '.join(self._labels)}.",
                expected="a label whose classes are among the words of one trait, in any case",
                todo="name another with --set data.target=…, rename its classes with --set "
                "'data.class_names=[\"label=class\"]', or write a function that sums classes up",
            )
        _, self._trait, words, others = min(fitting, key=lambda one: one[0])
        self._words = tuple(map(str, words))
        self.classes = (*self._labels, *others)


def _meaning(word: str) -> str:
    said = " ".join(tokens(word))
    return _SAME.get(said, said)
