"""
Policies from the configuration: each key reaches its policy, what is wrong is said with its key,
and the defaults let mail through that is as it should be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.test_config import KEYS
from tests.test_service import ServiceTestCase
from twisted_mailstack.config import Configuration, ConfigurationProblem, load
from twisted_mailstack.delivery.policy import HopLimit, Policies
from twisted_mailstack.delivery.registry import RECEIVING, STEPS, SUBMISSION
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.step import Rate, StepServices
from twisted_mailstack.delivery.steps.dnsbl import BlockList
from twisted_mailstack.delivery.steps.greylisting import Greylisting
from twisted_mailstack.delivery.steps.ownsender import OwnSender
from twisted_mailstack.delivery.steps.rates import Rates
from twisted_mailstack.errors import MailError
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import ConnectionInfo, Envelope
from twisted_mailstack.policies import SETTINGS, makePolicies, policySettings
from twisted_mailstack.service import MailService


class PoliciesTestCase(SynchronousTestCase):
    """
    Loads configurations.
    """

    def load(self, text: str) -> Configuration:
        """
        @return: what a file with that text says.
        """
        self.path = self.mktemp()
        Path(self.path).write_text(text)
        return load(self.path)

    def problem(self, text: str) -> str:
        """
        @return: what is said of a file, without its name.
        """
        said = str(self.assertRaises(ConfigurationProblem, self.load, text))
        self.assertTrue(said.startswith(f"{self.path}: "), said)
        return said.removeprefix(f"{self.path}: ")

    def kinds(self, names: Sequence[str], configuration: Configuration) -> list[type]:
        """
        @return: what is made for these names.
        """
        services = StepServices(
            hostname="mx.test",
            resolver=Resolver(None),  # type: ignore[arg-type]
            clock=Clock(),
            lookup=object(),  # type: ignore[arg-type]
            memory=object(),  # type: ignore[arg-type]
        )
        return [type(each) for each in makePolicies(names, configuration.values, services)]


class SettingsTests(PoliciesTestCase):
    """
    Keys and settings.
    """

    def test_everySetting(self) -> None:
        """Each setting of each policy has its key, which is in the section of its name."""
        for record in STEPS:
            keys = SETTINGS.get(record.name, {})
            settings: Any = record.settings
            assert is_dataclass(settings)
            self.assertEqual(
                {setting for setting, _ in keys.values()},
                {each.name for each in fields(settings)},
                record.name,
            )
            for key in keys:
                self.assertIn(key, KEYS)
                if key != "smtp.hop-limit":
                    self.assertTrue(key.startswith(f"{record.name}."), key)

    def test_defaults(self) -> None:
        """A policy that isn't configured is as one that is made without settings."""
        found = policySettings(Configuration().values)
        for record in STEPS:
            if record.name in found:
                self.assertEqual(found[record.name], record.settings(), record.name)

    def test_each(self) -> None:
        """Each key reaches its setting, read as what it means."""
        network = ip_network("192.0.2.0/24")
        listed = IPv4Address("127.0.0.2")
        read: dict[str, object] = {
            "rates.connections": Rate(30, 60),
            "rates.messages": Rate(31, 60),
            "rates.recipients": Rate(32, 10),
            "rates.account-messages": Rate(33, 3600),
            "rates.account-recipients": Rate(34, 86400),
            "dnsbl.lists": (BlockList("bl.test", 2, ((listed, listed),)),),
        }
        for name, keys in SETTINGS.items():
            for key, (setting, _) in keys.items():
                text, _, value = KEYS[key]
                expected = read.get(key, value)
                if key.endswith("-networks"):
                    text, expected = '["192.0.2.0/24"]', (network,)
                settings = policySettings(self.load(f"{key} = {text}").values)
                self.assertEqual(getattr(settings[name], setting), expected, key)

    def test_wrong(self) -> None:
        """What can't be used is refused when the file is read, whether it is asked or not."""
        for text, said in (
            ('rates.messages = "many"', "rates.messages: 'many' is no rate: like 100/h, 20/10m"),
            ('rates.connections = "0/h"', "rates.connections: '0/h' is no rate"),
            ('rates.exempt-networks = ["here"]', "rates.exempt-networks: 'here' does not appear"),
            ('dnsbl.lists = ["bl.test=9"]', "dnsbl.lists: 'bl.test=9' is no DNS list"),
            ('reverse-dns.action = "on"', "reverse-dns: 'on' must be"),
            ('own-sender.allowed = ["a b"]', "own-sender: 'a b': "),
            ('own-sender.unrestricted = ["a"]', "own-sender: 'a': "),
            ('sizes.recipients = {"a.test" = 0}', "sizes: a.test: "),
            ('greylisting.exempt-recipients = ["@"]\ngreylisting.enabled = true', "greylisting: "),
            ("greylisting.delay = 172800", "greylisting: the delay must be shorter"),
            ('header-checks.checks = ["all"]', "header-checks: there is no check 'all'"),
            ("smtp.hop-limit = 99", "smtp.hop-limit must be at least 100"),
        ):
            self.assertIn(said, self.problem(text))
            self.assertTrue(self.problem(f"{text}\nsmtp.policies = []").startswith(said))

    def test_names(self) -> None:
        """A name that no policy has is refused with the nearest; so is one that is there twice."""
        for key in ("smtp.policies", "submission.policies"):
            self.assertEqual(
                self.problem(f'{key} = ["hop-limits"]'),
                f"{key}: there is no policy hop-limits; did you mean hop-limit?",
            )
            self.assertEqual(
                self.problem(f'{key} = ["helo", "rates", "helo"]'), f"{key}: helo is there twice"
            )


