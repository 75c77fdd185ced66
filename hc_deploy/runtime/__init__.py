"""Running a deployed model: `open_session(path)` gives a `Session`. Nothing here needs torch but `runtime.torch`."""

from hc_deploy.runtime.opening import open_session
from hc_deploy.runtime.session import Session

__all__ = ["Session", "open_session"]
