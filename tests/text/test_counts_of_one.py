"""What is counted reads as one where it is one."""

from candid.text.listing import logged_line
from candid.text.notes import few_mistakes, label_suspects


def test_one_is_told_as_one_and_several_as_several() -> None:
    one = label_suspects(1, 1)
    assert one.startswith("1 of the model's 1 mistake is so sure that the label may be wrong")
    assert label_suspects(2, 1_300).startswith("2 of the model's 1,300 mistakes are so sure")
    assert few_mistakes(1, 1, 2.5).startswith("There is 1 mistake for 1 column. With")
    assert few_mistakes(9, 4, 2.5).startswith("There are 9 mistakes for 4 columns. With")
    assert logged_line("r", ["mlflow"], 1, 2) == "r: 1 step and 2 figures to mlflow"
