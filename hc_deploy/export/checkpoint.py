"""Checkpoints: safetensors with our metadata, or what torch.save wrote. A file enters, a checked state dict leaves.

What a file is, its content decides, not its name. Nothing that a file names is imported or run (`pickles.py`).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from hc_deploy.errors import DeployError, UsageError
from hc_deploy.export.pickled import Refused
from hc_deploy.export.pickles import read_pickle
from hc_deploy.export.states import find_state, ignored, match_names, require_finite
from hc_deploy.shown import listed, quoted
from hc_deploy.spec import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    METADATA_KEY,
    Channels,
    check_classes,
    check_normalisation,
)
from hc_deploy.system.files import require_file, write_bytes
from hc_deploy.system.strict_json import Mismatch, decode, parse

CHECKPOINT_SCHEMA = 1
MOST_SHARDS = 1000
WHAT = "a checkpoint: safetensors, or what torch.save wrote (.pth, .pt, .ckpt, .bin, ...)"


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself.

    Attributes:
        arch: name for `models.build`, or None when the file does not say (a plain `.pth`).
        options: build options. classes, palette: one name and one RGB triple a class; empty when it does not say.
        mean, std, channels, scale: the normalisation it was trained with (see `ModelSpec`). stated: whether the file
            says so; else they are ImageNet's, and assumed.
        training: free-form record of how it was trained and what it scored.
    """

    arch: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channels: Channels = "rgb"
    scale: float = 255.0
    stated: bool = False
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_classes(self.classes, self.palette)
        check_normalisation(self.mean, self.std, self.channels, self.scale)
        if not isinstance(self.arch, str | None) or not all(isinstance(d, dict) for d in (self.options, self.training)):
            raise DeployError(
                "checkpoint metadata of a wrong kind", expected="arch: a name; options, training: objects"
            )


@dataclass(frozen=True)
class Checkpoint:
    """A state dict and what the file says of it. `notes`: what was chosen or set aside on the way, for people; `meta`:
    what stands beside the weights under the name `meta` (mmsegmentation), as plain containers."""

    path: Path
    info: CheckpointInfo
    state: dict[str, torch.Tensor]
    notes: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)


def check_checkpoint_name(path: Path) -> None:
    """UsageError unless `path` is named as what `save_checkpoint` writes."""
    if path.suffix != ".safetensors":
        raise UsageError(
            f"{path}", expected="a name ending in .safetensors", mend=f"-o {quoted(path.with_suffix('.safetensors'))}"
        )


def save_checkpoint(path: Path, module: nn.Module, info: CheckpointInfo) -> None:
    """Write `module`'s state dict and `info` as safetensors, atomically; UsageError for another suffix."""
    check_checkpoint_name(path)
    state = {name: tensor.detach().contiguous() for name, tensor in module.state_dict().items()}
    metadata = {METADATA_KEY: json.dumps({"schema": CHECKPOINT_SCHEMA, **asdict(info)})}
    write_bytes(path, safetensors.torch.save(state, metadata=metadata))


def read_checkpoint(path: Path, *, state_key: str | None = None) -> Checkpoint:
    """Read a checkpoint of any supported kind.

    Args:
        path: the file; of sharded safetensors the index. state_key: which of several state dicts (`find_state`).

    Raises:
        DeployError: missing, truncated, or of another kind. UsageError: `state_key` is not in it.
    """
    require_file(path, what=WHAT)
    with path.open("rb") as file:
        start = file.read(64)
    if start.lstrip()[:1] == b"{" and start[8:9] != b"{":
        return _only_one(read_shards(path), state_key)
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return _only_one(_read_safetensors(path), state_key)
    return _read_pickle(path, start, state_key)


def _only_one(checkpoint: Checkpoint, state_key: str | None) -> Checkpoint:
    if state_key is not None:
        raise UsageError(f"--state-key {state_key}", expected="none: safetensors hold one state dict")
    return checkpoint


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


