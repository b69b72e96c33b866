"""
Headers in UTF-8 for those who read ASCII only (RFC 6857).
"""

from __future__ import annotations

from email import message_from_bytes
from email.policy import default

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.model.surrogate import asciiHeader


class HeaderTests(SynchronousTestCase):
    """
    Fields.
    """

    def convert(self, text: str) -> str:
        """
        @return: the surrogate of a field, without its last CRLF.
        """
        found = asciiHeader(f"{text}\r\n".encode()).decode("ascii")
        self.assertTrue(found.endswith("\r\n"))
        for line in found.split("\r\n"):
            self.assertLessEqual(len(line), 78)
        return found[:-2]

    def value(self, text: str) -> str:
        """
        @return: what another parser shows of the surrogate.
        """
        field = self.convert(text)
        name = field.partition(":")[0]
        return str(message_from_bytes(f"{field}\r\n\r\n".encode(), policy=default)[name])

    def test_ascii(self) -> None:
        """ASCII stays octet for octet, malformed or not; so does what isn't UTF-8."""
        for header in (
            *(b"", b"\r\n", b"Subject: =?x?q?y?=\r\n\r\n", b"no field\n a: b\r\n: \r\n"),
            *(b"Subject: \xfc\r\n\r\n", b"\xff\xfe\r\n", "kein Feld ü\r\n".encode()),
        ):
            self.assertEqual(asciiHeader(header), header)

    def test_texts(self) -> None:
        """Texts become encoded words, folded between characters; others that were there too."""
        self.assertEqual(self.value("Subject: Grüße"), "Grüße")
        long = "ü€𝄞 " * 50
        self.assertEqual(self.value(f"Subject: {long}x"), f"{long}x")
        self.assertEqual(self.value("Comments: ä\r\n ö"), "ä ö")
        self.assertEqual(self.value("Subject: =?utf-8?q?=C3=A4?= ö"), "ä ö")

    def test_addresses(self) -> None:
        """Names become encoded words, domains A-labels."""
        self.assertEqual(self.value("From: Jörg <j@x.test>"), "Jörg <j@x.test>")
        self.assertEqual(
            self.convert("To: a@exämple.test, b@x.test"),
            "To: <a@xn--exmple-cua.test>,\r\n <b@x.test>",
        )

    def test_localParts(self) -> None:
        """A local-part that isn't ASCII can't be an address: a group of nobody shows it."""
        found = message_from_bytes(
            asciiHeader("To: Jörg <jörg@x.test>, a@x.test\r\n\r\n".encode()), policy=default
        )["to"]
        self.assertEqual(found.groups[0].display_name, "Jörg <jörg@x.test>")
        self.assertEqual([str(each) for each in found.addresses], ["a@x.test"])

    def test_groups(self) -> None:
        """A group stays one, its members in it."""
        field = "Cc: Gäste: a@x.test, ü@x.test;, b@x.test\r\n\r\n"
        found = message_from_bytes(asciiHeader(field.encode()), policy=default)["cc"]
        self.assertEqual(found.groups[0].display_name, "Gäste")
        self.assertEqual(len(found.groups[0].addresses), 2)
        self.assertEqual([str(each) for each in found.addresses][-1], "b@x.test")

    def test_parameters(self) -> None:
        """Parameters are written as RFC 2231 has it."""
        found = message_from_bytes(
            asciiHeader(
                'Content-Type: text/plain; charset=utf-8; name="ü b.txt"\r\n'
                "Content-Disposition: attachment; filename=ä;\r\n size=1\r\n\r\n".encode()
            ),
            policy=default,
        )
        self.assertEqual(found.get_filename(), "ä")
        self.assertEqual(found["content-type"].params, {"charset": "utf-8", "name": "ü b.txt"})
        self.assertEqual(found["content-disposition"].params["size"], "1")

    def test_others(self) -> None:
        """What has no place for encoded words is shown by another field."""
        self.assertEqual(self.value("References: <ü@x.test>"), "<ü@x.test>")
        self.assertTrue(self.convert("Received: from ü").startswith("Downgraded-Received: =?"))

    def test_neighbours(self) -> None:
        """The fields around stay octet for octet, whatever their line ends."""
        header = "A: b\nSubject: ü\r\nC: d\r\n e\r\n\r\n".encode()
        found = asciiHeader(header)
        self.assertTrue(found.startswith(b"A: b\nSubject: =?"))
        self.assertTrue(found.endswith(b"?=\r\nC: d\r\n e\r\n\r\n"))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(
                    ("From", "To", "Subject", "Content-Type", "Message-ID", "Cc", "X", "Reply-To")
                ),
                st.text(
                    st.sampled_from("aü€ \"\\<>@,;:()=?.\t\u0085*'%")
                    | st.characters(codec="utf-8"),
                    max_size=60,
                ),
            ),
            max_size=4,
        )
    )
    def test_anything(self, fields: list[tuple[str, str]]) -> None:
        """Whatever is there, the surrogate is ASCII, with as many fields."""
        clean = [(name, value.translate({10: None, 13: None, 0: None})) for name, value in fields]
        header = "".join(f"{name}: {value}\r\n" for name, value in clean).encode()
        found = asciiHeader(header)
        self.assertTrue(found.isascii())
        lines = [line for line in found.split(b"\r\n") if line and line[:1] not in b" \t"]
        self.assertEqual(len(lines), len(fields))
