"""A model and its file. Where its weights are too many for one ONNX file (2 GiB), they lie in a second one beside it.

The file of weights is named after its content, so a model that is exported again never changes the one that an older
model in the folder reads; and the model holds its SHA-1 (ONNX's `checksum`), which whoever opens the model compares.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import onnx
import onnx.checker
from google.protobuf.message import DecodeError, Message

from hc_deploy.errors import DeployError, first_line
from hc_deploy.graph.external_data import files_beside, require_external_data
from hc_deploy.spec import METADATA_KEY, ModelSpec
from hc_deploy.system.files import write_bytes, write_error
from hc_deploy.system.interrupts import cleanup, salvaging
from hc_deploy.system.temporary import beside

LARGEST = 2**31 - 2**20
"""Bytes of weights that one file takes; the rest of a model is little."""
SMALL = 4096
"""Bytes of a tensor that stays in the model: shapes and scales, which checks and shape inference read."""
EXTERNAL = onnx.TensorProto.EXTERNAL
ALIGNMENT = 4096
"""Each weight starts at a page, so that it can be mapped into memory."""
WEIGHTS = "weights-{}.data"
"""Name of the file of weights; the first twelve digits of its SHA-1 stand in it."""


def read_model(path: Path, data: bytes | None = None, *, weights: bool = True) -> onnx.ModelProto:
    """The model in a file, or in its bytes; DeployError where that is no whole model or its weights are not there.

    weights: read those in another file too.
    """
    if data is None:
        require_external_data(path)
    try:
        return onnx.load_model_from_string(data) if data is not None else onnx.load(path, load_external_data=weights)
    except DecodeError:
        raise DeployError(
            f"{path} is not a whole ONNX file", expected="the file as export.py wrote it", mend="export it again"
        ) from None
    except (onnx.checker.ValidationError, ValueError, OSError, RuntimeError) as error:  # weights in other files
        raise DeployError(
            f"{path} cannot be read with its weights: {first_line(error)}",
            expected="the model and the files that it has weights in, in one folder",
            mend="copy all of them, or export it again",
        ) from None


def read_spec(path: Path) -> ModelSpec:
    """What the model in a file says of itself; DeployError where it was not made by `export.py`."""
    return spec_of(read_model(path, weights=False), path)


def spec_of(model: onnx.ModelProto, path: Path) -> ModelSpec:
    """As `read_spec`, of a model that was read from `path`."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in metadata:
        raise DeployError(
            f"{path} is an ONNX model without '{METADATA_KEY}' metadata",
            expected="a model.onnx made by export.py",
            mend="python export.py CHECKPOINT -o DIR",
        )
    return ModelSpec.from_json(metadata[METADATA_KEY], source=str(path))


def write_model(model: onnx.ModelProto, path: Path) -> Path | None:
    """Write `model`, atomically: to one file, or with its weights in a second one in the same folder.

    Returns:
        The file of weights where this call made one, so that whoever undoes the model can remove it; else None.
    """
    if not is_large(model):
        write_bytes(path, model.SerializeToString())
        return None
    bare = structure(model)
    temporary = beside(path.with_name("weights.data"))
    with cleanup(partial(temporary.unlink, missing_ok=True)):
        try:
            digest = _write_weights(model, bare, temporary)
            weights = path.with_name(WEIGHTS.format(digest[:12]))
            made = not weights.exists()
            temporary.replace(weights)
        except OSError as error:
            raise write_error(path, error) from None
    for tensor in filter(_is_outside, bare.graph.initializer):
        for key, value in (("location", weights.name), ("checksum", digest)):
            tensor.external_data.add(key=key, value=value)
    write_bytes(path, bare.SerializeToString())
    return weights if made else None


@contextmanager
def on_trial(model: onnx.ModelProto, path: Path) -> Iterator[None]:
    """`model` is written to `path` (`write_model`); weights beside it go again where the block fails."""
    made = write_model(model, path)
    if made is None:
        yield
        return
    remove = partial(made.unlink, missing_ok=True)
    with salvaging(remove):
        try:
            yield
        except BaseException:
            remove()
            raise


def weight_files(path: Path) -> list[Path]:
    """The files of weights that `write_model` made for the model in `path`; none where there is no model."""
    if not path.is_file():  # a pipe would be waited for
        return []
    try:
        files = files_beside(path)
    except (OSError, DeployError):
        return []
    return [file for file in files if re.fullmatch(WEIGHTS.format("[0-9a-f]{12}"), file.name)]


def drop_weights(files: Iterable[Path]) -> None:
    """Remove those that no model in their folder has its weights in, once a model was replaced."""
    for file in files:
        if not any(file in weight_files(model) for model in file.parent.glob("*.onnx")):
            file.unlink(missing_ok=True)


def is_large(model: onnx.ModelProto) -> bool:
    """Whether the weights are too many for one file."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer) >= LARGEST


def structure(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without the values of its weights, for what looks at types and shapes: onnx serialises its arguments."""
    result = onnx.ModelProto()
    _copy(model, result, but="graph")
    _copy(model.graph, result.graph, but="initializer")
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) <= SMALL:
            result.graph.initializer.append(tensor)
        else:
            result.graph.initializer.add(
                name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, data_location=EXTERNAL
            )
    return result


def check_model(model: onnx.ModelProto) -> None:
    """onnx's full check, whatever the size; raises what it raises."""
    if not is_large(model):
        onnx.checker.check_model(model, full_check=True)
        return
    import onnx_ir
    from onnx_ir.passes.common import CheckerPass

    CheckerPass(full_check=True)(onnx_ir.from_proto(model))


def _write_weights(model: onnx.ModelProto, bare: onnx.ModelProto, path: Path) -> str:
    """Write to `path` the values that `bare` lacks, and where each stands into `bare`; SHA-1 of the file."""
    digest = hashlib.sha1(usedforsecurity=False)
    weights = {tensor.name: tensor.raw_data for tensor in model.graph.initializer}
    with path.open("wb") as file:
        for tensor in filter(_is_outside, bare.graph.initializer):
            data, padding = weights[tensor.name], bytes(-file.tell() % ALIGNMENT)
            for part in (padding, data):
                file.write(part)
                digest.update(part)
            for key, value in (("offset", file.tell() - len(data)), ("length", len(data))):
                tensor.external_data.add(key=key, value=str(value))
    return digest.hexdigest()


def _is_outside(tensor: onnx.TensorProto) -> bool:
    return tensor.data_location == EXTERNAL


def _copy(source: Message, target: Message, *, but: str) -> None:
    """All fields but one."""
    for field, value in source.ListFields():
        if field.name == but:
            continue
        if field.is_repeated:
            getattr(target, field.name).MergeFrom(value)
        elif field.message_type:
            getattr(target, field.name).CopyFrom(value)
        else:
            setattr(target, field.name, value)
