"""Checkpoints: safetensors with our metadata, or a `.pth` state dict. A file enters, a checked state dict leaves.

A `.pth` is read with `weights_only=True`: a pickle that carries code is refused, never run.
"""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from hc_deploy.classes import CITYSCAPES
from hc_deploy.errors import DeployError, UsageError
from hc_deploy.files import require_file, write_bytes
from hc_deploy.spec import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    METADATA_KEY,
    check_classes,
    check_normalisation,
)
from hc_deploy.strict_json import Mismatch, decode, parse

CHECKPOINT_SCHEMA = 1
KINDS = ".safetensors, .pth or .pt"
WHAT = f"a checkpoint ({KINDS})"


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself.

    Attributes:
        arch: name for `models.build`, or None when the file does not say (a plain `.pth`).
        options: build options. classes, palette: one name and one RGB triple a class.
        mean, std: normalisation the network was trained with, in units of 1.
        training: free-form record of how it was trained and what it scored.
    """

    arch: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = CITYSCAPES.names
    palette: tuple[tuple[int, int, int], ...] = CITYSCAPES.palette
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_classes(self.classes, self.palette)
        check_normalisation(self.mean, self.std)
        if not isinstance(self.arch, str | None) or not all(isinstance(d, dict) for d in (self.options, self.training)):
            raise DeployError(
                "checkpoint metadata of a wrong kind", expected="arch: a name; options, training: objects"
            )


@dataclass(frozen=True)
class Checkpoint:
    """A state dict and what the file says of it."""

    path: Path
    info: CheckpointInfo
    state: dict[str, torch.Tensor]


def check_checkpoint_name(path: Path) -> None:
    """UsageError unless `path` is named as what `save_checkpoint` writes."""
    if path.suffix != ".safetensors":
        raise UsageError(
            f"{path}", expected="a name ending in .safetensors", mend=f"-o {path.with_suffix('.safetensors')}"
        )


def save_checkpoint(path: Path, module: nn.Module, info: CheckpointInfo) -> None:
    """Write `module`'s state dict and `info` as safetensors, atomically; UsageError for another suffix."""
    check_checkpoint_name(path)
    state = {name: tensor.detach().contiguous() for name, tensor in module.state_dict().items()}
    metadata = {METADATA_KEY: json.dumps({"schema": CHECKPOINT_SCHEMA, **asdict(info)})}
    write_bytes(path, safetensors.torch.save(state, metadata=metadata))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of any supported kind.

    Raises:
        DeployError: missing, truncated, of another kind, or a pickle that carries code.
    """
    require_file(path, what=WHAT)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in (".pth", ".pt"):
        return _read_pickle(path)
    raise DeployError(f"{path}: unknown kind of checkpoint '{path.suffix}'", expected=KINDS)


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (safetensors.SafetensorError, OSError) as error:
        raise DeployError(
            f"{path} is not a whole safetensors file ({error})",
            expected="the file as it was written",
            mend="copy or download it again",
        ) from None
    return Checkpoint(path, parse_info(metadata, source=str(path)), state)


def parse_info(metadata: dict[str, str], *, source: str) -> CheckpointInfo:
    """CheckpointInfo from a safetensors header's metadata; defaults where the file carries none of ours."""
    if METADATA_KEY not in metadata:
        return CheckpointInfo()
    try:
        fields = parse(metadata[METADATA_KEY])
        if not isinstance(fields, dict) or fields.pop("schema", None) != CHECKPOINT_SCHEMA:
            raise Mismatch("is of another schema", f"schema {CHECKPOINT_SCHEMA}")
        if lacking := [name for name in ("classes", "palette", "mean", "std") if name not in fields]:
            raise Mismatch(f"metadata lacks {', '.join(lacking)}", "classes, palette, mean and std")
        info: CheckpointInfo = decode(CheckpointInfo, fields, "metadata", defaults=True)
    except (Mismatch, DeployError) as error:
        raise DeployError(
            f"{source}: its '{METADATA_KEY}' metadata cannot be read: {error.received}",
            expected=error.expected or "metadata written by hc_deploy.export.checkpoint.save_checkpoint",
        ) from None
    return info


def _read_pickle(path: Path) -> Checkpoint:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols, which its user did not choose
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = zipfile.is_zipfile(path) or "weights_only" in str(error).lower()
        reason = "it holds more than tensors, and code in it would run" if code else "it is not a torch checkpoint"
        raise DeployError(
            f"{path} was refused: {reason}",
            expected="a state dict of tensors only",
            mend="save it again with torch.save(model.state_dict(), PATH), or as safetensors",
        ) from None
    except Exception as error:  # on bytes that are no pickle, the unpickler fails in any way there is
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DeployError(
            f"{path} is not a whole torch checkpoint ({reason})",
            expected="the file as it was written",
            mend="copy or download it again",
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items())
    ):
        raise DeployError(f"{path} holds no state dict", expected="a dict of parameter names and tensors")
    return Checkpoint(path, CheckpointInfo(), content)


def load_state(module: nn.Module, checkpoint: Checkpoint, *, arch: str) -> None:
    """Load `checkpoint` into `module`, all of it or nothing.

    Raises:
        DeployError: parameters are missing, unexpected or of another shape; each is listed.
    """
    own = module.state_dict()
    optional = {name for name in own if name.endswith("num_batches_tracked")}
    missing = sorted(set(own) - set(checkpoint.state) - optional)
    unexpected = sorted(set(checkpoint.state) - set(own))
    misshaped = [
        f"{name} {tuple(checkpoint.state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in sorted(set(own) & set(checkpoint.state))
        if checkpoint.state[name].shape != own[name].shape
    ]
    if missing or unexpected or misshaped:
        lines = [f"{checkpoint.path} does not fit {arch}; nothing was loaded"]
        for title, entries in (("missing", missing), ("unexpected", unexpected), ("mis-shaped", misshaped)):
            if entries:
                lines.append(f"  {title} ({len(entries)}): " + _shorten(entries))
        said = checkpoint.info.arch
        mend = f"--arch {said}" if said and said != arch else f"hc-deploy inspect {checkpoint.path}"
        raise DeployError("\n".join(lines), expected=f"the {len(own)} parameters of {arch}", mend=mend)
    module.load_state_dict(checkpoint.state, strict=False)


def _shorten(entries: list[str], most: int = 12) -> str:
    shown = ", ".join(entries[:most])
    return shown if len(entries) <= most else f"{shown}, and {len(entries) - most} more"
