"""The ``ortolan`` command: a table of commands, each imported when its name is used."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

from ortolan import __version__
from ortolan.cli.signals import clean_up_when_ended
from ortolan.errors import OrtolanError, UnknownNameError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("ortolan_convert.demo:demo", "The main job, end to end, on real data."),
    "convert": ("ortolan_convert.cli:convert", "Turn a training artifact into a verified bundle."),
    "inspect": ("ortolan.cli.bundle:inspect", "Show what is inside a bundle or an ONNX file, without running it."),
    "verify": ("ortolan.cli.bundle:verify", "Hash every file of a bundle."),
    "pack": ("ortolan.cli.bundle:pack", "Write a bundle as one .tar file."),
    "unpack": ("ortolan.cli.bundle:unpack", "Check and extract a packed bundle."),
    "subset": ("ortolan.cli.bundle:subset", "Make a smaller bundle with some of the variants."),
    "predict": ("ortolan.cli.predict:predict", "Answer inputs with a bundle."),
    "check": ("ortolan.cli.predict:check", "Compare this device's answers with the golden samples."),
    "devices": ("ortolan.cli.hardware:devices", "Facts about this machine and its execution providers."),
    "profiles": ("ortolan.cli.hardware:profiles", "Known boards, with the source of every figure."),
    "select": ("ortolan.cli.hardware:select", "Choose a variant for this machine or for a board, with reasons."),
    "compare": ("ortolan_bench.compare_cli:compare", "Compare two results of bench, figure by figure, with intervals."),
    "bench": ("ortolan_bench.cli:bench", "Measure latency and memory of every variant on this machine."),
    "state": ("ortolan.cli.state:state", "Move what this machine has learnt to another."),
}
"""Command name -> (``module:attribute`` of a click command, one line of help)."""


class _Commands(click.Group):
    """A group that imports a command's module only when that command runs or shows its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            raise UnknownNameError("command", cmd_name, COMMANDS)
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name][0]} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ortolan")
def root() -> None:
    """Run quantized ONNX models on small machines: convert, measure, choose, predict.

    Exit status: 0 fine, 1 a check failed, 2 misuse, 3 any other error.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; what goes wrong becomes one line on standard error."""
    clean_up_when_ended()
    try:
        root.main(arguments, prog_name="ortolan", standalone_mode=False)
        sys.stdout.flush()
        status = 0
    except OrtolanError as error:
        click.echo(f"error: {error}", err=True)
        status = error.exit_status
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        advice = f"; see `{context.command_path} --help`" if context is not None else ""
        click.echo(f"error: {error.format_message().rstrip('.')}{advice}", err=True)
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        status = 130
    except BrokenPipeError:
        # The reader (head, less) went away, which is no error.
        _discard_output()
        status = 0
    except OSError as error:
        _discard_output()
        click.echo(f"error: cannot write to standard output: {error.strerror or error}", err=True)
        status = OrtolanError.exit_status
    except click.exceptions.Exit as request:
        status = request.exit_code
    sys.exit(status)


def _discard_output() -> None:
    """Python would complain again when it closes a standard output that cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
