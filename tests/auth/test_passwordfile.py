"""
Lines of password files.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.auth.passwordfile import MAX_LINE, parsePasswordFile
from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.address import Address


class PasswordFileTests(SynchronousTestCase):
    """
    L{parsePasswordFile}.
    """

    def test_fields(self) -> None:
        """The fields of Dovecot's passwd-file (Dovecot manual, "Passwd-file")."""
        entries, bad = parsePasswordFile(
            b"Alice@A.test:{SSHA}eDdKqj3Ks3q2Bp6vOt8bPyXXXXXXXX==:1000:1000:A L:/home/a:/bin/sh:"
            b"userdb_quota_rule=*:storage=1G allow_nets=192.0.2.0/24,2001:db8::1 nologin\n"
        )
        self.assertEqual(bad, [])
        (entry,) = entries.values()
        self.assertEqual(entry.address, Address("Alice", "a.test"))
        self.assertEqual(entry.secret, "{SSHA}eDdKqj3Ks3q2Bp6vOt8bPyXXXXXXXX==")
        self.assertEqual(entry.extra["userdb_quota_rule"], "*:storage=1G")
        self.assertEqual(entry.networks, ("192.0.2.0/24", "2001:db8::1/128"))
        self.assertTrue(entry.isLocked)
        self.assertEqual(list(entries), ["alice@a.test"])

    def test_short(self) -> None:
        """A name and a hash will do; names without a domain are of the default one."""
        entries, bad = parsePasswordFile(b"a:$6$salt$x\nb:abcdefghijklm", "a.test")
        self.assertEqual(bad, [])
        self.assertEqual(entries["a@a.test"].secret, "$6$salt$x")
        self.assertEqual(entries["b@a.test"].secret, "{CRYPT}abcdefghijklm")
        self.assertEqual(entries["b@a.test"].number, 2)

    def test_named(self) -> None:
        """What a DIGEST-MD5 is of is the name as it stands there, with the domain or without."""
        digest = "39d63f301b51ab17e95b9181a9fd1ed7"
        entries, bad = parsePasswordFile(
            f"A@B.test:{{DIGEST-MD5}}{digest}\nc:{{DIGEST-MD5.HEX}}{digest}\n".encode(), "a.test"
        )
        self.assertEqual(bad, [])
        self.assertEqual(
            {key: entry.secret for key, entry in entries.items()},
            {
                "a@b.test": f"{{DIGEST-MD5}}A:B.test:{digest}",
                "c@a.test": f"{{DIGEST-MD5.HEX}}c::{digest}",
            },
        )

    def test_locked(self) -> None:
        """As in /etc/shadow: what stands there is no password."""
        for text in (b"", b"!", b"*", b"x", b"!!", b"!$6$salt$x"):
            entries, _ = parsePasswordFile(b"a@a.test:" + text)
            self.assertIsNone(entries["a@a.test"].secret, text)

    def test_bad(self) -> None:
        """What can't be used is told by its line, and says nothing of its password."""
        for line, text in (
            (b"a", "there is no colon"),
            (b"a:{PLAIN}geheim", "'a' is no address: it has no domain"),
            (b"a@a@a.test:{PLAIN}geheim", "is no address"),
            (b"a@a.test:geheim", "isn't known"),
            (b"a@a.test:{NEW}geheim", "{NEW}"),
            (b"a@a.test:{PLAIN}" + b"geheim" * MAX_LINE, "too long"),
            (b"a@a.test:{PLAIN}geheim:::::: nopassword", "nopassword"),
        ):
            entries, bad = parsePasswordFile(b"\n" + line + b"\n")
            self.assertEqual(entries, {}, line)
            ((number, said),) = bad
            self.assertEqual(number, 2)
            self.assertIn(text, said)
            self.assertNotIn("geheim", said)

    def test_networks(self) -> None:
        """Networks that are none are an error, not none."""
        for text in (b"everywhere", b"", b","):
            entries, _ = parsePasswordFile(b"a@a.test:{PLAIN}x::::::allow_nets=" + text)
            with self.assertRaises(SyntaxProblem):
                _ = entries["a@a.test"].networks
