"""Skin tone measured from pixels: the individual typology angle, the hue, and how sure they are.

The individual typology angle (ITA) is arctan((L* - 50) / b*) of skin in CIELAB (Chardon, Cretois &
Hourseau, International Journal of Cosmetic Science 13, 1991), with the usual bins (Del Bino &
Bernerd, British Journal of Dermatology 169, 2013). One number from light to dark does not say all
of a skin's colour, so the hue angle, from red to yellow, stands beside it (Thong, Joniak & Xiang,
ICCV 2023).

What is measured is a picture, not a person: the camera's exposure and the light move it as much as
the skin does. A part of that is taken out by the highlights of the face, which mirror the light
whatever the skin is: lightness is scaled towards highlights of the same strength in every picture,
by a power of 0.3, because in full it takes out some of the skin's own tone. Estimating the light's
colour from the whole picture (grey world) was tried and made things worse, as most of what is
averaged is somebody's clothes and wall: see `bench/tone.py`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, Float32Array, FloatArray, IndexArray
from candid.errors import DataError
from candid.predictions import Attribute
from candid.progress import progress
from candid.records import Histogram
from candid.records.tone import HUE, ITA, TONE, ToneBin, ToneSummary

# The usual bins in degrees, from light to dark, by their lower edges.
BINS = ("Very light", "Light", "Intermediate", "Tan", "Brown", "Dark")
_LOWER = np.array([55.0, 41.0, 28.0, 10.0, -30.0])

CAVEAT = (
    "Measured from pixels, affected by light, exposure, make-up and filters: a property of the "
    "picture. It is neither what anybody says of their skin nor a race."
)
_METHOD = (
    "Individual typology angle, arctan((L* - 50) / b*) in CIELAB, of the median of skin-coloured "
    "pixels in the middle of the face{light}; the standard error comes from the spread between "
    "patches of the face. Pictures whose angle has a standard error above {limit:g} degrees get no "
    "bin."
)

# How much of the light's estimated strength is taken out, and how bright the highlights of a face
# are taken to be (0 to 1, linear).
_EXPOSURE, _HIGHLIGHT = 0.3, 0.6
_LIMIT = 8.0  # degrees: beyond it an angle is as likely in the next bin as in its own
_LEAST_SHARE = 0.15  # of the face's middle must be skin-coloured
_SIDE = 32  # larger pictures are averaged down to at least this
_PATCHES = 3  # by 3, over the face's middle
_BLOCK = 3_000_000  # pixels that are worked on at once

_TO_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ],
    np.float32,
)
_WHITE = np.array([0.95047, 1.0, 1.08883], np.float32)  # D65, 2°
_LUMINANCE = _TO_XYZ[1]
_COLUMNS = ("ita", "hue", "error", "skin")  # of `Tone`


@dataclass(frozen=True, eq=False)
class Tone:
    """The skin tone of n pictures."""

    # (n,) float64 individual typology angle in degrees, high is light; NaN without skin
    ita: FloatArray
    hue: FloatArray  # (n,) float64 hue angle in degrees, 0 red and 90 yellow; NaN without skin
    # (n,) float64 standard error of `ita` in degrees, from the patches; NaN where fewer than three
    # of them show skin. It knows of shadows on the face and nothing of the light as a whole.
    error: FloatArray
    skin: FloatArray  # (n,) float64 share of the face's middle that is skin-coloured
    corrected: bool  # whether a part of the light's strength was taken out

    @property
    def bin(self) -> NDArray[np.int16]:
        """(n,) index into `BINS`; -1 where there is no skin, or no sure angle."""
        is_sure = ~np.isnan(self.ita) & (self.error <= _LIMIT)
        code = len(_LOWER) - np.searchsorted(_LOWER[::-1], self.ita, side="left")
        return np.where(is_sure, code, -1).astype(np.int16)

    def at(self, places: IndexArray) -> Tone:
        """The measurements of the given pictures."""
        return replace(self, **{name: getattr(self, name)[places] for name in _COLUMNS})

    def joined(self, more: Tone) -> Tone:
        """These measurements followed by those of further pictures, made in the same way."""
        pairs = {name: (getattr(self, name), getattr(more, name)) for name in _COLUMNS}
        columns: dict[str, Any] = {name: np.concatenate(pair) for name, pair in pairs.items()}
        return replace(self, **columns)

    def attributes(self) -> dict[str, Attribute]:
        """By name: the bin as categories, the angle and the hue as numbers."""
        return {
            TONE: Attribute(TONE, "categorical", BINS, self.bin),
            ITA: Attribute(ITA, "numeric", (), self.ita),
            HUE: Attribute(HUE, "numeric", (), self.hue),
        }

    def summary(self) -> ToneSummary:
        """What was measured, with its method and what to know before believing it."""
        codes, n = self.bin, len(self.ita)
        has_skin = ~np.isnan(self.ita)
        measured = int(np.count_nonzero(codes >= 0))
        counts = np.bincount(codes[codes >= 0], minlength=len(BINS)).tolist()
        edges = [90.0, *_LOWER.tolist(), -90.0]
        light = ", after a part of the light's strength was taken out by the face's highlights"
        errors = self.error[~np.isnan(self.error)]
        return ToneSummary(
            method=_METHOD.format(light=light if self.corrected else "", limit=_LIMIT),
            caveat=CAVEAT,
            corrected=self.corrected,
            n=n,
            measured=measured,
            unsure=int(np.count_nonzero(has_skin)) - measured,
            no_skin=int(np.count_nonzero(~has_skin)),
            bins=tuple(
                ToneBin(name, edges[i + 1], edges[i], count, count / n if n else np.nan)
                for i, (name, count) in enumerate(zip(BINS, counts, strict=True))
            ),
            ita=_histogram(ITA, self.ita, np.arange(-90, 91, 5)),
            hue=_histogram(HUE, self.hue, np.arange(0, 101, 5)),
            uncertainty=float(np.median(errors)) if len(errors) else np.nan,
        )


def measure_tone(
    pixels: NDArray[np.uint8],
    *,
    rows: NDArray[Any] | None = None,
    corrected: bool = True,
    quiet: bool = False,
) -> Tone:
    """Measure the skin in pictures of one upright face each, which fills most of the picture.

    Memory stays flat in the number of pictures.

    Raises DataError where the pictures have another shape or type.

    Parameters
    ----------
    pixels
        (m, side, side, 3) uint8 sRGB; a memory map will do.
    rows
        (n,) which of the pictures to measure, in this order; None: all.
    corrected
        Take a part of the light's strength out first.
    quiet
        Show no progress bar.
    """
    if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8 or pixels.shape[1] < 8:
        raise DataError(
            f"Skin cannot be measured in an array of {pixels.dtype} with the shape {pixels.shape}.",
            expected="(n, side, side, 3) uint8, with at least 8 pixels a side",
            todo="pack the pictures in colour",
        )
    rows = np.arange(len(pixels)) if rows is None else rows
    face, patch = _template(*_pool_shape(pixels.shape[1], pixels.shape[2]))
    out = np.full((4, len(rows)), np.nan)
    step = max(1, _BLOCK // (pixels.shape[1] * pixels.shape[2]))
    with progress("skin tone", len(rows), unit="images", quiet=quiet) as bar:
        for start in range(0, len(rows), step):
            chunk = rows[start : start + step]
            linear = _pool(_LINEAR[pixels[chunk]])
            out[:, start : start + step] = _measure(linear, face, patch, corrected)
            bar.update(len(chunk))
    ita, hue, error, skin = out
    return Tone(ita, hue, error, skin, corrected)


def srgb_to_lab(pixels: NDArray[np.uint8]) -> Float32Array:
    """CIELAB (D65, 2° observer) of (..., 3) uint8 sRGB (IEC 61966-2-1; CIE 15)."""
    return _lab(_LINEAR[pixels])


# --- colour --------------------------------------------------------------------------------------

_levels = np.arange(256) / 255
_LINEAR: Float32Array = np.where(
    _levels <= 0.04045, _levels / 12.92, ((_levels + 0.055) / 1.055) ** 2.4
).astype(np.float32)


def _lab(linear: Float32Array) -> Float32Array:
    xyz = linear @ _TO_XYZ.T / _WHITE
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + np.float32(16 / 116))
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _gain(face: Float32Array) -> Float32Array:
    """(n,): what the light of (n, pixels, 3) faces is multiplied by, from their highlights."""
    highlight = np.percentile(face @ _LUMINANCE, 99, axis=1)
    gain: Float32Array = (_HIGHLIGHT / np.maximum(highlight, 0.02)) ** _EXPOSURE
    return gain.astype(np.float32)


# --- where skin is -------------------------------------------------------------------------------


def _pool_shape(height: int, width: int) -> tuple[int, int]:
    factor = max(1, min(height, width) // _SIDE)
    return height // factor, width // factor


def _pool(linear: Float32Array) -> Float32Array:
    """Averages of squares of pixels, so that the shorter side has 32 to 63."""
    n, height, width, _ = linear.shape
    rows, columns = _pool_shape(height, width)
    f = height // rows
    if f == 1:
        return linear
    cropped = linear[:, : rows * f, : columns * f]
    pooled: Float32Array = cropped.reshape(n, rows, f, columns, f, 3).mean(
        axis=(2, 4), dtype=np.float32
    )
    return pooled


def _template(height: int, width: int) -> tuple[BoolArray, IndexArray]:
    """The middle of a face, as a mask, and for each of its pixels which patch it lies in.

    An ellipse from brows to chin and cheek to cheek. It lies inside the face both where that was
    cut out tightly (there a larger one does slightly better) and in pictures such as CelebA's,
    where it fills the middle half (there a smaller one does).
    """
    v, u = np.mgrid[0:height, 0:width]
    u, v = (u + 0.5) / width * 2 - 1, (v + 0.5) / height * 2 - 1
    x, y = u / 0.45, (v - 0.15) / 0.6
    face = x**2 + y**2 <= 1
    column, row = (
        np.clip(((z[face] + 1) / 2 * _PATCHES).astype(np.intp), 0, _PATCHES - 1) for z in (x, y)
    )
    return face, row * _PATCHES + column


def _measure(
    linear: Float32Array, face: BoolArray, patch: IndexArray, corrected: bool
) -> FloatArray:
    """(4, n): angle, hue, standard error and share of skin."""
    face_pixels = linear[:, face]  # (n, pixels, 3)
    if corrected:
        face_pixels = face_pixels * _gain(face_pixels)[:, None, None]
    lab = _lab(face_pixels)
    skin = _is_skin(lab)
    share = skin.mean(axis=1)
    median = _medians(lab, skin)
    has_skin = share >= _LEAST_SHARE
    angle = np.where(has_skin, _ita(median), np.nan)
    hue = np.where(has_skin, np.degrees(np.arctan2(median[:, 2], median[:, 1])), np.nan)
    patches = []
    for k in range(_PATCHES**2):
        in_patch = patch == k
        patch_skin = skin[:, in_patch]
        is_visible = patch_skin.mean(axis=1) >= 0.5
        patches.append(np.where(is_visible, _ita(_medians(lab[:, in_patch], patch_skin)), np.nan))
    error = np.where(has_skin, _standard_error(np.stack(patches, axis=1)), np.nan)
    return np.stack([angle, hue, error, share])


def _is_skin(lab: Float32Array) -> BoolArray:
    """Whether colours can be skin's: between red and yellow, not grey, neither black nor white.

    The wedge is wide on purpose, as is skin under coloured light; what is left of hair and lips
    does not move a median.
    """
    lightness, a, b = lab[..., 0], lab[..., 1], lab[..., 2]
    hue = np.degrees(np.arctan2(b, a))
    inside: BoolArray = (hue > 10) & (hue < 95) & (np.hypot(a, b) > 4)
    return inside & (lightness > 10) & (lightness < 97)


def _medians(lab: Float32Array, skin: BoolArray) -> FloatArray:
    """(n, 3) medians of the skin pixels of (n, pixels, 3), NaN where there is none."""
    ranked = np.sort(np.where(skin[..., None], lab, np.inf), axis=1)
    count, n = skin.sum(axis=1), np.arange(len(skin))
    any_skin = count[:, None] > 0
    low = ranked[n, np.maximum(count - 1, 0) // 2]
    high = ranked[n, np.minimum(count // 2, skin.shape[1] - 1)]
    return np.where(any_skin, (low.astype(np.float64) + high) / 2, np.nan)


def _ita(lab: FloatArray) -> FloatArray:
    # Skin's b* is above 0; where light pushes it below, the angle would jump by 180 degrees.
    return np.degrees(np.arctan2(lab[:, 0] - 50, np.maximum(lab[:, 2], 0.1)))


def _standard_error(patches: FloatArray) -> FloatArray:
    """(n,) of the mean of the patches that show skin; NaN where they are fewer than three."""
    count = np.count_nonzero(~np.isnan(patches), axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy warns of rows of NaN
        error = np.nanstd(patches, axis=1, ddof=1) / np.sqrt(count)
    return np.where(count >= 3, error, np.nan)


def _histogram(name: str, values: FloatArray, edges: NDArray[Any]) -> Histogram:
    defined = values[~np.isnan(values)]
    counts, _ = np.histogram(np.clip(defined, edges[0], edges[-1]), edges)
    return Histogram(
        group=name,
        edges=tuple(float(e) for e in edges),
        counts=tuple(int(c) for c in counts),
        mean=float(defined.mean()) if len(defined) else np.nan,
        sd=float(defined.std(ddof=1)) if len(defined) > 1 else np.nan,
    )
