"""How an exported model is used without Candid: lines of Python for the model card."""

from __future__ import annotations

from candid.records import ModelCard


def usage(card: ModelCard, *, file: str = "model.onnx", picture: str = "face.jpg") -> str:
    """A few lines of Python that use the exported model without Candid, for the model card."""
    return f"""\
import numpy as np
import onnxruntime
from PIL import Image

classes = {list(card.classes)!r}
image = Image.open({picture!r}).convert("RGB").resize(({card.side}, {card.side}), Image.BICUBIC)
pixels = np.asarray(image, np.uint8)[None]  # (n, {card.side}, {card.side}, 3)
session = onnxruntime.InferenceSession({file!r})
probabilities = session.run(["probabilities"], {{"pixels": pixels}})[0]
print(dict(zip(classes, probabilities[0].tolist())))
"""
