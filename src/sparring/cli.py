"""The command line. Torch is imported only when a command needs it, so that help is instant."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from sparring.base.components import trusted
from sparring.base.errors import NotFiniteError, UserError, WorkerError
from sparring.base.process import DONE, FAILED, INTERRUPTED, MISTAKE, Interrupted
from sparring.base.version import __version__
from sparring.commands import (
    Parser,
    apply,
    clinic,
    compare,
    data,
    doctor,
    evaluate,
    explain,
    recipes,
    resume,
    sample,
    sweep,
    train,
    treat,
)
from sparring.commands import list as listing
from sparring.commands.together import is_first

COMMANDS = {
    "train": train,
    "resume": resume,
    "sample": sample,
    "apply": apply,
    "evaluate": evaluate,
    "compare": compare,
    "sweep": sweep,
    "doctor": doctor,
    "treat": treat,
    "clinic": clinic,
    "data": data,
    "recipes": recipes,
    "list": listing,
    "explain": explain,
}
FIRST_STEPS = """\
first steps:
  sparring train                     train a GAN on handwritten digits: about a minute on a CPU
  sparring doctor runs/digits-001    diagnose that run
  sparring list                      names of losses, penalties, networks, data, recipes ...

sparring COMMAND --help shows the options of a command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the words after `sparring`; default: those of the process.

    Returns:
        The exit status: 0 done, 1 training failed or the command reports a failure, 2 the user's mistake, 130
        interrupted.
    """
    try:
        chosen, unknown = _parser().parse_known_args(arguments)
        if unknown:
            chosen.parser.refuse(unknown[0])
        chosen.arguments = list(sys.argv[1:] if arguments is None else arguments)
        with trusted(getattr(chosen, "trust", False)):
            status = int(chosen.command(chosen) or DONE)
        sys.stdout.flush()  # raises BrokenPipeError here, not at exit
        return status
    except UserError as error:
        print(f"{_name()}: {error}", file=sys.stderr)
        return MISTAKE
    except (NotFiniteError, WorkerError) as error:
        print(f"{_name()}: training failed: {error}", file=sys.stderr)
        return FAILED
    except Interrupted as error:
        print(f"sparring: {error}", file=sys.stderr)
        return INTERRUPTED
    except KeyboardInterrupt:
        print("sparring: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of the output, such as `head`, has ended; that is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _name() -> str:
    """The beginning of an error message: the program and, of several workers, which one it is."""
    return f"sparring: worker {os.environ['RANK']}" if not is_first() else "sparring"


def _parser() -> Parser:
    about = "Train, diagnose and apply generative adversarial networks."
    parser = Parser(prog="sparring", description=about, epilog=FIRST_STEPS, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"sparring {__version__}")
    parser.set_defaults(command=_print_help, parser=parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.ABOUT, description=module.ABOUT, allow_abbrev=False)
        command.set_defaults(command=module.run, parser=command)
        module.add_arguments(command)
    return parser


def _print_help(chosen: argparse.Namespace) -> None:
    chosen.parser.print_help()
