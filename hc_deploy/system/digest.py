"""SHA-256 of files: what `hc-deploy inspect` shows and `--expect-sha256` asks for. Standard library only."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from hc_deploy.errors import DeployError, UsageError


def file_sha256(path: Path) -> str:
    """64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_sha256(text: str) -> str:
    """What was typed, as `hashlib` writes it; UsageError where it is no hash."""
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise UsageError(
            f"--expect-sha256 {text[:80]}", expected="64 hexadecimal digits", mend="hc-deploy inspect FILE shows them"
        )
    return text.lower()


def require_sha256(path: Path, found: str, expected: str | None) -> None:
    """DeployError where a file is another one than its user expected; None: any will do."""
    if expected is not None and found != expected:
        raise DeployError(
            f"{path} has sha256 {found}; it is not opened",
            expected=f"{expected}, as --expect-sha256 says",
            mend="get the file again from whoever gave you the hash",
        )
