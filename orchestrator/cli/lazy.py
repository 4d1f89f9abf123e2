"""A group of commands that are imported only when they are called."""

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True)
class LazyCommand:
    """Where a command lies, and its line in the help."""

    reference: str
    """`module:attribute`."""
    help: str


class LazyGroup(click.Group):
    """A click group whose help needs none of its commands."""

    def __init__(self, *args: Any, sections: Mapping[str, Mapping[str, LazyCommand]], **kwargs: Any) -> None:
        """Take the commands by section of the help and name; the rest is click's."""
        super().__init__(*args, **kwargs)
        self._sections = sections
        self._lazy = {name: command for commands in sections.values() for name, command in commands.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Name all commands in the order of the help."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; None if there is no such one."""
        if cmd_name not in self._lazy:
            return None
        module, _, attribute = self._lazy[cmd_name].reference.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of `args`, and name the nearest one if there is none."""
        name = args[0]
        if name not in self._lazy and not name.startswith("-"):
            near = difflib.get_close_matches(name, list(self._lazy), n=1)
            ctx.fail(f"there is no command {name!r}" + (f"; did you mean {near[0]!r}?" if near else "."))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the static lines of help by section."""
        for section, commands in self._sections.items():
            with formatter.section(section):
                formatter.write_dl([(name, command.help) for name, command in commands.items()])
