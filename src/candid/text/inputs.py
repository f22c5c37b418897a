"""What the report and the model card are made of."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from candid.records import (
    AttributeSummary,
    Evaluation,
    Exploration,
    Finding,
    HistoryRow,
    ModelCard,
    Provenance,
    SplitEvaluation,
)
from candid.records.external import ExternalSource
from candid.settings import Config

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from candid.records.audit import Audit
    from candid.records.collecting import GroupCurves
    from candid.records.embedded import EmbeddedModel
    from candid.records.explanation import Explanation, ExplanationArrays
    from candid.records.external import Transfer
    from candid.records.framing import FramingCard, SourceFrames
    from candid.records.improvement import Improvement
    from candid.records.inside import Inside
    from candid.records.label_check import LabelCheck
    from candid.records.seeds import Seeds


def name_of_data(exploration: Exploration | None, provenance: Provenance) -> str:
    """What to call the data of a run: their name, or the last part of their path."""
    if exploration is not None and exploration.name:
        return exploration.name
    # The last part alone: a card that is published should not tell where a home folder lies.
    return PurePath(provenance.data).name or "unnamed data"


@dataclass(frozen=True)
class ReportInput:
    """Everything that a report shows; whatever is absent is named as absent."""

    config: Config
    provenance: Provenance
    evaluation: Evaluation
    exploration: Exploration | None = None
    history: Sequence[HistoryRow] = ()
    model: ModelCard | None = None
    # image id → a small picture (about 96 pixels), encoded as PNG, JPEG, WebP or GIF
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)
    # named pictures, encoded: "mean-<class>", "difference", "augmented"
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    # class → ids of some of its images, in the order in which they are shown
    samples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # audit, explanation, transfer, framing, source_frames, improvement, curves, check, seeds: the
    # later stages' records; None where the stage has not run
    audit: Audit | None = None
    explanation: Explanation | None = None
    # the arrays that belong to `explanation`; None where they are lost
    maps: ExplanationArrays | None = None
    inside: Inside | None = None  # the network from inside
    # those that belong to it by the names of `candid.records.inside`
    inside_pictures: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    transfer: Transfer | None = None
    framing: FramingCard | None = None
    source_frames: SourceFrames | None = None
    improvement: Improvement | None = None
    seeds: Seeds | None = None
    curves: GroupCurves | None = None
    check: LabelCheck | None = None
    is_public: bool = False  # whether this is what `without_people` left
    embedded: EmbeddedModel | None = None  # the model, to be tried in the report itself
    not_embedded: str = ""  # why there is none, or ""

    @property
    def target(self) -> str:
        """The label's name, in the data's own word."""
        return self.evaluation.target

    @property
    def classes(self) -> tuple[str, ...]:
        """The label's values, in the data's own words."""
        return self.evaluation.classes

    @property
    def data_name(self) -> str:
        """What to call the data."""
        return name_of_data(self.exploration, self.provenance)

    @property
    def reproduction(self) -> str:
        """The command that makes the run again, from files that lie in its folder."""
        return f"candid run {shlex.join(self.sources or [self.data_name])} --config config.toml"

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of several data sets that were joined; none of one."""
        return tuple(self.provenance.sources)

    @property
    def is_drawn(self) -> bool:
        """Whether a program drew the faces: the data say so, or the run is the demo's."""
        if self.exploration is not None and self.exploration.synthetic:
            return True
        return self.provenance.command.split()[:2] == ["candid", "demo"]

    @property
    def labeller(self) -> str:
        """Who wrote the labels."""
        return "the program that drew the faces" if self.is_drawn else "the annotators"

    @property
    def network(self) -> str:
        """The network's name."""
        return self.config.network.name if self.model is None else self.model.network

    @property
    def fit(self) -> HistoryRow | None:
        """What is known of a fit on fixed features; None where a network was trained in steps."""
        return next((row for row in self.history if row.is_fit), None)

    @property
    def side(self) -> int:
        """Pixels per side of the picture that the network sees."""
        return self.config.data.side if self.model is None else self.model.side

    def split(self, name: str) -> SplitEvaluation | None:
        """How the model does on one split, None where that split has no predictions."""
        return next((s for s in self.evaluation.splits if s.split == name), None)

    @property
    def headline(self) -> SplitEvaluation | None:
        """The split that speaks for the model: test, else validation, else whatever there is."""
        splits = (self.split(name) for name in ("test", "validation", "train"))
        return next((s for s in splits if s is not None and s.n > 0), None)


