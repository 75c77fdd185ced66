"""A Session on a torch module, to stand beside the deployed ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from hc_deploy.ran import Runtime
from hc_deploy.runtime.session import Array, Outputs, SessionBase
from hc_deploy.spec import ModelSpec


class TorchSession(SessionBase):
    """Runs `module`, which maps the image tensor to the spec's outputs in order (`hc_deploy.export.deployed`)."""

    def __init__(
        self, module: nn.Module, spec: ModelSpec, *, name: str, device: str = "cpu", threads: int | None = None
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._device = torch.device(device)
        self._copies = self._device.type != "cpu"
        self._module: Any = module.eval().to(self._device)
        self.spec, self.name, self.provider = spec, name, f"torch-{device}"
        self.runtime = Runtime("torch", str(torch.__version__))
        self._input: torch.Tensor | None = None
        self._outputs: tuple[torch.Tensor, ...] = ()

    def _load(self, images: Array) -> None:
        self._input = torch.from_numpy(images).to(self._device)

    @torch.inference_mode()
    def _execute(self) -> None:
        self._outputs = self._module(self._input)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _fetch(self) -> Outputs:
        arrays: list[np.ndarray] = [tensor.cpu().numpy() for tensor in self._outputs]
        if self._device.type == "cpu":
            # A module may give the same tensor every time, a buffer of its own or its input. numpy copies, not torch:
            # on a busy machine torch's threads wait for each other, 40 ms for what takes 0.1.
            arrays = [array.copy() for array in arrays]
        return dict(zip(self.spec.outputs, arrays, strict=True))

    def _close(self) -> None:
        self._module, self._input, self._outputs = None, None, ()
