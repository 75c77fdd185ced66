"""The models of `bench run`, as typed -> their names, files and expected hashes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hc_deploy.errors import UsageError
from hc_deploy.shown import quoted, visible
from hc_deploy.spec import DEPLOYED, ModelSpec
from hc_deploy.system.digest import checked_sha256

RUNNERS: dict[str, dict[str, Any]] = {
    "onnxruntime": {"provider": "cpu"},
    "onnxruntime-bodies": {"provider": "cpu", "kernels": "bodies"},
    "openvino": {"provider": "openvino"},
    "openvino-bf16": {"provider": "openvino", "precision": "bf16"},
}
"""What else can run a model.onnx -> how `open_session` is asked for it."""
Load = Callable[[Path], tuple[Any, ModelSpec]]
"""Checkpoint -> module and spec."""


@dataclass(frozen=True)
class Networks:
    """Handed in as the context's object by a program that has networks.

    Attributes:
        load: opens its checkpoints. program: the file that starts it, for runs in processes of their own.
    """

    load: Load
    program: Path


@dataclass(frozen=True)
class Also:
    """A model once more, in another runtime; `how`: as in `RUNNERS`."""

    path: Path
    how: dict[str, Any]


def with_runners(named: Mapping[str, Path], against: str | None) -> dict[str, Also]:
    """{'fcn': fcn.onnx}, 'openvino' -> {'fcn-openvino': ...}.

    Raises:
        UsageError: no runner, no model.onnx to run in it, or a name that is taken.
    """
    runners = [runner.strip() for runner in against.split(",")] if against else []
    if unknown := [runner for runner in runners if runner not in RUNNERS]:
        raise UsageError(f"--against {', '.join(unknown)}"[:200], expected=f"of {', '.join(RUNNERS)}")
    deployed = {name: path for name, path in named.items() if path.suffix == ".onnx"}
    if runners and not deployed:
        raise UsageError(f"--against {against}", expected="it with a model.onnx, which other runtimes take too")
    also = {f"{name}-{runner}": Also(path, RUNNERS[runner]) for name, path in deployed.items() for runner in runners}
    if taken := sorted(set(also) & set(named)):
        raise UsageError(f"two models are called '{taken[0]}'", expected="a name for each", mend="NAME=PATH")
    return also


def name_models(arguments: list[str]) -> dict[str, Path]:
    """['runs/fcn/model.onnx', 'new=b.onnx'] -> {'fcn': ..., 'new': ...}; checkpoints get '-torch', engines '-engine'.

    Raises:
        UsageError: two models of one name.
    """
    from hc_deploy.runtime.session import session_name

    named: dict[str, Path] = {}
    for argument in arguments:
        given, equals, rest = argument.partition("=")
        try:
            explicit = bool(equals and given and rest and not Path(argument).exists())
            path = Path(rest if explicit else argument)
            if path.is_dir() and (path / "model.onnx").exists():
                path = path / "model.onnx"
        except (OSError, ValueError) as error:  # longer than a name can be, or with a NUL
            raise UsageError(
                f"model {argument[:80]}: {error}"[:300],
                expected="the path of a model",
                mend="ls of its folder, and the path as it is there",
            ) from None
        name = visible(given if explicit else session_name(path) + _ending(path))
        if name in named:
            raise UsageError(
                f"two models are called '{name}': {named[name]} and {path}",
                expected="a name for each",
                mend=f"old={quoted(named[name])} new={quoted(path)}",
            )
        named[name] = path
    return named


def _ending(path: Path) -> str:
    return "-torch" if is_checkpoint(path) else "-engine" if path.suffix == ".engine" else ""


def is_checkpoint(path: Path) -> bool:
    """Any file that is not deployed: what it is, its content decides."""
    return path.is_file() and path.suffix not in DEPLOYED


def expected_hashes(arguments: list[str], named: dict[str, Path]) -> dict[str, str]:
    """['fcn=12ab...'] -> {'fcn': '12ab...'}; a lone model needs no name.

    Raises:
        UsageError: no hash, a model that is not measured or is named twice, no name where there are several models.
    """
    expected: dict[str, str] = {}
    for argument in arguments:
        name, equals, digest = argument.rpartition("=")
        if not equals and len(named) == 1:
            name = next(iter(named))
        if name not in named or name in expected:
            raise UsageError(
                f"--expect-sha256 {argument[:160]}", expected=f"NAME=HEX, once for each NAME of {', '.join(named)}"
            )
        expected[name] = checked_sha256(digest)
    return expected
