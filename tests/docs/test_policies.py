"""
docs/policies.rst and its example: a policy of one's own, by name among the built-in ones.
"""

from __future__ import annotations

import re
from calendar import timegm
from dataclasses import fields
from time import gmtime

from twisted.internet.task import Clock

from docs.examples import curfew
from docs.examples.curfew import STEP, CurfewSettings
from tests.docs import DOCS
from tests.docs.accounts import PLAIN, AccountsTestCase, Conversation, FakeWire
from twisted_mailstack.delivery.registry import RECEIVING, STEPS, SUBMISSION, makeSteps
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.step import StepProblem, StepServices
from twisted_mailstack.delivery.target import MailTarget
from twisted_mailstack.smtp.server import SMTPFactory
from twisted_mailstack.smtp.session import SMTPSettings


class PoliciesTests(AccountsTestCase):
    """
    The page and its example.
    """

    def setUp(self) -> None:
        """The time is what a test says, in UTC."""
        super().setUp()
        self.patch(curfew, "localtime", gmtime)
        self.services = StepServices(
            hostname="mx.example.test",
            resolver=Resolver(self.store.directory),
            clock=Clock(),
            now=lambda: timegm((2026, 1, 1, self.hour, 30, 0)),
        )

    def mail(self, hour: int, reversePath: str = "alice@example.test", **settings: int) -> bytes:
        """
        @return: what MAIL is answered at that hour.
        """
        self.hour = hour
        policies = makeSteps(
            [*SUBMISSION, "curfew"],
            {"curfew": CurfewSettings(**settings)},
            self.services,
            (*STEPS, STEP),
        )
        factory = SMTPFactory(
            MailTarget(self.store, Resolver(self.store.directory)),
            SMTPSettings(hostname="mx.example.test", submission=True),
            self.services.clock,
            portal=self.portal,
            policies=policies,
        )
        conversation = Conversation(factory.serve, wire=FakeWire(secure=True))
        conversation.send(b"EHLO me.test\r\nAUTH PLAIN " + PLAIN.encode() + b"\r\n")
        return conversation.send(f"MAIL FROM:<{reversePath}>\r\n".encode())

    def test_curfew(self) -> None:
        """Nothing is sent at night; the other steps are asked, too."""
        for hour in (6, 12, 21):
            self.assertEqual(self.mail(hour), b"250 2.1.0 OK\r\n", hour)
        for hour in (22, 23, 0, 5):
            self.assertEqual(self.mail(hour), b"450 4.7.1 Not before 6:00\r\n", hour)
        self.assertEqual(self.mail(3, begins=4, ends=5), b"250 2.1.0 OK\r\n")
        self.assertEqual(self.mail(4, begins=4, ends=5), b"450 4.7.1 Not before 5:00\r\n")
        self.assertEqual(self.mail(4, begins=4, ends=4), b"250 2.1.0 OK\r\n")
        self.assertIn(b"550 5.7.1", self.mail(12, "bob@example.test"))
        self.assertRaises(StepProblem, CurfewSettings, begins=24)

    def test_settings(self) -> None:
        """Each setting of each policy has its place on the page, below the policy's name."""
        text = (DOCS / "policies.rst").read_text("utf-8")
        parts = re.split(r"^``([a-z-]+)``$", text, flags=re.MULTILINE)
        about = dict(zip(parts[1::2], parts[2::2], strict=True))
        for record in STEPS:
            for field in fields(record.settings()):
                self.assertIn(f"``{field.name}``", about[record.name], record.name)

    def test_orders(self) -> None:
        """The orders on the page are those that there are."""
        text = (DOCS / "policies.rst").read_text("utf-8")
        for name, order in (("RECEIVING", RECEIVING), ("SUBMISSION", SUBMISSION)):
            match = re.search(rf"^``{name}``\n((?:    .+\n)+)", text, re.MULTILINE)
            assert match is not None
            self.assertEqual(tuple(re.findall(r"[a-z-]+", match.group(1))), order)
