"""Tasks: the generator's input, its output, and the real samples that the output is compared with."""

from sparring.tasks.contrast import Contrast
from sparring.tasks.cycle import Cycle
from sparring.tasks.generate import Generate
from sparring.tasks.restore import Restore
from sparring.tasks.segment import Segment
from sparring.tasks.translate import Translate

__all__ = ["Contrast", "Cycle", "Generate", "Restore", "Segment", "Translate"]
