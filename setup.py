"""The one thing that pyproject.toml cannot say: the wheel carries the kernels' source of `plugins/kernels`."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithKernels(build_py):
    """`hc_deploy/kernels/*.cuh` in the wheel; in a checkout they are found where they are."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        folder = Path(self.build_lib, "hc_deploy", "kernels")
        folder.mkdir(parents=True, exist_ok=True)
        for header in Path("plugins", "kernels").glob("*.cuh"):
            shutil.copy(header, folder)


setup(cmdclass={"build_py": WithKernels})
