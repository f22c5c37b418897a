"""The stages that explain: a whole run, or one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from candid.errors import ConfigError, DataError, ImageError
from candid.pipeline.loading import loaded
from candid.pipeline.opening import Data, needs_torch
from candid.records import ModelCard, read_record, write_record
from candid.records.explanation import Explanation, write_explanation_arrays
from candid.runs import Run, refuse_untrained
from candid.settings import Config
from candid.storage.files import atomic, open_regular, read_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from candid.explanation.regions import Regions


def explain(
    run: Run,
    data: Data,
    config: Config,
    *,
    network: nn.Module | None = None,
    quiet: bool = False,
) -> Explanation:
    """What the run's network looks at: writes explanation.json and explanation.npz.

    `network` is a module of the caller's own, for `network.name = "own"`.

    Raises
    ------
    RunError
        Where the run holds no trained network.
    DataError
        Where the split holds no labelled images.
    """
    needs_torch()
    refuse_untrained(run)
    with loaded(run, config, network) as model:
        from candid.explanation.explain import explain_network

        dataset, store, about = data.dataset, data.store, config.explain
        rows = dataset.rows(about.split, store.usable)
        if not len(rows):
            raise DataError(
                f"The split {about.split!r} of {dataset.name} holds no labelled images.",
                expected="images to explain",
                todo="set explain.split",
            )
        if 0 < about.images < len(rows):
            chosen = np.random.default_rng(about.seed).choice(
                len(rows), about.images, replace=False
            )
            rows = rows[np.sort(chosen)]
        regions, note = _regions(data, rows, config)
        record, arrays = explain_network(
            model.network,
            store.pixels[rows],
            classes=model.card.classes,
            label=dataset.label[rows],
            identity=None if dataset.identity is None else dataset.identity[rows],
            ids=dataset.ids[rows],
            attributes={name: a[rows] for name, a in dataset.attributes.items()},
            regions=regions,
            mean=model.card.mean,
            std=model.card.std,
            config=about,
            target=model.card.target,
            bfloat16=model.bfloat16,
            mirrored=model.card.mirrored,
            quiet=quiet,
        )
        notes = record.notes if not note else (note, *record.notes)
        record = replace(record, split=about.split, notes=notes)
        write_explanation_arrays(run.explanation_arrays, arrays)
        write_record(run.explanation, record)  # the last: it says that the stage was finished
    return record


@dataclass(frozen=True, eq=False)
class ExplainedPicture:
    """One picture's answer, and its maps.

    Attributes
    ----------
    name
        The file.
    pixels
        (side, side, 3) uint8 as the network saw it.
    prediction, probability
        The answer and its calibrated probability.
    maps
        By method: (side, side), what speaks for (above 0) and against the answer; methods without a
        sign say only how much.
    badges
        By method: whether its maps could be trusted when the run was explained; "" where it was
        not.
    """

    name: str
    pixels: NDArray[np.uint8]
    prediction: str
    probability: float
    maps: dict[str, NDArray[np.float32]]
    badges: dict[str, str]


def explain_pictures(
    run: Run,
    files: Sequence[Path],
    config: Config,
    *,
    methods: Sequence[str] = (),
    network: nn.Module | None = None,
) -> list[ExplainedPicture]:
    """What the run's network looks at in some pictures; writes nothing, needs no data.

    Raises
    ------
    RunError
        Where the run holds no trained network.
    ImageError
        Where a file is not a picture.
    """
    pictures = _decoded(run, files, config)
    needs_torch()
    refuse_untrained(run)
    with loaded(run, config, network) as model:
        from candid.explanation.explain import saliency_maps
        from candid.explanation.sample import sample_of
        from candid.explanation.scoring import scoring

        card = model.card
        images = sample_of(
            np.stack(pictures),
            label=None,
            identity=None,
            ids=None,
            attributes={},
            mean=card.mean,
            std=card.std,
        ).tensor()
        with scoring(model.network, mirrored=card.mirrored) as scorer:
            logits = scorer.all_logits(images).double().cpu()
        probability = (logits / card.temperature).softmax(1).numpy()
        answers = probability.argmax(1)
        names = tuple(methods) or config.explain.methods
        maps = {
            name: saliency_maps(
                model.network,
                images,
                answers,
                method=name,
                config=config.explain,
                mirrored=card.mirrored,
            )
            for name in names
        }
    badges: dict[str, str] = {}
    if run.explanation.is_file():
        badges = {m.name: m.state for m in read_record(run.explanation, Explanation).methods}
    return [
        ExplainedPicture(
            name=str(files[i]),
            pixels=pictures[i],
            prediction=card.classes[answers[i]],
            probability=float(probability[i, answers[i]]),
            maps={name: each[i] for name, each in maps.items()},
            badges={name: badges.get(name, "") for name in maps},
        )
        for i in range(len(files))
    ]


def draw_explained(path: Path, explained: Sequence[ExplainedPicture]) -> None:
    """Write a PNG: a row per picture, the picture itself and then it below each method's map.

    What speaks for the answer is blue, what speaks against it orange.
    """
    from PIL import Image, ImageDraw

    from candid.explanation.saliency import TITLES
    from candid.serving.overlay import laid_over

    rows = []
    for one in explained:
        blank = np.zeros(one.pixels.shape[:2], np.float32)
        titled = {f"{one.prediction} {one.probability:.1%}": blank}
        for name, shades in one.maps.items():
            badge = one.badges[name]
            titled[f"{TITLES[name]}{f' ({badge})' if badge else ''}"] = shades
        tiles = []
        for title, shades in titled.items():
            tile = laid_over(one.pixels, shades, 0.8)
            framed = Image.new("RGB", (tile.width, tile.height + 18), "white")
            framed.paste(tile, (0, 18))
            ImageDraw.Draw(framed).text((4, 3), title, fill="black")
            tiles.append(np.asarray(framed))
        rows.append(np.concatenate(tiles, axis=1))
    with atomic(path) as part:
        Image.fromarray(np.concatenate(rows)).save(part, "PNG")


# --- the run's network ---------------------------------------------------------------------------


def _decoded(run: Run, files: Sequence[Path], config: Config) -> list[NDArray[np.uint8]]:
    """(side, side, 3) of each file, as the network wants them."""
    from candid.data.decode import decode

    side = read_record(run.model, ModelCard).side if run.model.is_file() else config.data.side
    pictures = []
    for file in files:
        try:
            encoded = read_bytes(file)
            decoded = decode(
                encoded, side=side, fit=config.data.fit, max_pixels=config.data.max_pixels
            )
        except OSError as error:
            raise ImageError(
                f"Cannot read {file}: {error.strerror or error}.",
                expected="a picture",
                todo="check the path",
            ) from error
        except ImageError as error:
            raise ImageError(
                f"{file} is not a picture: {error.what}.",
                expected=error.expected,
                todo="name a picture",
            ) from error
        pictures.append(decoded.pixels)
    return pictures


# --- where the parts of the faces are ------------------------------------------------------------


def _regions(data: Data, rows: NDArray[np.intp], config: Config) -> tuple[Regions | None, str]:
    """The regions of these rows, and what a reader must know about them."""
    from candid.explanation.regions import CELEBA, fitted, from_points
    from candid.pipeline.landmarks import find_landmarks, read_landmarks

    said = config.explain.regions.strip()
    side, store = data.store.side, data.store
    width, height = int(store.widths[rows[0]]), int(store.heights[rows[0]])
    if said == "none":
        return None, ""
    if said.endswith(".npz"):
        return _given(Path(said), data, rows, config.data.fit), ""
    if said == "auto":
        found = Path(data.dataset.origin) if data.dataset.origin else None
        if found is not None:
            beside = (found if found.is_dir() else found.parent) / "regions.npz"
            if beside.is_file():
                return _given(beside, data, rows, config.data.fit), ""
        if data.dataset.layout == "celeba":
            file = None if found is None else find_landmarks(found)
            if file is not None:
                points = _upright(read_landmarks(file, data.dataset.ids[rows]))
                return from_points(fitted(points, width, height, config.data.fit), side), ""
            said = "celeba"
        else:
            return None, (
                f"Nothing says where the parts of the faces in the layout {data.dataset.layout!r} "
                "are: set explain.regions to five points of the mean face, or to a file of masks."
            )
    points = CELEBA if said == "celeba" else _points(said)
    source = "celeba" if said == "celeba" else "landmarks"
    return from_points(fitted(points, width, height, config.data.fit), side, source=source), ""


def _upright(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Landmarks (n, 5, 2), with CelebA's mean where a face is seen so far from the side that its
    eyes and mouth lie in one line, which carries no template.
    """
    from candid.explanation.regions import CELEBA

    across, down = points[:, 1] - points[:, 0], points[:, 3:].mean(1) - points[:, :2].mean(1)
    area = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]
    usual = (CELEBA[1, 0] - CELEBA[0, 0]) * (CELEBA[3:, 1].mean() - CELEBA[:2, 1].mean())
    return np.where((area > 0.25 * usual)[:, None, None], points, CELEBA)


