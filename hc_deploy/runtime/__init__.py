"""Running a deployed model: `open_session(path)` gives a `Session`. Nothing here needs torch but `runtime.torch`."""

from hc_deploy.runtime.session import Session, open_session

__all__ = ["Session", "open_session"]
