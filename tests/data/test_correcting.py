"""What corrections make of a data set, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import candid
from candid.config import with_values
from candid.data.correcting import correct
from candid.data.dataset import Dataset
from candid.data.exploration import explore_images
from candid.data.findings import make_finding
from candid.data.store import pack
from candid.errors import DataError, TargetError
from candid.settings import Config, DataConfig
from candid.tables.corrections import Correction
from data.by_hand import png, texture

LABELS = ["cat", "dog"] * 10


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Twenty pictures, two of each of ten people, with a split of their own."""
    folder = tmp_path / "faces"
    folder.mkdir()
    lines = ["path,kind,person,split"]
    for i, label in enumerate(LABELS):
        (folder / f"{i}.png").write_bytes(png(texture(i, 16)))
        split = "train" if i < 12 else "val" if i < 16 else "test"
        lines.append(f"{i}.png,{label},{i // 2},{split}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def load(path: Path, corrections: Path | None = None, **data) -> Dataset:  # type: ignore[no-untyped-def]
    about = {"target": "kind"} | data | ({"corrections": str(corrections)} if corrections else {})
    return candid.load(path, config=with_values(Config(), {"data": about}))


def said(*lines: str, of: Path) -> Path:
    file = of / "c.csv"
    file.write_text("\n".join(["id,was,now,kind,who", *lines]) + "\n")
    return file


def test_labels_images_copies_and_people_are_corrected(faces: Path, tmp_path: Path) -> None:
    file = said(
        "0.png,cat,dog,label,ann",
        "1.png,dog,dog,label,ann",  # confirmed
        "2.png,,,leave out,ann",
        "3.png,,5.png,same image,ben",
        "4.png,,7.png,person,ben",
        "6.png,,,person,ben",
        "8.png,,9.png,not the same,ben",
        "9.png,,,cannot say,ben",
        of=tmp_path,
    )
    before, after = load(faces), load(faces, file)
    kept = [i for i in before.ids.tolist() if i not in ("2.png", "3.png")]
    assert after.ids.tolist() == kept
    word = dict(zip(after.ids.tolist(), after.label.tolist(), strict=True))
    assert word["0.png"] == 1 and word["1.png"] == 1 and word["8.png"] == 0
    person = dict(zip(after.ids.tolist(), after.person.tolist(), strict=True))
    assert person["4.png"] == person["7.png"] == 3
    assert person["6.png"] == -1
    # What was read stays known, and each image still has its own picture.
    assert after.label_as_read.tolist() == [LABELS.index("cat") if int(i.split(".")[0]) % 2 == 0
                                            else 1 for i in kept]  # fmt: skip
    for row, name in enumerate(kept):
        assert after.source.read(row) == (faces / name).read_bytes()
    (finding,) = [f for f in after.findings if f.code == "CORRECTIONS"]
    assert (finding.count, finding.of, finding.severity) == (5, 20, "note")
    assert finding.values["who"] == {"ben": 3, "ann": 2}
    assert set(finding.examples) == {"0.png", "2.png", "3.png", "4.png", "6.png"}
    assert finding.detail == (
        "By c.csv: 1 label was changed, 1 image left out, 1 copy left out, 2 identities changed. "
        "Whose: ben 3, ann 2."
    )


def test_nothing_is_done_without_a_file_and_the_rest_is_as_it_was(faces: Path) -> None:
    plain = load(faces)
    assert plain.label_as_read is None
    assert not [f for f in plain.findings if f.code == "CORRECTIONS"]
    same = correct(plain, [])
    assert (same.label == plain.label).all() and same.source is plain.source


def test_a_correction_is_part_of_the_fingerprint(faces: Path, tmp_path: Path) -> None:
    file = said("0.png,cat,dog,label,ann", of=tmp_path)
    marks = set()
    for corrections in (None, file):
        data = load(faces, corrections)
        store = pack(data, DataConfig(side=16, workers=1), cache=tmp_path / "cache", quiet=True)
        found, _ = explore_images(data, store, draws=10, quiet=True)
        marks.add(found.fingerprint)
        codes = [f.code for f in found.findings if f.state == "found"]
        assert ("CORRECTIONS" in codes) == (corrections is not None)
    assert len(marks) == 2


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["99.png,,,leave out,ann"], "None of the images"),
        (["0.png,,bird,label,ann"], "'bird', which is no class of 'kind'"),
        (["0.png,dog,dog,label,ann"], "was 'dog', and here it is 'cat'"),
        (["0.png,,1.png,same image,ann", "1.png,,0.png,same image,ann"], "back again"),
        (["0.png,,99.png,person,ann", "1.png,,,leave out,ann"], "not in the data"),
    ],
)
def test_corrections_of_other_data_are_refused(
    faces: Path, tmp_path: Path, lines: list[str], words: str
) -> None:
    with pytest.raises(DataError) as error:
        load(faces, said(*lines, of=tmp_path))
    assert words in error.value.what
    assert error.value.expected and error.value.todo


