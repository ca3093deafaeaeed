"""`headrace check`: Kubernetes manifests against schemas, CRDs and what neither can see."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from headrace.cli.output import console, print_json
from headrace.errors import GoalMissedError, InputError

if TYPE_CHECKING:
    from headrace.targets.kubernetes.check.run import Report


def check(
    path: Annotated[
        Path | None, typer.Argument(help="A manifest, or a folder of them.", metavar="DIR")
    ] = None,
    crds: Annotated[
        Path | None,
        typer.Option(
            "--crds", help="Your cluster's CRDs (kubectl get crd -o yaml), file or folder."
        ),
    ] = None,
    kubernetes: Annotated[
        str, typer.Option("--kubernetes", help="The Kubernetes version whose schemas are used.")
    ] = "1.34",
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", help="A rule to leave out; may be repeated.")
    ] = None,
    rules: Annotated[
        bool, typer.Option("--rules", help="List the rules and why they are.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Find what is wrong with Kubernetes manifests, Headrace's or anyone's, without a cluster."""
    from headrace.targets.kubernetes.check.run import check as run_check

    if rules:
        _list_rules(json=json)
        return
    if path is None:
        raise InputError("check what?", hint="name a folder with manifests: headrace check DIR")
    report = run_check(path, crds=crds, kubernetes=kubernetes, ignore=ignore or [])
    _show(report)
    if json:
        print_json(_as_json(report))
    if report.findings:
        files = len({finding.file for finding in report.findings})
        raise GoalMissedError(
            f"{len(report.findings)} finding(s) in {files} file(s)",
            hint="headrace check --rules explains every rule; --ignore RULE leaves one out",
        )


def _show(report: Report) -> None:
    for file, findings in groupby(report.findings, key=lambda finding: finding.file):
        console.print(f"[bold]{escape(file)}[/]", soft_wrap=True)
        for finding in findings:
            where = f"  {finding.line}: {escape(finding.object)}: " if finding.object else "  "
            console.print(f"{where}{escape(finding.message)}", soft_wrap=True)
            console.print(f"    [dim]{finding.rule}: {escape(finding.fix)}[/]", soft_wrap=True)
    for kind in report.unknown:
        console.print(f"[yellow]no schema[/] for {escape(kind)}: give your CRDs with --crds")
    reasons = dict.fromkeys(reason for _, reason in report.unread)
    for reason in reasons:
        count = sum(1 for _, why in report.unread if why == reason)
        console.print(f"[dim]{count} file(s) not read: {escape(reason)}[/]", soft_wrap=True)
    if not report.findings:
        console.print(f"[green]nothing found[/] in {report.objects} objects")


def _as_json(report: Report) -> dict[str, object]:
    return {
        "objects": report.objects,
        "findings": [vars(finding) for finding in report.findings],
        "no_schema": report.unknown,
        "not_read": [{"file": file, "reason": reason} for file, reason in report.unread],
    }


def _list_rules(*, json: bool) -> None:
    from headrace.targets.kubernetes.check.run import RULES

    if json:
        print_json({"rules": [{"id": r.id, "why": r.why, "fix": r.fix} for r in RULES.values()]})
        return
    for rule in RULES.values():
        console.print(f"[bold]{rule.id}[/]\n  {escape(rule.why)}\n  [dim]{escape(rule.fix)}[/]")
