"""From a run's log to findings with evidence and suggested fixes: pure functions."""
