"""The link from an exported model to its exported framing network.

`model.onnx` has the name of a file next to it and the digest of that file's weights. So where the
two were copied to another machine without the run, images are framed by the same network, and never
by another run's.
"""

from __future__ import annotations

from pathlib import Path

from candid.errors import RunError
from candid.models.onnx_file import OnnxModel
from candid.models.onnx_framing import OnnxFramer, weights_digest
from candid.runs import Run, has_framing

_FILE, _MADE_FROM = "candid.framing", "candid.framing_made_from"  # in the metadata of `model.onnx`


def framing_marks(run: Run, name: str) -> dict[str, str]:
    """An export's metadata on the run's framing network, exported next to it as `name`.

    Empty where the run does not frame.
    """
    return {_FILE: name, _MADE_FROM: weights_digest(run) or ""} if has_framing(run) else {}


def open_named_framer(model: OnnxModel, folder: Path, *, threads: int = 0) -> OnnxFramer | None:
    """The framing network that an exported model in a folder names; None where it names none.

    Raises RunError where it is missing or damaged, or has other weights than those named.
    """
    name = model.metadata.get(_FILE, "")
    if not name:
        return None
    path = folder / Path(name).name  # an untrusted file cannot name another folder
    if not path.is_file():
        raise RunError(
            f"The exported model in {folder} is for pictures that {path.name} has framed, and "
            "there is no such file.",
            expected="both files beside each other",
            todo=f"copy {path.name}, too, from where candid export wrote it",
        )
    framer = OnnxFramer(path, threads=threads)
    if framer.made_from != model.metadata.get(_MADE_FROM, ""):
        raise RunError(
            f"{path} is not the framing network that the exported model beside it was made with.",
            expected="both files of one export",
            todo="export the run again with candid export, and take both files",
        )
    return framer
