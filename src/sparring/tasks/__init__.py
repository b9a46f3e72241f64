"""Tasks: what the generator is given, and what its output is set against."""

from sparring.tasks.generate import Generate

__all__ = ["Generate"]
