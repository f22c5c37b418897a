"""The verb that explains: what a network looks at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import candid
from candid.cli.options import (
    FOLDER,
    is_quiet,
    option,
    path_option,
    run_options,
    set_option,
    show,
)

if TYPE_CHECKING:
    from candid.explanation.drawing import ExplainedPicture


@click.command("explain")
@click.argument("run", type=FOLDER)
@click.argument("pictures", nargs=-1, type=FOLDER, metavar="[PICTURES...]")
@option(
    "--method",
    "NAME",
    "A method, such as grad_cam; may be repeated. Default: those of explain.methods.",
    "methods",
    multiple=True,
)
@path_option(
    "--out",
    "PNG",
    "With pictures: where the maps are drawn; default: <picture>-explained.png.",
)
@set_option
@run_options
def explain_command(
    run: Path,
    pictures: tuple[Path, ...],
    methods: tuple[str, ...],
    out: Path | None,
    overrides: tuple[str, ...],
    **places: Any,
) -> None:
    """What a run's network looks at, and whether the maps are worth anything.

    Without pictures: over images of the run's data, into explanation.json and explanation.npz, and
    into the network, into inside.json and inside.npz. With pictures: their maps, as one PNG. Of a
    number, the maps say what raises and what lowers it.
    """
    from candid.config import with_values
    from candid.pipeline.opening import sole_label_run
    from candid.runs.refusals import refuse_untrained
    from candid.text.console import explanation_lines

    folder = sole_label_run(candid.open_run(run))
    refuse_untrained(folder, number=True)
    config = folder.settings
    if overrides:
        config = candid.load_config(file=folder.config, overrides=overrides)
    if methods:
        config = with_values(config, {"explain": {"methods": list(methods)}})
    if pictures:
        path = out or Path(f"{pictures[0].stem}-explained.png")
        _explain_pictures(replace(folder, settings=config), pictures, path)
        return
    if out is not None:
        raise click.UsageError("--out is for pictures: the maps of a run lie in its folder.")
    explanation = candid.explain_run(folder, config, quiet=is_quiet(), **places)
    show(explanation, explanation_lines(explanation, str(folder.explanation)))


def _explain_pictures(run: candid.Run, pictures: tuple[Path, ...], path: Path) -> None:
    from candid.pipeline.explaining import draw_explained, explain_pictures
    from candid.text.console import explained_picture

    _refuse_input(path, pictures)
    explained = explain_pictures(run, pictures)
    draw_explained(path, explained)
    rows = [
        {
            "image": picture.name,
            **_answer(picture),
            "methods": {name: badge or None for name, badge in picture.badges.items()},
        }
        for picture in explained
    ]
    lines = [explained_picture(p.name, p.prediction, p.probability) for p in explained]
    show({"out": str(path), "images": rows}, [*lines, f"maps: {path}"])


def _answer(picture: ExplainedPicture) -> dict[str, Any]:
    if picture.number is None:
        return {"prediction": picture.prediction, "probability": picture.probability}
    return dict(zip(("value", "low", "high"), picture.number, strict=True))


def _refuse_input(path: Path, pictures: tuple[Path, ...]) -> None:
    """Raise an OutputError where the drawing would replace a picture or another file."""
    from candid.errors import OutputError

    resolved = path.resolve()
    if any(resolved == p.resolve() for p in pictures) or path.is_dir():
        raise OutputError(
            f"The maps cannot be drawn to {path}.",
            expected="a PNG file that is none of the pictures",
            todo="name another place with --out",
        )
