"""One reviewer: what comes next, what is written down, what is told and when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from candid.errors import ConfigError
from candid.records.review import Showing
from candid.reviewing.session import Known, Session
from candid.reviewing.summary import Review
from candid.tables.corrections import open_log, read_corrections

SHOWN = (
    Showing("Male/1.jpg", "likely wrong"),
    Showing("2.jpg", "slice"),
    Showing("3.jpg", "decoy"),
    Showing("Male/1.jpg", "likely wrong", time=2),
    Showing("5.jpg", "copy", "6.jpg"),
)
KNOWN = Known(
    "Male",
    ("Female", "Male"),
    {"Male/1.jpg": "Male", "2.jpg": "Female", "3.jpg": "Male", "5.jpg": "Male", "6.jpg": "Female"},
    {"2.jpg": ("Male", 0.987)},
    {"2.jpg": ["7.jpg", "3.jpg"]},
    "hat: yes",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "c.csv"


@pytest.fixture
def session(file: Path) -> Iterator[Session]:
    with open_log(file) as log:
        yield Session(Review(SHOWN, 100), KNOWN, log, "ann")


def test_a_state_holds_no_name_and_no_label(session: Session) -> None:
    state = session.state()
    assert "Male" not in str(state) and ".jpg" not in str(state)
    assert (state["done"], state["total"], state["undo"]) == (0, 5, False)
    assert state["showing"] == {"number": 0, "pictures": [0], "companions": []}
    assert len(state["next"]["companions"]) == 2
    assert [session.image_at(p) for p in state["next"]["companions"]] == ["7.jpg", "3.jpg"]
    assert session.image_at(99) is None and session.image_at(-1) is None


def test_what_comes_twice_is_told_the_second_time(session: Session) -> None:
    told = session.decide(0, "label", "Male", 1.0)
    assert told is not None and not any("Annotators" in line for line in told["lines"])
    told = session.decide(1, "label", "Female", 1.0)
    assert told is not None and told["lines"] == [
        "You wrote: Female.",
        "Annotators wrote: Female.",
        "The model says: Male, at 98.7%.",
        "The model is wrong about it, in a group where it often is: hat: yes.",
    ]
    session.decide(2, "cannot say", "", 1.0)
    told = session.decide(3, "label", "Female", 1.0)
    assert told is not None and "Annotators wrote: Male." in told["lines"]
    assert session.summary().consistency.value == 0


def test_every_decision_is_a_line(session: Session, file: Path) -> None:
    session.decide(0, "label", "Female", 2.5)
    session.decide(1, "person", "", 1.0)
    assert session.state()["showing"]["number"] == 1  # who it is says nothing about the label
    session.decide(1, "leave out", "", 1.0)
    session.decide(2, "cannot say", "", 1.0)
    session.decide(3, "label", "Male", 1.0)
    session.decide(4, "second", "", 1.0)
    rows = [(c.id, c.was, c.now, c.kind, c.who, c.blind) for c in read_corrections(file)]
    assert rows == [
        ("Male/1.jpg", "Male", "Female", "label", "ann", True),
        ("2.jpg", "Female", "", "person", "ann", True),
        ("2.jpg", "Female", "", "leave out", "ann", True),
        ("3.jpg", "Male", "", "cannot say", "ann", True),
        ("Male/1.jpg", "Male", "Male", "label", "ann", True),
        ("5.jpg", "", "6.jpg", "same image", "ann", True),
    ]
    assert session.state()["showing"] is None
    assert session.state()["summary"][0] == "5 of 5 decided by ann."


@pytest.mark.parametrize(
    ("number", "kind", "now"),
    [(1, "label", "Male"), (0, "label", "male"), (0, "first", ""), (0, "undo", ""),
     (0, "leave out", "Male"), (0, "same image", "2.jpg")],
)  # fmt: skip
def test_what_cannot_be_decided_is_not_written(
    session: Session, file: Path, number: int, kind: str, now: str
) -> None:
    with pytest.raises(ConfigError):
        session.decide(number, kind, now, 1.0)
    assert read_corrections(file) == []


def test_undo_goes_back_and_the_label_is_then_known(session: Session, file: Path) -> None:
    assert not session.undo()
    session.decide(0, "label", "Female", 1.0)
    session.decide(1, "label", "Female", 1.0)
    assert session.undo() and session.state()["showing"]["number"] == 1
    session.decide(1, "label", "Male", 1.0)
    assert [c.blind for c in read_corrections(file)] == [True, True, False, False]
    assert session.summary().not_blind == 1


def test_a_pair_is_undone_too(session: Session) -> None:
    for number in range(4):
        session.decide(number, "cannot say", "", 1.0)
    session.decide(4, "first", "", 1.0)
    assert session.undo() and session.state()["showing"]["number"] == 4
    session.decide(4, "both", "", 1.0)
    assert session.summary().not_copies == 1 and session.summary().copies == 0


def test_another_reviewer_begins_anew_in_the_same_file(file: Path) -> None:
    for who, done in (("ann", 0), ("ben", 0), ("ann", 1)):
        with open_log(file) as log:
            session = Session(Review(SHOWN, 100), KNOWN, log, who)
            assert session.state()["done"] == done
            session.decide(done, "label", "Male", 1.0)
