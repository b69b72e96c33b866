# -*- test-case-name: tests.test_policies -*-
"""
The policies of L{twisted_mailstack.delivery.registry}, from the keys of the configuration: the
section of a policy's settings has its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from twisted.internet.task import Clock

from twisted_mailstack.delivery.registry import STEPS, makeSteps
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.step import StepProblem, StepServices, parseRate
from twisted_mailstack.delivery.steps.dnsbl import parseBlockList
from twisted_mailstack.interfaces import IPolicyStep

Convert = Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


def _networks(texts: Sequence[str]) -> Any:
    return tuple(ip_network(text) for text in texts)


def _lists(texts: Sequence[str]) -> Any:
    return tuple(parseBlockList(text) for text in texts)


#: By policy and key of the configuration: the setting, and what makes it of the key's value.
SETTINGS: Mapping[str, Mapping[str, tuple[str, Convert]]] = {
    "rates": {
        "rates.connections": ("connections", parseRate),
        "rates.messages": ("messages", parseRate),
        "rates.recipients": ("recipients", parseRate),
        "rates.account-messages": ("accountMessages", parseRate),
        "rates.account-recipients": ("accountRecipients", parseRate),
        "rates.exempt-networks": ("exempt", _networks),
    },
    "helo": {
        "helo.ours": ("ours", _same),
        "helo.qualified": ("qualified", _same),
        "helo.resolves": ("resolves", _same),
        "helo.timeout": ("timeout", float),
        "helo.exempt-networks": ("exempt", _networks),
    },
    "dnsbl": {
        "dnsbl.lists": ("lists", _lists),
        "dnsbl.reject": ("reject", _same),
        "dnsbl.mark": ("mark", _same),
        "dnsbl.timeout": ("timeout", float),
        "dnsbl.exempt-networks": ("exempt", _networks),
    },
    "reverse-dns": {
        "reverse-dns.action": ("action", _same),
        "reverse-dns.timeout": ("timeout", float),
        "reverse-dns.exempt-networks": ("exempt", _networks),
    },
    "own-sender": {
        "own-sender.required": ("required", _same),
        "own-sender.fields": ("fields", _same),
        "own-sender.allowed": ("allowed", _same),
        "own-sender.unrestricted": ("unrestricted", _same),
    },
    "sizes": {
        "sizes.recipients": ("recipients", _same),
        "sizes.senders": ("senders", _same),
    },
    "greylisting": {
        "greylisting.enabled": ("enabled", _same),
        "greylisting.delay": ("delay", _same),
        "greylisting.window": ("window", _same),
        "greylisting.kept": ("kept", _same),
        "greylisting.network-passes": ("networkPasses", _same),
        "greylisting.exempt-networks": ("exemptClients", _networks),
        "greylisting.exempt-recipients": ("exemptRecipients", _same),
    },
    "hop-limit": {"smtp.hop-limit": ("limit", _same)},
    "header-checks": {"header-checks.checks": ("checks", _same)},
    "account-limits": {
        "account-limits.messages-per-hour": ("messagesPerHour", _same),
        "account-limits.messages-per-day": ("messagesPerDay", _same),
        "account-limits.recipients-per-hour": ("recipientsPerHour", _same),
        "account-limits.recipients-per-day": ("recipientsPerDay", _same),
    },
}


def policySettings(values: Mapping[str, Any]) -> dict[str, Any]:
    """
    @param values: of the configuration, by key.
    @return: the settings of each policy that has some, by its name.
    @raise StepProblem: if one can't be used; the text begins with the key, or with the policy.
    """
    records = {record.name: record for record in STEPS}
    settings = {}
    for name, keys in SETTINGS.items():
        given = {}
        for key, (setting, convert) in keys.items():
            try:
                given[setting] = convert(values[key])
            except ValueError as problem:
                raise StepProblem(f"{key}: {problem}") from None
        try:
            settings[name] = records[name].settings(**given)
        except StepProblem as problem:
            raise StepProblem(f"{name}: {problem}") from None
    return settings


def checkPolicies(values: Mapping[str, Any]) -> None:
    """
    @param values: of the configuration, by key.
    @raise StepProblem: if a policy can't be made of its settings, whether it is asked or not, or
        there is none of a name that is to be asked.
    """
    settings = policySettings(values)
    # They ask nobody before a client comes.
    nothing: Any = object()
    services = StepServices(
        hostname="localhost",
        resolver=Resolver(nothing),
        clock=Clock(),
        lookup=nothing,
        memory=nothing,
    )
    makeSteps([record.name for record in STEPS], settings, services)
    for key in ("smtp.policies", "submission.policies"):
        names = values[key]
        try:
            makeSteps(names, settings, services)
        except StepProblem as problem:
            raise StepProblem(f"{key}: {problem}") from None
        for name in names:
            if names.count(name) > 1:
                raise StepProblem(f"{key}: {name} is there twice")


def makePolicies(
    names: Sequence[str], values: Mapping[str, Any], services: StepServices
) -> tuple[IPolicyStep, ...]:
    """
    @param names: of the policies, in the order in which they are asked.
    @param values: of the configuration, by key.
    @return: those that have something to do.
    @raise StepProblem: as L{checkPolicies}.
    """
    return tuple(makeSteps(names, policySettings(values), services))
