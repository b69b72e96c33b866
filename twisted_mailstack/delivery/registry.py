# -*- test-case-name: tests.delivery.test_registry -*-
"""
The policies that can be configured by name, one line each, and the orders in which they are asked
if nobody says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from twisted_mailstack.delivery.step import StepProblem, StepRecord, StepServices
from twisted_mailstack.delivery.steps import (
    accountlimits,
    deliveredto,
    dnsbl,
    greylisting,
    headers,
    helo,
    hops,
    ownsender,
    qualified,
    rates,
    reversedns,
    sizes,
)
from twisted_mailstack.interfaces import IPolicyStep

STEPS: tuple[StepRecord, ...] = (
    rates.STEP,
    dnsbl.STEP,
    reversedns.STEP,
    helo.STEP,
    ownsender.STEP,
    qualified.STEP,
    sizes.STEP,
    greylisting.STEP,
    hops.STEP,
    deliveredto.STEP,
    headers.STEP,
    accountlimits.STEP,
)

#: Of a server that receives mail from others. What is cheap comes first. Who logs in there is held
#: to the same as at submission.
RECEIVING = (
    *("rates", "helo", "dnsbl", "reverse-dns", "own-sender", "sizes", "greylisting"),
    *("hop-limit", "delivered-to", "header-checks", "account-limits"),
)
#: Of a submission server. What counts messages comes last, so that it counts no refused ones.
SUBMISSION = (
    *("rates", "own-sender", "qualified-domains", "sizes", "hop-limit", "delivered-to"),
    *("header-checks", "account-limits"),
)


def makeSteps(
    names: Sequence[str],
    settings: Mapping[str, Any],
    services: StepServices,
    known: Sequence[StepRecord] = STEPS,
) -> list[IPolicyStep]:
    """
    @param names: of the steps, in the order in which they are asked.
    @param settings: by name; a step that isn't in it has its defaults.
    @param known: what there is; of two records of one name the later counts.
    @return: those of them that have something to do.
    @raise StepProblem: if there is none of such a name, or it can't be made so.
    """
    records = {record.name: record for record in known}
    steps = []
    for name in names:
        record = records.get(name)
        if record is None:
            near = get_close_matches(name, records, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(records)}"
            raise StepProblem(f"there is no policy {name}; {hint}")
        try:
            step = record.make(settings.get(name) or record.settings(), services)
        except StepProblem as problem:
            raise StepProblem(f"{name}: {problem}") from None
        if step is not None:
            steps.append(step)
    return steps
