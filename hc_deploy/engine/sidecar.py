"""`model.engine.json`: what an engine is, was made from and needs, checked before a byte of the engine is read.

An engine may carry code that runs on the host (our plugin travels in it), so a session opens only an engine whose hash
the sidecar vouches for. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, get_type_hints

from hc_deploy.engine.options import BuildOptions
from hc_deploy.errors import DeployError
from hc_deploy.ran import type_shares
from hc_deploy.spec import ModelSpec
from hc_deploy.system.digest import file_sha256, require_sha256
from hc_deploy.system.files import require_file, write_bytes
from hc_deploy.system.gpu import Gpu
from hc_deploy.system.strict_json import Mismatch, decode, read_json

SCHEMA = 1


@dataclass(frozen=True)
class FileRecord:
    """A file as it was: name (without folders: ValueError), bytes, sha256 (hexadecimal)."""

    name: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if self.name in ("", "..") or Path(self.name).name != self.name:  # it is looked for beside the engine
            raise ValueError(f"a file named {self.name[:80]!r}; expected a name without folders")

    def __str__(self) -> str:
        return f"{self.name} (sha256 {self.sha256[:12]}…)"

    @classmethod
    def of(cls, path: Path) -> Self:
        return cls(path.name, path.stat().st_size, file_sha256(path))


@dataclass(frozen=True)
class Layers:
    """What was found in the network or engine.

    Attributes:
        source: `engine` (its inspector: needs a GPU) or `network` (as parsed, before fusion).
        count: layers in all. plugins: plugin layers, by op.
        types: layers by the type that they give, of those that give floating-point numbers.
        computing: the same for convolutions and plugins alone: those that the precision is about.
    """

    source: str
    count: int
    plugins: dict[str, int] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    computing: dict[str, int] = field(default_factory=dict)

    def plugin_counts(self) -> str:
        """'1 HCArgmax, 2 HCUpsample'."""
        return ", ".join(f"{count} {name}" for name, count in sorted(self.plugins.items())) or "none"

    def shares(self) -> str:
        """'fp16 92%, fp32 8%' of the computing layers."""
        return type_shares(self.computing)


@dataclass(frozen=True)
class Sidecar:
    """One engine; see the module.

    Attributes:
        version: TensorRT's. device: the GPU that it was built on, None for a CPU.
        plugin: the library whose plugins it uses, None where it uses none of it.
        seconds: of building. created: when, in UTC.
    """

    spec: ModelSpec
    options: BuildOptions
    version: str
    engine: FileRecord
    onnx: FileRecord
    layers: Layers
    plugin: FileRecord | None
    device: Gpu | None
    seconds: float
    created: str

    def write(self, path: Path) -> None:
        """Write beside the engine at `path`, atomically."""
        fields = {"schema": SCHEMA, **asdict(self), "spec": json.loads(self.spec.to_json())}
        write_bytes(sidecar_path(path), (json.dumps(fields, indent=1) + "\n").encode())

    @property
    def carries_plugin(self) -> bool:
        """Whether the engine holds our plugin library: code for the host."""
        return self.plugin is not None and self.options.carry_plugin

    def rebuild(self) -> str:
        """The command that builds such an engine again."""
        return (
            f"python export.py CHECKPOINT --engine {self.options.flavour} --precision {self.options.precision} -o DIR"
        )


def sidecar_path(engine: Path) -> Path:
    """`model.engine` -> `model.engine.json`."""
    return engine.with_name(engine.name + ".json")


def read_sidecar(engine: Path) -> Sidecar:
    """The sidecar of the engine at `engine`; the engine itself is not read.

    Raises:
        DeployError: it is missing, unreadable, of another schema or incomplete.
    """
    path = sidecar_path(engine)
    if not path.exists():
        raise DeployError(
            f"{engine} has no sidecar {path.name}",
            expected="the file that export.py wrote beside the engine",
            mend="copy both files, or build again: python export.py CHECKPOINT --engine tensorrt -o DIR",
        )
    require_file(path, what="the sidecar of an engine")
    try:
        fields = read_json(path)
        schema = fields.pop("schema", None) if isinstance(fields, dict) else None
        if type(schema) is not int or schema != SCHEMA:
            raise Mismatch(f"is of schema {schema}"[:100], f"the sidecar of an engine, of schema {SCHEMA}")
        return _from_fields(fields, source=str(path))
    except OSError as error:
        raise DeployError(f"{path} cannot be read: {error.strerror}", expected=_EXPECTED, mend=_REBUILD) from None
    except Mismatch as error:
        raise DeployError(f"{path}: {error.received}", expected=error.expected, mend=_REBUILD) from None
    except ValueError as error:  # a file's name that is none
        raise DeployError(f"{path}: {error}"[:400], expected=_EXPECTED, mend=_REBUILD) from None
    except DeployError as error:  # the option or the spec refused it, and cannot know whose it is
        wrong = error.received.removeprefix(f"{path}: ")
        raise DeployError(f"{path}: {wrong}", expected=error.expected or _EXPECTED, mend=_REBUILD) from None


_EXPECTED = "what export.py wrote"
_REBUILD = "build the engine again: python export.py CHECKPOINT --engine tensorrt -o DIR"


def verify_engine(engine: Path) -> Sidecar:
    """The sidecar, after the engine's size and hash were compared with it.

    Raises:
        DeployError: a file is missing, or the engine is not the one that the sidecar describes.
    """
    _require_engine(engine)
    sidecar = read_sidecar(engine)
    _require_same(engine, FileRecord.of(engine), sidecar)
    return sidecar


def read_engine(engine: Path, *, expect_sha256: str | None = None) -> tuple[Sidecar, bytes]:
    """The sidecar and the engine: the very bytes that the hash was taken of.

    expect_sha256: the engine's hash as its user knows it. The sidecar lies beside the engine: whoever can change one
        can change both, so its hash tells of accidents only.

    Raises:
        DeployError: as `verify_engine`, or the hash is not the one that was expected.
    """
    _require_engine(engine)
    if expect_sha256 is None:
        sidecar, data = read_sidecar(engine), engine.read_bytes()  # no gigabytes are read beside a bad sidecar
        digest = hashlib.sha256(data).hexdigest()
    else:
        data = engine.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        require_sha256(engine, digest, expect_sha256)
        sidecar = read_sidecar(engine)
    _require_same(engine, FileRecord(engine.name, len(data), digest), sidecar)
    return sidecar, data


def _require_engine(engine: Path) -> None:
    require_file(engine, what="a model.engine made by export.py --engine")


def _require_same(engine: Path, found: FileRecord, sidecar: Sidecar) -> None:
    if (found.bytes, found.sha256) != (sidecar.engine.bytes, sidecar.engine.sha256):
        raise DeployError(
            f"{engine} is {found.bytes} bytes, sha256 {found.sha256[:12]}…",
            expected=f"the engine its sidecar describes: {sidecar.engine.bytes} bytes, "
            f"sha256 {sidecar.engine.sha256[:12]}…; it was cut short, changed or replaced, and is not opened",
            mend=sidecar.rebuild(),
        )


def _from_fields(fields: dict[str, Any], *, source: str) -> Sidecar:
    """Every field by its annotation; the spec has a reader of its own, and the schema of its own that goes with it."""
    kinds = get_type_hints(Sidecar)
    if set(fields) != set(kinds):
        odd = ", ".join(sorted(set(fields) ^ set(kinds)))
        raise Mismatch(f"has not the fields of a sidecar: {odd}"[:300], f"the fields {', '.join(kinds)}")
    spec = ModelSpec.from_fields(fields.pop("spec"), source=source)
    return Sidecar(spec=spec, **{name: decode(kinds[name], value, name) for name, value in fields.items()})
