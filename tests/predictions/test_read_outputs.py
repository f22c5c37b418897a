"""Outputs of DeepFace, InsightFace, FairFace and human, in records written as theirs are."""

from __future__ import annotations

import json

import numpy as np
import pytest

import candid
from candid.errors import PredictionsError
from candid.predictions.outputs.files import read_outputs
from candid.predictions.outputs.reading import OutputReader, is_output
from commands import candid as command
from inference.tiny import pixels

GENDERS = ("Female", "Male")

# The numbers of DeepFace's own documentation.
DEEPFACE = {
    "region": {"x": 230, "y": 120, "w": 36, "h": 45},
    "age": 28.66,
    "face_confidence": 0.9993908405303955,
    "dominant_gender": "Woman",
    "gender": {"Woman": 99.99407529830933, "Man": 0.005928758764639497},
    "dominant_race": "white",
    "race": {
        "indian": 0.5480832420289516,
        "asian": 0.7830780930817127,
        "latino hispanic": 2.0677512511610985,
        "black": 0.06337375962175429,
        "middle eastern": 3.088453598320484,
        "white": 93.44925880432129,
    },
}
INSIGHTFACE = {
    "bbox": np.array([10.0, 20.0, 60.0, 90.0], np.float32),
    "kps": np.zeros((5, 2), np.float32),
    "det_score": np.float32(0.87),
    "gender": np.int64(1),
    "age": 31,
}
FAIRFACE = {
    "face_name_align": "detected_faces/25_1_0_face0.jpg",
    "race": "White",
    "race4": "White",
    "gender": "Female",
    "age": "40-49",
    "race_scores_fair": "[9.9889070e-01 3.1716743e-07 8.9687738e-04 2.8304245e-07 4.3613665e-07\n"
    " 1.0309393e-05 2.0103849e-04]",
    "race_scores_fair_4": "[9.9990189e-01 1.3173075e-06 7.3273827e-06 8.9435052e-05]",
    "gender_scores_fair": "[3.0999051e-06 9.9999696e-01]",
    "age_scores_fair": "[8.8756700e-08 1.7967748e-06 8.5989202e-05 4.4218916e-03 9.3341194e-02\n"
    " 5.6833559e-01 3.2458252e-01 9.1349808e-03 9.5980373e-05]",
}
HUMAN = {
    "id": 0,
    "score": 1,
    "boxScore": 0.92,
    "faceScore": 1,
    "box": [20, 30, 100, 110],
    "boxRaw": [0.1, 0.1, 0.4, 0.4],
    "age": 23.2,
    "gender": "female",
    "genderScore": 0.8,
    "emotion": [{"score": 0.6, "emotion": "neutral"}],
}
GEAR = HUMAN | {
    "genderScore": 0.93,
    "race": [{"score": 0.61, "race": "asian"}, {"score": 0.25, "race": "white"}],
}


@pytest.mark.parametrize(
    ("said", "library", "male", "hard"),
    [([DEEPFACE], "DeepFace", 0.005928758764639497 / 100.000004, False),
     ([DEEPFACE | {"gender": None}], "DeepFace", 0.0, True),
     ([INSIGHTFACE], "InsightFace", 1.0, True),
     ([{"sex": "F", "age": 20}], "InsightFace", 0.0, True),
     ([FAIRFACE], "FairFace", 3.0999051e-06 / 1.0000000599, False),
     (FAIRFACE | {"gender_scores_fair": ""}, "FairFace", 0.0, True),
     ({"face": [HUMAN], "body": [], "hand": []}, "human", 0.1, False),
     ({"face": [GEAR]}, "human", 0.07, False)],
)  # fmt: skip
def test_gender_as_each_library_writes_it(said, library, male, hard):
    reader = OutputReader(GENDERS)
    assert is_output(said)
    female, found = reader(said)
    assert found == pytest.approx(male, rel=1e-5) and female == pytest.approx(1 - male)
    assert (reader.library, reader.hard, reader.classes) == (library, hard, GENDERS)