def read_shards(path: Path) -> Checkpoint:
    """Sharded safetensors by their index: {"weight_map": {name: file beside the index}}.

    Raises:
        DeployError: the file is no such index, or a shard is missing, elsewhere, or lacks a tensor.
    """
    what = "the index of sharded safetensors (model.safetensors.index.json)"
    try:
        weights = parse(path.read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(weights.values()))
    except (Mismatch, OSError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise DeployError(f"{path} is JSON or text, but no checkpoint", expected=what) from None
    if len(files) > MOST_SHARDS or not all(isinstance(name, str) and name == Path(name).name for name in files):
        raise DeployError(f"{path} names files that do not lie beside it", expected=what)
    state: dict[str, torch.Tensor] = {}
    info = CheckpointInfo()
    for name in files:
        shard = _read_safetensors(require_file(path.parent / name, what=f"a shard that {path.name} names"))
        info = shard.info if shard.info.stated else info
        state |= {key: tensor for key, tensor in shard.state.items() if weights.get(key) == name}
    lost = sorted(set(weights) - set(state))
    if lost:
        raise DeployError(f"{path}: its files lack {listed(lost)}", expected="all tensors that the index names")
    return Checkpoint(path, info, state, (f"{len(files)} shards",))


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
        info: CheckpointInfo = decode(CheckpointInfo, {"stated": True, **fields}, "metadata", defaults=True)
    except (Mismatch, DeployError) as error:
        raise DeployError(
            f"{source}: its '{METADATA_KEY}' metadata cannot be read: {error.received}",
            expected=error.expected or "metadata written by hc_deploy.export.checkpoint.save_checkpoint",
        ) from None
    return info


def _read_pickle(path: Path, start: bytes, state_key: str | None) -> Checkpoint:
    for magic, kind, mend in FOREIGN:
        if start.startswith(magic):
            raise DeployError(f"{path} is {kind}", expected=WHAT, mend=mend)
    try:
        content = read_pickle(path)
    except Refused as error:
        mend = TORCHSCRIPT if "TorchScript" in str(error) else "copy or download it again, or save it as safetensors"
        raise DeployError(f"{path} was refused: {error}", expected=WHAT, mend=mend) from None
    except OSError as error:
        raise DeployError(f"{path} cannot be read: {error.strerror}", expected=WHAT) from None
    found = find_state(content, key=state_key, source=str(path))
    notes = []
    if found.key or found.others:
        beside = f" (also there: {', '.join(map(str, found.others[:6]))}; --state-key chooses)" if found.others else ""
        notes.append(f"taken from '{found.key}'{beside}" if found.key else f"taken from the top{beside}")
    if found.aside:
        names = ", ".join(found.aside[:6]) + (", ..." if len(found.aside) > 6 else "")
        notes.append(f"{len(found.aside)} entries that are no tensors set aside: {names}")
    meta = content.get("meta") if isinstance(content, dict) else None
    return Checkpoint(path, CheckpointInfo(), found.state, tuple(notes), meta if isinstance(meta, dict) else {})


TORCHSCRIPT = "in Python: torch.save(torch.jit.load(FILE).state_dict(), OUT); export that with --arch"
FOREIGN = (
    (b"\x1f\x8b", "a gzip file", "gunzip it first"),
    (b"Rar!", "a rar archive", "unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (b"BZh", "a bzip2 file", "unpack it first"),
    (b"\xfd7zXZ", "an xz file", "unpack it first"),
    (b"\x89PNG", "an image (PNG)", "name the checkpoint"),
    (b"\xff\xd8\xff", "an image (JPEG)", "name the checkpoint"),
    (b"GIF8", "an image (GIF)", "name the checkpoint"),
    (b"%PDF", "a PDF", "name the checkpoint"),
    (b"\x89HDF", "an HDF5 file (Keras)", "weights of PyTorch are wanted"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "git lfs pull"),
    (b"<!DOCTYPE", "a web page, not the file that it offers", "download the file itself"),
    (b"<html", "a web page, not the file that it offers", "download the file itself"),
)
"""First bytes of what is taken for a checkpoint, what it is, and the way out."""


def load_state(module: nn.Module, checkpoint: Checkpoint, *, arch: str, ignore_keys: Collection[str] = ()) -> list[str]:
    """Load `checkpoint` into `module`, all of it or nothing; what was done to the names, for people.

    Prefixes and wrappers' parts around the network's names are stripped (`states.match_names`). Missing parameters
    always refuse; unexpected ones do unless a pattern of `ignore_keys` takes them.

    Raises:
        DeployError: parameters are missing, unexpected, of another shape or kind (each is listed), or no numbers.
        UsageError: a pattern that fits nothing.
    """
    own = module.state_dict()
    names = match_names(checkpoint.state, own)
    state = {names.renamed[name]: tensor for name, tensor in checkpoint.state.items()}
    optional = {name for name in own if name.endswith("num_batches_tracked")}
    missing = sorted(set(own) - set(state) - optional)
    unexpected = sorted(set(state) - set(own))
    left_out = ignored(unexpected, ignore_keys)
    misfits = [
        ("missing", missing),
        ("unexpected", [name for name in unexpected if name not in left_out]),
        ("mis-shaped", _misshaped(state, own)),
    ]
    if any(entries for _, entries in misfits):
        lines = [f"{checkpoint.path} does not fit {arch}; nothing was loaded"]
        lines += [f"  {title} ({len(entries)}): {listed(entries)}" for title, entries in misfits if entries]
        said = checkpoint.info.arch
        if said is not None and said != arch:
            lines[0] += f" (it says that it is of {said})"
        only_more = not missing and not misfits[2][1]
        mend = f"hc-deploy inspect {quoted(checkpoint.path)}"
        mend = "--ignore-keys 'PATTERN' for what the network does not need" if only_more else mend
        raise DeployError("\n".join(lines), expected=f"the {len(own)} parameters of {arch}", mend=mend)
    fitting = {name: tensor for name, tensor in state.items() if name in own}
    require_finite(fitting, source=str(checkpoint.path))
    module.load_state_dict(fitting, strict=False)
    return [names.note] * bool(names.note) + ([f"ignored: {listed(left_out)}"] if left_out else [])


def _misshaped(state: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> list[str]:
    """What would not be copied as it is: another shape, or whole numbers (quantised, packed) for a float."""
    lines = []
    for name in sorted(set(own) & set(state)):
        given, wanted = state[name], own[name]
        if given.shape != wanted.shape:
            lines.append(f"{name} {tuple(given.shape)}, expected {tuple(wanted.shape)}")
        elif wanted.is_floating_point() and not given.is_floating_point():
            lines.append(f"{name} {str(given.dtype).removeprefix('torch.')}, expected floats")
    return lines
