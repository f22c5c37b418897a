"""What is said of data sets that were brought to one frame."""

from dataclasses import replace

from candid.records import Estimate
from candid.records.framing import CommonFrame, FramingCard, SourceFrame, SourceFrames
from candid.text.external import alignment_sentences

SHARE = Estimate(0.8, 0.75, 0.85, n=300, method="Wilson")
CARD = FramingCard(900, 64, 16, 2, 10**6, 300, 0.41, 0.07, SHARE, SHARE, used=True)
HOME = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def estimate(value: float) -> Estimate:
    method = "difference of independent samples, linearised by person"
    return Estimate(value, value - 0.02, value + 0.03, n=250, method=method, people=240)


def source(name: str, matrix: tuple[float, ...], *, alike: bool = True) -> SourceFrame:
    frame = CommonFrame(matrix, alike, 0.02 if alike else 0.3, 256)
    a, _, x, _, d, y = matrix
    named = {"width": a, "height": d, "x": x / 2, "y": y / 2, "rotation": 0.0}
    return SourceFrame(name, 256, frame, frame, {k: estimate(v) for k, v in named.items()})


TIGHT = (1.7, 0.0, 0.02, 0.0, 2.0, -0.5)
FRAMES = SourceFrames(
    "celeba",
    CARD,
    "digest",
    (
        source("tight", TIGHT),
        source("mixed", TIGHT, alike=False),
        source("same", HOME),
        SourceFrame("few", 12),
    ),
)


def test_each_data_set_is_told_with_its_figures_and_what_became_of_it():
    first, tight, mixed, same, few = alignment_sentences(FRAMES)
    assert "held against those of “celeba”" in first
    assert "300 images of validation" in first and "off by 41.0%" in first and "by 7.0%" in first
    assert tight.startswith("“tight”: the frame of “celeba” is 1.70 (1.68 to 1.73) times as wide")
    assert "and 2.00 (1.98 to 2.03) times as high" in tight
    assert "at +1.0 (−1.0 to +4.0) and −25.0 (−27.0 to −22.0) hundredths" in tight
    assert "95% interval" in tight and "n = 250 images of 240 people that lie so, of 256" in tight
    assert tight.endswith("and all were read so (2% of 256 looked at lie otherwise than most).")
    assert "each was framed by itself from there (30% of 256" in mixed
    assert same.startswith("“same”: as it came, since most of it lies as “celeba” does")
    assert few == (
        "“few”: as it came, since 12 images are too few to say how most of them lie."
    )  # fmt: skip


def test_what_was_not_done_is_said_too():
    assert alignment_sentences(None) == []
    (nobody,) = alignment_sentences(SourceFrames(""))
    assert "none has both training and validation pictures" in nobody
    (idle,) = alignment_sentences(replace(FRAMES, card=replace(CARD, used=False), sources=()))
    assert "did not learn to (measured on 300 images" in idle and "“celeba”" in idle
