"""How much of what can be learned is lost with a part of what there is to learn it from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from candid.arrays import Floats
from candid.stats.intervals import linearised, linearised_error

CONFIDENCE = 0.95  # one-sided


@dataclass(frozen=True, slots=True)
class Retention:
    """Mean losses of n images, and the share of what can be learned that the part has lost."""

    n: int
    base: float  # without looking
    whole: float
    part: float
    lost: float  # (part - whole) / (base - whole)
    high: float  # its upper limit, one-sided at 95%


def retention(base: Floats, whole: Floats, part: Floats) -> Retention:
    """Of the losses (n,) of the same images without looking, with all, and with a part of it.

    The share that is lost is a ratio of means, its error that of the ratio's linearisation (the
    delta method), images counted as independent. NaN where the whole is not better than not
    looking with the same confidence, or the part not: then nothing is known. What is NaN in any of
    the three is left out.

    That a part does is shown as in a trial of non-inferiority: the limit, not the value, must be
    small (Food and Drug Administration, Non-Inferiority Clinical Trials to Establish Effectiveness,
    2016).
    """
    base, whole, part = np.stack([base, whole, part])[:, ~np.isnan(base + whole + part)]
    n = len(base)
    if n < 2:
        return Retention(n, *(np.nan,) * 5)
    means = (float(base.mean()), float(whole.mean()), float(part.mean()))
    z = float(ndtri(CONFIDENCE))
    gains = np.stack([base - whole, base - part], axis=1)
    if not np.all(gains.mean(axis=0) > z * gains.std(axis=0, ddof=1) / np.sqrt(n)):
        return Retention(n, *means, np.nan, np.nan)
    value, moves = linearised((part - whole)[:, None], (base - whole)[:, None])
    error = linearised_error(moves, np.array([n]))
    return Retention(n, *means, float(value[0]), float(value[0] + z * error[0]))
