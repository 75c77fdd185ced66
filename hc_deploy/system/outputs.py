"""What a command reads and what it is about to write -> a refusal where one would destroy the other.

Every command asks here before any work. Files are compared as the system sees them, so a link, a hard link, `..` or
another case of the same name is the same file. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hc_deploy.errors import UsageError

BESIDE = (".json", ".data", "_data")
"""What may follow a model's name in the names of files that are read with it: an engine's sidecar, external weights."""
INDEX = ".index.json"
WEIGHTS = (".bin", ".ckpt", ".pt", ".pth", ".safetensors", ".tar", INDEX)
NUMBERED = re.compile(r"\d{6,}\.png", re.IGNORECASE)


@dataclass(frozen=True)
class Output:
    """One thing that a command will write.

    Attributes:
        path: its name. option: what named it, as messages call it.
        numbered: a folder that gets 000000.png, 000001.png, ... as many as there are frames.
        updated: read as well, by design: that it exists is no news.
    """

    path: Path
    option: str = "-o"
    numbered: bool = False
    updated: bool = False


def check_outputs(inputs: Iterable[Path], outputs: Sequence[Output]) -> str | None:
    """The line that says which existing files will be replaced, or None where there are none.

    Args:
        inputs: every file that is read, and the folders that files are taken from.

    Raises:
        UsageError: an output is an input or would replace one, or two outputs are one file.
    """
    read = {_identity(path): path for path in inputs}
    written: dict[object, Output] = {}
    replaced: list[str] = []
    for output in outputs:
        if (source := read.get(_identity(output.path))) is not None:
            raise _both(output.path, source, output)
        other = written.setdefault(_identity(output.path) if output.numbered else _real(output.path), output)
        if other is not output:
            raise UsageError(
                f"{other.option} and {output.option} would both be written to {output.path}",
                expected="two folders: both hold 000000.png" if output.numbered else "another name for one of them",
            )
        if output.numbered:
            pictures = list(_pictures(output.path))
            for picture in pictures:
                if (source := read.get(_identity(picture))) is not None:
                    raise _both(picture, source, output)
            if pictures:
                replaced.append(f"numbered PNGs in {output.path}")
        elif not output.updated and _is_file(output.path):
            replaced.append(str(output.path))
    if len(replaced) > 3:
        replaced = [*replaced[:2], f"{len(replaced) - 2} more files"]
    return f"will be replaced: {', '.join(replaced)}" if replaced else None


def files_of(path: Path, *, runs: bool = False) -> list[Path]:
    """A checkpoint or model with all that is read with it.

    Args:
        runs: a folder stands for the model.onnx in it, else for the weights in it.
    """
    if path.is_dir():
        if runs:
            return files_of(path / "model.onnx")
        return [file for file in _listed(path) if file.name.lower().endswith(WEIGHTS)]
    files = [path, *(beside for end in BESIDE if (beside := path.with_name(path.name + end)).exists())]
    if path.name.endswith(INDEX):
        files += [file for file in _listed(path.parent) if file.name.lower().endswith(WEIGHTS)]
    return files


def _both(written: Path, read: Path, output: Output) -> UsageError:
    same = "" if written == read else f": it is {read}"
    return UsageError(
        f"{written} is both input and output{same}", expected=f"another {output.option}: inputs are never replaced"
    )


def _pictures(folder: Path) -> Iterator[Path]:
    return (file for file in _listed(folder) if NUMBERED.fullmatch(file.name))


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # not there yet, or not to be listed: whoever opens it says so
        return []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, say
        return False


def _identity(path: Path) -> object:
    """Equal for two names of one file; of what does not exist, the name without links and dots."""
    real = _real(path)
    try:
        found = real.stat()
    except (OSError, ValueError):
        return real
    return (found.st_dev, found.st_ino)


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # links in a circle
        return path.absolute()
