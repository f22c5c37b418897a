"""How well the tone that is measured from pixels follows what is known of the skin.

On the project's synthetic faces the individual typology angle that each was drawn with is known. On
UTKFace (6,000 images) nobody measured skin; what there is is somebody's annotation of race. Race is
no skin tone: people of each annotated race have skin of every tone, so a perfect measurement would
not reach a correlation of 1. The images are ordered White, Asian, Indian, Black, from what is
lighter to what is darker on average; "Other" is left out. Given are Spearman's rank correlation of
the measured angle with that order, with a 95% interval (bootstrap by image, 1,000 draws), and, for
White and Black alone, the area under the ROC curve: the chance that of two images, one of each, the
angle is higher for the one annotated White.

CelebA's annotators wrote Pale_Skin; there the area is the chance that an image with it measures
lighter than one without. "Binned" counts only the images that are sure enough to get a bin, and
their share stands in the last column of every table.

The correction was chosen on the first half of UTKFace (by lot) and on synthetic faces of another
seed; the second half confirms it. "Error" is the root of the mean squared difference from the
known angle; in brackets the mean difference.

RESULTS

    python bench/tone.py ../shared/data/utkface ../shared/data/celeba64
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from candid.data.synthetic import FaceWorld, draw_faces
from candid.data.synthetic_cast import skin_lab
from candid.judge import tone
from candid.judge.metrics import roc_auc_score
from candid.judge.tone import Tone, measure_tone

ORDER = {0: 0, 2: 1, 3: 2, 1: 3}  # UTKFace's codes: White, Asian, Indian, Black
# The power of the exposure's correction (None: none), and that of a grey world before it.
VARIANTS: dict[str, tuple[float | None, float]] = {
    "as it is": (None, 0.0),
    "half the power": (0.15, 0.0),
    "corrected": (0.3, 0.0),
    "twice the power": (0.6, 0.0),
    "in full": (1.0, 0.0),
    "and grey world, 0.3": (0.3, 0.3),
    "and grey world, 1": (0.3, 1.0),
}


def utkface(folder: Path, most: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 64, 64, 3), and the place of each annotated race in the order."""
    pixels, order = [], []
    files = sorted(folder.glob("*.jpg"))
    for file in np.random.default_rng(0).permutation(np.array(files, dtype=object))[:most]:
        parts = file.name.split("_")
        if len(parts) != 4 or int(parts[2]) not in ORDER:
            continue
        picture = Image.open(file).convert("RGB").resize((64, 64), Image.Resampling.BOX)
        pixels.append(np.asarray(picture))
        order.append(ORDER[int(parts[2])])
    return np.stack(pixels), np.array(order)


