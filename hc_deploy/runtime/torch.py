"""A Session on a torch module, to stand beside the deployed ones."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import nn

from hc_deploy.errors import DeployError, first_line
from hc_deploy.ran import Runtime
from hc_deploy.runtime.session import Array, Outputs, SessionBase
from hc_deploy.spec import ModelSpec
from hc_deploy.system.limits import out_of_memory


class TorchSession(SessionBase):
    """Runs `module`, which maps the image tensor to the spec's outputs in order (`hc_deploy.export.deployed`)."""

    def __init__(
        self, module: nn.Module, spec: ModelSpec, *, name: str, device: str = "cpu", threads: int | None = None
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._device = torch.device(device)
        self._module = module.eval().to(self._device)
        self.spec, self.name, self.provider = spec, name, f"torch-{device}"
        self.runtime = Runtime("torch", str(torch.__version__))
        self._input: torch.Tensor | None = None
        self._outputs: tuple[torch.Tensor, ...] = ()

    def load(self, images: Array) -> None:
        self._input = torch.from_numpy(self._checked(images)).to(self._device)

    @torch.inference_mode()
    def execute(self) -> None:
        if self._input is None:
            raise DeployError(f"{self.name}: nothing is loaded", expected="load(images) before execute()")
        try:
            self._outputs = self._module(self._input)
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
        except RuntimeError as error:
            if not re.search(r"not enough memory|can't allocate memory|out of memory", str(error)):
                raise
            raise out_of_memory(f"{self.name} failed on {self.provider}", first_line(error)) from None

    def fetch(self) -> Outputs:
        arrays: list[np.ndarray] = [tensor.cpu().numpy() for tensor in self._outputs]
        return dict(zip(self.spec.outputs, arrays, strict=True))