def _points(said: str) -> NDArray[np.float64]:
    """Five points from ten numbers."""
    try:
        numbers = [float(word) for word in said.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) != 10:
        raise ConfigError(
            f"explain.regions = {said!r} is not possible.",
            expected="auto, none, celeba, a file that ends with .npz, or ten numbers: x and y of "
            "both eyes, the nose and both corners of the mouth, in shares of width and height",
            todo="set explain.regions",
        )
    return np.array(numbers).reshape(5, 2)


def _given(path: Path, data: Data, rows: NDArray[np.intp], fit: str) -> Regions:
    """What a file says about these rows: masks, or five points of each face."""
    from candid.explanation.regions import fitted, from_points

    held = _held(path)
    if "points" not in held:
        return _masks(path, data)[rows]
    points = np.asarray(held["points"])
    if points.ndim != 3 or points.shape[1:] != (5, 2) or points.dtype.kind not in "fui":
        raise ConfigError(
            f"The points in {path} have the shape {points.shape} and the type {points.dtype}.",
            expected="numbers (n, 5, 2): x and y of both eyes, the nose and both corners of the "
            "mouth, in shares of width and height",
            todo="set explain.regions to another file, or to none",
        )
    own = _order(path, held, len(points), data.dataset.ids)[rows]
    sizes = zip(points[own], data.store.widths[rows], data.store.heights[rows], strict=True)
    placed = [fitted(five, int(width), int(height), fit) for five, width, height in sizes]
    return from_points(np.stack(placed), data.store.side)


