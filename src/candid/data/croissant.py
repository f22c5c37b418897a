"""`croissant.json`: a data set's description in MLCommons' Croissant 1.0 with its RAI part.

A table of all labels is written beside it, so that a reader need not know the data's layout.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from candid.data.dataset import Dataset
from candid.data.label_files import beside_description, image_paths, write_labels
from candid.errors import ConfigError
from candid.records import SPLITS, Exploration
from candid.storage.files import write_text
from candid.text import croissant as text

_PATTERNS = 50  # folders that are named one by one
_IMAGES, _LABELS = "images", "labels"
_MIME = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".tif": "image/tiff"}


def write_croissant(path: Path, dataset: Dataset, exploration: Exploration) -> tuple[Path, Path]:
    """Write a data set's description, and a CSV of its labels beside it; returns both paths.

    The table is called after the description, `croissant-labels.csv`. Raises ConfigError for a name
    without .json, or several labels; OutputError where it cannot be written.
    """
    if path.suffix.lower() != ".json" or dataset.is_several:
        several = dataset.is_several
        raise ConfigError(
            f"{dataset.name} has several labels." if several else f"{path} does not end in .json.",
            expected="one label" if several else "a name such as croissant.json",
            todo="name it with --target" if several else "name such a file",
        )
    (table,) = write_labels(beside_description(path), dataset)
    document = {
        "@context": dict(sorted(_CONTEXT.items())),
        "@type": "sc:Dataset",
        "name": exploration.name,
        "description": text.description(exploration),
        "conformsTo": [
            "http://mlcommons.org/croissant/1.0",
            "http://mlcommons.org/croissant/RAI/1.0",
        ],
        "rai:dataCollectionMissingData": text.missing(exploration),
        "rai:dataLimitations": text.limitations(exploration),
        "rai:dataBiases": text.biases(exploration),
        "rai:dataUseCases": list(text.USES),
        "rai:dataPreprocessingProtocol": [text.PREPROCESSING],
        "rai:personalSensitiveInformation": text.personal(exploration, [*dataset.attributes]),
        "distribution": _distribution(path.parent, table, dataset),
        "recordSet": [
            _enumeration("classes", "sc:Enumeration", dataset.classes),
            _enumeration("splits", "cr:Split", SPLITS),
            _records(dataset),
        ],
    }
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    return path, table


def _distribution(folder: Path, table: Path, dataset: Dataset) -> list[dict[str, Any]]:
    """The table, and the folders of images, if each is a file."""
    with table.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    parts: list[dict[str, Any]] = [
        {
            "@type": "cr:FileObject",
            "@id": _LABELS,
            "name": _LABELS,
            "contentUrl": table.name,
            "encodingFormat": "text/csv",
            "sha256": digest,
        }
    ]
    names = image_paths(dataset.source, folder)
    if names is None:
        return parts
    kinds: dict[str, set[str]] = {}
    for name in names:
        kinds.setdefault(posixpath.splitext(name)[1].lower(), set()).add(posixpath.dirname(name))
    for suffix, folders in sorted(kinds.items()):
        patterns = sorted(posixpath.join(f, f"*{suffix}") for f in folders)
        name = f"pictures{suffix}"
        parts.append(
            {
                "@type": "cr:FileSet",
                "@id": name,
                "name": name,
                "encodingFormat": _MIME.get(suffix, f"image/{suffix.removeprefix('.') or 'any'}"),
                "includes": patterns if len(patterns) <= _PATTERNS else [f"**/*{suffix}"],
            }
        )
    return parts


def _records(dataset: Dataset) -> dict[str, Any]:
    """One record per image: a field for each column of the table."""
    fields = [
        _column("path", "sc:Text", "Where the picture lies, from the table's folder."),
        _column(
            dataset.target, "sc:Text", "The label.", references={"field": {"@id": "classes/name"}}
        ),
        _column(
            "split",
            ["sc:Text", "cr:Split"],
            "What the image is for.",
            references={"field": {"@id": "splits/name"}},
        ),
    ]
    if dataset.person is not None:
        complete = (dataset.person >= 0).all()
        kind = "sc:Integer" if complete else "sc:Float"  # NaN is missing
        fields.append(_column("person", kind, "The same number for the same person."))
    for name, attribute in dataset.attributes.items():
        numeric = attribute.kind == "numeric"
        note = "An annotation." if numeric else f"An annotation: {', '.join(attribute.values)}."
        fields.append(_column(name, "sc:Float" if numeric else "sc:Text", note))
    return {
        "@type": "cr:RecordSet",
        "@id": _IMAGES,
        "name": _IMAGES,
        "key": {"@id": f"{_IMAGES}/path"},
        "field": fields,
    }


def _column(name: str, kind: str | list[str], description: str, **extra: Any) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        # An id is part of an address; a name is the data's own.
        "@id": f"{_IMAGES}/{re.sub(r'[^A-Za-z0-9_.-]', lambda m: f'_{ord(m[0]):x}_', name)}",
        "name": name,
        "description": description,
        "dataType": kind,
        "source": {"fileObject": {"@id": _LABELS}, "extract": {"column": name}},
        **extra,
    }


def _enumeration(name: str, kind: str, values: tuple[str, ...]) -> dict[str, Any]:
    key = f"{name}/name"
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "dataType": kind,
        "key": {"@id": key},
        "field": [{"@type": "cr:Field", "@id": key, "name": "name", "dataType": "sc:Text"}],
        "data": [{key: value} for value in values],
    }


# As Croissant 1.0 gives it.
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
} | {
    name: f"cr:{name}"
    for name in (
        *("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject"),
        *("fileProperty", "fileSet", "format", "includes", "isLiveDataset", "jsonPath", "key"),
        *("md5", "parentField", "path", "recordSet", "references", "regex", "repeated", "replace"),
        *("samplingRate", "separator", "source", "subField", "transform"),
    )
}
