"""The last lines of a test run: what was not tested for want of something, and the line that mends it."""

from types import SimpleNamespace

from tests import needs


def skipped(reason):
    return SimpleNamespace(longrepr=("tests/test_x.py", 7, f"Skipped: {reason}"))


def test_each_missing_thing_has_its_line_and_count():
    reports = [skipped(needs.TENSORRT_HEADERS), skipped(needs.GPU), skipped(needs.TENSORRT_HEADERS), skipped("no PIL")]
    headers, gpu = needs.summary(reports)
    assert headers.startswith("2 not run: TensorRT's headers are missing") and "git clone" in headers
    assert gpu.startswith("1 not run: no NVIDIA GPU")


def test_nothing_is_said_where_nothing_is_missing():
    assert needs.summary([skipped("no PIL")]) == []