def _masks(path: Path, data: Data) -> Regions:
    """Masks of every row of the data set, from a file with `regions`, `names` and, perhaps, `ids`.

    Raises
    ------
    ConfigError
        Where the file does not hold masks of these images.
    """
    from candid.explanation.regions import from_masks

    held = _held(path)
    if not {"regions", "names"} <= set(held):
        raise _unreadable(path, f"it holds {', '.join(held) or 'nothing'}")
    names = tuple(str(n) for n in held["names"])
    order = _order(path, held, len(held["regions"]), data.dataset.ids)
    return from_masks(names, held["regions"][order], data.store.side)


def _held(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays in a file."""
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except Exception as error:  # a damaged archive raises whatever its reader does
        raise _unreadable(path, getattr(error, "strerror", None) or type(error).__name__) from error


def _unreadable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"Cannot read masks from {path}: {why}",
        expected="an .npz file with regions (n, height, width) and names, or points (n, 5, 2)",
        todo="set explain.regions",
    )


def _order(
    path: Path, held: dict[str, NDArray[Any]], count: int, ids: NDArray[np.str_]
) -> NDArray[np.intp]:
    """Where in a file of so many entries each image's own stands: by `ids`, else as they come."""
    if "ids" in held:
        place = {str(name): i for i, name in enumerate(held["ids"])}
        missing = [str(name) for name in ids if str(name) not in place]
        order = np.array([place.get(str(name), 0) for name in ids], np.intp)
    else:
        missing = [] if count == len(ids) else ["an entry for every image, in their order"]
        order = np.arange(count)
    if missing or (len(order) and int(order.max()) >= count):
        raise ConfigError(
            f"{path} does not hold {'points' if 'points' in held else 'masks'} of these images: "
            f"{(missing or ['an entry'])[0]} is missing.",
            expected=f"{len(ids)} masks or points in the order of the data, or with ids",
            todo="set explain.regions to another file, or to none",
        )
    return order
