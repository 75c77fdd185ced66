"""The user's own module as a session: what export is held against from outside.

No part of the deployed module is used: numpy normalises the image as the spec states it, the module runs in its own
eval mode, and torch's own interpolation and argmax make the labels. So a wrong normalisation, channel order, resize or
class order in the graph shows, which a comparison of the deployed module with its own translation cannot show.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from hc_deploy.errors import DeployError, first_line
from hc_deploy.export.deployed import superpixel_ids
from hc_deploy.export.networks import CLUSTERS, logits_of
from hc_deploy.normalise import normalise
from hc_deploy.parity.exposed import has_logits
from hc_deploy.runtime.session import Array, Outputs, SessionBase
from hc_deploy.spec import OUTPUT_STRIDE, ModelSpec


class Untouched(SessionBase):
    """`net` on images as the spec says; labels and logits of a segmentation, and its superpixels where asked for."""

    def __init__(self, net: nn.Module, spec: ModelSpec) -> None:
        net.eval()
        self._net, self.spec, self.name, self.provider = net, spec, "torch", "torch-cpu"

    def _load(self, images: Array) -> None:
        self._images = images

    def _execute(self) -> None:
        try:
            self._outputs = self._answers(self._images)
        except Exception as error:  # a user's network may raise anything
            raise DeployError(
                f"{self.spec.arch} fails in torch on images {list(self._images.shape)}: {first_line(error)}"[:300],
                expected="logits of an image of this size",
            ) from error

    def _fetch(self) -> Outputs:
        return {name: array.copy() for name, array in self._outputs.items()}

    @torch.inference_mode()
    def _answers(self, images: Array) -> Outputs:
        pixels = normalise(np.asarray(images, np.uint8), self.spec) if self.spec.input == "uint8" else images
        x = torch.from_numpy(pixels)
        if self.spec.task == "superpixels":
            return {"superpixels": self._net.superpixels(x).numpy()}  # type: ignore[operator]
        if self.spec.task == "depth":
            return {"depth": self._net.depth(x).numpy()}  # type: ignore[operator]
        outputs: Outputs = {}
        if "superpixels" in self.spec.outputs:
            logits, clusters = getattr(self._net, CLUSTERS)(x)
            outputs["superpixels"] = superpixel_ids(clusters, x, stride=OUTPUT_STRIDE >> self.spec.level).numpy()
        else:
            logits = logits_of(self._net(x))
        if not has_logits(self.spec):
            return outputs
        enlarged = F.interpolate(logits.float(), size=x.shape[2:], mode="bilinear", align_corners=False)
        binary = self.spec.threshold is not None
        labels = (enlarged > self.spec.threshold_logit)[:, 0] if binary else enlarged.argmax(1)
        return {**outputs, "logits": logits.numpy(), "labels": labels.numpy().astype(self.spec.label_type)}
