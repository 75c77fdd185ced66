"""`report.json`: what was measured, where, and every raw sample. Standard library only.

The file is one object: `schema` (a number; older ones are brought to it), `created` (UTC), `baseline` (name of a
model), `environment`, `workload` and `models`. Each model names its file by SHA-256 and lists three clocks in
nanoseconds; entry i of every list comes from round i, so lists of two models can be paired.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from hc_deploy.bench.environment import Environment
from hc_deploy.errors import DeployError
from hc_deploy.graph.external_data import files_beside
from hc_deploy.ran import Runtime
from hc_deploy.shown import visible
from hc_deploy.system.digest import file_sha256
from hc_deploy.system.files import require_file, write_bytes
from hc_deploy.system.strict_json import Mismatch, decode, parse, read_json, render

REPORT_SCHEMA = 3
"""1: models had no `runtime`. 2: runtimes had no `kernels`. Such reports are read, with None in their place."""
MOST_BYTES = 48 << 20
MOST_ENTRIES = 2_000_000
"""Of a report that is read: its samples and the little beside them."""
MOST_SAMPLES = 1_900_000
"""Of a report that is written: three a round and model."""
MOST_NS = 2**53
"""Samples stay below this (104 days): exact in float64."""
AGAIN = "measure again: python bench.py run MODEL... -o report.json"


class Clock(StrEnum):
    """Three clocks of one pass over one frame, each holding the one before."""

    ENGINE = "engine"
    TRANSFER = "transfer"
    END_TO_END = "end_to_end"


class Stop(StrEnum):
    """Why sampling ended: the asked number of rounds, intervals narrow enough, the time or the hard limit, a signal."""

    ROUNDS = "rounds"
    INTERVAL = "interval"
    TIME = "time"
    LIMIT = "limit"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class ModelFile:
    """The measured file: as it was named on the command line, its SHA-256 and its size in bytes."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Samples:
    """Nanoseconds of each round, in order.

    Attributes:
        engine: the network alone. transfer: with the copies of input and output around it.
        end_to_end: uint8 BGR frame in, label map of the frame's size out.
    """

    engine: tuple[int, ...]
    transfer: tuple[int, ...]
    end_to_end: tuple[int, ...]

    def of(self, clock: Clock) -> tuple[int, ...]:
        """The samples of one clock."""
        return {Clock.ENGINE: self.engine, Clock.TRANSFER: self.transfer, Clock.END_TO_END: self.end_to_end}[clock]


@dataclass(frozen=True)
class ModelReport:
    """One model as it ran.

    Attributes:
        name: unique in the report. arch, level, options, input, outputs: from the model's spec.
        batch, size: the input that it ran on, frames and (height, width).
        provider: what ran it (`cpu`, `cuda`, `torch-cpu`). threads: as asked for; None: left to the runtime.
        runtime: library, version and precision; None: nobody recorded it.
    """

    name: str
    file: ModelFile
    arch: str
    level: int
    options: dict[str, Any]
    input: str
    outputs: tuple[str, ...]
    batch: int
    size: tuple[int, int]
    provider: str
    threads: int | None
    samples: Samples
    runtime: Runtime | None = None


@dataclass(frozen=True)
class Workload:
    """What every model was given.

    Attributes:
        frame: (height, width) of the incoming frame. rounds: samples of each model.
        warmup: untimed rounds before. priming: untimed runs of a model before each of its samples.
        seed: of the frame and of the order within the rounds. stop: why sampling ended.
    """

    frame: tuple[int, int]
    rounds: int
    warmup: int
    priming: int
    seed: int
    stop: Stop


@dataclass(frozen=True)
class Report:
    """The whole file."""

    schema: int
    created: str
    baseline: str
    environment: Environment
    workload: Workload
    models: tuple[ModelReport, ...]

    def model(self, name: str) -> ModelReport:
        """The model called `name`."""
        return next(model for model in self.models if model.name == name)

    def to_json(self) -> str:
        """Indented JSON, with each list of numbers on a line of its own."""
        return render(dataclasses.asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str, *, source: str) -> Report:
        """Read what `to_json` wrote.

        Raises:
            DeployError: not JSON, cut off, of another schema, with fields missing, unknown or of another kind, or
                with samples that cannot be durations. `source` names the file.
        """
        try:
            return _report(parse(text, most_bytes=MOST_BYTES, most_entries=MOST_ENTRIES))
        except Mismatch as error:
            raise _unreadable(source, error) from None


