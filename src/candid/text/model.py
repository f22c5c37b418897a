"""What report, model card and server say of a model, so that all say the same.

What the model is for, how it does in plain words, what was not checked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from candid.records import Estimate, Finding, ModelCard, Provenance, SplitEvaluation
from candid.settings import Config, OwnConfig
from candid.text import external, words
from candid.text.inputs import ReportInput

_MOST_NAMED = 8  # more classes than these are counted in a sentence, not named

WITHOUT_PEOPLE = "Pictures, and what is said of single ones, are left out of this copy."

# --- what it is for ------------------------------------------------------------------------------


def model_purpose(inputs: ReportInput) -> str:
    """What the model is, in one sentence."""
    classes = inputs.classes
    value = (
        f"the value {words.conjoin([f'“{c}”' for c in classes], 'or')}"
        if len(classes) <= _MOST_NAMED
        else f"each of {words.count(len(classes))} values"
    )
    face = "a drawn face" if inputs.is_drawn else "a face"
    labeller = inputs.labeller if inputs.is_drawn else f"the annotators of “{inputs.data_name}”"
    return (
        f"From a picture of {face}, {inputs.side} × {inputs.side} pixels, the model estimates how "
        f"probable it is that {labeller} gave it the label “{inputs.target}” with {value}."
    )


def uses(inputs: ReportInput) -> list[str]:
    """What the model and this account of it are for."""
    if inputs.is_drawn:
        return [
            "Seeing what Candid measures and how it reports it, without anyone’s picture.",
            "Checking Candid itself: what the program drew is known, so what is measured can be "
            "held against it.",
            "Teaching: every figure comes with the number of images behind it and with what it "
            "takes to make it again.",
        ]
    return [
        f"Studying how a classifier that is trained on “{inputs.data_name}” behaves: what it gets "
        "right, what it gets wrong, how sure it is, and for whom.",
        "A baseline, measured with intervals, that another model, training or data set can be "
        "compared with.",
        "Teaching: every figure comes with the number of images behind it and with what it takes "
        "to make it again.",
    ]


def not_for(inputs: ReportInput) -> list[str]:
    """What the model is not for."""
    k = len(inputs.classes)
    words_do = "Two words do" if k == 2 else f"{words.count(k)} words do"
    wrote = "annotators wrote" if not inputs.is_drawn else f"{inputs.labeller} noted"
    return [
        no_identity(inputs.target, wrote),
        f"{words_do} not describe everyone. Who fits none of them is still given one of them: the "
        "model has no other answer.",
        "It is not for deciding anything about a person: not who is let in, hired, paid, watched, "
        "treated or shown an offer, and not how somebody is addressed.",
        "It is not for people who have not agreed to have their faces analysed.",
    ]


def no_identity(target: str, wrote: str = "annotators wrote") -> str:
    """What a label is, and what it is not."""
    return (
        f"The label “{target}” is what {wrote} about a picture. It is not a "
        "person’s identity, and neither is a prediction of it."
    )


def data_limits(inputs: ReportInput) -> list[str]:
    """What the data do not allow to conclude."""
    if inputs.is_drawn:
        return [
            "A program drew every face. The figures say how well drawings are told apart, and "
            "nothing about photographs or about people.",
            "Some labels were made wrong on purpose, as annotators make mistakes. A wrong label "
            "counts as the truth here, so even a perfect model would not reach 1.",
        ]
    sources = external.tried_sources(inputs.transfer)
    return [
        f"All images come from the data set “{inputs.data_name}”. On pictures from elsewhere "
        "(other cameras, light, ages, poses, parts of the world) the model can do worse"
        + (", and nothing here says by how much." if not sources else f"; {sources}."),
        "A label that an annotator got wrong counts as the truth here: a model that repeats "
        "the annotators’ mistakes looks better than it is, one that does not looks worse.",
    ]


def limits(inputs: ReportInput) -> list[str]:
    """What the figures do not allow to conclude."""
    texts = data_limits(inputs)
    if inputs.audit is None:
        texts.append(
            "No audit by group was made. That nothing is reported about a group of people does "
            "not mean that the model works as well for them as for others."
        )
    else:
        texts.append(
            "Where the audit saw nothing because there was too little data, nothing is known: "
            "that is not the same as no difference."
        )
    return texts


# --- in plain words ------------------------------------------------------------------------------


def model_summary(inputs: ReportInput) -> list[str]:
    """The model in short, without a technical word."""
    sentences = [model_purpose(inputs)]
    split = inputs.headline
    if split is None:
        sentences.append("No predictions were measured, so nothing is known of how well it does.")
        return sentences
    sentences.append(_agreement(inputs, split))
    sentences += _majority_sentences(split) + _calibration_sentences(split)
    findings = pressing_findings(inputs)
    if inputs.exploration is None:
        sentences.append("The data were not looked at in this run.")
    elif findings:
        sentences.append(
            f"Of the checks of the data, {words.count(len(findings))} found something that can "
            f"change what the figures mean: {words.conjoin([f'“{f.title}”' for f in findings])}."
        )
    if inputs.audit is None:
        sentences.append("Whether it does equally well for everyone was not measured.")
    return sentences


def _agreement(inputs: ReportInput, split: SplitEvaluation) -> str:
    accuracy = split.metrics.get("accuracy")
    measured = f"{words.count(split.n)} {split.split} images{words.of_people(split.people)}"
    if split.split == "train":
        use = " that it was also trained on"
    else:  # of a model that was trained elsewhere, nothing is known
        use = "" if inputs.model is None else " that it was not trained on"
    if accuracy is None or not math.isfinite(accuracy.value):
        return f"It was measured on {measured}{use}."
    return (
        f"On {measured}{use}, its answer is that of "
        f"{inputs.labeller} in {words.hundredths_of(accuracy)} of 100 "
        f"({_hundredths_interval(accuracy)})."
    )


def _hundredths_interval(e: Estimate) -> str:
    return f"{words.confidence(e.confidence)}: {words.hundredths_interval(e)}"


def _majority_sentences(split: SplitEvaluation) -> list[str]:
    support_by_class = {c.name: c.support for c in split.classes}
    total = sum(support_by_class.values())
    if not total:
        return []
    name, largest = max(support_by_class.items(), key=lambda item: item[1])
    return [
        f"Always answering “{name}”, without looking, would agree in "
        f"{words.number(100 * largest / total, 1)} of 100 ({words.count(largest)} of the same "
        f"{words.count(total)})."
    ]


def _calibration_sentences(split: SplitEvaluation) -> list[str]:
    error = split.metrics.get("calibration_error")
    if error is None or not math.isfinite(error.value):
        return []
    return [
        "Where it says how sure it is, it is off by "
        f"{words.hundredths_of(error)} percentage points on average"
        + (f" ({_hundredths_interval(error)})." if math.isfinite(error.low + error.high) else "."),
    ]


def pressing_findings(inputs: ReportInput) -> list[Finding]:
    """The findings that a reader should know of before the figures, the most serious first."""
    if inputs.exploration is None:
        return []
    findings = [f for f in inputs.exploration.findings if f.state == "found"]
    serious = [f for f in findings if f.severity == "serious"]
    return serious + [f for f in findings if f.severity == "warning"]


# --- what was not checked ------------------------------------------------------------------------


@dataclass(frozen=True)
class Unchecked:
    """Something that was not checked, and why."""

    title: str
    reason: str


UNKNOWN_PEOPLE = Unchecked(
    "Who is in the pictures",
    "The data do not say which pictures show the same person. Intervals draw pictures "
    "instead of people and may be too narrow, and a person may stand in two splits.",
)
UNKNOWN_ANNOTATORS = Unchecked(
    "The annotators",
    "How often two annotators would agree was not measured, so neither was the best that "
    "any model could reach.",
)


def nothing_outside(data_name: str) -> Unchecked:
    """That nothing was measured on other data."""
    return Unchecked("Other data", f"Nothing was measured on images from outside “{data_name}”.")


def shared_network(card: ModelCard) -> str:
    """That a network has outputs for other labels, too."""
    return (
        f"It learned several labels at once and gives {card.n_outputs} numbers, of which "
        f"{len(card.classes)} are this label's: what is said of its parameters, layers and "
        "training is said of the whole."
    )


def public_settings(config: Config, provenance: Provenance) -> dict[str, str]:
    """Settings as others may read them: the name of initial weights, not their path."""
    initial = provenance.initial
    if not config.train.initial:
        return {}
    name = PurePath(config.train.initial).name
    return {"train.initial": name if initial is None else f"{name} (digest {initial.digest[:12]})"}


def custom_code(inputs: ReportInput) -> str:
    """Which parts of the training are the user's code; "" where none is."""
    config, texts = inputs.config, []
    if isinstance(config.network, OwnConfig) and config.network.module:
        texts.append(f"The network is made by {config.network.module}.")
    if config.train.loss:
        texts.append(
            f"The loss is {config.train.loss}, in place of cross-entropy and of label smoothing."
        )
    if config.augment.extra:
        texts.append(f"Training images are changed by {config.augment.extra}, too.")
    if not texts:
        return ""
    return f"{' '.join(texts)} This is code of the run's maker, and no part of Candid."