def test_race_has_the_library_s_words_and_the_label_s_order():
    reader = OutputReader(("White", "Indian", "Latino_Hispanic", "Middle Eastern", "Black"))
    row = reader([DEEPFACE])
    assert reader.classes[5:] == ("asian",)
    total = sum(DEEPFACE["race"].values())
    expected = ("white", "indian", "latino hispanic", "middle eastern", "black", "asian")
    np.testing.assert_allclose(row, [DEEPFACE["race"][word] / total for word in expected])
    seven = OutputReader(("East Asian", "White", "Black"))
    assert seven(FAIRFACE)[1] == pytest.approx(0.9988907, abs=1e-4)
    assert len(seven.classes) == 7
    four = OutputReader(("Asian", "White"))
    assert four(FAIRFACE)[:2] == pytest.approx([7.3273827e-06, 0.99990189], rel=1e-4)
    ages = OutputReader(("20-29", "40-49", "70+"))
    assert ages(FAIRFACE)[1] == pytest.approx(0.56833559, rel=1e-4)
    gear = OutputReader(("asian", "white", "black", "indian", "other"))
    assert gear({"face": [GEAR]}) == [1, 0, 0, 0, 0] and gear.hard


def test_the_largest_of_several_faces_counts():
    small = DEEPFACE | {"region": {"w": 5, "h": 5}, "gender": {"Woman": 0.0, "Man": 100.0}}
    reader = OutputReader(GENDERS)
    assert reader([small, DEEPFACE])[0] > 0.99 and reader.several == 1
    assert reader([DEEPFACE | {"face_confidence": 0}]) and reader.faceless == 1
    small = INSIGHTFACE | {"bbox": [0, 0, 5, 5], "gender": 0}
    assert OutputReader(GENDERS)([small, INSIGHTFACE]) == [0.0, 1.0]


def test_no_face_and_no_answer():
    reader = OutputReader(GENDERS)
    unknown = {"face": [HUMAN | {"gender": "unknown", "genderScore": 0}]}
    assert reader(unknown) is None and reader([]) is None and reader(None) is None
    assert reader({"face": []}) is None
    assert reader({"face": [HUMAN]}) is not None


def test_two_that_fit_none_that_fits_and_another_label():
    with pytest.raises(PredictionsError, match="DeepFace or human"):
        is_output({"dominant_gender": "Man", "genderScore": 0.9})
    assert not is_output({"Male": 0.2, "Female": 0.8}) and not is_output([0.2, 0.8])
    with pytest.raises(PredictionsError, match="speaks of gender: Woman, Man; race"):
        OutputReader(("no", "yes"))([DEEPFACE])
    reader = OutputReader(GENDERS)
    reader([DEEPFACE])
    with pytest.raises(PredictionsError, match="is not what DeepFace writes"):
        reader({"face": [HUMAN]})
    with pytest.raises(PredictionsError, match="no probabilities"):
        OutputReader(GENDERS)([DEEPFACE | {"gender": {"Woman": 70, "Man": 70}}])


# --- files ----------------------------------------------------------------------------------------

IDS = ("a/1.jpg", "a/2.jpg", "b/3.chip.jpg")


def written(folder, name, content):
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_the_forms_of_json(tmp_path):
    other = DEEPFACE | {"dominant_gender": "Man"}
    forms = {
        "by_name.json": {"a/1.jpg": [DEEPFACE], "a/2.jpg": []},
        "records.json": [DEEPFACE | {"path": "/there/1.jpg"}],
        "results.json": [{"image": "1.jpg", "result": [DEEPFACE]}],
        "human.json": {"1.jpg": {"face": [HUMAN], "body": []}, "9.jpg": {"face": [HUMAN]}},
        "lines.jsonl": "\n".join(json.dumps(r | {"img": "1.jpg"}) for r in (DEEPFACE, other)),
    }
    for name, content in forms.items():
        said, foreign = read_outputs(written(tmp_path, name, content), IDS)
        assert len(said) == 3 and said[1] == said[2] == []
        assert OutputReader(GENDERS)(said[0])[0] > 0.8
        assert foreign == (name == "human.json")
        assert len(said[0]) == 1 + (name == "lines.jsonl")


