"""candid improve: a cue that a network leans on, and a run that leans on it less."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import candid as package
from candid.improvement.retrained import TrainingChange
from candid.models.last_layer import find_last_layer
from candid.models.networks import build
from candid.models.weights import save_weights
from candid.pipeline.opening import begin, load_packed, reload
from candid.pipeline.retraining import Retraining
from candid.predictions import read_predictions
from candid.records import ModelCard, read_record, write_record
from candid.records.improvement import Improvement
from candid.runs import open_run
from candid.text.improvement import improvement_lines
from commands import candid

SIDE, N = 16, 900


def two_halves(folder):
    """Pictures whose left half tells the label a little, the right half the cue, seen with it."""
    rng = np.random.default_rng(4)
    label = rng.integers(2, size=N)
    cue = np.where(rng.random(N) < 0.85, label, 1 - label)
    left = (2 * label - 1) + rng.normal(0, 0.8, N)
    right = (2 * cue - 1) + rng.normal(0, 0.3, N)
    folder.mkdir()
    split = np.repeat(["train", "validation", "test"], N // 3)
    rows = ["file,Hat,split,person,Cue,Veil"]
    for i in range(N):
        pixels = np.full((SIDE, SIDE, 3), 128.0)
        pixels[:, : SIDE // 2] += 25 * left[i]
        pixels[:, SIDE // 2 :] += 25 * right[i]
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{i}.png")
        cue_word = ("without", "with")[cue[i]]
        veil = "yes" if label[i] and i % 3 == 0 else "no"  # with one label alone
        rows.append(f"{i}.png,{('no', 'yes')[label[i]]},{split[i]},p{i // 2},{cue_word},{veil}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder / "labels.csv"


def network():
    """The two halves' brightness, and a last layer that believes the cue."""
    net = build("features", side=SIDE, n_classes=2, features="eigenfaces", components=2)
    halves = torch.zeros(2, 3, SIDE, SIDE)
    halves[0, :, :, : SIDE // 2] = halves[1, :, :, SIDE // 2 :] = 1 / (3 * SIDE * SIDE / 2)
    with torch.no_grad():
        net.eigenfaces.weight.copy_(halves.flatten(1))
        net.head.weight.copy_(2.0 * torch.tensor([[-0.7, -2.0], [0.7, 2.0]]))
    return net


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("improve")
    table = two_halves(root / "halves")
    how = ["data.side=16", "data.workers=1", "data.target=Hat", "train.threads=1"]
    how += ["audit.draws=60", "evaluate.draws=60"]
    how += ["network.features=eigenfaces", "network.components=2"]
    config = package.load_config(recipe="features", overrides=how)
    data = load_packed(table, config, cache=root / "cache", quiet=True)
    run, net = begin(root / "run", config, data), network()
    save_weights(run.weights, net.state_dict())
    card = ModelCard(
        network="features",
        options={"features": "eigenfaces", "components": 2, "classifier": "logistic", "cell": 8},
        target="Hat", classes=("no", "yes"), side=SIDE, mean=(0.5,) * 3, std=(0.2,) * 3,
        temperature=1.0, parameters=0, multiply_adds=0, layers=(), step=1, kept="last",
    )  # fmt: skip
    write_record(run.model_file, card)
    return root


@pytest.fixture(scope="module")
def improved(made):
    package.improve(made / "run", groups=["Cue"], folds=3, cache=made / "cache")
    return made


def test_the_balanced_layer_wins_on_pictures_and_on_new_people(improved):
    run = open_run(improved / "run")
    found = read_record(run.improvement, Improvement)
    assert found.winner in ("last-layer-Cue", "last-layer-Cue-training")
    assert found.folder == f"improve/{found.winner}"
    best = found.remedies[0]
    assert best.helps == "found"
    assert best.worst_after.accuracy.value > best.worst_before.accuracy.value + 0.2
    assert found.test.worst_after.accuracy.value > found.test.worst_before.accuracy.value + 0.2
    lines = "\n".join(improvement_lines(found, "RUN"))
    assert f"candid predict RUN/{found.folder} PICTURES" in lines
    assert "On test, looked at this once" in lines


def test_the_winner_is_a_run_that_answers_as_it_was_judged(improved, tmp_path):
    run = open_run(improved / "run")
    found = read_record(run.improvement, Improvement)
    winner = open_run(run.path / found.folder)
    answers = read_predictions(winner.predictions_file)
    test = answers[answers.split == "test"]
    # The network with its new layer says of pictures what the file has, and the test figures are.
    some = [str(improved / "halves" / name) for name in test.ids[:40]]
    rows = list(package.predict(winner, some, engine="torch", check=False, abstain_below=0))
    assert [r["p_yes"] for r in rows] == pytest.approx(test.probability[:40, 1], abs=1e-4)
    look = found.test.comparison.overall.metrics["accuracy"]
    assert look.b == pytest.approx(np.mean(~test.wrong))
    # Validation rows are out of fold: those that the contest judged, not those of the final layer.
    validation = answers[answers.split == "validation"]
    assert found.remedies[0].overall.metrics["accuracy"].b == pytest.approx(
        np.mean(~validation.wrong)
    )
    assert winner.is_current("predict")
    assert not winner.is_current("audit")
    assert winner.evaluation.is_file()


def test_the_same_command_again_finds_the_same_and_says_json(improved, capsys):
    words = [improved / "run", "--group", "Cue", "--folds", 3, "--cache", improved / "cache"]
    before = json.loads((improved / "run" / "improve.json").read_text())
    said = json.loads(candid(capsys, "improve", *words, "--json", "--quiet").out)
    assert said["winner"] == before["winner"]
    assert said["remedies"][0]["aim"]["p"] == before["remedies"][0]["aim"]["p"]
    assert len(list((improved / "run" / "improve").glob("features-*.npz"))) == 1


def test_a_layer_that_cannot_be_balanced_is_missed_in_words(improved, tmp_path, capsys):
    run = shutil.copytree(improved / "run", tmp_path / "run")
    words = ["--group", "Cue", "--group", "Veil", "--folds", 3, "--cache", improved / "cache"]
    said = candid(capsys, "improve", run, *words, "--quiet", "--json").out
    found = json.loads(said)
    names = {remedy["name"] for remedy in found["remedies"]}
    assert "last-layer-Cue" in names and "last-layer-Veil" not in names
    (note,) = [note for note in found["notes"] if "not fitted again" in note]
    assert "balanced by Veil: of the validation images" in note
    before = json.loads((improved / "run" / "improve.json").read_text())
    assert not any("not fitted again" in note for note in before["notes"])


def test_bad_input_is_an_error_in_words(improved, tmp_path, capsys):
    run = improved / "run"
    assert "Queue" in candid(capsys, "improve", run, "--group", "Queue", code=2).err
    assert "3 folds" in candid(capsys, "improve", run, "--folds", 2, code=2).err
    untrained = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("improve"))
    (untrained / "model.json").unlink()
    assert "no trained network" in candid(capsys, "improve", untrained, code=2).err