def starting_weights(inputs: ReportInput) -> str:
    """The initial weights, and which layers were frozen or slowed; "" where all was fresh."""
    train, initial = inputs.config.train, inputs.provenance.initial
    texts = []
    if initial is not None:
        learned = f", which had learned {initial.target}" if initial.target else ""
        texts.append(
            f"Training began with the weights of {PurePath(initial.place).name}{learned} "
            f"({initial.tensors:,} tensors, digest {initial.digest[:12]})."
        )
        if initial.anew:
            texts.append(f"{', '.join(initial.anew)} began anew.")
    if train.freeze:
        layers = f"The first {train.freeze} layers"
        layers = "All layers but the last" if train.freeze < 0 else layers
        texts.append(f"{layers} were not trained.")
    if train.depth_decay != 1:
        texts.append(
            f"The learning rate of each layer is {train.depth_decay:g} times that of the next."
        )
    return " ".join(texts)


def unchecked(inputs: ReportInput) -> list[Unchecked]:
    """What this run did not check."""
    return [*_absent_stages(inputs), *_absent_splits(inputs), *_unknown_facts(inputs)]


def _absent_stages(inputs: ReportInput) -> Iterator[Unchecked]:
    if inputs.exploration is None:
        yield Unchecked("The data", "The data were not explored: no check for duplicates or leaks.")
    if inputs.audit is None:
        yield Unchecked(
            "Groups of people", "No audit by group was made: gaps would go unseen here."
        )
    if inputs.explanation is None:
        yield Unchecked(
            "What it looks at",
            "No explanation was made: right answers may come from a background or a hat.",
        )
    if not inputs.history:
        yield Unchecked("Training", "There is no record of the training, so none of convergence.")


