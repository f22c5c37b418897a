"""Whether training pictures lie squeezed, and by how much: told from the faces in them.

Data sets are handed around with every picture made square, whatever its shape was. Nothing in the
files says so, and a detector still finds square boxes in them. But OpenCV's cascade of faces (Viola
& Jones 2001) was trained on faces as they are, and looks at a face in many windows: the nearer its
proportions come to those, the more windows hold a face. So pictures are stretched by several
factors, and a parabola through the highest mean counts says at which one most would be found.

Measured on 60 pictures each, before what the cascade itself prefers is taken off: CelebA squeezed
to squares 1.25 (218 / 178 = 1.22 is true), UTKFace 1.02, FairFace 1.05, drawn faces 1.07 (1 is true
of all three), standard errors 0.02 to 0.03; the same after each was squeezed by 0.64 to 1.35.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.inference.faces import FACE_CASCADE, Pixels, cascades, load_cv2

_STRETCHES = np.linspace(-0.75, 0.75, 11)  # logarithms: 0.47 to 2.1 times as tall
_AROUND = 2  # stretches on either side of the best that the parabola goes through
_PREFERRED = 0.03  # the stretch at which the cascade sees most in faces that are not squeezed
_EDGE = 96  # pixels per side, by area
_LEAST = math.log(1.1)  # what is nearer to 1 counts as not squeezed
_ERRORS = 3  # standard errors from 1 at least
_FEWEST = 20


def measure_squeeze(pictures: Iterable[Pixels]) -> float:
    """How many times taller faces are in the world than in pictures (each of any size).

    1.0 where they are as tall, where too little speaks for another factor, and where OpenCV brings
    no cascade (from version 5 on).
    """
    folder = cascades()
    if folder is None:
        return 1.0
    cascade = load_cv2().CascadeClassifier(str(folder / FACE_CASCADE))
    counts = [[_windows(cascade, picture, s) for s in _STRETCHES] for picture in pictures]
    return _peak(np.array(counts, np.float64))


def _windows(cascade: Any, picture: Pixels, stretch: float) -> int:
    """In how many windows the cascade sees a face, in a picture made exp(stretch) times taller."""
    cv2 = load_cv2()
    height, width = picture.shape[:2]
    tall = math.exp(stretch / 2)
    scale = _EDGE / math.sqrt(height * width)
    size = (max(1, round(width * scale / tall)), max(1, round(height * scale * tall)))
    if max(size) > 8 * _EDGE:
        return 0
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), size, interpolation=method)
    border = _EDGE // 4  # the face may reach to the edges
    grey = cv2.copyMakeBorder(grey, *4 * (border,), cv2.BORDER_REPLICATE)
    return len(cascade.detectMultiScale(grey, 1.1, 0, minSize=(border, border)))


def _peak(counts: NDArray[np.float64]) -> float:
    """Where the parabola through the mean of counts (pictures, stretches) is highest."""
    if len(counts) < _FEWEST:
        return 1.0
    best = min(max(int(counts.mean(0).argmax()), _AROUND), len(_STRETCHES) - 1 - _AROUND)
    near = slice(best - _AROUND, best + _AROUND + 1)
    around = _STRETCHES[near] - _STRETCHES[best]
    bend, slope, _ = np.polyfit(around, counts[:, near].T, 2)  # each (pictures,)
    if bend.mean() > -1e-6:
        return 1.0
    top = float(slope.mean() / (-2 * bend.mean()))
    error = float(slope.std(ddof=1) / math.sqrt(len(counts)) / (-2 * bend.mean()))
    stretch = float(_STRETCHES[best]) + min(max(top, around[0]), around[-1]) - _PREFERRED
    return math.exp(stretch) if abs(stretch) >= max(_LEAST, _ERRORS * error) else 1.0
