"""One thread a torch process: the networks under test are small, and threads of many processes wait for each other."""

import gc
import os
import signal

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background by a shell: Ctrl-C is tested too
    signal.signal(signal.SIGINT, signal.default_int_handler)

if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # by nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

from tests import needs
from tests.plugins.built import contract_programs, kernels_library, make_plugin, plugins_library, start_ahead

__all__ = ["contract_programs", "kernels_library", "make_plugin", "plugins_library"]


def pytest_sessionstart(session):
    """Exports make millions of small objects and few cycles. In parallel nobody should wait for the compiler."""
    gc.set_threshold(100_000, 50, 100)
    config = session.config
    parallel = getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput")
    if parallel and config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        start_ahead()


def pytest_terminal_summary(terminalreporter):
    """What this machine lacks and how many tests that cost, as the run's last lines (tests/needs.py)."""
    lines = needs.summary(terminalreporter.stats.get("skipped", []))
    if lines:
        terminalreporter.section("what was not tested here")
    for line in lines:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def export_small():
    """export_small(arch, options, **spec fields) -> (network, ExportedModel); each distinct call is exported once."""
    from dataclasses import replace

    from hc_deploy.export.onnx import export_onnx
    from models.load import new_network

    made = {}

    def export(arch, options=(), **fields):
        key = (arch, tuple(options), tuple(sorted(fields.items())))
        if key not in made:
            net, spec = new_network(arch, dict(options))
            made[key] = net, export_onnx(net, replace(spec, **fields))
        return made[key]

    return export