def _unknown_facts(inputs: ReportInput) -> Iterator[Unchecked]:
    """People, checks without a result, other seeds, data and annotators."""
    if inputs.evaluation.splits and all(s.people is None for s in inputs.evaluation.splits):
        yield UNKNOWN_PEOPLE
    for f in () if inputs.exploration is None else inputs.exploration.findings:
        if f.state in ("not applicable", "too few to say"):
            yield Unchecked(f.title, f"{f.state.capitalize()}: {f.detail}")
    if inputs.seeds is None:
        yield Unchecked(
            "Other seeds",
            f"This is one training run, with seed {inputs.provenance.seed}. The intervals tell "
            "of the images that happened to be drawn, not of how much another seed would change.",
        )
    if not external.tried_sources(inputs.transfer):
        yield nothing_outside(inputs.data_name)
    if not inputs.is_drawn:
        yield UNKNOWN_ANNOTATORS


def _absent_splits(inputs: ReportInput) -> Iterator[Unchecked]:
    for name in ("validation", "test"):
        split = inputs.split(name)
        if split is None or split.n == 0:
            source = _instead_of_test(inputs) if name == "test" else ""
            reason = f"There are no predictions on {name} images. {source}".strip()
            yield Unchecked(f"The {name} split", reason)


def _instead_of_test(inputs: ReportInput) -> str:
    """How far the figures can be trusted where they do not come from test images."""
    if inputs.headline is None:
        return ""
    if inputs.headline.split == "train":
        return "The figures come from images that the model was trained on, and flatter it."
    if inputs.split("validation") is not None and _validation_uses(inputs):
        return (
            "The figures come from images that were also used to choose between weights or to fit "
            "the temperature, and are a little flattering."
        )
    return "What the images that the figures come from were also used for is not known."


def validation_caveat(inputs: ReportInput) -> str:
    """What the validation images were also used for, which flatters their figures."""
    used = _validation_uses(inputs)
    if not used or inputs.split("validation") is None:
        return ""
    test = "" if inputs.split("test") is None else "; the test images were used for nothing else"
    return (
        f"The validation images were also used {words.conjoin(used)}, which flatters the figures "
        f"on them a little{test}."
    )


def _validation_uses(inputs: ReportInput) -> list[str]:
    # Of predictions that came from elsewhere, the settings of this run tell nothing.
    uses = []
    if inputs.model is not None and inputs.model.kept == "best":
        uses.append("to choose the weights that were kept")
    if inputs.evaluation.temperature != 1:
        uses.append("to fit the temperature of the probabilities")
    return uses


def caveats(inputs: ReportInput) -> list[str]:
    """What the evaluation notes about its figures; without notes, what validation was used for."""
    caveat = validation_caveat(inputs)
    return list(inputs.evaluation.notes) or ([caveat] if caveat else [])
