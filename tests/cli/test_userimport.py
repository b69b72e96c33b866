"""
C{mailstack user import}.
"""

from __future__ import annotations

from pathlib import Path

from tests.cli.support import ALICE, BOB, CommandTestCase, Look
from twisted_mailstack.auth.schemes import verifySecret
from twisted_mailstack.model.address import Address

#: "secret" by crypt (openssl passwd -6 -salt saltsalt secret).
SHA512 = "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1"  # noqa: E501


class UserImportTests(CommandTestCase):
    """
    Users of other servers.
    """

    def file(self, text: str) -> Path:
        """
        @return: a file.
        """
        path = Path(self.mktemp()).resolve()
        path.write_text(text)
        return path

    def look(self) -> Look:
        """
        @return: the store.
        """
        look = Look(self.data)
        self.addCleanup(look.close)
        return look

    def dovecot(self, text: str, *more: str, status: int = 0) -> str:
        """
        Import a passwd-file.
        """
        arguments = ("user", "import", "--from", "dovecot", *more)
        return self.mailstack(*arguments, self.file(text), status=status)

    def secrets(self, address: str) -> dict[str, str]:
        """
        @return: what is kept of an account's main password.
        """
        look = Look(self.data)
        record = look.run(look.store.directory.findAccount(Address.parse(address)))
        assert record is not None
        found = look.run(look.store.directory.findCredentials(record.accountId))
        look.close()
        return dict(found[0].secrets) if found else {}

    def test_dovecot(self) -> None:
        """Accounts and their domains are made, hashes kept under their schemes."""
        said = self.dovecot(
            f"{ALICE}:{{SHA512-CRYPT}}{SHA512}:1000:1000::/home/alice::\n"
            "bob:{SSHA}sYvlWjz5E8PX5XmRVWyrBoIrcuDCtJBZ::::::\n"
            f"carol:{{PLAIN}}a secret\n"
            "dave:!\n",
            "--domain",
            "example.test",
        )
        self.assertIn("Made 4 accounts; 0 were there already.", said)
        self.assertEqual(self.secrets(ALICE), {"sha512-crypt": SHA512})
        self.assertTrue(verifySecret("sha512-crypt", SHA512, b"secret"))
        self.assertEqual(list(self.secrets(BOB)), ["ssha"])
        plain = self.secrets("carol@example.test")
        self.assertNotIn("plain", plain)
        self.assertTrue(verifySecret("argon2id", plain["argon2id"], b"a secret"))
        self.assertIn("scram-sha-256", plain)
        self.assertEqual(self.secrets("dave@example.test"), {})

    def test_again(self) -> None:
        """
        Repeated it makes nothing twice, and passwords that were changed here stay, unless those of
        the file are wanted.
        """
        text = f"{ALICE}:{{SHA512-CRYPT}}{SHA512}\n"
        self.dovecot(text)
        self.mailstack("user", "passwd", ALICE, stdin="another\n")
        said = self.dovecot(text + f"{BOB}:\n")
        self.assertIn("Made 1 account; 1 were there already.", said)
        self.assertIn("argon2id", self.secrets(ALICE))
        self.dovecot(text, "--passwords")
        self.assertEqual(self.secrets(ALICE), {"sha512-crypt": SHA512})
        self.dovecot(f"{BOB}:{{PLAIN}}x y z\n")
        self.assertIn("argon2id", self.secrets(BOB))

    def test_extra(self) -> None:
        """Networks, quotas and locked accounts come with them."""
        self.dovecot(
            f"{ALICE}:{{PLAIN}}a secret::::::allow_nets=192.0.2.0/24 "
            "userdb_quota_rule=*:storage=1M:messages=10\n"
            f"{BOB}:{{PLAIN}}a secret::::::nologin\n"
        )
        look = self.look()
        directory = look.store.directory
        alice = look.run(directory.findAccount(Address.parse(ALICE)))
        bob = look.run(directory.findAccount(Address.parse(BOB)))
        assert alice is not None and bob is not None
        policy = look.run(directory.findPolicy(alice.accountId))
        self.assertEqual(policy.networks, ("192.0.2.0/24",))
        quota = look.run(look.account(ALICE).quota())
        self.assertEqual((quota.octetLimit, quota.messageLimit), (1024 * 1024, 10))
        self.assertEqual((alice.enabled, bob.enabled), (True, False))

    def test_bad(self) -> None:
        """
        Lines that can't be used are named with their numbers, and make no account; the others do.
        """
        said = self.dovecot(
            "nobody:{PLAIN}x\n"
            f"{ALICE}:{{PLAIN}}secret::::::allow_nets=somewhere\n"
            f"carol@example.test:{{PLAIN}}secret::::::userdb_quota_rule=Trash:storage=1M\n"
            f"{BOB}:{{PLAIN}}secret\n",
            status=1,
        )
        for text in (":1: 'nobody' is no address", ":2: allow_nets", ":3: userdb_quota_rule"):
            self.assertIn(text, said)
        self.assertIn("Made 1 account", said)
        self.assertIn("3 lines couldn't be used", said)
        self.assertNotIn("secret", said)
        self.assertEqual(self.mailstack("user", "list").count("@"), 1)

    def test_mailboxes(self) -> None:
        """The users of virtual_mailbox_maps are accounts, which have no password yet."""
        path = self.file(
            f"# users\n{ALICE}  example.test/alice/\n\n"
            f"bob\n   example.test/bob/\n@other.test other.test/catchall/\n"
        )
        arguments = ("user", "import", "--from", "postfix-mailboxes", "--domain", "example.test")
        said = self.mailstack(*arguments, path, status=1)
        self.assertIn("Made 2 accounts; 0 were there already.", said)
        self.assertIn(f"{path}:6: whose mailbox", said)
        self.assertEqual(self.secrets(BOB), {})
        self.assertIn("Made 0 accounts; 2 were", self.mailstack(*arguments, path, status=1))

    def test_aliases(self) -> None:
        """
        virtual_alias_maps: addresses, catch-alls, several targets and lines, domains that are only
        named; again it changes nothing.
        """
        self.add(ALICE)
        path = self.file(
            "example.org  anything\n"
            f"info@example.test  {ALICE}, bob@elsewhere.test\n"
            "\tcarol@elsewhere.test\n"
            f"sales {ALICE}\n"
            f"@example.org {ALICE}\n"
            "@example.net @example.test\n"
            f"{ALICE} {ALICE}\n"
        )
        arguments = ("user", "import", "--from", "postfix-aliases", "--domain", "example.test")
        said = self.mailstack(*arguments, path)
        self.assertIn("Made 4 aliases; 1 were there already.", said)
        self.assertEqual(
            self.mailstack("alias", "list").splitlines(),
            [
                "*@example.net: *@example.test",
                f"*@example.org: {ALICE}",
                f"info@example.test: {ALICE}, bob@elsewhere.test, carol@elsewhere.test",
                f"sales@example.test: {ALICE}",
            ],
        )
        self.assertIn("Made 0 aliases; 5 were", self.mailstack(*arguments, path))

    def test_aliasProblems(self) -> None:
        """Circles, accounts and lines without targets are named; the rest is made."""
        self.add(ALICE)
        path = self.file(
            f"{ALICE} {ALICE}, bob@elsewhere.test\n"
            "info@example.test\n"
            "a@example.test b@example.test\n"
            "b@example.test a@example.test\n"
            f"c@example.test {ALICE}\n"
        )
        said = self.mailstack(*("user", "import", "--from", "postfix-aliases", path), status=1)
        for number, text in ((1, "is an account"), (2, "nothing behind"), (4, "circle")):
            self.assertRegex(said, rf":{number}: .*{text}")
        self.assertIn("Made 2 aliases", said)
