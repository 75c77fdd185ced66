"""`python -m benchmarks.networks`, as far as a CPU goes: what it refuses, and one group from end to end."""

import json
import subprocess
import sys

from tests.plugins.built import ROOT

GROUP = "levels of hcfcn32, resnet18, float16"


def networks(*arguments):
    command = [sys.executable, "-m", "benchmarks.networks", "--dry-run", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_group_that_is_none_is_refused(tmp_path):
    done = networks("-o", tmp_path / "out", "--only", "nosuch")
    assert done.returncode == 2 and "--only nosuch" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_one_group(tmp_path):
    done = networks("-o", tmp_path, "--only", GROUP)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert [result["group"]["name"] for result in report["results"]] == [GROUP] and report["dry_run"]
    assert "hcfcn32_resnet18 level 4, graph" in done.stdout
