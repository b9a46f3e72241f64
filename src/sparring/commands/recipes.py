"""`sparring recipes`: the named recipes."""

from __future__ import annotations

import argparse

from sparring.recipe import load_recipe, recipe_names

ABOUT = "list the named recipes, or print one as TOML"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    about = "recipe to print as TOML; save it, edit it, and train it: sparring train FILE.toml"
    parser.add_argument("name", nargs="?", help=about)


def run(chosen: argparse.Namespace) -> None:
    """Print the list of recipes, or one recipe."""
    if chosen.name:
        print(load_recipe(chosen.name).to_toml(), end="")
        return
    width = max(map(len, recipe_names()))
    for name in recipe_names():
        print(f"{name:{width}}  {load_recipe(name).about}")
