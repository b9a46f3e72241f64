"""`sparring data`: look at data before training."""

from __future__ import annotations

import argparse
from pathlib import Path

from sparring.commands import add_size

ABOUT = "look at data before training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    about = "a set's name, a folder, archive or .parquet of images, hub:OWNER/NAME, an .npz or a .csv of points"
    parser.add_argument("spec", help=about)
    add_size(parser)
    parser.add_argument("--out", type=Path, help="where the contact sheet goes (default: data-NAME.png)")


def run(chosen: argparse.Namespace) -> None:
    """Describe it, and draw a sheet of it."""
    from sparring.data.load import load_data
    from sparring.data.pictures import save_image
    from sparring.doctor.checkup.report import describe_data

    data = load_data(chosen.spec, chosen.size, fit=chosen.fit)
    report = describe_data(data, {"size": chosen.size, "fit": "" if chosen.fit == "crop" else chosen.fit})
    width = max(len(name) for name, _ in report.lines)
    for name, text in report.lines:
        print(f"{name:{width}}  {text}")
    sheet = chosen.out or Path(f"data-{Path(chosen.spec).stem}.png")
    save_image(report.sheet, sheet)
    print(f"{'sheet':{width}}  {sheet}")
