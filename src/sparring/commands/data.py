"""`sparring data`: a report on data before training."""

from __future__ import annotations

import argparse
from pathlib import Path

from sparring.commands import add_size, add_trust

ABOUT = "check data before training: sizes, classes, duplicates, artifacts, a proposed recipe"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    about = (
        "data: a named set, a folder, archive or .parquet of images, hub:OWNER/NAME, shards such as a-{00..99}.tar, an "
        ".npz, or a .csv of points"
    )
    parser.add_argument("spec", metavar="DATA", help=about)
    add_size(parser)
    add_trust(parser)
    about = "image for the contact sheet of samples; default: data-NAME.png"
    parser.add_argument("--out", type=Path, metavar="FILE", help=about)


def run(chosen: argparse.Namespace) -> None:
    """Print the report, and write the contact sheet."""
    from sparring.data.load import load_data
    from sparring.data.pictures import save_image
    from sparring.doctor.checkup.report import describe_data

    data = load_data(chosen.spec, chosen.size, fit=chosen.fit)
    report = describe_data(
        data, {"data": chosen.spec, "size": chosen.size, "fit": "" if chosen.fit == "crop" else chosen.fit}
    )
    width = max(len(name) for name, _ in report.lines)
    for name, text in report.lines:
        print(f"{name:{width}}  {text}")
    sheet = chosen.out or Path(f"data-{'shards' if data.stream is not None else Path(chosen.spec).stem}.png")
    save_image(report.sheet, sheet)
    print(f"{'sheet':{width}}  {sheet}")
