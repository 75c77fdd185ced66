"""`python -m benchmarks.fuzz [--seconds 300] [--reader NAME]`: broken files for every reader."""

from __future__ import annotations

from hc_deploy.system import interrupts

if __name__ == "__main__":
    interrupts.install()  # before the first slow import

from pathlib import Path
from typing import Annotated

import typer

from hc_deploy.console import print_line, print_note, run_app
from hc_deploy.errors import GateError, UsageError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    seconds: Annotated[float, typer.Option(min=1.0, help="In all, shared by the readers.")] = 300.0,
    reader: Annotated[list[str] | None, typer.Option(help="This reader alone; repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed: other files.")] = 0,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the findings.")] = Path("findings"),
) -> None:
    """Feed broken files to the readers of checkpoints, models, sidecars, reports, images, videos and options.

    A reader must read a file or refuse it with one error. A traceback, a crash, more than 10 s, more than 1 GiB of
    memory, or a program that it starts is a finding: the file goes to DIR/READER/, shrunk, with what happened beside
    it. Exit code 3 when there is one. A mended one belongs into tests/field/corpus/READER/.
    """
    from benchmarks.fuzz.campaign import Campaign, Finding
    from benchmarks.fuzz.seeds import TARGETS, target

    names = reader or list(TARGETS)
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        raise UsageError(f"--reader {unknown[0]}", expected=f"one of {', '.join(TARGETS)}")

    def tell(finding: Finding) -> None:
        print_note(f"{finding.write(output)}: {finding.ending.kind}, {finding.ending.where}")

    count = 0
    for name in names:
        campaign = Campaign(target(name), TARGETS[name][2])
        campaign.run(seconds / len(names), seed=seed, on_finding=tell)
        endings = ", ".join(f"{count} {kind}" for kind, count in sorted(campaign.endings.items()))
        found = len(set(map(id, campaign.findings.values())))
        count += found
        lost = f"; {campaign.lost.total()} not seen again" if campaign.lost else ""
        print_line(f"{name}: {campaign.endings.total()} files ({endings}), {found} findings{lost}")
    if count:
        raise GateError(f"{count} findings in {output}", expected="every broken file read or refused with one error")


if __name__ == "__main__":
    run_app(app)
