"""The adversarial game: matches of real and generated samples, losses, penalties, turn rules."""

from sparring.base.lazy import lazy_names

__getattr__ = lazy_names(
    "sparring.game",
    {"game": ("Game", "Player", "TurnRule"), "match": ("Match", "Moment"), "outcome": ("Outcome", "Turn")},
)
