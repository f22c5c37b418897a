"""An explanation, made up: faces of three ellipses, maps that lie on the mouth or nowhere."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.records import Estimate
from candid.records.explanation import (
    Claim,
    ExplainedImage,
    Explanation,
    ExplanationArrays,
    MapCheck,
    MapDifference,
    Masking,
    Method,
    NumberExplained,
    NumberMasking,
    NumberSubsetMasking,
    Region,
    RegionShare,
    Subset,
    SubsetMasking,
)
from candid.records.inside import (
    Activation,
    Filters,
    Inside,
    Neighbour,
    NumberInside,
    NumberNeighbour,
    NumberResemblance,
    Resemblance,
    Unit,
)

REGIONS = ("hair", "forehead", "brows", "eyes", "nose", "cheeks", "mouth", "jaw", "background")
METHODS = (
    ("gradient", "Gradient", True, "failed"),
    ("smoothgrad", "SmoothGrad", True, "passed"),
    ("integrated_gradients", "Integrated gradients", True, "passed"),
    ("grad_cam", "Grad-CAM", False, "passed"),
    ("occlusion", "Occlusion", True, "passed"),
    ("rise", "RISE", False, "not applicable"),
)
SIDE = 24


def about(value: float, n: int = 400, people: int | None = 120, half: float = 0.01) -> Estimate:
    how = "bootstrap by image" if people is None else "bootstrap by person"
    return Estimate(value, value - half, value + half, n, how, people, 1000, 0)


def undefined(n: int = 0) -> Estimate:
    return Estimate(math.nan, math.nan, math.nan, n, "bootstrap by person")


def checks(state: str, title: str, people: int | None) -> tuple[MapCheck, ...]:
    def check(code: str, name: str, passes: bool | None, value: float, limit: float, way: Any,
              parts: dict[str, Estimate] | None = None) -> MapCheck:  # fmt: skip
        verdict: Any = "not applicable" if passes is None else "passed" if passes else "failed"
        figure = undefined() if passes is None else about(value, 64, people, 0.04)
        detail = f"{title}: {value:.2f} on 64 images"
        return MapCheck(code, name, verdict, figure, limit, way, detail, parts or {})

    if state == "not applicable":
        return ()
    good = state == "passed"
    layers = {"fc2": about(0.31, 64, people), "conv1": about(0.12, 64, people)}
    return (
        check("RANDOMISATION", "Randomised weights", good, 0.12 if good else 0.83, 0.5, "below",
              layers),
        check("DELETION", "Deletion", True, 0.11, 0.0, "above"),
        check("COMPLETENESS", "Completeness", True if "Integrated" in title else None, 0.01, 0.05,
              "below"),
        check("STABILITY", "Stability", True, 0.88, 0.5, "above"),
    )  # fmt: skip


def subsets(classes: Sequence[str], groups: Sequence[str], people: int | None) -> list[Subset]:
    def who(n: int) -> int | None:
        return None if people is None else max(1, n // 3)

    found = [Subset("all", "all", "all images", "", "", 400, who(400))]
    found += [Subset(f"class:{c}", "class", f"labelled {c}", "", "", 200, who(200))
              for c in classes]  # fmt: skip
    found += [
        Subset("right", "outcome", "answered rightly", "", "", 380, who(380)),
        Subset("wrong", "outcome", "answered wrongly", "", "", 20, who(20)),
        Subset("empty", "class and outcome", "nobody", "", "", 0, None if people is None else 0),
    ]
    for g in groups:
        found += [
            Subset(f"group:{g}={v}", "group", f"annotated {g}: {v}", g, v, n, who(n))
            for v, n in (("yes", 60), ("no", 340))
        ]
    return found


def explanation(
    *,
    classes: Sequence[str] = ("Female", "Male"),
    target: str = "Male",
    ids: str = "{:06d}.jpg",
    groups: Sequence[str] = ("Eyeglasses", "Smiling"),
    methods: Sequence[tuple[str, str, bool, str]] = METHODS,
    regions: Sequence[str] = REGIONS,
    people: int | None = 120,
    examples: int = 6,
    masked: bool = True,
) -> Explanation:
    """The record; `arrays_of` makes what belongs to it."""
    rng = np.random.default_rng(1)
    some = subsets(classes, groups, people)
    area = rng.dirichlet(np.full(len(regions), 6.0)) if regions else np.zeros(0)
    shares = []
    for name, _, _, _ in methods:
        for subset in some:
            if not subset.n:
                continue
            parts = rng.dirichlet(40 * area + 0.1)
            shares += [
                RegionShare(name, subset.key, r, about(float(p), subset.n, subset.people), float(a),
                            about(float(p / a), subset.n, subset.people, 0.1))
                for r, p, a in zip(regions, parts, area, strict=True)
            ]  # fmt: skip
    maskings = []
    for i, r in enumerate(regions if masked else ()):
        for j, fill in enumerate(("mean", "blur", "other")):
            lost, control = 0.004 * (i + 1) + 0.002 * j, 0.004
            maskings.append(
                Masking(r, fill, about(lost, 400, people), about(2 * lost, 400, people),
                        about(control, 400, people, 0.002), about(0.01, 400, people, 0.002),
                        about(lost - control, 400, people), about(2 * lost - 0.01, 400, people))
            )  # fmt: skip
    return Explanation(
        target=target,
        classes=tuple(classes),
        split="validation",
        n=400,
        people=people,
        side=SIDE,
        explained="prediction",
        template="celeba" if regions else "",
        skill=about(0.45, 400, people),
        methods=tuple(
            Method(name, title, f"{title} is made so", signed,
                   "conv2" if name == "grad_cam" else "", state, checks(state, title, people), 1.5)  # type: ignore[arg-type]
            for name, title, signed, state in methods
        ),
        subsets=tuple(some),
        differences=(
            MapDifference(f"class:{classes[1]}", f"class:{classes[0]}",
                          {name: 0.123 for name, *_ in methods}),
            MapDifference("right", "wrong", {}),
            *(MapDifference(f"group:{g}=yes", f"group:{g}=no", {n: 0.05 for n, *_ in methods})
              for g in groups),
        ),
        examples=tuple(
            ExplainedImage(ids.format(i), classes[i % 2], classes[i // 2 % 2], 0.9731,
                           classes[i // 2 % 2], "right" if i % 2 == i // 2 % 2 else "wrong")
            for i in range(examples)
        ),
        regions=tuple(Region(r, 400, float(a)) for r, a in zip(regions, area, strict=True)),
        shares=tuple(shares),
        maskings=tuple(maskings),
        claims=tuple(Claim(name, r, "passed" if r == "mouth" and name == "grad_cam" else "failed")
                     for name, *_ in methods for r in regions),
        confidence=0.95,
        seed=0,
        notes=("a sample of 400 of 2,945 images",),
        subset_maskings=tuple(
            SubsetMasking(r, s.key, about(0.01 * i + 0.001 * j, s.n, s.people),
                          about(0.02 * i + 0.003 * j, s.n, s.people))
            for j, s in enumerate(some) if s.kind in ("class", "group") and masked
            for i, r in enumerate(regions)
        ),
    )  # fmt: skip


def of_number(e: Explanation) -> Explanation:
    """The same of a number, whose own unit is the year: 1 to 9, and further below than above."""
    found: list[NumberMasking] = []
    for m in e.maskings:
        moved = 1000 * m.f1_loss.value / 4
        figures = (about(x, 400, e.people, 0.4) for x in (
            moved, 1.0, moved - 1, -moved / 2, 0.1, -moved / 2 - 0.1, 0.2, 0.1, 0.1
        ))  # fmt: skip
        found.append(NumberMasking(m.region, m.fill, *figures))
    subsets = tuple(
        NumberSubsetMasking(m.region, m.subset, about(2.5, m.flips.n, m.flips.people, 0.4),
                            about(-1.5, m.flips.n, m.flips.people, 0.4))
        for m in e.subset_maskings
    )  # fmt: skip
    number = NumberExplained(31.0, 38.2, about(7.0, 400, e.people, 0.5), 5.0, tuple(found), subsets)
    return dataclasses.replace(
        e,
        target="age",
        classes=(),
        explained="mean",
        maskings=(),
        subset_maskings=(),
        number=number,
        examples=tuple(
            dataclasses.replace(
                x, label="34", prediction="31.2 (20.0 to 45.1)", probability=math.nan,
                explained="32.4", kind="near",
            )
            for x in e.examples
        ),
    )  # fmt: skip


def drawn_face(hue: int) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5
    face = np.full((SIDE, SIDE, 3), 215, np.uint8)
    face[(rows / 0.42) ** 2 + (columns / 0.32) ** 2 < 1] = (200 - hue % 60, 160, 120 + hue % 80)
    face[((rows - 0.2) / 0.05) ** 2 + (columns / 0.14) ** 2 < 1] = (170, 60, 70)
    return face


def arrays_of(e: Explanation) -> ExplanationArrays:
    """Maps with a bump on the mouth that the record's numbers of everything ask for."""
    rng = np.random.default_rng(2)
    m, s, d, x = len(e.methods), len(e.subsets), len(e.differences), len(e.examples)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5
    bump = np.exp(-(((rows - 0.2) / 0.1) ** 2) - (columns / 0.15) ** 2)

    def maps(n: int) -> NDArray[np.float16]:
        noise = rng.normal(0, 0.2, (m, n, SIDE, SIDE))
        return (4 * bump - 0.6 * bump[::-1] + noise).astype(np.float16)

    means = maps(s)
    for i, subset in enumerate(e.subsets):
        if not subset.n:
            means[:, i] = np.nan
    return ExplanationArrays(
        means=means,
        strengths=np.abs(means),
        differences=(0.3 * maps(d)).astype(np.float16),
        half_widths=np.full((m, d, SIDE, SIDE), 0.4, np.float16),
        examples=maps(x),
        example_images=np.stack([drawn_face(20 * i) for i in range(x)])
        if x
        else np.zeros((0, SIDE, SIDE, 3), np.uint8),
        example_regions=np.full((x, SIDE, SIDE), 255, np.uint8),
        mean_images=np.stack([drawn_face(7 * i) for i in range(s)]),
        template=np.full((SIDE, SIDE), 255, np.uint8)
        if not e.regions
        else (np.arange(SIDE)[:, None] * len(e.regions) // SIDE + np.zeros(SIDE)).astype(np.uint8),
    )


def inside(
    *, ids: str = "{:06d}.jpg", classes: Sequence[str] = ("Female", "Male"), mapped: bool = True
) -> tuple[Inside, dict[str, NDArray[np.uint8]]]:
    """A network seen from inside."""
    names = [ids.format(i) for i in range(20)]

    def activation(i: int, value: float) -> Activation:
        where = (0.5, 0.25) if mapped else (math.nan, math.nan)
        return Activation(names[i], value, *where)

    record = Inside(
        filters=Filters("conv1", 3, 3, 32, tuple(float(1 / (i + 1)) for i in range(16))),
        layer="fc1",
        units_in_layer=128,
        units=tuple(
            Unit(7 * u, 0.5, 1.9, math.nan if mapped else 0.2 / (u + 1),
                 tuple(activation(i, 6.0 - i) for i in range(4)),
                 tuple(activation(4 + i, i - 6.0) for i in range(4)))
            for u in range(3)
        ),
        n=400,
        hidden_size=128,
        mistakes=21,
        resemblances=(
            Resemblance(names[8], classes[0], classes[1], 0.991,
                        tuple(Neighbour(names[10 + i], classes[i % 2], 0.97 - 0.01 * i)
                              for i in range(4))),
            Resemblance(names[9], classes[1], classes[0], 0.87, ()),
        ),
        training_n=10_000,
        faces=tuple(names),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    return record, {
        "faces": np.stack([drawn_face(9 * i) for i in range(20)]),
        "filters": rng.integers(0, 256, (16, 3, 3, 3), dtype=np.uint8),
    }


def inside_of_number(seen: Inside) -> Inside:
    """The same of a number in years, near where it is off by at most 5."""
    units = tuple(
        dataclasses.replace(u, weight=3.24 / (i + 1), raises=(0.97, 0.031, math.nan)[i])
        for i, u in enumerate(seen.units)
    )
    near = tuple(NumberNeighbour(seen.faces[10 + i], 30.0 + i, 0.97) for i in range(4))
    found = (
        NumberResemblance(seen.faces[8], 62, 31, 22, 45, near),
        NumberResemblance(seen.faces[9], 8.5, 17.46, 9.2, 31.7, ()),
    )
    return dataclasses.replace(seen, units=units, resemblances=(), number=NumberInside(5.0, found))


def explained(inputs: Any, **changed: Any) -> Any:
    """A report's input with an explanation, its maps and a look inside."""
    record = explanation(**changed)
    names = {k: v for k, v in changed.items() if k in ("ids", "classes")}
    seen, pictures = inside(**names)
    return dataclasses.replace(
        inputs, explanation=record, maps=arrays_of(record), inside=seen, inside_pictures=pictures
    )
