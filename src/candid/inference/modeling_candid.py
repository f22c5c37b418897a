"""A face classifier that Candid trained, for transformers: calibrated probabilities of pictures.

`transformers.pipeline("image-classification", model=folder, trust_remote_code=True)` reads it.
The image processor makes a picture a square of pixels from 0 to 1; all that follows, such as
normalisation, the average with the mirror image and the temperature, is inside the model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.modeling_outputs import ImageClassifierOutput

from candid.data.decode import in_srgb, to_square
from candid.models.framing import Framing
from candid.models.networks import BUILDERS
from candid.models.pixels import PixelNetwork


class CandidConfig(PretrainedConfig):
    """How the network is built and fed (`config.json`)."""

    model_type = "candid"

    def __init__(
        self,
        network: str = "",
        options: dict[str, Any] | None = None,
        side: int = 64,
        mean: tuple[float, ...] = (0.5, 0.5, 0.5),
        std: tuple[float, ...] = (0.25, 0.25, 0.25),
        temperature: float = 1.0,
        flip_tta: bool = False,
        framing: dict[str, int] | None = None,
        **others: Any,
    ) -> None:
        self.network, self.options, self.side = network, options or {}, side
        self.mean, self.std, self.temperature = mean, std, temperature
        self.flip_tta, self.framing = flip_tta, framing
        super().__init__(**others)


class CandidForImageClassification(PreTrainedModel):
    """Calibrated logits of pictures: their softmax is the probability of each class."""

    config_class = CandidConfig
    main_input_name = "pixel_values"

    def __init__(self, config: CandidConfig) -> None:
        super().__init__(config)
        build = BUILDERS[config.network]
        network = build(config.side, config.num_labels, **config.options)
        framing = Framing(**config.framing) if config.framing else None
        self.pixels = PixelNetwork(
            network,
            mean=config.mean,
            std=config.std,
            temperature=config.temperature,
            flip_tta=config.flip_tta,
            framing=framing,
        )
        self.post_init()

    def forward(
        self, pixel_values: Tensor, labels: Tensor | None = None, **_: Any
    ) -> ImageClassifierOutput:
        """Logits (n, classes) of pixels (n, 3, side, side) from 0 to 1, as the processor gives."""
        logits = self.pixels.logits((255 * pixel_values).round())
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)


class CandidImageProcessor(BaseImageProcessor):
    """Makes pictures squares of `side` × `detail` pixels, as the training pictures were made."""

    model_input_names = ("pixel_values",)

    def __init__(
        self, side: int = 64, fit: str = "stretch", detail: int = 1, **others: Any
    ) -> None:
        super().__init__(**others)
        self.side, self.fit, self.detail = side, fit, detail

    def preprocess(self, images: Any, return_tensors: str | None = None, **_: Any) -> BatchFeature:
        """`pixel_values` (n, 3, h, h) from 0 to 1 of one picture or several.

        A picture is what Pillow opened, or uint8 RGB pixels (height, width, 3).
        """
        several = images if isinstance(images, list | tuple) else [images]
        pixels = np.stack([self._square(image) for image in several])
        planes = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
        return BatchFeature({"pixel_values": planes.numpy()}, tensor_type=return_tensors)

    def _square(self, image: Any) -> Any:
        """(h, h, 3) uint8."""
        picture = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
        profile = picture.info.get("icc_profile")
        square = to_square(picture.convert("RGB"), self.side, self.fit, self.detail)
        return np.array(in_srgb(square, profile) if profile else square)
