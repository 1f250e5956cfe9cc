"""The command line: one file per command, found by name and imported only when it runs."""

from __future__ import annotations

import importlib
import sys

import click

from edgekin import __version__
from edgekin.errors import EdgekinError

#: command -> its line in --help (kept here so that help imports no command).
COMMANDS = {
    "robots": "List the robots that can be used by name.",
    "collect": "Collect joint angles and silhouettes, simulated or imported.",
    "train": "Train a self-model and score it beside its floors.",
    "compile": "Quantize and compile a trained run into a bundle.",
    "prune": "Evolve a run's model until it fits a microcontroller.",
    "calibrate-detector": "Teach a bundle's inspector how its healthy body looks.",
    "adapt": "Adapt a bundle's body to an arm that has changed.",
    "drift": "Tell from pictures how far encoders are off, before there is an alarm.",
    "profile": "Time every layer of a bundle beside the roofline of this core.",
    "bench": "Run the bundle in the real-time loop beside a simulated arm.",
    "damages": "List what can happen to a simulated arm, and how it is written.",
    "verify": "Verify the damage detector of a bundle on simulated streams.",
    "watch": "Run the bundle in the real-time loop beside a real arm.",
    "compare": "Train every self-model on a robot and compare them.",
    "estimate": "Estimate a bundle's frame on a device that is not at hand.",
    "doctor": "Say what this machine can run, what is missing, and the remedy.",
    "evaluate": "Score a run or a bundle on a dataset.",
}


def module_of(command: str) -> str:
    """Return the name of a command's file in this folder, without its ending."""
    return command.replace("-", "_")


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"edgekin.cli.{module_of(cmd_name)}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgekin")
def cli() -> None:
    """Give a robot arm a self-model, and watch its body with it.

    \b
    edgekin train && edgekin compile --int8 && edgekin bench --hz 1000
    """


def main() -> None:
    """Run the command line; an EdgekinError becomes one line on stderr and its exit status."""
    try:
        status = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except EdgekinError as error:
        click.echo(f"edgekin: {error}", err=True)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)
