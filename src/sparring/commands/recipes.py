"""`sparring recipes`: the named recipes."""

from __future__ import annotations

import argparse

from sparring.recipe import load_recipe, recipe_names

ABOUT = "list the named recipes, or print one as TOML"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("name", nargs="?", help="the recipe to print; it can be edited and passed to train")


def run(chosen: argparse.Namespace) -> None:
    """List them, or print one."""
    if chosen.name:
        print(load_recipe(chosen.name).to_toml(), end="")
        return
    width = max(map(len, recipe_names()))
    for name in recipe_names():
        print(f"{name:{width}}  {load_recipe(name).about}")
