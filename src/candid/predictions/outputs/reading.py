"""Probabilities of a label from the outputs of well-known face libraries.

An image's output is a record of a face, a list of them, or what human gives for an image; an empty
list: no face was found.
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


@dataclass(frozen=True, slots=True)
class _Library:
    """How to recognize a library's record of a face, and to read its traits and its area."""

    fits: Callable[[_Face], bool]
    traits: Callable[[_Face], dict[str, Trait]]
    area: Callable[[_Face], float] = lambda face: 0.0  # the first of several faces counts
    is_faceless: Callable[[_Face], bool] = lambda face: False


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
# Synonyms of labels and libraries.
_SAME = {"man": "male", "m": "male", "woman": "female", "f": "female"}


def is_output(output: Any) -> bool:
    """Whether it is one of the libraries' output for an image with a face.

    Raises PredictionsError where two of them could have written it.
    """
    faces = faces_in(output)
    return bool(faces) and _identify_library(faces[0]) != ""


def faces_in(output: Any) -> list[Mapping[str, Any]]:
    """The records of faces in an image's output; none where it is something else."""
    if isinstance(output, Mapping):
        faces = output.get("face")
        output = faces if isinstance(faces, Sequence) and not isinstance(faces, str) else [output]
    if isinstance(output, str) or not isinstance(output, Sequence):
        return []
    return list(output) if all(isinstance(face, Mapping) for face in output) else []


def _identify_library(face: Mapping[str, Any]) -> str:
    """The library that wrote the record; "" unknown."""
    names = [name for name, library in _LIBRARIES.items() if library.fits(face)]
    if len(names) > 1:
        raise PredictionsError(
            f"{str(dict(face))[:100]} could be what {' or '.join(names)} writes.",
            expected="the output of one library",
            todo="leave out the columns of the other, or give probabilities by class",
        )
    return names[0] if names else ""


class OutputReader:
    """Probabilities of a label's classes from the outputs of one library, image by image.

    Attributes
    ----------
    classes
        The label's, then the library's further ones.
    hard
        Whether some outputs are mere answers.
    library
        Its name; "" before the first output.
    several, faceless
        Images with more than one face, of which the largest counts, and those with an answer
        although the library found no face.
    notes
        How probabilities were read, where that is not obvious.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes, self.hard, self.library = classes, False, ""
        self.several = self.faceless = 0
        self.notes: set[str] = set()
        self._labels, self._trait = classes, ""
        self._words: tuple[str, ...] = ()

    def __call__(self, output: Any) -> list[float] | None:
        """(classes,) probabilities that sum to 1; None: no answer.

        Raises PredictionsError where no library writes it, or another one than before, or where it
        does not hold the label.
        """
        faces = faces_in(output)
        if not faces:
            return None
        self._check_library(_identify_library(faces[0]), faces[0])
        library = _LIBRARIES[self.library]
        face = max(faces, key=library.area)
        self.several += len(faces) > 1
        self.faceless += library.is_faceless(face)
        traits = library.traits(face)
        if traits and not self._trait:
            self._choose_trait(traits)
        trait = traits.get(self._trait)
        if trait is None:
            return None
        self.hard = self.hard or trait.hard
        if trait.note:
            self.notes.add(trait.note)
        return [trait.probabilities.get(word, 0.0) for word in self._words]

    def _check_library(self, library: str, face: Mapping[str, Any]) -> None:
        if not library or self.library not in ("", library):
            raise PredictionsError(
                f"{str(dict(face))[:100]} is not what "
                f"{self.library or 'DeepFace, FairFace, human or InsightFace'} writes.",
                expected="outputs of one library for all pictures",
                todo="give them as they are written, or probabilities by class",
            )
        self.library = library

    def _choose_trait(self, traits: Mapping[str, Trait]) -> None:
        """Choose the trait whose words include all classes of the label."""
        candidates = []
        for name, trait in traits.items():
            by_canonical = {_canonical(word): word for word in trait.words}
            matches = [by_canonical.get(_canonical(c)) for c in self._labels]
            if None not in matches and len({*matches}) == len(matches):
                rest = [word for word in trait.words if word not in matches]
                candidates.append((len(rest), name, [*matches, *rest], rest))
        if not candidates:
            listed = "; ".join(f"{n}: {', '.join(t.words)}" for n, t in traits.items()) or "nothing"
            raise PredictionsError(
                f"{self.library} speaks of {listed}; the classes of the label are "
                f"{', '.join(self._labels)}.",
                expected="a label whose classes are among the words of one trait, in any case",
                todo="name another with --set data.target=…, rename its classes with --set "
                "'data.class_names=[\"label=class\"]', or write a function that sums classes up",
            )
        _, self._trait, words, rest = min(candidates, key=lambda reading: reading[0])
        self._words = tuple(map(str, words))
        self.classes = (*self._labels, *rest)


def _canonical(word: str) -> str:
    text = " ".join(tokens(word))
    return _SAME.get(text, text)
