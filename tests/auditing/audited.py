"""Predictions made by hand, for the tests of the audit."""

from __future__ import annotations

import numpy as np

from candid.predictions import Attribute, Predictions
from candid.records import Estimate


def predictions(label, answer, *, attributes=None, person=None, classes=None, sure=None, **more):
    """Predictions of a model that answers so; attributes by name as codes, words or numbers."""
    label, answer = np.asarray(label, np.int16), np.asarray(answer)
    n = len(label)
    classes = classes or ("Female", "Male")
    sure = np.full(n, 0.9) if sure is None else np.asarray(sure)
    rest = (1 - sure) / (len(classes) - 1)
    p = np.repeat(rest[:, None], len(classes), axis=1)
    p[np.arange(n), answer] = sure
    return Predictions(
        target="Male",
        classes=tuple(classes),
        ids=np.asarray([f"{i:06d}.jpg" for i in range(n)], dtype=np.str_),
        split=more.pop("split", np.full(n, "test")),
        label=label,
        probability=p,
        person=None if person is None else np.asarray(person, np.int64),
        attributes={name: attribute(name, data) for name, data in (attributes or {}).items()},
        **more,
    )


def attribute(name, data):
    """Yes-or-no codes as they are; numbers as numbers; (values, codes) as words."""
    if isinstance(data, tuple):
        values, codes = data
        return Attribute(name, "categorical", tuple(values), np.asarray(codes, np.int16))
    data = np.asarray(data)
    if data.dtype.kind == "f":
        return Attribute(name, "numeric", (), data)
    return Attribute(name, "binary", ("no", "yes"), data.astype(np.int16))


def crowd(people, shares, seed, *, base=0.05, planted=None, classes=2):
    """Predictions on people with 1 to 4 pictures: mistakes come at `base`, more where planted."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), rng.integers(1, 5, people))
    n = len(person)
    label = rng.integers(0, classes, people)[person]
    has = {name: (rng.random(people) < share)[person] for name, share in shares.items()}
    chance = np.full(n, base)
    for names, more in (planted or {}).items():
        chance = np.where(np.logical_and.reduce([has[a] for a in names]), more, chance)
    # Half of the mistakes of a person come together.
    own = np.where(rng.random(n) < 0.5, rng.random(people)[person], rng.random(n))
    answer = np.where(own < chance, (label + rng.integers(1, classes, n)) % classes, label)
    return predictions(
        label,
        answer,
        attributes=has,
        person=person,
        classes=[f"c{k}" for k in range(classes)],
        sure=0.5 + 0.5 * rng.random(n),
    )


def undefined(n=0, people=None, confidence=0.95):
    """A figure that cannot be computed."""
    nan = float("nan")
    return Estimate(nan, nan, nan, n, "undefined", people=people, confidence=confidence)