def test_a_second_round_builds_on_the_first(faces: Path, tmp_path: Path) -> None:
    file = said("0.png,cat,dog,label,ann", "0.png,dog,cat,label,ann", of=tmp_path)
    assert load(faces, file).label[0] == 0


def test_what_is_missing_or_disputed_is_warned_of(faces: Path, tmp_path: Path) -> None:
    file = said(
        "0.png,cat,dog,label,ann", "0.png,cat,cat,label,ben", "99.png,,dog,label,ann",
        "1.png,,cat,label,ann", of=tmp_path,
    )  # fmt: skip
    found = load(faces, file)
    assert found.label[0] == 0
    (finding,) = [f for f in found.findings if f.code == "CORRECTIONS"]
    assert finding.severity == "warning"
    assert (finding.values["missing"], finding.values["disputed"]) == (1, 1)
    assert "1 image is disputed" in finding.detail and "1 image that the file" in finding.detail


def test_nothing_to_learn_from_is_refused(faces: Path, tmp_path: Path) -> None:
    lines = [f"{i}.png,,dog,label,ann" for i in range(0, 12, 2)]
    with pytest.raises(TargetError, match="one class only"):
        load(faces, said(*lines, of=tmp_path))


def test_a_corrected_person_goes_to_the_side_of_that_person_and_others_stay(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    lines = ["path,kind,person"]
    for i in range(120):
        Image.new("RGB", (8, 8), (i, i, i)).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{LABELS[i % 2]},{i // 2}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    before = load(folder)
    test = str(before.ids[np.flatnonzero(before.split == "test")[0]])
    train = str(before.ids[np.flatnonzero(before.split == "train")[0]])
    after = load(folder, said(f"{train},,{test},person,ann", "50.png,,dog,label,ann", of=tmp_path))
    moved = after.ids[before.split != after.split].tolist()
    assert moved == [train]
    assert after.split[after.ids == train] == "test"


def test_several_data_sets_are_corrected_by_their_joined_names(faces: Path, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "more"
    shutil.copytree(faces, other)
    file = said("more/0.png,cat,dog,label,ann", "faces/2.png,,,leave out,ann", of=tmp_path)
    about = with_values(Config(), {"data": {"target": "kind", "corrections": str(file)}})
    found = candid.load([faces, other], config=about)
    assert len(found) == 39 and "faces/2.png" not in found.ids
    assert found.label[found.ids == "more/0.png"] == 1
    row = int(np.flatnonzero(found.ids == "more/0.png")[0])
    assert found.source.read(row) == (other / "0.png").read_bytes()


def test_the_finding_needs_no_name() -> None:
    values = {"label": 2, "leave_out": 0, "same_image": 0, "person": 0, "missing": 0, "disputed": 0}
    found = make_finding(
        "CORRECTIONS", count=2, of=9, state="found", file="c.csv", who={"": 2}, **values
    )
    assert found.detail.endswith("Whose: nobody named 2.")


def test_corrections_by_hand_know_any_case(faces: Path) -> None:
    found = correct(load(faces), [Correction("0.png", "CAT", "Dog", "label")])
    assert found.label[0] == 1
