"""The report of an agent that cannot begin: its head would wait for it in vain otherwise."""

from __future__ import annotations

import contextlib
import os
import platform
import secrets

from headrace.errors import HeadraceError
from headrace.node.assignment import Assignment
from headrace.node.link import Reporter
from headrace.node.report import NodeReport
from headrace.targets.deployment import Replica


async def report_failure(assignment: Assignment, why: str) -> None:
    """Tell the assignment's head that none of its replicas will come; nothing without a head."""
    if assignment.link is None:
        return
    replicas = [
        Replica(id=name, node=assignment.node, url="", state="failed", detail=why)
        for name in assignment.ids
    ]
    report = NodeReport(
        agent=secrets.token_hex(8),
        host=platform.node(),
        pid=os.getpid(),
        replicas=replicas,
        ended=True,
    )
    with contextlib.suppress(HeadraceError):
        await Reporter(assignment.link, assignment.node).say(report)
