"""What `croissant.json` says, validated and read back by MLCommons' own library."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import candid
from candid.config import with_values
from candid.data.croissant import write_croissant
from candid.errors import ConfigError

SHARES = {"data": {"side": 16}}


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """Faces with an unknown label, unknown people, and names that are no part of an address."""
    folder = tmp_path_factory.mktemp("croissant") / "faces"
    folder.mkdir()
    rng, lines = np.random.default_rng(0), ["path,kind,person,split,age,big hat"]
    for i in range(24):
        pixels = rng.integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        split = ["train", "train", "val", "test"][i % 4]
        kind = ["cat", "dog"][i // 4 % 2] if i != 5 else ""
        person = "" if i == 7 else i // 3
        lines.append(f"{i}.png,{kind},{person},{split},{i}.5,{'yes' if i % 3 else 'no'}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    file = folder.parent / "croissant.json"
    config = with_values(candid.load_config(overrides=["data.target=kind"]), SHARES)
    cache = folder.parent / "cache"
    found = candid.explore(folder, config, croissant=file, cache=cache)
    return file, candid.load(folder, target="kind"), found


def test_it_says_what_was_found_and_whose_faces_they_are(described):
    file, _, found = described
    said = json.loads(file.read_text("utf-8"))
    assert said["name"] == found.name and "24 images" in said["description"]
    assert said["rai:dataCollectionMissingData"].startswith("1 of 24")
    assert any("recognised" in line for line in said["rai:personalSensitiveInformation"])
    details = [f.detail for f in found.findings if f.state == "found"]
    assert len(said["rai:dataLimitations"]) == len(details)
    assert any("“cat” is the label of" in line for line in said["rai:dataBiases"])
    pictures = said["distribution"][1]
    assert pictures["includes"] == ["faces/*.png"] and pictures["encodingFormat"] == "image/png"


@pytest.mark.filterwarnings("ignore")
def test_mlcroissant_finds_nothing_wrong_and_reads_every_label(described):
    mlc = pytest.importorskip("mlcroissant")
    file, faces, _ = described
    read = mlc.Dataset(jsonld=str(file))
    assert not read.metadata.issues.errors
    assert read.metadata.data_biases and read.metadata.personal_sensitive_information
    rows = [*read.records("images")]
    assert len(rows) == len(faces) == 24
    plain = [{k.partition("/")[2]: v for k, v in row.items()} for row in rows]
    assert [row["path"].decode() for row in plain] == [f"faces/{i}.png" for i in range(24)]
    assert [row["split"].decode() for row in plain] == faces.split.tolist()
    assert [row["age"] for row in plain] == faces.attributes["age"].data.tolist()
    words = [*faces.classes, None]
    label = [row["kind"] for row in plain]
    for i, code in enumerate(faces.label.tolist()):
        if code >= 0:
            assert label[i].decode() == words[code]
    assert plain[7]["person"] is None and plain[9]["person"] == faces.person[9]
    assert {row["big_20_hat"].decode() for row in plain} == {"yes", "no"}
    assert [row["classes/name"] for row in read.records("classes")] == ["cat", "dog"]


def test_another_name_is_refused(described, tmp_path):
    _, faces, found = described
    with pytest.raises(ConfigError, match="does not end in"):
        write_croissant(tmp_path / "croissant.txt", faces, found)


def test_the_data_are_read_as_before_where_the_description_lies_among_them(described, tmp_path):
    """The guide's own command writes it there."""
    _, faces, found = described
    folder = tmp_path / "faces"
    shutil.copytree(faces.origin, folder)
    write_croissant(folder / "croissant.json", candid.load(folder, target="kind"), found)
    again = candid.load(folder, target="kind")
    write_croissant(folder / "croissant.json", again, found)  # in the place of its own table
    assert again.ids.tolist() == faces.ids.tolist() and [*again.attributes] == [*faces.attributes]
    (folder / "labels.csv").unlink()  # as whoever publishes the description may hand it on
    alone = candid.load(folder, target="kind")
    assert alone.label.tolist() == faces.label.tolist()
    assert alone.split.tolist() == faces.split.tolist()
