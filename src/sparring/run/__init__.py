"""The run directory. `log` and `directory` import neither torch nor matplotlib, so that viewers start fast."""

from sparring.run.directory import Run
from sparring.run.log import Row

__all__ = ["Row", "Run"]
