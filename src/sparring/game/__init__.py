"""The adversarial game: matches, losses, penalties, turns."""

from sparring.base.lazy import lazy_names

__getattr__ = lazy_names(
    "sparring.game",
    {
        "Game": "sparring.game.game",
        "Match": "sparring.game.match",
        "Moment": "sparring.game.match",
        "Outcome": "sparring.game.outcome",
        "Player": "sparring.game.game",
        "Turn": "sparring.game.outcome",
        "TurnRule": "sparring.game.game",
    },
)
