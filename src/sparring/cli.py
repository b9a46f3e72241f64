"""The command line. Torch is imported only once a command needs it, so that help is instant."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from sparring import __version__
from sparring.commands import DONE, FAILED, INTERRUPTED, MISTAKE, add_trust, apply, clinic, doctor, treat
from sparring.errors import NotFiniteError, UserError, did_you_mean
from sparring.recipe import DEFAULT, DEVICES, Recipe, field_names, load_recipe, recipe_names
from sparring.sizes import FITS

METRICS = (  # the names in sparring.evaluation.MEASURES, which need torch
    "frechet",
    "frechet_infinity",
    "kernel_distance",
    "mmd",
    "precision_recall",
    "density_coverage",
    "sliced_wasserstein",
    "wasserstein",
    "inception_score",
    "modes",
    "different_bins",
    "birthday",
    "memorising",
    "class_frechet",
    "agreement",
    "path_length",
    "critic_gap",
    "duality_gap",
)

LIKENESS = (  # the names in sparring.evaluation.likeness.LIKENESS
    "psnr",
    "ssim",
    "l1",
    "psnr_hole",
    "perceptual",
    "frechet",
    "kernel_distance",
    "colours",
    "mean_iou",
    "pixel_accuracy",
    "taken_for_target",
    "edges",
    "cycle_l1",
)

AFTER_TRAINING = """\
Pictures: {run}/samples (the same inputs through time), {run}/curves.png; all in words: {run}/summary.md
Numbers: D and G are the two losses, each beside its value at equilibrium; near it, with an accuracy of the
discriminator somewhat above 50 %, the two are well matched. Accuracy near 100 % for long means that D has won.
Next: {use}     what it is for
      sparring evaluate {run}     how good it is; sparring compare {run} ANOTHER
      sparring resume {run} --steps {more}     train it further
      sparring recipes     what else there is to train"""


class _Parser(argparse.ArgumentParser):
    def refuse(self, unknown: str) -> NoReturn:
        """Name an argument that no option takes, and the option that it is nearest to."""
        if not unknown.startswith("-"):
            self.error(f"{unknown!r} is one argument too many")
        options = [o for action in self._actions for o in action.option_strings if o.startswith("--")]
        self.error(f"no option {unknown}: {did_you_mean(unknown.split('=')[0], options)}")

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0 done, 1 training failed, 2 the user's mistake, 130 interrupted."""
    try:
        chosen, unknown = _parser().parse_known_args(arguments)
        if unknown:
            chosen.parser.refuse(unknown[0])
        status = int(chosen.command(chosen) or DONE)
        sys.stdout.flush()  # a reader that went away is noticed here
        return status
    except UserError as error:
        print(f"sparring: {error}", file=sys.stderr)
        return MISTAKE
    except NotFiniteError as error:
        print(f"sparring: training failed: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("sparring: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, went away: not an error of anybody
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="sparring", description="Train, sample and examine generative adversarial networks.")
    parser.add_argument("--version", action="version", version=f"sparring {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)
    _add_train(commands)
    _add_resume(commands)
    _add_sample(commands)
    _add_apart(commands, "apply", apply)
    _add_evaluate(commands)
    _add_compare(commands)
    _add_sweep(commands)
    for name, command in (("doctor", doctor), ("clinic", clinic), ("treat", treat)):
        _add_apart(commands, name, command)
    recipes = _add(commands, "recipes", _recipes, "list the named recipes, or print one as TOML")
    recipes.add_argument("name", nargs="?", help="the recipe to print; it can be edited and passed to train")
    data = _add(commands, "data", _data, "look at data before training")
    about = "a set's name, a folder, archive or .parquet of images, hub:OWNER/NAME, an .npz or a .csv of points"
    data.add_argument("spec", help=about)
    _add_size(data)
    data.add_argument("--out", type=Path, help="where the contact sheet goes (default: data-NAME.png)")
    return parser


def _add(commands: Any, name: str, command: Any, about: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
    parser.set_defaults(command=command, parser=parser)
    return parser


def _add_apart(commands: Any, name: str, command: Any) -> None:
    """A command that has a file of its own."""
    command.add_arguments(_add(commands, name, command.run, command.ABOUT))


def _add_train(commands: Any) -> None:
    parser = _add(commands, "train", _train, "train a recipe")
    about = f"a named recipe ({', '.join(recipe_names())}) or a .toml file; default: {DEFAULT}"
    parser.add_argument("recipe", nargs="?", default=DEFAULT, help=about)
    parser.add_argument("--out", type=Path, help="the run directory to make (default: a new one below runs/)")
    add_trust(parser)
    fields = parser.add_argument_group("fields of the recipe", "each takes the place of what the recipe says")
    hints = get_type_hints(Recipe)
    for field in dataclasses.fields(Recipe):
        option, about = "--" + field.name.replace("_", "-"), field.metadata["help"]
        if hints[field.name] is bool:
            fields.add_argument(
                option, dest=field.name, action=argparse.BooleanOptionalAction, default=None, help=about
            )
        else:
            fields.add_argument(option, dest=field.name, type=hints[field.name], help=about)


def _add_resume(commands: Any) -> None:
    parser = _add(commands, "resume", _resume, "go on with a run that was stopped, or extend it")
    parser.add_argument("run", type=Path, help="the run directory")
    parser.add_argument("--steps", type=int, default=0, help="a new budget, counted from the run's start")
    parser.add_argument("--minutes", type=float, default=0.0, help="the same in minutes")
    add_trust(parser)


def _add_sample(commands: Any) -> None:
    parser = _add(commands, "sample", _sample, "draw samples from a run")
    parser.add_argument("run", type=Path, help="the run directory")
    parser.add_argument("--count", type=int, help="how many; default: 64, or 8 of each class with --label all")
    parser.add_argument("--label", help="the class to draw, by name or number; all: one row a class")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same samples")
    parser.add_argument("--out", type=Path, required=True, help="a .png (grid), a .npy (array), else a folder of PNGs")
    parser.add_argument("--checkpoint", default="last", help="last, best or a step")
    parser.add_argument("--device", default="auto", choices=DEVICES)
    add_trust(parser)


def _add_evaluate(commands: Any) -> None:
    parser = _add(commands, "evaluate", _evaluate, "score a run, or images made by anyone's software")
    parser.add_argument("run", type=Path, nargs="*", help="run directories")
    parser.add_argument("--images", help="score these instead: a folder, an archive, an .npz, a .csv of points ...")
    parser.add_argument("--against", help="what --images are compared with: a set's name, a folder, an .npz ...")
    about = "score runs that turn images into others on these, instead of the set's own test images"
    parser.add_argument("--on", default="", metavar="DATA", help=about)
    _add_size(parser)
    parser.add_argument("--picture", type=Path, help="for --images: where nearest training samples are shown (.png)")
    parser.add_argument("--checkpoint", default="best", help="best, last, all or a step; default: best")
    _add_scoring(parser)
    about = f"metrics: {', '.join(METRICS)}; of runs that turn images into others: {', '.join(LIKENESS)}"
    parser.epilog = f"{about}; see docs/metrics.md"
    parser.add_argument("--json", action="store_true", help="print JSON, values with their protocol")
    add_trust(parser)


def _add_compare(commands: Any) -> None:
    parser = _add(commands, "compare", _compare, "put runs side by side: scores, curves, samples of the same latents")
    parser.add_argument(
        "run", type=Path, nargs="+", help="run directories, of which those that differ in the seed alone"
    )
    parser.add_argument("--checkpoint", default="best", help="best, last or a step; default: best")
    parser.add_argument("--out", type=Path, default=Path("comparison.html"), help="the page; default: comparison.html")
    _add_scoring(parser)
    add_trust(parser)


def _add_sweep(commands: Any) -> None:
    parser = _add(commands, "sweep", _sweep, "train a grid of recipes and seeds, and compare them")
    parser.add_argument("recipe", help="a named recipe or a .toml file")
    about = "a field of the recipe and the values to try; may be given for several fields"
    parser.add_argument("--set", nargs="+", action="append", default=[], metavar="FIELD=VALUE", help=about)
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds of each: 0, 1, 2 ...")
    parser.add_argument("--out", type=Path, help="the folder of the sweep (default: runs/sweep-RECIPE); it can go on")
    _add_scoring(parser)
    add_trust(parser)


def _add_scoring(parser: argparse.ArgumentParser) -> None:
    about = "names with commas: frechet, kernel_distance, precision_recall ...; usual, all; default: usual"
    parser.add_argument("--metrics", default="usual", help=about)
    about = "Classifier(), Inception(), DINOv2(), CLIP(), Pixels(), Random(); default: auto, by the data"
    parser.add_argument("--extractor", default="auto", help=about)
    parser.add_argument("--count", type=int, default=10_000, help="samples, and most reference samples; default: 10000")
    about = "the reference; default: train, and the test images for runs that turn images into others"
    parser.add_argument("--split", default="auto", choices=("auto", "train", "test"), help=about)
    parser.add_argument("--seed", type=int, default=0, help="of the scored samples and the choice of the reference")
    parser.add_argument("--raw", action="store_true", help="the generator's own weights, not their average")
    parser.add_argument("--device", default="auto", choices=DEVICES, help="what to score on")


def _add_size(parser: argparse.ArgumentParser) -> None:
    about = "bring images to this size: 64 (square) or 96x64 (width x height); default: as they are"
    parser.add_argument("--size", default="", help=about)
    about = "how: crop (cover, cut the middle), pad (black borders), stretch, or patch; default: crop"
    parser.add_argument("--fit", default="crop", choices=FITS, help=about)


def _train(chosen: argparse.Namespace) -> int:
    changes = {name: value for name in field_names() if (value := getattr(chosen, name)) is not None}
    load_recipe(chosen.recipe).replace(**changes)  # a mistake here is told before torch is loaded
    from sparring.training import train

    return _run_training(chosen, lambda: train(chosen.recipe, out=chosen.out, trust=chosen.trust, **changes))


def _resume(chosen: argparse.Namespace) -> int:
    from sparring.training import resume

    budget = {"steps": chosen.steps, "minutes": chosen.minutes}
    return _run_training(chosen, lambda: resume(chosen.run, trust=chosen.trust, **budget))


def _run_training(chosen: argparse.Namespace, work: Any) -> int:
    from sparring.build import build_task
    from sparring.run import Run
    from sparring.training import Interrupted

    try:
        path = work()
    except Interrupted as error:
        print(f"sparring: {error}", file=sys.stderr)
        return INTERRUPTED
    run = Run.open(path)
    task = build_task(run.read_recipe(), run.read_data()[1], chosen.trust)
    print(AFTER_TRAINING.format(run=path, use=task.use.format(run=path), more=2 * run.rows()[-1]["step"]))
    return DONE


def _sample(chosen: argparse.Namespace) -> None:
    from sparring.generator import load
    from sparring.pictures import save_samples

    generator = load(chosen.run, checkpoint_name=chosen.checkpoint, device=chosen.device, trust=chosen.trust)
    rows = chosen.label == "all" and "all" not in generator.form.classes
    count = (8 if rows else 64) if chosen.count is None else chosen.count
    if rows:
        samples = generator.sample_rows(count, seed=chosen.seed)
    else:
        samples = generator.sample_stored(count, seed=chosen.seed, label=chosen.label)
    save_samples(samples, chosen.out, generator.form, columns=count if rows else 0)
    print(f"{len(samples)} samples of step {generator.step}: {chosen.out}")


def _evaluate(chosen: argparse.Namespace) -> None:
    if bool(chosen.run) == bool(chosen.images) or bool(chosen.images) != bool(chosen.against):
        raise UserError("evaluate takes runs, or --images PATH --against DATA (see sparring evaluate --help)")
    idle = (
        (chosen.raw, chosen.checkpoint != "best")
        if chosen.images
        else (chosen.picture, chosen.size, chosen.fit != "crop")
    )
    if any(idle):
        raise UserError("--raw and --checkpoint are for runs, --picture, --size and --fit for --images")
    from sparring.evaluation.report import heading, lines

    found = []
    for scores in _scores(chosen):
        found.append(scores.to_json())
        if not chosen.json:
            print("\n".join([heading(scores), *lines(scores)]), flush=True)
    if chosen.json:
        print(json.dumps(found, indent=1))


def _scores(chosen: argparse.Namespace) -> Iterator[Any]:
    from sparring.evaluation.evaluator import Options, RunEvaluator, evaluate_images

    if chosen.images:
        words = {"against": chosen.against, "size": chosen.size, "fit": chosen.fit, "picture": chosen.picture}
        yield evaluate_images(chosen.images, **words, **_scoring(chosen))
    for evaluator in [RunEvaluator(path, Options(**_scoring(chosen)), on=chosen.on) for path in chosen.run]:
        for manifest in evaluator.find(chosen.checkpoint):
            yield evaluator(manifest)


def _compare(chosen: argparse.Namespace) -> None:
    from sparring.evaluation.compare import compare
    from sparring.evaluation.page import write_page

    comparison = compare(chosen.run, checkpoint=chosen.checkpoint, **_scoring(chosen))
    print("\n".join(comparison.lines()))
    write_page(comparison, chosen.out, chosen.trust)
    print(f"With curves and samples: {chosen.out}")


def _sweep(chosen: argparse.Namespace) -> int:
    from sparring.evaluation.sweep import read_grid, sweep
    from sparring.training import Interrupted

    out = chosen.out or Path("runs") / f"sweep-{Path(chosen.recipe).stem}"
    try:
        comparison = sweep(chosen.recipe, read_grid(chosen.set), seeds=chosen.seeds, out=out, **_scoring(chosen))
    except Interrupted as error:
        print(f"sparring: {error}; to go on with the sweep, give the same command again", file=sys.stderr)
        return INTERRUPTED
    print("\n".join(comparison.lines()))
    print(f"With curves and samples: {out / 'comparison.html'}")
    return DONE


def _scoring(chosen: argparse.Namespace) -> dict[str, Any]:
    names = ("metrics", "extractor", "count", "split", "seed", "raw", "device", "trust")
    return {name: getattr(chosen, name) for name in names}


def _recipes(chosen: argparse.Namespace) -> None:
    if chosen.name:
        print(load_recipe(chosen.name).to_toml(), end="")
        return
    width = max(map(len, recipe_names()))
    for name in recipe_names():
        print(f"{name:{width}}  {load_recipe(name).about}")


def _data(chosen: argparse.Namespace) -> None:
    from sparring.data import load_data
    from sparring.data.report import describe_data
    from sparring.pictures import save_image

    data = load_data(chosen.spec, chosen.size, fit=chosen.fit)
    report = describe_data(data, {"size": chosen.size, "fit": "" if chosen.fit == "crop" else chosen.fit})
    width = max(len(name) for name, _ in report.lines)
    for name, text in report.lines:
        print(f"{name:{width}}  {text}")
    sheet = chosen.out or Path(f"data-{Path(chosen.spec).stem}.png")
    save_image(report.sheet, sheet)
    print(f"{'sheet':{width}}  {sheet}")