def celeba(folder: Path, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The last pixels (n, 64, 64, 3) of the list, and whether Pale_Skin was annotated."""
    _, header, *lines = (folder / "list_attr_celeba.txt").read_text().splitlines()
    column = header.split().index("Pale_Skin") + 1
    rows = [line.split() for line in lines[-most:]]
    files = [folder / "img_align_celeba" / row[0] for row in rows]
    pixels = [np.asarray(Image.open(f).convert("RGB").resize((64, 64))) for f in files]
    return np.stack(pixels), np.array([row[column] == "1" for row in rows])


def ranks(x: np.ndarray) -> np.ndarray:
    """Mean ranks, ties shared."""
    values, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    del values
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[inverse]


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(ranks(x), ranks(y))[0, 1])


def with_interval(statistic, *arrays: np.ndarray, draws: int = 1000) -> str:
    """A figure of rows with its percentile interval, bootstrap by image."""
    rng, n = np.random.default_rng(0), len(arrays[0])
    drawn = [statistic(*(a[rows] for a in arrays)) for rows in rng.integers(0, n, (draws, n))]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{statistic(*arrays):.3f} [{low:.3f}, {high:.3f}]"


def grey_world(pixels: np.ndarray, power: float) -> np.ndarray:
    """Each channel's mean moved to that of the luminance, by a power (Buchsbaum 1980)."""
    linear = (pixels / np.float32(255)) ** np.float32(2.2)
    mean = linear.mean(axis=(1, 2))  # (n, 3)
    gain = ((mean @ [0.2127, 0.7152, 0.0722])[:, None] / np.maximum(mean, 1e-3)) ** power
    lit = (linear * gain[:, None, None]).clip(0, 1) ** (1 / 2.2)
    return np.round(255 * lit).astype(np.uint8)


def measured(pixels: np.ndarray, exposure: float | None, colour: float) -> Tone:
    if colour:
        pixels = np.concatenate([grey_world(p, colour) for p in np.array_split(pixels, 20)])
    before = tone._EXPOSURE
    tone._EXPOSURE = before if exposure is None else exposure
    try:
        return measure_tone(pixels, corrected=exposure is not None, quiet=True)
    finally:
        tone._EXPOSURE = before


def report(
    name: str, found: Tone, known: np.ndarray, draws: int, hue: np.ndarray | None = None
) -> None:
    """One line of figures; `known` is high for light skin, an angle where the hue is known too."""
    ok = ~np.isnan(found.ita)
    rank = with_interval(spearman, found.ita[ok], known[ok], draws=draws)
    text = f"    {name:20s} {ok.sum():5d}  {rank}"
    if hue is not None:
        error = found.ita[ok] - known[ok]
        text += f"   error {np.sqrt(np.mean(error**2)):5.1f}° ({error.mean():+.1f}°"
        text += f"), hue {np.sqrt(np.mean((found.hue[ok] - hue[ok]) ** 2)):.1f}°"
    else:
        two = ok & np.isin(known, [0, -3])
        area = with_interval(
            lambda x, y: float(roc_auc_score(y == 0, x)), found.ita[two], known[two], draws=draws
        )
        text += f"   {two.sum():5d} {area}"
    sure = found.bin >= 0
    print(f"{text}  {np.mean(sure):.0%}", flush=True)


def report_pale(name: str, found: Tone, pale: np.ndarray, draws: int) -> None:
    text = f"    {name:20s}"
    for rows in (~np.isnan(found.ita), found.bin >= 0):
        area = with_interval(
            lambda x, y: float(roc_auc_score(y, x)), found.ita[rows], pale[rows], draws=draws
        )
        text += f" {rows.sum():5d} {area}  "
    print(f"{text}{np.mean(found.bin >= 0):.0%}", flush=True)


def main() -> None:
    folders = [Path(a) for a in sys.argv[1:] if a != "--small"]
    small = "--small" in sys.argv
    draws = 50 if small else 1000
    pixels, order = utkface(folders[0], 600 if small else None)
    half = np.random.default_rng(1).random(len(pixels)) < 0.5
    for name, rows in (("UTKFace, the half that chose", half), ("UTKFace, the other half", ~half)):
        print(f"\n{name}: n, rank correlation; White and Black: n, area")
        for variant, powers in VARIANTS.items():
            report(variant, measured(pixels[rows], *powers), -order[rows], draws)
    if len(folders) > 1:
        pixels, pale = celeba(folders[1], 300 if small else 6000)
        print("\nCelebA: n, area for Pale_Skin; binned: n, area")
        for variant, powers in VARIANTS.items():
            report_pale(variant, measured(pixels, *powers), pale, draws)
    faces = draw_faces(FaceWorld(n=100 if small else 1000, side=64, seed=4))
    known = np.array([f.skin_tone for f in faces.truth.faces])
    lab = np.array([skin_lab(angle) for angle in known])
    hue = np.degrees(np.arctan2(lab[:, 2], lab[:, 1]))
    print("\nSynthetic faces: n, rank correlation with the angle that they were drawn with")
    for variant, powers in VARIANTS.items():
        report(variant, measured(faces.images, *powers), known, draws, hue)


if __name__ == "__main__":
    main()
