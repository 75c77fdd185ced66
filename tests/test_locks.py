"""lock/ and tests/plugins/tensorrt-*.txt: every package by version and hash, complete, and no registry's address."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = ("lock/build.txt", "lock/dev.txt", "tests/plugins/tensorrt-10.txt", "tests/plugins/tensorrt-11.txt")
BY_VERSION_ALONE = {"torch"}


def locked(name):
    """Versions by package; each line must be a package, its hashes or a comment."""
    versions = {}
    text = (ROOT / name).read_text().replace("\\\n", "")
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r"([a-z0-9-]+)==(\S+)((?: +--hash=sha256:[0-9a-f]{64})+) *", line)
        assert match, line
        versions[match[1]] = match[2]
    return versions


def asked_for(*extras):
    """Names that pyproject.toml asks for, the project's own extras unfolded."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = set()
    todo = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    for requirement in todo:
        name, inner = re.match(r"([A-Za-z0-9-]+)(?:\[([^]]*)\])?", requirement).groups()
        names |= asked_for(*inner.split(",")) if name == "hc-deploy" else {name.lower()}
    return names


@pytest.mark.parametrize("name", LOCKS)
def test_by_version_and_hash(name):
    assert locked(name)
    assert not re.search(r"://|index-url|find-links|trusted-host", (ROOT / name).read_text())


def test_complete():
    """Whatever `make setup` is asked for is locked, but torch, whose version is in constraints.txt."""
    versions = locked("lock/dev.txt")
    assert {"pytest", "numpy", "torch"} <= asked_for("dev")
    assert asked_for("dev") - set(versions) == BY_VERSION_ALONE
    constraints = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    assert set(constraints) >= BY_VERSION_ALONE
    assert {name: versions[name] for name in constraints if name in versions} == {
        name: version for name, version in constraints.items() if name not in BY_VERSION_ALONE
    }
    build = locked("lock/build.txt")
    assert "setuptools" in build and {name: versions[name] for name in build} == build


@pytest.mark.parametrize("major", [10, 11])
def test_both_registries(major):
    """Bindings and runtime of one TensorRT."""
    versions = locked(f"tests/plugins/tensorrt-{major}.txt")
    assert set(versions) == {"tensorrt-cu13-bindings", "tensorrt-lean-cu13-libs"}
    assert {version.split(".")[0] for version in versions.values()} == {str(major)} and len(set(versions.values())) == 1
