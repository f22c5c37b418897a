"""How a model is used, with torch and without: lines of Python for the model card."""

from __future__ import annotations

from candid.records import ModelCard
from candid.records.framing import DETAIL

# How `candid.data.decode` makes a square of a picture, in Pillow's words; padded ones to within a
# pixel of their place.
_SQUARES = {
    "stretch": "image.resize(size, Image.BICUBIC)",
    "crop": "ImageOps.fit(image, size, Image.BICUBIC)",
    "pad": "ImageOps.pad(image, size, Image.BICUBIC, "
    "tuple(map(round, ImageStat.Stat(image).mean)))",
}


def torch_example(card: ModelCard, fit: str, *, framed: bool = False) -> str:
    """Lines that use the weights through `candid.load_model`, beside `model.json`.

    `framed`: the run has a network that frames pictures first.
    """
    network = ", network=network" if card.network == "own" else ""
    return f"""\
import candid
import torch
{_pixels_example(card, fit, framed)}
model = candid.load_model("."{network})
with torch.inference_mode():
    probabilities = model(torch.from_numpy(pixels))  # (n, {len(card.classes)})
print(dict(zip(model.classes, probabilities[0].tolist())))
"""


def onnx_example(card: ModelCard, fit: str, *, framed: bool = False) -> str:
    """Lines that use the exported model, `model.onnx`, after `framing.onnx` where there is one."""
    framing = ""
    if framed:
        framing = """\
framing = onnxruntime.InferenceSession("framing.onnx")
pixels = framing.run(["framed"], {"pixels": pixels})[0]
"""
    return f"""\
import onnxruntime
{_pixels_example(card, fit, framed)}
{framing}classes = {list(card.classes)!r}
session = onnxruntime.InferenceSession("model.onnx")
probabilities = session.run(["probabilities"], {{"pixels": pixels}})[0]
print(dict(zip(classes, probabilities[0].tolist())))
"""


def input_side(card: ModelCard, framed: bool) -> int:
    """Pixels per side of the input: more of them where it is framed first."""
    return card.side * (DETAIL if framed else 1)


def transformers_example(repo: str) -> str:
    """Lines that use the model in a repository on Hugging Face's Hub."""
    return f"""\
from transformers import pipeline

model = pipeline("image-classification", model={repo!r}, trust_remote_code=True)
print(model("face.jpg"))
"""


def _pixels_example(card: ModelCard, fit: str, framed: bool) -> str:
    """Lines that bring `face.jpg` to the square that the model takes."""
    side = input_side(card, framed)
    return f"""\
import numpy as np
from PIL import Image, ImageOps{", ImageStat" if fit == "pad" else ""}
image = ImageOps.exif_transpose(Image.open("face.jpg")).convert("RGB")
size = ({side}, {side})
pixels = np.array({_SQUARES[fit]})[None]  # (n, {side}, {side}, 3) uint8"""
