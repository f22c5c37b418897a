"""A server that watches says when its pictures are no longer like the validation pictures."""

from __future__ import annotations

import json
import logging
import re
import threading

import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi")
from candid.inference.abstaining import Rule
from candid.inference.classifier import Framed
from candid.inference.drift import drift_scores, fit_reference
from candid.serving.telemetry import start_logging
from serving.served import SIDE, Brightness, model, picture, running

PROMISE = Rule(0.2, "At most 1% are wrong.", 0.01)


@pytest.fixture(scope="module")
def reference():
    """Even pictures of every shade."""
    shades = np.random.default_rng(0).integers(0, 256, 3000).astype(np.uint8)
    pixels = np.broadcast_to(shades[:, None, None, None], (3000, SIDE, SIDE, 3))
    nothing = np.zeros((3000, 3, 3), np.float32)
    framed = Framed(pixels, nothing, np.ones(3000, np.bool_))
    scores = drift_scores(framed, Brightness()(pixels).astype(np.float64), None)
    return fit_reference(("sharpness", "confidence", "p_bright"), scores, None)


def send(url, shades, name="first"):
    """The answers to pictures of some shades, in requests of 50."""
    found = []
    for start in range(0, len(shades), 50):
        some = [("a", picture(int(shade))) for shade in shades[start : start + 50]]
        answer = httpx.post(f"{url}/v1/predict?model={name}", files=some)
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
    return found


def described(url, name="first"):
    return {m["name"]: m for m in httpx.get(f"{url}/v1/models").json()["models"]}[name]


def figure(url, what, name="first"):
    text = httpx.get(f"{url}/metrics").text
    found = re.search(rf'^{what}{{model="{name}"}} (\S+)$', text, re.MULTILINE)
    return None if found is None else float(found[1])


def shades(n, low, high, seed=1):
    return np.random.default_rng(seed).integers(low, high, n)


@pytest.fixture
def loggers_given_back():
    """`start_logging` is for a process of its own; here the tests that come after read logs too."""
    loggers = [logging.getLogger(name) for name in ("candid.serve", "uvicorn.error")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers = handlers
        logger.setLevel(level)
        logger.propagate = propagate


def test_after_a_change_the_promise_is_withdrawn_everywhere(reference, capsys, loggers_given_back):
    watched = model(rule=PROMISE, reference=reference)
    start_logging(quiet=True)
    with running(watched) as url:
        home = send(url, shades(400, 0, 256))
        assert [answer["drift"] for answer in home] == [None] * 8
        assert described(url)["rule"]["sentence"] == PROMISE.sentence
        drift = described(url)["drift"]
        assert drift["pictures"] == 400 and drift["alarm_after"] is None
        assert figure(url, "candid_drift_alarm") == 0
        elsewhere = send(url, shades(300, 180, 256))
        after = described(url)["drift"]["alarm_after"]
        assert 400 < after <= 700
        assert elsewhere[0]["drift"] is None or after <= 450
        said = elsewhere[-1]["drift"]
        assert f"after {after:,} of them" in said
        assert described(url)["drift"]["sentence"] == said
        rule = described(url)["rule"]["sentence"]
        assert rule.startswith("No promise: ") and said in rule
        assert figure(url, "candid_drift_alarm") == 1
        assert figure(url, "candid_drift_log_capital") > described(url)["drift"]["log_limit"]
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line[:1] == "{"]
    (line,) = [line for line in lines if line["event"] == "drift"]
    assert (line["level"], line["model"], line["pictures"]) == ("warning", "first", after)
    assert line["sentence"] == said


def test_each_model_has_a_watch_of_its_own_or_none(reference):
    models = [
        model(name="one", reference=reference),
        model(name="two", reference=reference),
        model(name="blind"),
    ]
    with running(*models) as url:
        assert send(url, shades(300, 200, 256), "one")[-1]["drift"]
        assert send(url, shades(300, 200, 256), "blind")[-1]["drift"] is None
        assert described(url, "one")["drift"]["alarm_after"]
        assert described(url, "two")["drift"]["pictures"] == 0
        assert described(url, "blind")["drift"] is None
        assert figure(url, "candid_drift_alarm", "one") == 1
        assert figure(url, "candid_drift_alarm", "two") == 0
        assert figure(url, "candid_drift_alarm", "blind") is None


def test_every_picture_counts_once_whoever_sends_it(reference):
    with running(model(reference=reference), workers=2, queue=4096) as url:
        senders = [
            threading.Thread(target=send, args=(url, shades(100, 0, 256, seed)))
            for seed in range(6)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        httpx.post(f"{url}/v1/predict", files=[("a", picture(9)), ("a", b"no picture")])
        assert described(url)["drift"]["pictures"] == 601
        assert described(url)["drift"]["alarm_after"] is None
