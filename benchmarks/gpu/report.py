"""report.json: conditions, plan, what came of each group with its raw samples, verdicts."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from benchmarks.gpu.measure import GroupResult
from benchmarks.gpu.targets import Verdict
from hc_deploy.bench.environment import Environment
from hc_deploy.system.strict_json import render

SCHEMA = 1


@dataclass(frozen=True)
class BackendState:
    """Whether a backend ran the probe here (a tiny network), or why not."""

    name: str
    runs: bool
    reason: str
    built: bool = False


@dataclass(frozen=True)
class RunReport:
    """The whole file. With `dry_run` all ran on the CPU, tiny: its times mean nothing.

    Attributes:
        interrupted: Ctrl-C ended it; `plan` holds more groups than `groups` then.
        versions: of the runtimes, as the processes that ran them found. plan: names of the groups.
    """

    schema: int
    created: str
    dry_run: bool
    interrupted: bool
    command: tuple[str, ...]
    settings: dict[str, Any]
    environment: Environment
    versions: dict[str, str]
    backends: tuple[BackendState, ...]
    plan: tuple[str, ...]
    groups: tuple[GroupResult, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def parity_failures(self) -> list[str]:
        """Deployed cases that do not answer as torch does."""
        return [
            f"{result.group.name}, {one.case.name}: {'; '.join(one.parity.failures)}"
            for result in self.groups
            for one in result.cases
            if one.parity is not None and one.parity.failures and not one.case.backend.startswith("torch")
        ]

    def to_json(self) -> str:
        """Indented JSON, with each list of numbers on a line of its own; what is not finite is null."""
        return render(_finite(dataclasses.asdict(self)), indent=1)


def _finite(value: Any) -> Any:
    """`value` with None for every number that JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
