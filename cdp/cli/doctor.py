"""`cdp doctor`: is everything as it has to be?"""

import typer

from cdp.cli.terminal import console
from cdp.doctor import Level, examine
from cdp.settings import load_settings

MARKS: dict[Level, str] = {
    "ok": "[green]ok[/green]     ",
    "warning": "[yellow]warning[/yellow]",
    "error": "[red]error[/red]  ",
}


def doctor() -> None:
    """Check the machine, the folders, the database and its roles; say what to do."""
    findings = examine(load_settings())
    for finding in findings:
        console.print(f"{MARKS[finding.level]} ", end="")
        console.print(f"{finding.subject}: {finding.what}", markup=False, soft_wrap=True)
        if finding.advice:
            console.print(f"        {finding.advice}", markup=False, soft_wrap=True)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)
