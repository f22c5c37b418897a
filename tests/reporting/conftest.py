"""A run, simulated: the records that the report reads, with figures that scikit-learn computed."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from sklearn import metrics as sk

from candid.config import with_values
from candid.records import (
    AttributeSummary,
    ClassMetrics,
    Convergence,
    Count,
    Curve,
    Estimate,
    Evaluation,
    Example,
    Exploration,
    Finding,
    Histogram,
    HistoryRow,
    Layer,
    ModelCard,
    Provenance,
    ReliabilityBin,
    SplitEvaluation,
    SplitSummary,
)
from candid.reporting.page import render
from candid.settings import Config
from candid.text.inputs import ReportInput
from reporting.browser import Browser


@dataclass(frozen=True)
class Words:
    """The words that a data set brings along: where they are hostile, nothing may run."""

    classes: tuple[str, ...] = ("Female", "Male")
    target: str = "Male"
    data: str = "faces"
    ids: str = "{:06d}.jpg"
    attributes: tuple[str, ...] = ("Wearing_Lipstick", "No_Beard", "Eyeglasses", "Smiling", "Bangs")
    value: str = "yes"
    command: str = "candid run faces --target Male"


def wilson(hits: int, n: int) -> Estimate:
    """A share with its Wilson interval."""
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0, "Wilson")
    z, p = 1.959964, hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Estimate(p, centre - half, centre + half, n, "Wilson")


def around(value: float, n: int, people: int | None, spread: float = 0.5) -> Estimate:
    """A figure with an interval of a width that n images would give."""
    half = spread / math.sqrt(n)
    how = "bootstrap by image" if people is None else "bootstrap by person"
    return Estimate(value, value - half, min(1.0, value + half), n, how, people, 1000, 0)


def simulate(
    rng: np.random.Generator, n: int, classes: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Labels, and probabilities that are right about as often as they claim."""
    label = rng.choice(
        classes, size=n, p=np.linspace(1.4, 1, classes) / np.linspace(1.4, 1, classes).sum()
    )
    logits = rng.normal(0, 1.5, (n, classes))
    logits[np.arange(n), label] += 4.5
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return label, e / e.sum(axis=1, keepdims=True)


