"""How well the tone that is measured from pixels follows what is known of the skin.

On the project's synthetic faces the individual typology angle that each was drawn with is known. On
UTKFace (6,000 images) nobody measured skin; what there is is somebody's annotation of race. Race is
no skin tone: people of each annotated race have skin of every tone, so a perfect measurement would
not reach a correlation of 1. The images are ordered White, Asian, Indian, Black, from what is
lighter to what is darker on average; "Other" is left out. Given are Spearman's rank correlation of
the measured angle with that order, with a 95% interval (bootstrap by image, 1,000 draws), and, for
White and Black alone, the area under the ROC curve: the chance that of two images, one of each, the
angle is higher for the one annotated White.

The correction was chosen on the first half of UTKFace (by lot) and on synthetic faces of another
seed; the second half confirms it. "Error" is the root of the mean squared
difference from the known angle; in brackets the mean difference.

On CPU, numpy 2.4.6; the last column is the share of pictures that get a bin:

    UTKFace, the half that chose: n, rank correlation; White and Black: n, area
    as it is              2659  0.345 [0.310, 0.379]    1764 0.788 [0.767, 0.811]  74%
    half the power        2660  0.361 [0.324, 0.395]    1765 0.799 [0.777, 0.823]  74%
    corrected             2660  0.375 [0.337, 0.409]    1765 0.809 [0.787, 0.831]  74%
    twice the power       2660  0.398 [0.361, 0.430]    1765 0.825 [0.804, 0.846]  75%
    in full               2661  0.405 [0.370, 0.438]    1766 0.828 [0.807, 0.850]  78%
    and grey world, 0.3   2658  0.379 [0.345, 0.412]    1762 0.811 [0.787, 0.831]  68%
    and grey world, 1     2345  0.291 [0.252, 0.329]    1547 0.732 [0.706, 0.758]  28%

    UTKFace, the other half: n, rank correlation; White and Black: n, area
    as it is              2675  0.338 [0.303, 0.372]    1720 0.789 [0.766, 0.812]  75%
    half the power        2675  0.352 [0.317, 0.386]    1720 0.798 [0.776, 0.820]  75%
    corrected             2675  0.363 [0.328, 0.398]    1720 0.805 [0.782, 0.826]  75%
    twice the power       2675  0.378 [0.345, 0.413]    1720 0.814 [0.791, 0.836]  75%
    in full               2676  0.378 [0.345, 0.412]    1721 0.808 [0.786, 0.830]  79%
    and grey world, 0.3   2674  0.371 [0.338, 0.405]    1719 0.809 [0.785, 0.831]  68%
    and grey world, 1     2360  0.284 [0.246, 0.319]    1517 0.729 [0.704, 0.754]  28%

    Synthetic faces: n, rank correlation with the angle that they were drawn with
    as it is              1000  0.981 [0.976, 0.985]   error  10.0° (-7.7°), hue 2.7°  86%
    half the power        1000  0.982 [0.977, 0.985]   error   6.8° (-2.9°), hue 2.7°  86%
    corrected             1000  0.978 [0.972, 0.981]   error   7.7° (+1.8°), hue 2.7°  86%
    twice the power       1000  0.957 [0.950, 0.962]   error  16.8° (+10.7°), hue 2.7°  88%
    in full               1000  0.906 [0.892, 0.918]   error  28.8° (+20.8°), hue 2.7°  89%
    and grey world, 0.3   1000  0.965 [0.957, 0.971]   error   9.3° (+3.0°), hue 13.0°  85%
    and grey world, 1      717  0.621 [0.556, 0.678]   error  33.3° (-2.4°), hue 23.7°  48%

So the exposure's correction helps on photographs (0.34 to 0.36 or more of 1 in both halves), and
more of it would help there still more; but on the drawn faces, whose tone is known, more than 0.3
pushes the angle away from the truth. Grey world is worse wherever the truth is known: on the drawn
faces it makes the hue's error five times as large, because it takes the colour of walls and clothes
for that of the light. The measured angle says something of the skin, and much of the light: a
single
picture should not be believed, groups of them somewhat.


    python bench/tone.py ../shared/data/utkface
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


def main() -> None:
    folder = Path(sys.argv[1])
    small = "--small" in sys.argv
    draws = 50 if small else 1000
    pixels, order = utkface(folder, 600 if small else None)
    half = np.random.default_rng(1).random(len(pixels)) < 0.5
    for name, rows in (("UTKFace, the half that chose", half), ("UTKFace, the other half", ~half)):
        print(f"\n{name}: n, rank correlation; White and Black: n, area")
        for variant, powers in VARIANTS.items():
            report(variant, measured(pixels[rows], *powers), -order[rows], draws)
    faces = draw_faces(FaceWorld(n=100 if small else 1000, side=64, seed=4))
    known = np.array([f.skin_tone for f in faces.truth.faces])
    lab = np.array([skin_lab(angle) for angle in known])
    hue = np.degrees(np.arctan2(lab[:, 2], lab[:, 1]))
    print("\nSynthetic faces: n, rank correlation with the angle that they were drawn with")
    for variant, powers in VARIANTS.items():
        report(variant, measured(faces.images, *powers), known, draws, hue)


if __name__ == "__main__":
    main()
