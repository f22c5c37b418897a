"""The folder for transformers: read by transformers itself, where Candid is not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import always_framed, pixels, tiny_run

import candid
from candid.errors import RunError
from candid.inference.export_facts import fact_marks
from candid.inference.standalone import standalone
from candid.inference.transformers_folder import model_code, write_transformers
from candid.models.networks import Deep
from candid.records import ModelCard, read_record

# Read without Candid: what the folder takes from elsewhere is torch, Pillow and transformers.
_PIPELINE = """
import json, sys
sys.modules["candid"] = None
from transformers import pipeline
found = {}
for folder in sys.argv[1].split(","):
    run = pipeline("image-classification", model=folder, trust_remote_code=True)
    found[folder] = run(sys.argv[2:])
print(json.dumps(found))
"""


def test_transformers_gives_the_runs_own_probabilities(tmp_path):
    pytest.importorskip("transformers")
    runs = [
        tiny_run(tmp_path / "plain", flip_tta=True),
        tiny_run(tmp_path / "framed", network="deep", width=4),
        tiny_run(tmp_path / "several", network="deep", width=4, ensemble_size=2),
        tiny_run(tmp_path / "vit", network="vit", width=32, depth=2, drop_path=0),
    ]
    always_framed(runs[1], (0.2, 0.05, 0.1, -0.1, 0.1))
    names = [str(tmp_path / f"{i}.png") for i in range(3)]
    for name, picture in zip(names, pixels(3, side=40), strict=True):
        Image.fromarray(picture[:, :30]).save(name)
    for run in runs:
        write_transformers(run, run.path / "there")
    folders = ",".join(str(run.path / "there") for run in runs)
    done = subprocess.run(
        [sys.executable, "-c", _PIPELINE, folders, *names],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    for run in runs:
        rows = candid.predict(run, names, check=False, engine="torch")
        for answer, row in zip(answers[str(run.path / "there")], rows, strict=True):
            assert {a["label"] for a in answer} == {"no", "yes"}
            for one in answer:
                assert one["score"] == pytest.approx(row[f"p_{one['label']}"], abs=2e-6)


@pytest.mark.parametrize("framed", [True, False])
@pytest.mark.parametrize("network", ["plain", "deep", "vit"])
def test_the_code_stands_alone(network, framed):
    code = model_code(network, framed=framed)
    compile(code, "modeling_candid.py", "exec")
    assert "candid." not in "".join(line for line in code.splitlines() if "import" in line)
    assert ("class Framing" in code) is framed
    assert code.count("class PixelNetwork") == 1


def test_what_a_module_takes_from_the_package_is_written_into_it():
    source = (
        '"""Net."""\n\nfrom candid.models.networks import Deep\n\n\nclass Net(Deep):\n    pass\n'
    )
    there: dict[str, type] = {}
    exec(standalone(source), there)
    assert "candid" not in standalone(source)
    torch.manual_seed(0)
    ours = Deep(16, 2, width=4).eval()
    theirs = there["Net"](16, 2, width=4).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(theirs(x), ours(x), rtol=0, atol=0)


def test_two_meanings_of_one_name_are_refused():
    source = "from candid.models.networks import Deep\n\n\ndef to_depth():\n    return Deep\n"
    with pytest.raises(ValueError, match="to_depth"):
        standalone(source)


def test_the_folder_says_what_it_is(tmp_path):
    run = tiny_run(tmp_path / "run", temperature=1.5)
    names = [path.name for path in write_transformers(run, tmp_path / "there")]
    assert sorted(names) == sorted(path.name for path in (tmp_path / "there").iterdir())
    config = json.loads((tmp_path / "there" / "config.json").read_text())
    assert config["id2label"] == {"0": "no", "1": "yes"}
    assert config["temperature"] == 1.5
    assert config["about"]["data_fingerprint"] == "none"
    card = read_record(run.model_file, ModelCard)
    marks = fact_marks(run, card)
    assert json.loads(marks["candid.classes"]) == ["no", "yes"]
    assert marks["candid.license"] == "other" and marks["candid.data_fingerprint"] == "none"
    assert "candid.abstain_below" not in marks  # no audit has found a threshold


def test_what_cannot_be_written_is_refused(tmp_path):
    run = tiny_run(tmp_path / "run")
    with pytest.raises(RunError, match="int8"):
        candid.export(run.path, to="transformers", int8=True)
    there = candid.export(run.path, to="transformers")
    assert (run.path / "transformers" / "config.json").is_file()
    assert there.bytes == sum(p.stat().st_size for p in (run.path / "transformers").iterdir())
    plain = json.loads(run.model_file.read_text())
    run.model_file.write_text(json.dumps(plain | {"network": "features", "options": {}}))
    with pytest.raises(RunError, match="features"):
        write_transformers(run, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_whole_gives_what_it_gave(tmp_path):
    """Normalisation, mirror and temperature, written out."""
    run = tiny_run(tmp_path / "run", flip_tta=True, temperature=1.7)
    whole, given = candid.load_model(run), torch.from_numpy(pixels(2))
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3)))
    x = (given.permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        both = [whole.network(x), whole.network(x.flip(3))]
        expected = torch.softmax((both[0] + both[1]) / 2 / 1.7, 1)
        np.testing.assert_allclose(whole(given), expected, atol=1e-5)
