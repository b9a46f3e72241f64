"""From a recipe to what can be trained."""
