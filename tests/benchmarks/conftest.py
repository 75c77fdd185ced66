"""The dry run of benchmarks.gpu builds engines with the plugin that `make plugin` builds."""

from tests.plugins.conftest import make_plugin, plugins_library

__all__ = ["make_plugin", "plugins_library"]