def split_evaluation(
    rng: np.random.Generator, split: Any, n: int, people: int | None, words: Words
) -> SplitEvaluation:
    """One split's figures, from scikit-learn."""
    k = len(words.classes)
    label, p = simulate(rng, n, k)
    answer, confidence = p.argmax(axis=1), p.max(axis=1)
    onehot = np.eye(k)[label]
    values = {
        "weighted_f1": sk.f1_score(label, answer, average="weighted"),
        "accuracy": sk.accuracy_score(label, answer),
        "balanced_accuracy": sk.balanced_accuracy_score(label, answer),
        "roc_auc": np.mean([sk.roc_auc_score(onehot[:, i], p[:, i]) for i in range(k)]),
        "average_precision": sk.average_precision_score(onehot, p),
        "log_loss": sk.log_loss(label, p),
        "brier_score": np.mean(np.sum((p - onehot) ** 2, axis=1)),
        "calibration_error": 0.0121,
        "calibration_error_before": 0.0342,
        "majority_f1": sk.f1_score(
            label, np.full(n, np.bincount(label).argmax()), average="weighted", zero_division=0
        ),
    }

    def bins(confidence: NDArray[np.float64]) -> tuple[ReliabilityBin, ...]:
        found = []
        for low, high in zip(np.linspace(0, 1, 16), np.linspace(0, 1, 16)[1:], strict=False):
            here = (confidence > low) & (confidence <= high)
            mean = float(confidence[here].mean()) if here.any() else math.nan
            hits, n_here = int((answer == label)[here].sum()), int(here.sum())
            found.append(
                ReliabilityBin(float(low), float(high), n_here, mean, wilson(hits, n_here))
            )
        return tuple(found)

    sharper = p**1.31 / (p**1.31).sum(axis=1, keepdims=True)
    rocs, prs = [], []
    for i, name in enumerate(words.classes):
        x, y, _ = sk.roc_curve(onehot[:, i], p[:, i])
        keep = np.unique(np.linspace(0, len(x) - 1, 120).astype(int))
        rocs.append(Curve(name, tuple(map(float, x[keep])), tuple(map(float, y[keep]))))
        precision, recall, _ = sk.precision_recall_curve(onehot[:, i], p[:, i])
        keep = np.unique(np.linspace(0, len(recall) - 1, 120).astype(int))
        prs.append(Curve(name, tuple(map(float, recall[keep])), tuple(map(float, precision[keep]))))

    def example(i: int) -> Example:
        return Example(
            words.ids.format(i),
            words.classes[label[i]],
            words.classes[answer[i]],
            float(confidence[i]),
            float(p[i, label[i]]),
        )

    order = np.argsort(-confidence)
    mistakes = [int(i) for i in order if answer[i] != label[i]][:24]
    return SplitEvaluation(
        split=split,
        n=n,
        people=people,
        metrics={key: around(float(v), n, people) for key, v in values.items()},
        classes=tuple(
            ClassMetrics(
                name,
                int((label == i).sum()),
                around(float(sk.precision_score(label == i, answer == i)), n, people),
                around(float(sk.recall_score(label == i, answer == i)), n, people),
                around(float(sk.f1_score(label == i, answer == i)), n, people),
                around(float(sk.roc_auc_score(onehot[:, i], p[:, i])), n, people, 0.2),
                around(float(sk.average_precision_score(onehot[:, i], p[:, i])), n, people, 0.2),
            )
            for i, name in enumerate(words.classes)
        ),
        confusion=tuple(
            tuple(map(int, row)) for row in sk.confusion_matrix(label, answer, labels=range(k))
        ),
        reliability=bins(confidence),
        reliability_before=bins(sharper.max(axis=1)),
        roc=tuple(rocs),
        precision_recall=tuple(prs),
        surest_mistakes=tuple(example(i) for i in mistakes),
        least_sure=tuple(example(int(i)) for i in order[::-1][:24]),
    )


def exploration(rng: np.random.Generator, words: Words, people: int | None) -> Exploration:
    """What explore would have found."""
    k = len(words.classes)
    splits, attributes = [], []
    for split, n in (("train", 24152), ("validation", 2939), ("test", 2909)):
        share = np.linspace(1.4, 1, k) / np.linspace(1.4, 1, k).sum()
        counts = tuple(int(c) for c in rng.multinomial(n, share))
        splits.append(
            SplitSummary(
                split, n, people and people // 3, counts, tuple(wilson(c, n) for c in counts)
            )
        )
        for i, name in enumerate(words.attributes):
            shares = np.clip(
                rng.uniform(0.05, 0.6) + (0.35 - 0.06 * i) * np.linspace(-1, 1, k), 0.01, 0.99
            )
            attributes.append(
                AttributeSummary(
                    name,
                    words.value,
                    split,
                    wilson(int(n * shares.mean()), n),
                    tuple(map(float, shares)),
                    around(max(0.01, 0.8 - 0.13 * i), n, people),
                )
            )
    edges = tuple(np.linspace(0, 1, 31))

    def histogram(name: str, centre: float) -> Histogram:
        values = np.clip(rng.normal(centre, 0.12, 9000), 0, 1)
        return Histogram(name, edges, tuple(map(int, np.histogram(values, edges)[0])), centre, 0.12)

    findings = (
        Finding(
            "DUPLICATES-ACROSS-SPLITS",
            "Near duplicates across splits",
            "found",
            "warning",
            "14 test images are nearly the same as a training image.",
            14,
            2909,
            (words.ids.format(1), words.ids.format(2)),
            "Drop them from test, or say so beside the figure.",
        ),
        Finding(
            "MIXED-SIZES",
            "Sizes differ",
            "not found",
            "note",
            "All images are 64 × 64 pixels.",
            0,
            30000,
        ),
        Finding(
            "PEOPLE-ACROSS-SPLITS",
            "People across splits",
            "not found" if people else "not applicable",
            "serious",
            "No person stands in two splits." if people else "Nobody knows who is who.",
            0,
            30000 if people else 0,
        ),
    )
    return Exploration(
        name=words.data,
        layout="celeba",
        target=words.target,
        classes=words.classes,
        n=30000,
        unreadable=0,
        unlabelled=0,
        people=people,
        side=64,
        fingerprint="9f2c" * 8,
        sizes=(Count("64 × 64", 30000),),
        modes=(Count("RGB", 30000),),
        formats=(Count("JPEG", 30000),),
        splits=tuple(splits),
        attributes=tuple(attributes),
        brightness=tuple(histogram(c, 0.42 + 0.07 * i) for i, c in enumerate(words.classes)),
        contrast=tuple(histogram(c, 0.25 + 0.03 * i) for i, c in enumerate(words.classes)),
        findings=findings,
    )