class OrderTests(PoliciesTestCase):
    """
    Which are made.
    """

    def test_defaults(self) -> None:
        """
        By default nothing has a say about strangers' mail but loops; users send under their own
        addresses.
        """
        configuration = Configuration()
        self.assertEqual(configuration.policies, RECEIVING)
        self.assertEqual(configuration.submissionPolicies, SUBMISSION)
        kinds = {kind.__name__ for kind in self.kinds(RECEIVING, configuration)}
        self.assertEqual(kinds, {"OwnSender", "HopLimit", "DeliveredTo"})
        kinds = {kind.__name__ for kind in self.kinds(SUBMISSION, configuration)}
        self.assertEqual(kinds, {"OwnSender", "QualifiedDomains", "HopLimit", "DeliveredTo"})

    def test_order(self) -> None:
        """They are asked in the order of the configuration, those that have something to do."""
        configuration = self.load(
            'smtp.policies = ["hop-limit", "greylisting", "dnsbl", "rates", "own-sender"]\n'
            'rates.messages = "5/m"\ngreylisting.enabled = true\n'
        )
        self.assertEqual(
            self.kinds(configuration.policies, configuration),
            [HopLimit, Greylisting, Rates, OwnSender],
        )
        self.assertEqual(self.kinds((), configuration), [])


class ServerTests(ServiceTestCase):
    """
    In the whole server.
    """

    def refused(self, service: MailService, submission: bool, user: str, path: str) -> int:
        """
        @return: the code with which MAIL is refused, 0 if it isn't.
        """
        info = ConnectionInfo("192.0.2.1", 50000, "submission" if submission else "smtp")
        account = Address.parse(user) if user else None
        envelope = Envelope(info, "client.test", Address.parse(path), account, {}, "Q1")
        policies = Policies(service._policies[submission])
        done = Deferred.fromCoroutine(policies.reversePath(envelope))
        if done.result is None:
            return 0
        return int(self.failureResultOf(done, MailError).value.smtpCode)

    def test_ownSender(self) -> None:
        """
        By default a user sends under addresses of the account, at submission and where else the
        user logs in; a stranger's reverse-path is nobody's business.
        """
        service = self.start(self.make())
        self.reactor.turn(lambda: bool(self.shown))
        directory = service.store.directory
        alice = "alice@example.test"

        async def prepare() -> None:
            await directory.addDomain("example.test")
            await directory.addAccount(Address.parse(alice), None)
            await directory.addAccount(Address.parse("bob@example.test"), None)
            await directory.setAlias(Address.parse("info@example.test"), [Address.parse(alice)])

        preparing = Deferred.fromCoroutine(prepare())
        self.reactor.turn(lambda: bool(preparing.called))
        self.successResultOf(preparing)
        for submission in (True, False):
            for path, code in (
                (alice, 0),
                ("alice+list@example.test", 0),
                ("info@example.test", 0),
                ("bob@example.test", 550),
                ("alice@far.test", 550),
            ):
                self.assertEqual(self.refused(service, submission, alice, path), code, path)
        self.assertEqual(self.refused(service, False, "", "bob@example.test"), 0)

    def test_configured(self) -> None:
        """Each kind of port asks its own policies, and what is counted is counted for its all."""
        service = self.make(text='submission.policies = ["rates"]\nrates.account-messages = "1/h"')
        alice, bob = "alice@example.test", "bob@example.test"
        # Nothing asks whose address it is.
        self.assertEqual(self.refused(service, True, alice, "x@far.test"), 0)
        self.assertEqual(self.refused(service, True, alice, "x@far.test"), 450)
        self.assertEqual(self.refused(service, True, bob, "x@far.test"), 0)
        self.assertEqual(self.refused(service, False, alice, alice), 0)