def test_the_csv_of_fairface_has_its_own_names(tmp_path):
    import csv

    file = tmp_path / "test_outputs.csv"
    with file.open("w", newline="") as opened:
        rows = csv.DictWriter(opened, [*FAIRFACE])
        rows.writeheader()
        for name in ("3_face0", "3_face1", "1_face0"):
            rows.writerow(FAIRFACE | {"face_name_align": f"detected_faces/{name}.jpg"})
    said, foreign = read_outputs(file, IDS)
    assert [len(faces) for faces in said] == [1, 0, 2] and foreign == 0
    assert OutputReader(GENDERS)(said[2])[0] == pytest.approx(0.9999970)


def test_a_flat_table_of_deepface(tmp_path):
    lines = "image,dominant_gender,gender.Woman,gender.Man\n1.jpg,Man,20.5,79.5\n"
    said, _ = read_outputs(written(tmp_path, "flat.csv", lines), IDS)
    assert OutputReader(GENDERS)(said[0]) == pytest.approx([0.205, 0.795])


def test_what_names_no_picture_is_said(tmp_path):
    for content, said in (
        ([DEEPFACE], "does not say which picture"),
        ({"other.jpg": [DEEPFACE]}, "names no picture of the data"),
        ([{"path": "x.jpg", "result": [1]}, 3], "does not say which picture"),
        ("{", "Cannot read"),
    ):
        with pytest.raises(PredictionsError, match=said):
            read_outputs(written(tmp_path, "x.json", content), IDS)
    twice = written(tmp_path, "y.json", {"1.jpg": [DEEPFACE]})
    with pytest.raises(PredictionsError, match="could be 2 pictures"):
        read_outputs(twice, ("a/1.jpg", "b/1.jpg"))
    with pytest.raises(PredictionsError, match="There is no"):
        read_outputs(tmp_path / "gone.json", IDS)


def test_an_audit_reads_them(tmp_path, capsys):
    """Forty pictures, of which the file knows thirty-nine; every tenth answer is wrong."""
    from PIL import Image

    said = {}
    for place, one in enumerate(pixels(40)):
        sex = ("female", "male")[place % 2]
        (tmp_path / "faces" / sex).mkdir(parents=True, exist_ok=True)
        Image.fromarray(one).save(tmp_path / "faces" / sex / f"{place}.png")
        answer = "Man" if (place % 2 == 1) != (place % 10 == 9) else "Woman"
        shares = {word: 90.0 if word == answer else 10.0 for word in ("Woman", "Man")}
        said[f"{place}.png"] = [{"gender": shares, "dominant_gender": answer}]
    del said["0.png"]
    file = written(tmp_path, "said.json", said)
    quick = candid.load_config(overrides=["audit.draws=50"])
    found = candid.audit(tmp_path / "faces", config=quick, model=str(file))
    accuracy = found.splits[0].metrics["accuracy"]
    assert accuracy.n == 39 and accuracy.value == pytest.approx(35 / 39)
    notes = " ".join(found.notes)
    assert "no answer for 1 of 40" in notes and "as DeepFace writes them" in notes
    words = ("audit", tmp_path / "faces", "--model", file, "--set", "audit.draws=50")
    out = command(capsys, *words).out
    assert "accuracy 0.897" in out
    function = candid.audit(
        tmp_path / "faces", config=quick, model=lambda images: [[{"sex": "F"}] for _ in images]
    )
    assert function.splits[0].metrics["accuracy"].value == 0.5
    assert "answers without probabilities" in " ".join(function.notes)