def utc_now() -> str:
    """'2025-01-31T12:00:00Z'."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_report(path: Path) -> Report:
    """The report in `path`; DeployError when it is missing or not a whole, sane report."""
    require_file(path, what="a report.json written by bench.py run")
    try:
        return _report(read_json(path, most_bytes=MOST_BYTES, most_entries=MOST_ENTRIES))
    except Mismatch as error:
        raise _unreadable(str(path), error) from None
    except OSError as error:
        raise DeployError(f"{path} cannot be read: {error.strerror}", expected="a report.json", mend=AGAIN) from None


def write_report(path: Path, report: Report) -> None:
    """Write `report`, atomically."""
    write_bytes(path, report.to_json().encode("utf-8"))


def describe_file(path: Path) -> ModelFile:
    """Digest and size of a model file; its weights in other files count, of which it holds the checksums."""
    others = files_beside(path) if path.suffix == ".onnx" else []
    size = sum(file.stat().st_size for file in (path, *others))
    return ModelFile(visible(str(path)), file_sha256(path), size)


def _report(fields: Any) -> Report:
    _check_schema(fields)
    report: Report = decode(Report, _migrated(fields), "report")
    _check(report)
    return report


def _unreadable(source: str, error: Mismatch) -> DeployError:
    return DeployError(f"{source}: {error.received}", expected=error.expected, mend=AGAIN)


def _check_schema(fields: Any) -> None:
    if not isinstance(fields, dict) or "schema" not in fields:
        raise Mismatch("is JSON but no benchmark report", "an object with the field 'schema'")
    if isinstance(fields["schema"], bool) or fields["schema"] not in range(1, REPORT_SCHEMA + 1):
        raise Mismatch(f"report of schema {fields['schema']!r}"[:100], f"schema 1 to {REPORT_SCHEMA}")


def _migrated(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of an older schema as those of this one; what is wrong with them is left to the decoder."""
    models = fields.get("models")
    if fields["schema"] == REPORT_SCHEMA or not isinstance(models, list):
        return fields
    if fields["schema"] == 1:
        models = [{"runtime": None, **model} if isinstance(model, dict) else model for model in models]
    models = [_with_kernels(model) for model in models]
    return {**fields, "schema": REPORT_SCHEMA, "models": models}


def _with_kernels(model: Any) -> Any:
    runtime = model.get("runtime") if isinstance(model, dict) else None
    return {**model, "runtime": {"kernels": None, **runtime}} if isinstance(runtime, dict) else model


def _check(report: Report) -> None:
    """What annotations cannot say."""
    names = [model.name for model in report.models]
    if not names or len(set(names)) != len(names):
        raise Mismatch(f"models named {', '.join(names) or '(none)'}", "one or more models, each name once")
    if report.baseline not in names:
        raise Mismatch(f"baseline '{report.baseline}'", f"one of {', '.join(names)}")
    if report.workload.rounds < 1:
        raise Mismatch(f"workload of {report.workload.rounds} rounds", "1 or more")
    for model in report.models:
        _check_samples(model, report.workload.rounds)


def _check_samples(model: ModelReport, rounds: int) -> None:
    for clock in Clock:
        samples = model.samples.of(clock)
        if len(samples) != rounds:
            raise Mismatch(f"{model.name}: {len(samples)} samples of {clock}", f"{rounds}, one a round")
        for sample in samples:
            if not 0 < sample < MOST_NS:
                raise Mismatch(f"{model.name}: a sample of {sample} ns in {clock}", "a duration above 0")
    nested = zip(model.samples.engine, model.samples.transfer, model.samples.end_to_end, strict=True)
    for index, (engine, transfer, end_to_end) in enumerate(nested):
        if not engine <= transfer <= end_to_end:
            raise Mismatch(
                f"{model.name}: round {index} took {engine}, {transfer}, {end_to_end} ns",
                "engine <= transfer <= end_to_end",
            )
