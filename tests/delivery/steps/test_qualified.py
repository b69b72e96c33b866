"""
Submitted mail names domains as everybody knows them (RFC 6409 §4.2).
"""

from __future__ import annotations

from tests.delivery.steps.support import ALICE, StepTestCase, envelope
from tests.smtp.support import now, stage
from twisted_mailstack.delivery.steps.qualified import STEP
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import Recipient


class QualifiedDomainsTests(StepTestCase):
    """
    C{qualified-domains}.
    """

    def setUp(self) -> None:
        """A domain of ours without a dot."""
        super().setUp()
        now(self.directory.addDomain("localhost"))
        self.step = self.make(STEP)

    def test_envelope(self) -> None:
        """A domain without a dot is refused with 554, but if it is ours."""
        for address in (
            *("x@far.test", "x@[192.0.2.1]", "x@[IPv6:2001:db8::1]", "x@localhost", ALICE),
            "x@xn--bcher-kva.example",
        ):
            self.assertEqual(self.mail(self.step, address), "")
            self.assertEqual(self.rcpt(self.step, address), "")
        self.assertEqual(
            self.mail(self.step, "x@sales"),
            "554 5.1.8 The domain sales is not fully qualified",
        )
        self.assertEqual(
            self.rcpt(self.step, "x@sales"),
            "554 5.1.2 The domain sales is not fully qualified",
        )

    def test_nameless(self) -> None:
        """The null reverse-path and the postmaster of the server have no domain."""
        self.assertEqual(self.mail(self.step, None), "")
        recipient = Recipient(Address("postmaster", ""), {})
        self.assertEqual(self.said(self.step.recipient(envelope(), recipient)), "")

    def test_header(self) -> None:
        """So it is in every address field of the header."""
        for name in (
            *("From", "Sender", "Reply-To", "To", "cc", "Resent-From", "Resent-To", "Resent-Cc"),
            *("Resent-Sender", "TO"),
        ):
            text = f"Subject: x\r\n{name}: a@far.test,\r\n B <b@sales>\r\n\r\n".encode()
            self.assertEqual(
                self.data(self.step, text), "554 5.6.0 The domain sales is not fully qualified"
            )
            good = f"{name}: a@far.test, b@localhost, g: c@[192.0.2.1], d@example.test;\r\n\r\n"
            self.assertEqual(self.data(self.step, good.encode()), "")

    def test_otherFields(self) -> None:
        """What isn't an address field may have anything in it."""
        text = b"Subject: a@sales\r\nMessage-ID: <x@sales>\r\nX-To: y@sales\r\n\r\nTo: z@sales\r\n"
        self.assertEqual(self.data(self.step, text), "")

    def test_syntax(self) -> None:
        """Address fields have addresses in them, or nothing (RFC 6409 §5.1)."""
        for value in ("bob", "<>", "a@-.test", "x@a..b", "a@far.test, everybody"):
            said = self.data(self.step, f"To: {value}\r\n\r\n".encode())
            self.assertEqual(said, "554 5.6.0 To has something in it that is no address", value)
        for value in ("undisclosed-recipients:;", "", " (nobody)", '"a b"@far.test'):
            self.assertEqual(self.data(self.step, f"To: {value}\r\n\r\n".encode()), "", value)

    def test_manyAddresses(self) -> None:
        """A domain is looked up once, however many addresses it has."""
        asked: list[str] = []
        isLocal = self.services.resolver.isLocal

        async def watched(domain: str) -> bool:
            asked.append(domain)
            return await isLocal(domain)

        self.patch(self.services.resolver, "isLocal", watched)
        text = b"To: " + b", ".join(b"a%d@localhost" % number for number in range(500))
        content = now(stage(text + b"\r\n\r\n"))
        self.assertEqual(now(self.step.message(envelope(), [], content)), b"")
        self.assertEqual(asked, ["localhost"])
