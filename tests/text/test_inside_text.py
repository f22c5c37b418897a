"""What is said of a network seen from inside."""

from dataclasses import replace

from candid.text import inside as words
from reporting.explained import inside, inside_of_number


def test_a_mistake_is_said_with_its_label_and_how_sure_it_is() -> None:
    seen, _ = inside()
    first, second = words.mistake_texts(seen)
    assert (first.id, first.label, first.prediction) == ("000008.jpg", "Female", "Male")
    assert first.rest == ", 99.1%" and second.neighbours == ()
    assert [(n.caption, n.similarity) for n in first.neighbours[:2]] == [
        ("Female", "0.970"),
        ("Male", "0.960"),
    ]
    said = words.resemblance_note(seen)
    assert said.startswith("The surest 2 of 21 mistakes among 400 images, each beside")
    assert "10,000 training images" in said and "bear the predicted label" in said
    assert words.resemblance_note(replace(seen, mistakes=0)) == (
        "Among 400 images there is no mistake."
    )


def test_a_number_that_is_far_off_is_said_with_its_interval() -> None:
    seen = inside_of_number(inside()[0])
    first, second = words.mistake_texts(seen)
    said = [f"labelled {m.label}, predicted {m.prediction}{m.rest}" for m in (first, second)]
    assert said == [
        "labelled 62, predicted 31.0 (interval 22 to 45)",
        "labelled 8.5, predicted 17.5 (interval 9 to 32)",
    ]
    assert [(n.label, n.caption) for n in first.neighbours[2:]] == [
        ("32", "labelled 32"),
        ("33", "labelled 33"),
    ]
    said = words.resemblance_note(seen)
    assert said.startswith("The 2 furthest off of 21 that are off by more than 5 among 400 images")
    assert "numbers lie near the predicted one" in said
    assert words.resemblance_note(replace(seen, mistakes=0)) == (
        "Among 400 images none is off by more than 5."
    )


def test_a_unit_moves_the_answer_or_the_number_and_says_which_way() -> None:
    seen, _ = inside(mapped=False)
    assert words.unit_figures(seen, seen.units[0]) == (
        "mean 0.5, standard deviation 1.9, moves the answer by 0.2"
    )
    assert "those that move the answer most" in words.unit_note(seen)
    mapped, _ = inside()
    assert words.unit_figures(mapped, mapped.units[0]) == "mean 0.5, standard deviation 1.9"
    assert "those that vary most" in words.unit_note(mapped)
    number = inside_of_number(seen)
    said = [words.unit_figures(number, u).split(", ", 2)[2] for u in number.units]
    assert said == [
        "moves the number by 3.24, and more of it raises it in 97.0% of faces",
        "moves the number by 1.62, and more of it lowers it in 96.9% of faces",
        "moves the number by 1.08",
    ]
    assert "those that move the number most. How far one does is the standard" in words.unit_note(
        number
    )
