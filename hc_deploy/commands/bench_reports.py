"""Names of reports: those that `bench run` will write, and those that `bench compare` was given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from hc_deploy.console import claim_outputs
from hc_deploy.errors import DeployError, UsageError
from hc_deploy.shown import quoted
from hc_deploy.system.files import make_folder
from hc_deploy.system.outputs import Output, files_of


def numbered(output: Path, repeat: int) -> list[Path]:
    """report.json, 2 -> report.1.json, report.2.json; of one run the name itself."""
    if repeat == 1:
        return [output]
    return [output.with_name(f"{output.stem}.{number}{output.suffix}") for number in range(1, repeat + 1)]


def require_outputs(paths: Sequence[Path], models: Iterable[Path]) -> None:
    """Fail before the measurement where the report could not be written after it, or would replace a model."""
    for path in paths:
        if path.is_dir():
            raise DeployError(f"{path} is a folder", expected="a file name", mend=f"-o {quoted(path / 'report.json')}")
        if path.suffix.lower() != ".json" or path.name.lower().endswith(".engine.json"):
            raise UsageError(
                f"-o {path} is no name for a report",
                expected="a name ending in .json, which no engine has beside it", mend="-o report.json",
            )  # fmt: skip
    claim_outputs([file for model in models for file in files_of(model)], [Output(path) for path in paths])
    make_folder(paths[0].parent)


def sides_of(pair: list[Path], old: list[Path], new: list[Path]) -> tuple[list[Path], list[Path]]:
    """The reports before and after, as they were named."""
    if old and new and not pair:
        return old, new
    if len(pair) == 2 and not old and not new:
        return pair[:1], pair[1:]
    raise UsageError(
        f"{len(pair)} reports without an option, {len(old)} of --old and {len(new)} of --new",
        expected="two reports, or --old and --new with one or more each",
        mend="hc-deploy bench compare --old old.*.json --new new.*.json",
    )


class SeveralValues(TyperCommand):
    """A command in which `--old a b c` is `--old a --old b --old c`: what a shell makes of `--old *.json`."""

    several = ("--old", "--new")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Click's own, of the words in full."""
        return super().parse_args(ctx, list(self._in_full(args)))

    def _in_full(self, words: Iterable[str]) -> Iterator[str]:
        option, first = "", False
        for word in words:
            if word.startswith("-"):
                option, first = word if word in self.several else "", True
            elif option and not first:
                yield option
            else:
                first = False
            yield word
