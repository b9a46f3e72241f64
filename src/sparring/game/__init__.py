"""The adversarial game: matches, losses, penalties, turns."""