def history(rng: np.random.Generator, steps: int = 635) -> list[HistoryRow]:
    """A training that settles."""
    rows = []
    for step in range(1, steps + 1):
        loss = 0.12 + 0.58 * math.exp(-step / 90)
        measured = step % (steps // 20) == 0
        rows.append(
            HistoryRow(
                step,
                step * 256,
                step * 0.21,
                1e-3,
                abs(loss + rng.normal(0, 0.04)),
                min(1.0, 1 - loss / 2 + rng.normal(0, 0.015)),
                *((loss - 0.015, 0.965 - loss / 3, 0.966 - loss / 3) if measured else ()),
            )
        )
    return rows


def model(words: Words) -> ModelCard:
    """The plain network's card, as PyTorch describes its layers."""
    return ModelCard(
        network="plain",
        options={},
        target=words.target,
        classes=words.classes,
        side=64,
        mean=(0.5, 0.4, 0.4),
        std=(0.3, 0.3, 0.3),
        temperature=1.31,
        parameters=7392450,
        multiply_adds=86_000_000,
        step=600,
        kept="best",
        layers=(
            Layer("conv1", "Conv2d", (32, 62, 62), 896, "3, 32, kernel_size=(3, 3), stride=(1, 1)"),
            Layer("relu1", "ReLU", (32, 62, 62), 0),
            Layer(
                "conv2", "Conv2d", (64, 60, 60), 18496, "32, 64, kernel_size=(3, 3), stride=(1, 1)"
            ),
            Layer("relu2", "ReLU", (64, 60, 60), 0),
            Layer("pool", "MaxPool2d", (64, 30, 30), 0, "kernel_size=2, stride=2, padding=0"),
            Layer("drop1", "Dropout", (64, 30, 30), 0, "p=0.25, inplace=False"),
            Layer("flatten", "Flatten", (57600,), 0, "start_dim=1, end_dim=-1"),
            Layer(
                "fc1", "Linear", (128,), 7372928, "in_features=57600, out_features=128, bias=True"
            ),
            Layer("relu3", "ReLU", (128,), 0),
            Layer("drop2", "Dropout", (128,), 0, "p=0.5, inplace=False"),
            Layer("fc2", "Linear", (2,), 258, "in_features=128, out_features=2, bias=True"),
        ),
    )


def picture(hue: int, side: int = 96) -> bytes:
    """A coloured disc that stands for a face."""
    image = Image.new("RGB", (side, side), f"hsl({hue}, 25%, 78%)")
    ImageDraw.Draw(image).ellipse(
        (side // 4, side // 6, side * 3 // 4, side * 5 // 6), f"hsl({hue}, 40%, 55%)"
    )
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()


def build(
    words: Words | None = None,
    *,
    people: int | None = 4_200,
    splits: Sequence[str] = ("validation", "test"),
    explored: bool = True,
    trained: bool = True,
    n: int = 2900,
) -> ReportInput:
    """A whole input; parts can be left out."""
    words = words or Words()
    rng = np.random.default_rng(3)
    made = tuple(split_evaluation(rng, split, n, people and people // 6, words) for split in splits)
    seen = {e.id for s in made for e in (*s.surest_mistakes, *s.least_sure)}
    samples = {
        c: [words.ids.format(10_000 + 100 * i + j) for j in range(12)]
        for i, c in enumerate(words.classes)
    }
    seen |= {id for ids in samples.values() for id in ids}
    pictures = {f"mean-{c}": picture(60 * i, 64) for i, c in enumerate(words.classes)}
    return ReportInput(
        config=with_values(Config(), {"train": {"steps": 635, "seed": 7, "keep": "best"}}),
        provenance=Provenance(
            candid="0.1.0",
            command=words.command,
            started="2026-11-24T03:14:00+00:00",
            seconds={"explore": 21.4, "train": 133.0, "evaluate": 4.2},
            seed=7,
            commit="a51705682",
            versions={"python": "3.11.2", "numpy": "2.3.0"},
            machine={"processor": "x86_64, 2 cores", "system": "Linux"},
            data=f"/home/someone/{words.data}",
            data_fingerprint="9f2c" * 8,
        ),
        evaluation=Evaluation(
            words.target,
            words.classes,
            1.31,
            made,
            Convergence(
                "settled",
                "Training had settled: the validation loss no longer fell.",
                "the slope of the validation loss over the last quarter of the measurements is "
                "within its standard error of zero.",
                {"slope": -0.0001, "standard_error": 0.0004},
            )
            if trained
            else None,
        ),
        exploration=exploration(rng, words, people) if explored else None,
        history=history(rng) if trained else (),
        model=model(words) if trained else None,
        thumbnails={id: picture(i * 7 % 360) for i, id in enumerate(sorted(seen))},
        pictures=pictures | {"difference": picture(200, 64), "augmented": picture(120, 320)},
        samples=samples,
    )


@pytest.fixture(scope="session")
def make() -> Callable[..., ReportInput]:
    """`make(Words(…), people=None, …)` → ReportInput."""
    return build


@pytest.fixture(scope="session")
def plain() -> ReportInput:
    """A complete run on two classes."""
    return build()


HOSTILE = Words(
    classes=("<script>alert(1)</script>", "\"'></script><img src=x onerror=alert(2)>"),
    target="</script><script>alert(3)</script>",
    data="{{ 7*7 }}<b>&amp;",
    ids="<img src=http://evil.example/{} onerror=alert(4)>.jpg",
    attributes=(
        "</svg><script>alert(5)</script>",
        "`a` | [x](javascript:alert(6))",
        "--- \n# y: *z*",
    ),
    value="'\"><iframe src=//evil.example>",
    command="candid run '<script>alert(7)</script>' ``` `x`",
)


MANY = Words(
    classes=("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70"),
    target="age",
)
# Nothing but predictions on one split, by nobody knows whom.
BARE: dict[str, Any] = {
    "people": None,
    "splits": ("validation",),
    "explored": False,
    "trained": False,
}


@pytest.fixture(scope="session")
def pages() -> Callable[[str], str]:
    """`pages("plain")` → the report as HTML, rendered once."""
    made = {
        "plain": lambda: build(),
        "hostile": lambda: build(HOSTILE, n=600),
        "many": lambda: build(MANY, n=900),
        "bare": lambda: build(n=400, **BARE),
    }
    return functools.cache(lambda name: render(made[name]()))


@pytest.fixture(scope="session")
def hostile() -> ReportInput:
    """A run whose every word wants to be markup."""
    return build(HOSTILE)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for the tests of a module, which skip where there is none."""
    chromium = Browser(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()
