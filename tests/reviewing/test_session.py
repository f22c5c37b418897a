"""One reviewer: what comes next, what is written down, what is told and when."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from candid.errors import ConfigError
from candid.records.review import Showing
from candid.reviewing.session import Known, Session
from candid.reviewing.summary import Review
from candid.tables.corrections import Correction, open_log, read_corrections

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


# --- pages of several ----------------------------------------------------------------------------

PAGES = (
    Showing("a", "slice", page=1),
    Showing("b", "decoy", page=1),
    Showing("c", "strange", page=1),
    Showing("d", "slice", page=2),
    Showing("a", "slice", time=2, page=2),
    Showing("e", "copy", "f"),
    Showing("x/broken.jpg", "unreadable", page=3),
    Showing("x/empty.jpg", "unreadable", page=3),
)
MORE = Known(
    "Male",
    ("Female", "Male"),
    {"a": "Male", "b": "Female", "c": "Male", "d": "Female"},
    {"a": ("Female", 0.987)},
    {},
    "hat: yes",
    lambda: {"c": [("n1", "Male"), ("n2", "Female"), ("n3", "Male")], "d": [("n1", "Male")]},
    {"c": "unlike the training data: too small (9 × 9)"},
    {"x/broken.jpg": "cannot be decoded", "x/empty.jpg": "empty"},
)


@pytest.fixture
def paged(file: Path) -> Iterator[Session]:
    with open_log(file) as log:
        yield Session(Review(PAGES, 100), MORE, log, "ann")


def test_a_page_shows_its_pictures_and_no_label(paged: Session) -> None:
    state = paged.state()
    assert "ale" not in str(state)
    assert state["showing"] == {
        "number": 0, "numbers": [0, 1, 2], "pictures": [0, 1, 2], "companions": [],
    }  # fmt: skip
    assert state["next"]["numbers"] == [3, 4]
    assert state["total"] == 8 and state["done"] == 0


def test_one_key_decides_all_that_are_selected(paged: Session, file: Path) -> None:
    told = paged.decide(0, "label", "Female", 3.0, [2, 0])
    assert told is not None and told["lines"] == [
        "You wrote Female about 2 pictures.",
        "Annotators wrote: Male 1.",
        "One of them comes again later; what was written about it is told then.",
        "The model is wrong about some, in a group where it often is: hat: yes.",
    ]
    assert [paged.image_at(p) for p in told["pictures"]] == ["a", "c"]
    assert told["captions"] == [
        "Comes again later.",
        "Annotators: Male. Unlike the training data: too small (9 × 9).",
    ]
    rows = read_corrections(file)
    assert [(c.id, c.was, c.now, c.kind, c.seconds, c.blind) for c in rows] == [
        ("a", "Male", "Female", "label", 1.5, True), ("c", "Male", "Female", "label", 1.5, True),
    ]  # fmt: skip
    # The rest is on the page as it was.
    assert paged.state()["showing"] == {
        "number": 1, "numbers": [1], "pictures": [1], "companions": [],
    }  # fmt: skip
    told = paged.decide(1, "leave out", "", 1.0, [1])
    assert told is not None and told["lines"] == [
        "You left 1 picture out.", "Annotators wrote: Female 1.",
    ]  # fmt: skip
    assert told["captions"] == ["Annotators: Female. Drawn at random."]
    told = paged.decide(3, "cannot say", "", 1.0, [3, 4])
    assert told is not None and told["captions"][1].startswith("Annotators: Male. Model: Female")
    assert paged.state()["showing"]["number"] == 5


@pytest.mark.parametrize(
    ("kind", "now", "chosen"),
    [("label", "Male", []), ("label", "Male", [0, 3]), ("label", "Male", [0, 0]),
     ("label", "male", [0]), ("person", "", [0]), ("keep", "", [0]), ("label", "Male", [99]),
     ("leave out", "Male", [0, 1])],
)  # fmt: skip
def test_of_a_page_nothing_is_written_where_one_cannot_be(
    paged: Session, file: Path, kind: str, now: str, chosen: list[int]
) -> None:
    with pytest.raises(ConfigError):
        paged.decide(0, kind, now, 1.0, chosen)
    assert read_corrections(file) == []


def test_what_was_decided_is_not_decided_again(paged: Session, file: Path) -> None:
    paged.decide(0, "label", "Male", 1.0, [1])
    with pytest.raises(ConfigError):  # a second click, before the page had drawn the rest
        paged.decide(0, "label", "Male", 1.0, [1])
    assert len(read_corrections(file)) == 1


def test_undo_takes_back_a_whole_key_press(paged: Session, file: Path) -> None:
    # Though both came within a thousandth of a second.
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    with open_log(file.with_name("d.csv")) as log:
        session = Session(Review(PAGES, 100), MORE, log, "ann", lambda: moment)
        session.decide(0, "label", "Male", 1.0, [1])
        session.decide(0, "label", "Female", 1.0, [0, 2])
        assert session.state()["showing"]["number"] == 3
    with open_log(file.with_name("d.csv")) as log:  # and the page was begun anew
        session = Session(Review(PAGES, 100), MORE, log, "ann")
        assert session.undo()
        assert [(c.id, c.kind) for c in log.rows[3:]] == [("c", "undo"), ("a", "undo")]
        assert session.state()["showing"]["numbers"] == [0, 2] and session.state()["done"] == 1
        assert session.undo() and session.state()["showing"]["numbers"] == [0, 1, 2]
        assert not session.undo() and session.state()["done"] == 0
        # What was told once is known: only the picture that comes again is not.
        session.decide(0, "label", "Male", 1.0, [0, 1, 2])
        assert session.summary().not_blind == 3


def test_hand_written_lines_without_a_time_are_undone_one_by_one(file: Path) -> None:
    with open_log(file) as log:
        log.add(*(Correction(i, "", "Male", "label", "ann") for i in "ab"))
        session = Session(Review(PAGES, 100), MORE, log, "ann")
        assert session.undo() and session.state()["showing"]["numbers"] == [1, 2]


def test_files_that_cannot_be_read_are_left_out_or_kept(paged: Session, file: Path) -> None:
    paged.decide(0, "label", "Male", 1.0, [0, 1, 2])
    paged.decide(3, "label", "Male", 1.0, [3, 4])
    paged.decide(5, "both", "", 1.0)
    shown = paged.state()["showing"]
    assert shown["files"] == [["x/broken.jpg", "cannot be decoded"], ["x/empty.jpg", "empty"]]
    assert shown["pictures"] == [] and shown["numbers"] == [6, 7]
    with pytest.raises(ConfigError):
        paged.decide(6, "label", "Male", 1.0, [6])
    told = paged.decide(6, "leave out", "", 1.0, [7])
    assert told == {"pictures": [], "lines": ["You left 1 file out."]}
    told = paged.decide(6, "keep", "", 1.0, [6])
    assert told is not None and told["lines"] == ["You kept 1 file."]
    last = [(c.id, c.kind, c.now) for c in read_corrections(file)[-2:]]
    assert last == [("x/empty.jpg", "leave out", ""), ("x/broken.jpg", "cannot say", "")]
    summary = paged.summary()
    assert (summary.files_out, summary.files_kept) == (1, 1)
    assert (summary.cannot_say, summary.left_out) == (0, 0)
    assert "Files that cannot be read: 1 left out, 1 kept." in paged.lines()


def test_of_a_page_the_nearest_are_told_but_of_what_comes_again(paged: Session) -> None:
    paged.decide(0, "label", "Female", 1.0, [2, 0])
    assert [one["caption"] for one in paged.near([0, 2]) or []] == [
        "",
        "Nearest: Male 2, Female 1.",
    ]
    assert {one["line"] for one in paged.near([1, 3]) or []} == {""}  # not decided yet


def test_while_the_nearest_are_sought_all_else_goes_on(file: Path) -> None:
    shown, found = (Showing("c", "strange"), Showing("d", "decoy")), []
    known = replace(MORE, neighbours=lambda: {"c": [("n1", "Male")]} if found else None)
    with open_log(file) as log:
        session = Session(Review(shown, 100), known, log, "ann")
        told = session.decide(0, "label", "Male", 1.0)
        assert told is not None and session.near([0]) is None
        found.append(True)
        (near,) = session.near([0]) or []
        (place,) = (place for place, _ in near["pictures"])
        assert session.image_at(place) == "n1" and near == session.near([0])[0]  # type: ignore[index]


def test_the_nearest_are_told_after_the_choice(file: Path) -> None:
    shown = (Showing("c", "strange"), Showing("d", "decoy"))
    with open_log(file) as log:
        session = Session(Review(shown, 100), MORE, log, "ann")
        assert "neighbours" not in str(session.state())
        nothing = {"line": "", "caption": "", "pictures": []}
        assert session.near([0, 1, 2, -1]) == [nothing] * 4  # before the choice
        session.decide(0, "label", "Male", 1.0)
        (told, before) = session.near([0, 1]) or []
        assert before == nothing
        assert told["line"] == "The nearest training pictures are labelled: Male 2, Female 1."
        assert told["caption"] == "Nearest: Male 2, Female 1."
        near = [(session.image_at(place), label) for place, label in told["pictures"]]
        assert near == [("n1", "Male"), ("n2", "Female"), ("n3", "Male")]
        assert session.undo() and session.near([0]) == [nothing]
