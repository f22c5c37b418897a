"""What was measured of skin in the pictures (a part of `audit.json`)."""

from __future__ import annotations

from dataclasses import dataclass

from candid.records import Histogram

# Attributes that were measured from pixels, which nobody annotated.
TONE = "Skin tone (measured)"
ITA = "Skin ITA (measured)"
HUE = "Skin hue (measured)"


@dataclass(frozen=True, slots=True)
class ToneBin:
    """One of the usual bins of the individual typology angle, and how many pictures fall into it.

    Attributes
    ----------
    name
        "Very light", "Light", "Intermediate", "Tan", "Brown", "Dark".
    low, high
        Its edges in degrees; the outer ones are -90 and 90.
    n
        Pictures in it, of those that could be measured surely enough.
    share
        Of all pictures that were looked at.
    """

    name: str
    low: float
    high: float
    n: int
    share: float


@dataclass(frozen=True, slots=True)
class ToneSummary:
    """Skin tone of n pictures, measured from pixels and affected by light.

    Attributes
    ----------
    method
        How it was measured, in one or two sentences.
    caveat
        What a reader must know before believing it.
    corrected
        Whether a part of the light's strength was taken out first.
    n
        Pictures that were looked at; each is one of the next three.
    measured
        Pictures that got a bin.
    unsure
        Pictures with skin whose angle is too uncertain for a bin.
    no_skin
        Pictures in which too little skin was found.
    bins
        From light to dark.
    ita
        Individual typology angle in degrees, of all pictures with skin.
    hue
        Hue angle in degrees (0 red, 90 yellow), of all pictures with skin.
    uncertainty
        Median over the pictures of the angle's standard error, in degrees.
    """

    method: str
    caveat: str
    corrected: bool
    n: int
    measured: int
    unsure: int
    no_skin: int
    bins: tuple[ToneBin, ...]
    ita: Histogram
    hue: Histogram
    uncertainty: float
