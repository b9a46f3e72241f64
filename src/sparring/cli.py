"""The command line. Torch is imported only once a command needs it, so that help is instant."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from sparring.base.components import trusted
from sparring.base.errors import NotFiniteError, UserError
from sparring.base.process import Interrupted
from sparring.base.version import __version__
from sparring.commands import (
    DONE,
    FAILED,
    INTERRUPTED,
    MISTAKE,
    Parser,
    apply,
    clinic,
    compare,
    data,
    doctor,
    evaluate,
    recipes,
    resume,
    sample,
    sweep,
    train,
    treat,
)

COMMANDS = {
    "train": train,
    "resume": resume,
    "sample": sample,
    "apply": apply,
    "evaluate": evaluate,
    "compare": compare,
    "sweep": sweep,
    "doctor": doctor,
    "clinic": clinic,
    "treat": treat,
    "recipes": recipes,
    "data": data,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0 done, 1 training failed, 2 the user's mistake, 130 interrupted."""
    try:
        chosen, unknown = _parser().parse_known_args(arguments)
        if unknown:
            chosen.parser.refuse(unknown[0])
        trust = getattr(chosen, "trust", False)
        if trust and "" not in sys.path:
            sys.path.append("")  # dotted names find modules in the working folder, as under `python -m sparring`
        with trusted(trust):
            status = int(chosen.command(chosen) or DONE)
        sys.stdout.flush()  # a reader that went away is noticed here
        return status
    except UserError as error:
        print(f"sparring: {error}", file=sys.stderr)
        return MISTAKE
    except NotFiniteError as error:
        print(f"sparring: training failed: {error}", file=sys.stderr)
        return FAILED
    except Interrupted as error:
        print(f"sparring: {error}", file=sys.stderr)
        return INTERRUPTED
    except KeyboardInterrupt:
        print("sparring: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, went away: not an error of anybody
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _parser() -> Parser:
    parser = Parser(prog="sparring", description="Train, sample and examine generative adversarial networks.")
    parser.add_argument("--version", action="version", version=f"sparring {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=Parser)
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.ABOUT, description=module.ABOUT, allow_abbrev=False)
        command.set_defaults(command=module.run, parser=command)
        module.add_arguments(command)
    return parser
