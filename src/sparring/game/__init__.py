"""The adversarial game: matches, losses, penalties, turns."""

from sparring.base.lazy import lazy_names

__getattr__ = lazy_names(
    "sparring.game",
    {"game": ("Game", "Player", "TurnRule"), "match": ("Match", "Moment"), "outcome": ("Outcome", "Turn")},
)
