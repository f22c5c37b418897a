"""A face classifier trained by Candid, for transformers: calibrated probabilities of images.

`transformers.pipeline("image-classification", model=folder, trust_remote_code=True)` loads it. The
image processor makes an image a square of pixels from 0 to 1; all else, such as normalisation, flip
averaging and the temperature, is inside the model.
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
    """The network's options and preprocessing (`config.json`)."""

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
        **kwargs: Any,
    ) -> None:
        self.network, self.options, self.side = network, options or {}, side
        self.mean, self.std, self.temperature = mean, std, temperature
        self.flip_tta, self.framing = flip_tta, framing
        super().__init__(**kwargs)


class CandidForImageClassification(PreTrainedModel):
    """Calibrated logits of images: their softmax is the probability of each class."""

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
        """Logits (n, classes) of pixels (n, 3, side, side) from 0 to 1, as from the processor."""
        logits = self.pixels.logits((255 * pixel_values).round())
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)


class CandidImageProcessor(BaseImageProcessor):
    """Makes images squares of `side` × `detail` pixels, as the training images were made."""

    model_input_names = ("pixel_values",)

    def __init__(
        self, side: int = 64, fit: str = "stretch", detail: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.side, self.fit, self.detail = side, fit, detail

    def preprocess(self, images: Any, return_tensors: str | None = None, **_: Any) -> BatchFeature:
        """`pixel_values` (n, 3, h, h) from 0 to 1 of one image or several.

        An image is one of Pillow's, or uint8 RGB pixels (height, width, 3).
        """
        batch = images if isinstance(images, list | tuple) else [images]
        pixels = np.stack([self._square(image) for image in batch])
        planes = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
        return BatchFeature({"pixel_values": planes.numpy()}, tensor_type=return_tensors)

    def _square(self, image: Any) -> Any:
        """(h, h, 3) uint8."""
        pil_image = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
        profile = pil_image.info.get("icc_profile")
        square = to_square(pil_image.convert("RGB"), self.side, self.fit, self.detail)
        return np.array(in_srgb(square, profile) if profile else square)
