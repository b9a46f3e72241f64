"""From a run's log to findings with evidence; pure functions."""
