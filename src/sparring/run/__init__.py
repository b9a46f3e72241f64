"""The run directory. `log` and `directory` need neither torch nor matplotlib, so that viewers start at once."""

from sparring.run.directory import Run
from sparring.run.log import Row

__all__ = ["Row", "Run"]
