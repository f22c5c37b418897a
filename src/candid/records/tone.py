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
    """One of the usual bins of the individual typology angle, and the pictures that fall in it."""

    name: str  # "Very light", "Light", "Intermediate", "Tan", "Brown", "Dark"
    # low, high: its edges in degrees; the outer ones are -90 and 90
    low: float
    high: float
    n: int  # pictures in it, of those that could be measured surely enough
    share: float  # of all pictures that were looked at


@dataclass(frozen=True, slots=True)
class ToneSummary:
    """Skin tone of n pictures, measured from pixels and affected by light."""

    method: str  # how it was measured, in one or two sentences
    caveat: str  # what a reader must know before believing it
    corrected: bool  # whether a part of the light's strength was taken out first
    n: int  # pictures that were looked at; each is one of the next three
    measured: int  # pictures that got a bin
    unsure: int  # pictures with skin whose angle is too uncertain for a bin
    no_skin: int  # pictures in which too little skin was found
    bins: tuple[ToneBin, ...]  # from light to dark
    ita: Histogram  # individual typology angle in degrees, of all pictures with skin
    hue: Histogram  # hue angle in degrees (0 red, 90 yellow), of all pictures with skin
    uncertainty: float  # median over the pictures of the angle's standard error, in degrees
