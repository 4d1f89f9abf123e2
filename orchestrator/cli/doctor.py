"""`doctor`: what this machine has, and how to mend what it lacks."""

from dataclasses import asdict

import click

from orchestrator.cli.options import debug_option, json_option, print_json
from orchestrator.text_table import aligned, terminal_width


@click.command()
@json_option
@debug_option
def doctor(as_json: bool) -> int:
    """Check Python, packages, processors, memory, disk, GPUs, Ray, MLflow and ffmpeg; exit code 5 if one fails."""
    from orchestrator.doctor import FAIL, examine

    findings = examine()
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        rows = [[finding.status, finding.subject, finding.message] for finding in findings]
        click.echo(aligned(("state", "subject", "found"), rows, terminal_width()))
        for finding in findings:
            if finding.mend:
                click.echo(f"{finding.status} {finding.subject}: {finding.mend}")
    return 5 if any(finding.status == FAIL for finding in findings) else 0
