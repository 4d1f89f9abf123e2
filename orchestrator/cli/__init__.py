"""The command line. Each command is imported when it is called, so that `--help` stays quick."""

from orchestrator.cli.main import main

__all__ = ["main"]