def test_the_last_layer_is_found_where_there_is_one():
    image = torch.zeros(1, 3, 16, 16)
    for name in ("plain", "deep"):
        net = build(name, side=16, n_classes=2).eval()
        assert find_last_layer(net, image) is (net.fc2 if name == "plain" else net.head)
    # Its sigmoids come after the layer.
    svm = build("features", side=16, n_classes=2, classifier="svm").eval()
    with torch.no_grad():
        svm.head.bias.copy_(torch.tensor([0.3, -0.2]))
    assert find_last_layer(svm, image) is None
    assert not svm.head._forward_hooks


def test_the_report_tells_it(improved):
    run = open_run(improved / "run")
    found = read_record(run.improvement, Improvement)
    package.evaluate(run)
    page = package.report(run).read_text(encoding="utf-8")
    section = page[page.index('<section id="improvement">') :]
    section = section[: section.index("</section>")]
    assert f"{found.winner} wins" in section
    assert all(remedy.name in section for remedy in found.remedies)
    assert f"candid predict RUN/{found.folder} PICTURES" in section
    first = page[page.index('id="next"') : page.index('<section id="purpose">')]
    assert f"candid predict ./{found.folder} PICTURES" in first


@pytest.mark.slow
def test_corrections_are_trained_with_and_judged_by(improved, tmp_path, capsys):
    shutil.copytree(improved / "run", tmp_path / "run", ignore=shutil.ignore_patterns("improve"))
    run = open_run(tmp_path / "run")
    as_it_is = read_predictions(run.predictions_file)
    flipped, dropped = "3.png", "305.png"  # in training, and in validation
    lines = (improved / "halves/labels.csv").read_text().splitlines()
    was = dict(line.split(",")[:2] for line in lines)[flipped]
    now = "Hat" if was == "no" else "not Hat"
    decisions = tmp_path / "corrections.csv"
    decisions.write_text(f"id,kind,now\n{flipped},label,{now}\n{dropped},leave out,\n")
    words = [run.path, "--group", "Cue", "--folds", 3, "--cache", improved / "cache"]
    assert "--train" in candid(capsys, "improve", *words, "--corrections", decisions, code=2).err
    words += ["--only", "corrections", "--corrections", decisions, "--json", "--quiet"]
    said = json.loads(candid(capsys, "improve", *words).out)
    by_name = {r["name"]: r for r in said["remedies"]}
    assert by_name["corrections"]["beside_control"] is not None
    assert said["n"] == np.count_nonzero(as_it_is.split == "validation") - 1
    made = open_run(run.path / "improve" / "corrections")
    assert made.settings.data.corrections == str(decisions)
    assert made.settings.train == run.settings.train
    assert open_run(run.path / "improve/another-seed").settings.train.seed == 1
    # What was trained is there.
    before, data = made.weights.stat().st_mtime_ns, reload(run, cache=improved / "cache")
    retraining = Retraining(run, data, decisions, None, improved / "cache")
    assert retraining.train(TrainingChange("corrections", "corrections")).path == made.path
    assert made.weights.stat().st_mtime_ns == before
