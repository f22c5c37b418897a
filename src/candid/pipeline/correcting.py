"""Corrections as verbs: written back into label files, and two people's brought together."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from candid.pipeline.data_places import Places, places_of
from candid.records import Finding
from candid.records.review import Agreement, Apart
from candid.settings import Config
from candid.tables.corrections import merged, read_corrections, words_by_image, write_corrections


def apply_corrections(
    data: Places, file: Path, out: Path, config: Config
) -> tuple[Finding, int, tuple[Path, ...]]:
    """Write the labels of data as corrections have them; what was done, images left, files.

    See `candid.data.label_files.write_labels` for the names that `out` may have.
    """
    from candid.data.joining import load_places
    from candid.data.label_files import write_labels

    about = replace(config.data, corrections=str(file))
    dataset = load_places(places_of(data), about)
    files = write_labels(out, dataset)
    done = next(f for f in reversed(dataset.findings) if f.code == "CORRECTIONS")
    return done, len(dataset), files


def merge_corrections(
    first: Path, second: Path, out: Path, *, draws: int = 1000, confidence: float = 0.95
) -> Agreement:
    """Write the decisions of two files as one, and say how far they agree."""
    from candid.stats.agreement import agreement_of

    a, b = read_corrections(first), read_corrections(second)
    said = words_by_image(a), words_by_image(b)
    both = [image for image in said[0] if image in said[1]]
    left, right = ([some[image] for image in both] for some in said)
    agreement, kappa = agreement_of(left, right, draws=draws, confidence=confidence)
    apart = Counter((x, y) for x, y in zip(left, right, strict=True) if x != y)
    together = merged(a, b)
    write_corrections(out, together)
    return Agreement(
        lines=len(together),
        images=len({c.id for c in together}),
        both=len(both),
        agreement=agreement,
        kappa=kappa,
        apart=tuple(Apart(x, y, count) for (x, y), count in apart.most_common()),
    )
