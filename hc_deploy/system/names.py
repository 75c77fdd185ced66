"""File names for libraries in C: OpenCV and ONNX Runtime take UTF-8 and nothing else (OpenCV crashes on the rest)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hc_deploy.errors import DeployError
from hc_deploy.system.temporary import temporary_folder


@contextmanager
def openable(path: Path) -> Iterator[str]:
    """An absolute name under which a library can open the existing file `path` within the block.

    It is the file's own where that is UTF-8, on disk as in Python; else that of a link in a temporary folder. Files
    that lie beside `path` (external weights) are beside that name too, unless the last part of `path` is not UTF-8.

    Raises:
        DeployError: the name is not UTF-8, and no link to it can be made.
    """
    real = path.resolve()
    if is_utf8(str(real)):
        yield str(real)
        return
    with ExitStack() as stack:
        try:
            name = _linked(real, stack.enter_context(temporary_folder()))
        except OSError as error:
            raise _refusal(path, error.strerror or str(error)) from None
        if not is_utf8(name):
            raise _refusal(path, "nor is that of the folder for temporary files")
        yield name


def is_utf8(text: str) -> bool:
    """Whether a file name, as the system spells it, is the UTF-8 that a C library makes of it."""
    try:
        return os.fsencode(text) == text.encode()
    except UnicodeEncodeError:
        return False


def _linked(real: Path, folder: Path) -> str:
    if is_utf8(real.name):
        (folder / "folder").symlink_to(real.parent, target_is_directory=True)
        return str(folder / "folder" / real.name)
    link = folder / ("file" + (real.suffix if is_utf8(real.suffix) else ""))
    link.symlink_to(real)
    return str(link)


def _refusal(path: Path, reason: str) -> DeployError:
    return DeployError(
        f"the name of {path} is not UTF-8, and no other can stand in for it: {reason}",
        expected="a name in UTF-8, or room for a link in the folder for temporary files",
        mend="rename it",
    )
