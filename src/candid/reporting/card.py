"""The model card: README.md in Hugging Face's format, with the results in its YAML head."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from candid.config import changed_settings
from candid.records import Estimate, SplitEvaluation
from candid.reporting import audit_tables, markdown
from candid.reporting.front_matter import front_matter
from candid.reporting.usage import input_side, onnx_example, torch_example, transformers_example
from candid.text import audit, comparison, external, seeds, words
from candid.text import model as prose
from candid.text.inputs import ReportInput
from candid.text.metrics import metric_text
from candid.text.window import view_sentence

# Hugging Face's names of metrics, where it has them.
_METRIC_TYPES = {
    "weighted_f1": "f1",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "roc_auc": "roc_auc",
    "average_precision": "average_precision",
    "log_loss": "log_loss",
    "brier_score": "brier_score",
    "calibration_error": "expected_calibration_error",
}


def card(inputs: ReportInput, *, repo: str = "", space: bool = False) -> str:
    """Write the model card of a run.

    The head is YAML with a `model-index` (one result per split that was measured); undefined
    figures stand in the text and are left out of the head, which has no word for them. Whatever
    comes from the data is escaped for YAML and for Markdown.

    Parameters
    ----------
    inputs
        The records of a run; parts that are absent are named as not checked.
    repo
        The repository on Hugging Face's Hub that it is for, "owner/name", where its model is one of
        transformers; "": the folder of the run.
    space
        Whether a Space of that name shows the report.

    Returns
    -------
    str
        Markdown with a YAML head, encodable as UTF-8.
    """
    title = f"{inputs.target} on {inputs.data_name}, {inputs.network} network"
    parts = [
        _head(inputs, title, repo),
        f"# {markdown.text(title)}",
        " ".join(markdown.text(sentence) for sentence in prose.model_summary(inputs)),
        _results(inputs),
        "## What this is for, and what it is not for",
        f"For:\n\n{markdown.bullets(prose.uses(inputs))}",
        f"Not for:\n\n{markdown.bullets(prose.not_for(inputs))}",
        f"## Limits\n\n{markdown.bullets(prose.limits(inputs))}",
        f"## Data\n\n{_data(inputs)}",
        f"## Training\n\n{_training(inputs)}",
        f"## Evaluation\n\n{_evaluation(inputs)}",
        f"## How far from home\n\n{_transfer(inputs)}",
        _audit(inputs),
        "## What was not checked\n\n"
        + markdown.bullets([f"{u.title}. {u.reason}" for u in prose.unchecked(inputs)]),
        f"## How to use it\n\n{_usage_from_hub(repo, space) if repo else _usage(inputs)}",
        f"## How to reproduce it\n\n{_reproduction(inputs)}",
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


# --- the head ------------------------------------------------------------------------------------


def _head(inputs: ReportInput, title: str, repo: str) -> str:
    head: dict[str, Any] = {
        # What the labels and pictures allow is for whoever publishes it to say.
        "license": "other",
        "library_name": "transformers" if repo else "candid",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "face-attributes", "candid", inputs.network],
        "metrics": [t for k, t in _METRIC_TYPES.items() if _is_measured(inputs, k)],
    }
    results = [_result(inputs, split) for split in inputs.evaluation.splits if split.n]
    results = [result for result in results if result["metrics"]]
    if results:
        head["model-index"] = [{"name": title, "results": results}]
    return front_matter(head)


def _is_measured(inputs: ReportInput, key: str) -> bool:
    figures = (split.metrics.get(key) for split in inputs.evaluation.splits)
    return any(e is not None and math.isfinite(e.value) for e in figures)


def _result(inputs: ReportInput, split: SplitEvaluation) -> dict[str, Any]:
    return {
        "task": {"type": "image-classification", "name": f"predicting the label {inputs.target}"},
        "dataset": {
            # The field wants an id on the hub; a local folder has none, so its layout stands there.
            "type": inputs.exploration.layout if inputs.exploration is not None else "local",
            "name": inputs.data_name,
            "split": split.split,
            "args": {"images": split.n, "fingerprint": inputs.provenance.data_fingerprint},
        },
        "metrics": [
            {
                "type": kind,
                "name": f"{metric_text(key).name} ({split.split})",
                "value": float(f"{e.value:.6g}"),
                "args": _interval_arguments(e),
            }
            for key, kind in _METRIC_TYPES.items()
            if (e := split.metrics.get(key)) is not None and math.isfinite(e.value)
        ],
    }


def _interval_arguments(estimate: Estimate) -> dict[str, Any]:
    arguments: dict[str, Any] = {"images": estimate.n, "interval": words.method(estimate)}
    if estimate.people is not None:
        arguments["people"] = estimate.people
    if math.isfinite(estimate.low) and math.isfinite(estimate.high):
        arguments |= {"low": float(f"{estimate.low:.6g}"), "high": float(f"{estimate.high:.6g}")}
    return arguments


# --- the parts -----------------------------------------------------------------------------------


def _results(inputs: ReportInput) -> str:
    rows = [
        [
            split.split,
            words.figure_of(f1),
            words.interval(f1),
            words.support(f1),
            words.method(f1),
        ]
        for split in inputs.evaluation.splits
        if split.n and (f1 := split.metrics.get("weighted_f1")) is not None
    ]
    head = ["Split", "Weighted F1", "Interval", "Stands on", "How"]
    return markdown.table(head, rows) if rows else ""


def _data(inputs: ReportInput) -> str:
    e = inputs.exploration
    if e is None:
        return "The data were not explored in this run."
    people = "" if e.people is None else f" of {words.persons(e.people)}"
    head = ["Split", "Images", *(f"labelled {markdown.text(c)}" for c in e.classes)]
    rows = [
        [
            s.split,
            words.count(s.n),
            *(
                f"{words.count(n)} ({words.share_of(share)}; {words.interval(share, share=True)})"
                for n, share in zip(s.counts, s.shares, strict=True)
            ),
        ]
        for s in e.splits
    ]
    parts = [
        f"{markdown.line(e.name)}: {words.count(e.n)} images{people}, {words.count(e.unreadable)} "
        f"unreadable, {words.count(e.unlabelled)} without a label, each brought to "
        f"{e.side} × {e.side} pixels. Shares with their intervals"
        + (
            f" ({words.method(e.splits[0].shares[0])}):" if e.splits and e.splits[0].shares else ":"
        ),
        markdown.table(head, rows),
    ]
    findings = [f"{f.title} ({f.severity}). {f.detail}" for f in prose.pressing_findings(inputs)]
    if findings:
        parts.append(f"What the checks of the data found:\n\n{markdown.bullets(findings)}")
    return "\n\n".join(parts)


def _training(inputs: ReportInput) -> str:
    train, m = inputs.config.train, inputs.model
    texts = []
    if m is not None:
        weights = f"The {m.kept} weights were kept, those after batch {words.count(m.step)}."
        weights = "" if inputs.fit else weights
        texts.append(
            f"The network {markdown.code(m.network)} has {words.count(m.parameters)} parameters "
            f"and needs {words.count(m.multiply_adds)} multiply-adds for an image of {m.side} × "
            f"{m.side} pixels. {weights} Its probabilities are calibrated with a temperature of "
            f"{words.number(m.temperature)}." + (f" {prose.shared_network(m)}" if m.head else "")
        )
        if view := view_sentence(m):
            texts.append(view)
    if inputs.fit:
        texts.append(
            f"Its features are fixed; a linear classifier was fitted to those of "
            f"{words.count(inputs.fit.images)} images as they are, not augmented, seed "
            f"{inputs.provenance.seed}."
        )
    elif inputs.history:
        last = inputs.history[-1]
        start = " ".join(filter(None, (prose.starting_weights(inputs), prose.custom_code(inputs))))
        scratch = "" if inputs.provenance.initial else "from scratch "
        texts.append(
            f"Trained {scratch}for {words.count(last.step)} batches of "
            f"{words.count(train.batch_size)} images with {markdown.code(train.optimizer)}, "
            f"learning rate {train.learning_rate:g}, seed {inputs.provenance.seed}."
            + (f" {markdown.line(start)}" if start else "")
        )
    else:
        texts.append("There is no record of the training.")
    if inputs.evaluation.convergence is not None:
        c = inputs.evaluation.convergence
        texts.append(f"{markdown.line(c.sentence)} How this was decided: {markdown.text(c.rule)}")
    return "\n\n".join(texts)


def _evaluation(inputs: ReportInput) -> str:
    splits = [s for s in inputs.evaluation.splits if s.n]
    if not splits:
        return "No predictions were measured."
    keys = list(dict.fromkeys(key for s in splits for key in s.metrics))
    rows = [[metric_text(key).name, *(_figure(s.metrics.get(key)) for s in splits)] for key in keys]
    head = ["Metric", *(f"{s.split} (n = {words.count(s.n)})" for s in splits)]
    parts = [markdown.table(head, rows), *_by_source(inputs)]
    for s in splits:
        per_class = [
            [
                f"labelled {markdown.text(c.name)}",
                words.count(c.support),
                *(_figure(e) for e in (c.precision, c.recall, c.f1)),
            ]
            for c in s.classes
        ]
        parts += [
            f"Per class, {s.split}:",
            markdown.table(["Class", "Images", "Precision", "Recall", "F1"], per_class),
        ]
    notes = [*prose.caveats(inputs), *seeds.seeds_summary(inputs.seeds)]
    return "\n\n".join([*parts, markdown.bullets(notes)] if notes else parts)


def _by_source(inputs: ReportInput) -> Iterator[str]:
    for split, groups in audit_tables.by_source(inputs.audit, inputs.sources):
        rows = [
            [
                markdown.text(g.conditions[0].value),
                words.count(g.n),
                *(_figure(g.metrics[key]) for key in ("weighted_f1", "accuracy")),
            ]
            for g in groups
        ]
        yield f"By source, {split.split}:"
        yield markdown.table(["Source", "Images", "Weighted F1", "Accuracy"], rows)


def _figure(estimate: Estimate | None) -> str:
    return "not measured" if estimate is None else words.with_ends(estimate)


def _audit(inputs: ReportInput) -> str:
    """For whom it fails, in short; nothing where no audit was made."""
    if inputs.audit is None or not inputs.audit.splits:
        return ""
    summary, compared = audit.audit_summary(inputs.audit), inputs.audit.comparison
    parts = ["## For whom it fails", f"What was found:\n\n{markdown.bullets(summary.findings)}"]
    rows = [
        [markdown.text(cell) for cell in row] for row in audit.card_rows(inputs.audit.splits[0])
    ]
    if rows:
        surest = f"The {len(rows)} surest of {len(inputs.audit.splits[0].findings)} findings"
        parts += [f"{surest}:", markdown.table(audit.CARD_HEAD, rows)]
    for title, sentences in (
        ("How sure this is", summary.certainty),
        ("What could not be seen", summary.unseen),
        ("Shortcuts", audit.shortcut_sentences(inputs.audit.splits[0])),
        ("When it had better not answer", audit.abstention_sentences(inputs.audit)),
        ("Labels that may be wrong", audit.noise_sentences(inputs.audit)),
        (
            "Balance between groups",
            audit.balance_sentences(
                inputs.config.train.balance, inputs.config.train.balance_attributes
            ),
        ),
        (
            "Beside another model",
            () if compared is None else comparison.comparison_summary(compared),
        ),
    ):
        if sentences:
            parts.append(f"{title}:\n\n{markdown.bullets(sentences)}")
    return "\n\n".join(parts)


def _transfer(inputs: ReportInput) -> str:
    """On pictures from elsewhere, or that nobody looked."""
    t, sentences = inputs.transfer, external.framing_sentences(inputs.framing)
    sentences += external.alignment_sentences(inputs.source_frames)
    if t is None or not t.sources:
        return markdown.bullets([*sentences, external.NOBODY_LOOKED])
    rows = [[markdown.text(cell) for cell in external.cells(row)] for row in external.place_rows(t)]
    sentences += external.transfer_sentences(t)
    return f"{markdown.table(external.HEAD, rows)}\n\n{markdown.bullets(sentences)}"


def _usage_from_hub(repo: str, space: bool) -> str:
    """How transformers runs what lies in a repository."""
    link = f"[The whole report](https://huggingface.co/spaces/{repo}) is shown by a Space."
    return (
        "With transformers, which runs the code beside the weights (`modeling_candid.py`, readable "
        "in a minute). Framing, normalising and the temperature are inside; its scores are the "
        "run's own probabilities:\n\n"
        + markdown.block(transformers_example(repo).rstrip(), "python")
        + (f"\n\n{link}" if space else "")
    )


def _usage(inputs: ReportInput) -> str:
    m = inputs.model
    if m is None:
        return "The weights are not part of this run; the figures were made from predictions."
    fit, names = inputs.config.data.fit, words.conjoin([markdown.text(f"“{c}”") for c in m.classes])
    note = (
        " The network is not Candid's own: `network` is that module." if m.network == "own" else ""
    )
    is_framed = inputs.framing is not None and inputs.framing.used
    steps = "framing, normalising, " if is_framed else "normalising, "
    if m.flip_tta:
        steps += "the average with the mirror image, "
    side = input_side(m, is_framed)
    files = "`model.onnx`, which holds all of this,"
    if is_framed:
        files = "`framing.onnx`, which frames, and `model.onnx`, which holds the rest,"
    folder = "the folder of `model.json` and `model.safetensors`"
    if is_framed:
        folder = (
            "the folder of `model.json`, `model.safetensors`, `framing.json` and "
            "`framing.safetensors`"
        )
    if m.head:
        folder = "the folder of this label inside its run, whose one network it uses"
    return (
        f"With PyTorch, in {folder}. All is inside the "
        f"module: {steps}the temperature and the softmax. RGB pixels go in, uint8 "
        f"(n, {side}, {side}, 3) or floating point from 0 to 1 (n, 3, {side}, {side}). "
        f"Calibrated probabilities of what {inputs.labeller} wrote come out, in the order {names}."
        f"{note}\n\n"
        + markdown.block(torch_example(m, fit, framed=is_framed).rstrip(), "python")
        + "\n\nOr without Candid and torch: `candid export` on the folder of the run writes "
        f"{files} and plain ONNX Runtime runs it:\n\n"
        + markdown.block(onnx_example(m, fit, framed=is_framed).rstrip(), "python")
    )


def _reproduction(inputs: ReportInput) -> str:
    p = inputs.provenance
    facts = [
        ["Seed", str(p.seed)],
        [
            "Candid",
            markdown.code_cell(p.candid)
            + (f", commit {markdown.code_cell(p.commit)}" if p.commit else ""),
        ],
        ["Started", markdown.text(p.started)],
        ["Fingerprint of the data", markdown.code_cell(p.data_fingerprint)],
        *([markdown.text(name), markdown.text(text)] for name, text in p.machine.items()),
        [
            "Versions",
            ", ".join(f"{markdown.text(n)} {markdown.text(v)}" for n, v in p.versions.items()),
        ],
    ]
    parts = [markdown.block(inputs.reproduction, "sh"), markdown.table(["What", "Here"], facts)]
    changed = changed_settings(inputs.config, prose.public_settings(inputs.config, p))
    if changed:
        rows = [
            [markdown.code_cell(s.name), markdown.code_cell(s.value), markdown.code_cell(s.default)]
            for s in changed
        ]
        parts += [
            "Settings that are not at their defaults (`config.toml` has all):",
            markdown.table(["Setting", "Here", "Default"], rows),
        ]
    else:
        parts.append("Every setting is at its default.")
    return "\n\n".join(parts)