@dataclass(frozen=True)
class AuditedSource:
    """Where the answers are from that were audited.

    Attributes
    ----------
    kind
        "file": a table. "folder": tables that were summed up row by row. "memory": given by a
        program. "pictures": a model was asked about them.
    name
        Of the file, the folder, or the data; "" in memory.
    digest
        SHA-256 of the file; of several, of the lines that sha256sum writes for them; else "".
    files
        How many there are.
    n
        Rows with an answer.
    columns
        Role → the columns that were named for it; none for files that Candid wrote.
    model, asked
        Who was asked, and about how many labelled pictures; "" and 0 where answers were there.
    """

    kind: Literal["file", "folder", "memory", "pictures"] = "memory"
    name: str = ""
    digest: str = ""
    files: int = 0
    n: int = 0
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    model: str = ""
    asked: int = 0

    @property
    def title(self) -> str:
        """What to call it."""
        return self.name or "answers in memory"


@dataclass(frozen=True)
class AuditInput:
    """What the page of an audit shows beside how good the answers are.

    `has_degrees` says whether there are probabilities, or of a number intervals; `thumbnails` are
    as in `ReportInput`, and none where there are no pictures.
    """

    audit: Audit
    provenance: Provenance
    source: AuditedSource
    config: Config
    has_degrees: bool
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)


def attributes_by_association(exploration: Exploration, split: str) -> list[AttributeSummary]:
    """The attributes of a split, those that go most with the label first, undefined ones last.

    Of an attribute that is "yes" or "no" only "yes" is kept: the other says the same.
    """
    rows = [a for a in exploration.attributes if a.split == split]
    values: dict[str, set[str]] = {}
    for a in rows:
        values.setdefault(a.attribute, set()).add(a.value)
    rows = [a for a in rows if a.value != "no" or values[a.attribute] != {"no", "yes"}]
    # A NaN sorts last, whatever it is compared with.
    return sorted(rows, key=lambda a: -a.association.value if a.association.value >= 0 else 2.0)


def without_people(inputs: ReportInput) -> ReportInput:
    """The inputs without pictures, and without single images: no name of a file.

    What is said of groups and of all images stays as it is. Of places on the machine that made the
    run only the last part is left, and of settings that name one nothing.
    """
    config, provenance = inputs.config, inputs.provenance
    initial = provenance.initial
    if initial is not None:
        initial = replace(initial, place=PurePath(initial.place).name)
    names = ("evaluation", "exploration", "audit", "explanation", "transfer", "improvement")
    return replace(
        inputs,
        **{name: _drop_single_images(getattr(inputs, name)) for name in (*names, "seeds", "check")},
        config=replace(
            config,
            data=replace(config.data, image_folder="", corrections=""),
            train=replace(config.train, initial=""),
        ),
        provenance=replace(
            provenance,
            command=inputs.reproduction,
            data=inputs.data_name,
            sources={name: name for name in provenance.sources},
            initial=initial,
        ),
        thumbnails={},
        pictures={},
        samples={},
        maps=None,
        inside=None,
        inside_pictures={},
        is_public=True,
    )


def _drop_single_images(record: Any) -> Any:
    """A record whose lists of single images are empty."""
    if isinstance(record, dict):
        return {name: _drop_single_images(value) for name, value in record.items()}
    if isinstance(record, tuple):
        names = {f.name for f in fields(record[0])} if record and is_dataclass(record[0]) else ()
        is_of_single_images = "id" in names or "person" in names
        return () if is_of_single_images else tuple(_drop_single_images(value) for value in record)
    if not is_dataclass(record) or isinstance(record, type):
        return record
    values = {f.name: _drop_single_images(getattr(record, f.name)) for f in fields(record)}
    if isinstance(record, Finding):
        values["examples"] = ()
    if isinstance(record, ExternalSource):
        values["data"] = PurePath(record.data).name
    return replace(record, **values)
