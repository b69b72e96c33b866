"""
METADATA (RFC 5464) and LIST-METADATA (RFC 9590): C{twisted_mailstack.imap.extensions.metadata}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from tests.imap.support import Server, now
from twisted_mailstack.imap.extensions.metadata import MAX_ENTRIES, MAX_VALUE
from twisted_mailstack.interfaces import IAccount
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing.faulty import FaultyStore

SERVER = {"/shared/comment": b"Shared comment", "/shared/admin": b"mailto:admin@example.test"}


class MetadataTestCase(SynchronousTestCase):
    """
    A server with entries of its own.
    """

    def setUp(self) -> None:
        """A session that is logged in."""
        self.server = Server(serverEntries=SERVER)
        self.client = self.server.login()

    def check(self, script: str) -> None:
        """
        See L{Conversation.check}.
        """
        self.client.check(script)

    def put(self, mailbox: str, **values: bytes) -> None:
        """
        Set private entries.
        """
        entries = {f"/private/{name.replace('_', '/')}": value for name, value in values.items()}
        now(self.server.account.setMetadata(mailbox, entries, 1000))  # type: ignore[attr-defined]


class GetMetadataTests(MetadataTestCase):
    """
    §4.2.
    """

    def test_server(self) -> None:
        """§4.2's first example: entries of the server, which its configuration has."""
        self.check(
            """
            C: a GETMETADATA "" /shared/comment
            S: * METADATA "" (/shared/comment "Shared comment")
            S: a OK GETMETADATA completed
            C: b GETMETADATA "" (/SHARED/Admin /private/x)
            S: * METADATA "" (/shared/admin "mailto:admin@example.test" /private/x NIL)
            S: b OK GETMETADATA completed
            """
        )

    def test_mailbox(self) -> None:
        """§4.2's other examples: one entry, or several; and several without parentheses."""
        self.check(
            """
            C: s SETMETADATA INBOX (/shared/comment "Shared comment" /private/comment "My own comment")
            S: s OK SETMETADATA completed
            C: a GETMETADATA "INBOX" /private/comment
            S: * METADATA INBOX (/private/comment "My own comment")
            S: a OK GETMETADATA completed
            C: b GETMETADATA inbox (/shared/comment /private/comment)
            S: * METADATA INBOX (/shared/comment "Shared comment" /private/comment "My own comment")
            S: b OK GETMETADATA completed
            C: c GETMETADATA "INBOX" /private/comment /shared/comment
            S: * METADATA INBOX (/private/comment "My own comment" /shared/comment "Shared comment")
            S: c OK GETMETADATA completed
            """  # noqa: E501
        )

    def test_maxSize(self) -> None:
        """§4.2.1: what is longer isn't told, but that there is, and how long the longest is."""
        self.put("INBOX", big=b"x" * 2199, bigger=b"y" * 2200, fits=b"z" * 10, empty=b"")
        for command in (
            "(MAXSIZE 10) INBOX", "(maxsize 10 DEPTH 0) INBOX", "INBOX (MAXSIZE 10)",
        ):  # fmt: skip
            self.check(
                f"""
                C: a GETMETADATA {command} (/private/big /private/bigger /private/fits /private/empty)
                S: * METADATA INBOX (/private/fits "zzzzzzzzzz" /private/empty "")
                S: a OK [METADATA LONGENTRIES 2200] GETMETADATA completed
                """  # noqa: E501
            )
        self.check(
            """
            C: b GETMETADATA (MAXSIZE 9) INBOX /private/fits
            S: b OK [METADATA LONGENTRIES 10] GETMETADATA completed
            C: c GETMETADATA (MAXSIZE 0) INBOX /private/empty
            S: * METADATA INBOX (/private/empty "")
            S: c OK GETMETADATA completed
            """
        )

    def test_depth(self) -> None:
        """§4.2.2: entries below the one that is asked for."""
        self.put(
            "INBOX",
            filters=b"0",
            filters_values_small=b"SMALLER 5000",
            filters_values_boss=b'FROM "boss@example.com"',
            filters_values_boss_x=b"1",
            filtersnot=b"2",
        )
        small = '/private/filters/values/small "SMALLER 5000"'
        boss = r'/private/filters/values/boss "FROM \"boss@example.com\""'
        below = '/private/filters/values/boss/x "1"'
        self.check(
            f"""
            C: a GETMETADATA "INBOX" (DEPTH 1) (/private/filters/values)
            S: * METADATA INBOX ({boss} {small})
            S: a OK GETMETADATA completed
            C: b GETMETADATA (DEPTH infinity) INBOX /private/filters
            S: * METADATA INBOX (/private/filters "0" {boss} {below} {small})
            S: b OK GETMETADATA completed
            C: c GETMETADATA (DEPTH 0) INBOX /private/filters/values
            S: * METADATA INBOX (/private/filters/values NIL)
            S: c OK GETMETADATA completed
            C: d GETMETADATA (DEPTH 1 MAXSIZE 1) INBOX /private
            S: * METADATA INBOX (/private/filters "0" /private/filtersnot "2")
            S: d OK GETMETADATA completed
            C: e GETMETADATA (DEPTH INFINITY MAXSIZE 1) INBOX /private/filters/values
            S: * METADATA INBOX ({below})
            S: e OK [METADATA LONGENTRIES 23] GETMETADATA completed
            C: f GETMETADATA (DEPTH 1) INBOX /private/nothing
            S: f OK GETMETADATA completed
            C: g GETMETADATA (DEPTH infinity) "" /shared
            S: * METADATA "" (/shared/admin "mailto:admin@example.test" /shared/comment "Shared comment")
            S: g OK GETMETADATA completed
            """  # noqa: E501
        )

    def test_values(self) -> None:
        """§5: a value that can't be a quoted string is a literal, with NUL a literal8."""
        self.put("INBOX", lines=b"a\r\nb", nul=b"\0x", eight="é".encode(), quotes=b'"\\')
        answer = self.client.send(
            b"a GETMETADATA INBOX (/private/lines /private/nul /private/eight /private/quotes)\r\n"
        )
        self.assertEqual(
            answer,
            b"* METADATA INBOX (/private/lines {4}\r\na\r\nb /private/nul ~{2}\r\n\0x"
            b' /private/eight {2}\r\n\xc3\xa9 /private/quotes "\\"\\\\")\r\n'
            b"a OK GETMETADATA completed\r\n",
        )

    def test_missing(self) -> None:
        """A mailbox that isn't there is NO; one that only holds children has entries (§4.1)."""
        now(self.server.account.createMailbox("a/b"))
        now(self.server.account.deleteMailbox("a"))
        self.check(
            """
            C: a GETMETADATA Missing /private/comment
            S: a NO [NONEXISTENT] No such mailbox
            C: b SETMETADATA Missing (/private/comment "x")
            S: b NO [NONEXISTENT] No such mailbox
            C: c SETMETADATA a (/private/comment "x")
            S: c OK SETMETADATA completed
            C: d GETMETADATA a /private/comment
            S: * METADATA a (/private/comment "x")
            S: d OK GETMETADATA completed
            """
        )

    def test_syntax(self) -> None:
        """§5 and §3.2: names of entries, options."""
        for arguments in (
            'INBOX', '""', 'INBOX ()', 'INBOX (/private/a', 'INBOX (/private/a )', 'INBOX private/',
            'INBOX /private/a*', 'INBOX /private/a%', 'INBOX /private//a', 'INBOX /private/a/',
            'INBOX /other/a', 'INBOX /', 'INBOX ""', 'INBOX "/private/a\x01"', 'INBOX "/private/é"',
            '(DEPTH 2) INBOX /private/a', '(DEPTH) INBOX /private/a', '(MAXSIZE) INBOX /private/a',
            '(MAXSIZE x) INBOX /private/a', '(FOO 1) INBOX /private/a', '() INBOX /private/a',
            '(DEPTH 1 DEPTH 1) INBOX /private/a', '(DEPTH 1) INBOX (DEPTH 1) /private/a',
            '(DEPTH 1)INBOX /private/a', f'INBOX /private/{"a" * 300}',
            'INBOX /private/a (DEPTH 1)',
        ):  # fmt: skip
            answer = self.client.send(f"a GETMETADATA {arguments}\r\n".encode())
            self.assertRegex(answer, rb"^a BAD ", arguments)

    def test_names(self) -> None:
        """Mailboxes are named as in LIST."""
        now(self.server.account.createMailbox("Entwürfe"))
        self.check(
            """
            C: a GETMETADATA Entw&APw-rfe "/private/a b"
            S: * METADATA Entw&APw-rfe ("/private/a b" NIL)
            S: a OK GETMETADATA completed
            """
        )


class SetMetadataTests(MetadataTestCase):
    """
    §4.3.
    """

    def test_examples(self) -> None:
        """§4.3's examples: a multi-line string, removal, several entries in one command."""
        self.assertEqual(
            self.client.send(b"a SETMETADATA INBOX (/private/comment {33}\r\n"), b"+ Ready\r\n"
        )
        self.assertEqual(
            self.client.send(b"My new comment across\r\ntwo lines.)\r\n"),
            b"a OK SETMETADATA completed\r\n",
        )
        self.check(
            """
            C: b SETMETADATA INBOX (/private/comment NIL)
            S: b OK SETMETADATA completed
            C: c GETMETADATA INBOX /private/comment
            S: * METADATA INBOX (/private/comment NIL)
            S: c OK GETMETADATA completed
            C: d SETMETADATA inbox (/private/comment "My new comment" /shared/comment "This one is for you!")
            S: d OK SETMETADATA completed
            C: e GETMETADATA INBOX (/private/comment /SHARED/COMMENT)
            S: * METADATA INBOX (/private/comment "My new comment" /shared/comment "This one is for you!")
            S: e OK GETMETADATA completed
            """  # noqa: E501
        )

    def test_literal8(self) -> None:
        """§5: a literal8 may have any octets."""
        for plus in (b"+", b""):
            self.client.send(b"a SETMETADATA INBOX (/private/bin ~{3%b}\r\n" % plus)
            self.client.send(b"\0\r\n)\r\n")
            answer = self.client.send(b"b GETMETADATA INBOX /private/bin\r\n")
            self.assertEqual(
                answer,
                b"* METADATA INBOX (/private/bin ~{3}\r\n\0\r\n)\r\nb OK GETMETADATA completed\r\n",
            )
        answer = self.client.send(b"a SETMETADATA INBOX (/private/bin {1+}\r\n\0)\r\n")
        self.assertRegex(answer, rb"^a BAD ")

    def test_tooLong(self) -> None:
        """
        "If the server is unable to set an annotation because the size of its value is too large,
        the server MUST return a tagged NO response with a "[METADATA MAXSIZE NNN]"", and then "MUST
        NOT change the values for other annotations"; 1,024 octets are accepted (§4.1).
        """
        self.assertGreaterEqual(MAX_VALUE, 1024)
        value = b"x" * MAX_VALUE
        answer = self.client.send(
            b"a SETMETADATA INBOX (/private/a {%d+}\r\n%b)\r\n" % (MAX_VALUE, value)
        )
        self.assertEqual(answer, b"a OK SETMETADATA completed\r\n")
        answer = self.client.send(
            b'a SETMETADATA INBOX (/private/b "1" /private/a {%d+}\r\n%bx)\r\n'
            % (MAX_VALUE + 1, value)
        )
        self.assertEqual(
            answer, b"a NO [METADATA MAXSIZE %d] The value is too long\r\n" % MAX_VALUE
        )
        self.check(
            f"""
            C: a GETMETADATA (MAXSIZE 10) INBOX (/private/a /private/b)
            S: * METADATA INBOX (/private/b NIL)
            S: a OK [METADATA LONGENTRIES {MAX_VALUE}] GETMETADATA completed
            """
        )

    def test_tooMany(self) -> None:
        """§4.3's last example: no more than so many, of which there are at least 10."""
        self.assertGreaterEqual(MAX_ENTRIES, 10)
        for number in range(MAX_ENTRIES):
            self.put("INBOX", **{f"n{number}": b"x"})
        self.check(
            """
            C: a SETMETADATA INBOX (/private/comment "My new comment")
            S: a NO [METADATA TOOMANY] Too many metadata entries
            C: b SETMETADATA INBOX (/private/n1 "other" /private/n2 NIL)
            S: b OK SETMETADATA completed
            C: c SETMETADATA INBOX (/private/comment "My new comment")
            S: c OK SETMETADATA completed
            C: d SETMETADATA "" (/private/comment "of the server")
            S: d OK SETMETADATA completed
            """
        )

    def test_serverShared(self) -> None:
        """§3.2.1.1: the administrator's entries are read-only, private ones aren't."""
        self.check(
            """
            C: a SETMETADATA "" (/private/vendor/acme/x "1" /shared/comment "mine")
            S: a NO [NOPERM] Shared entries of the server are read-only
            C: b SETMETADATA "" (/shared/admin NIL)
            S: b NO [NOPERM] Shared entries of the server are read-only
            C: c SETMETADATA "" (/private/vendor/acme/x "1")
            S: c OK SETMETADATA completed
            C: d GETMETADATA (DEPTH infinity) "" (/private/vendor/acme /shared/admin)
            S: * METADATA "" (/private/vendor/acme/x "1" /shared/admin "mailto:admin@example.test")
            S: d OK GETMETADATA completed
            """
        )

    def test_othersDoNotSee(self) -> None:
        """§3.2: private entries of the server are each account's own."""
        self.server.addAccount("bob")
        self.client.send(b'a SETMETADATA "" (/private/comment "alice")\r\n')
        self.server.login("bob").check(
            """
            C: a GETMETADATA "" (/private/comment /shared/comment)
            S: * METADATA "" (/private/comment NIL /shared/comment "Shared comment")
            S: a OK GETMETADATA completed
            """
        )

    def test_syntax(self) -> None:
        """§5, and §3.2's names: at least two components, of a vendor's at least four."""
        for arguments in (
            'INBOX', 'INBOX ()', 'INBOX /private/a "x"', 'INBOX (/private/a)',
            'INBOX (/private/a )', 'INBOX (/private/a x)', 'INBOX (/private/a "x" /private/b)',
            'INBOX (/private/a "x"',
            'INBOX (/private/a "x") x', 'INBOX (/private "x")', 'INBOX (/private/vendor "x")',
            'INBOX (/private/vendor/acme "x")', 'INBOX (/shared/vendor/acme "x")',
            'INBOX (/private/a* "x")', 'INBOX ("/private/é" "x")', 'INBOX  (/private/a "x")',
        ):  # fmt: skip
            answer = self.client.send(f"a SETMETADATA {arguments}\r\n".encode())
            self.assertRegex(answer, rb"^a BAD ", arguments)
        answer = self.client.send(b"a GETMETADATA (DEPTH infinity) INBOX /private\r\n")
        self.assertEqual(answer, b"a OK GETMETADATA completed\r\n")


class SpecialUseEntryTests(MetadataTestCase):
    """
    RFC 6154 §4.
    """

    def test_example(self) -> None:
        """§5.4's example, with our mailboxes."""
        now(self.server.account.createMailbox("SavedDrafts"))
        self.check(
            r"""
            C: t2 GETMETADATA "Drafts" /private/specialuse
            S: * METADATA Drafts (/private/specialuse "\\Drafts")
            S: t2 OK GETMETADATA completed
            C: t3 SETMETADATA "SavedDrafts" (/private/specialuse "\\drafts")
            S: * METADATA Drafts (/private/specialuse NIL)
            S: t3 OK SETMETADATA completed
            C: t4 SETMETADATA "Sent" (/private/specialuse NIL)
            S: t4 OK SETMETADATA completed
            C: t5 LIST "" (%Drafts Sent) RETURN (SPECIAL-USE)
            S: * LIST (\HasNoChildren) "/" Drafts
            S: * LIST (\HasNoChildren \Drafts) "/" SavedDrafts
            S: * LIST (\HasNoChildren) "/" Sent
            S: t5 OK LIST completed
            C: t6 GETMETADATA (DEPTH 1) SavedDrafts /private
            S: * METADATA SavedDrafts (/private/specialuse "\\Drafts")
            S: t6 OK GETMETADATA completed
            """
        )

    def test_refused(self) -> None:
        """§4: "MUST check the validity of changes" as CREATE does."""
        self.check(
            r"""
            C: a SETMETADATA INBOX (/private/specialuse "\\All")
            S: a NO [USEATTR] \All is not supported
            C: b SETMETADATA INBOX (/private/specialuse "Junk")
            S: b NO [USEATTR] Junk is not supported
            C: c SETMETADATA INBOX (/private/specialuse "\\Drafts" /private/comment "x")
            S: c NO [CANNOT] The special use is to be set alone
            C: d LIST (SPECIAL-USE) "" (Drafts INBOX)
            S: * LIST (\HasNoChildren \Drafts) "/" Drafts
            S: d OK LIST completed
            C: e SETMETADATA Missing (/private/specialuse "\\Drafts")
            S: e NO [NONEXISTENT] No such mailbox
            """
        )


class NewsTests(MetadataTestCase):
    """
    §4.4.2: changes by others, for those who enable it.
    """

    def test_example(self) -> None:
        """Only names of entries, at the end of a command; not one's own changes."""
        other = self.server.login()
        self.check(
            """
            C: a ENABLE METADATA
            S: * ENABLED METADATA
            S: a OK ENABLE completed
            C: b SETMETADATA INBOX (/private/mine "x")
            S: b OK SETMETADATA completed
            """
        )
        other.send(b'a SETMETADATA INBOX (/shared/comment "x" /private/comment {1+}\r\nx)\r\n')
        other.send(b'a SETMETADATA "" (/private/comment "x")\r\n')
        self.check(
            """
            C: a NOOP
            S: * METADATA INBOX /private/comment /shared/comment
            S: * METADATA "" /private/comment
            S: a OK NOOP completed
            C: b NOOP
            S: b OK NOOP completed
            """
        )
        other.send(b"a SETMETADATA INBOX (/shared/comment NIL)\r\n")
        self.check(
            """
            C: c NOOP
            S: * METADATA INBOX /shared/comment
            S: c OK NOOP completed
            """
        )

    def test_notEnabled(self) -> None:
        """ "MUST only send unsolicited responses if the client used the ENABLE command"."""
        self.server.login().send(b'a SETMETADATA INBOX (/shared/comment "x")\r\n')
        self.check("C: a NOOP\nS: a OK NOOP completed")

    def test_idle(self) -> None:
        """Who idles is told at once."""
        self.client.send(b"a ENABLE METADATA-SERVER\r\nb IDLE\r\n")
        self.server.login().send(b'a SETMETADATA "" (/private/comment "x")\r\n')
        self.client.settle()
        self.assertEqual(self.client.wire.take(), b'* METADATA "" /private/comment\r\n')
        self.assertEqual(self.client.send(b"DONE\r\n"), b"b OK IDLE terminated\r\n")

    def test_specialUse(self) -> None:
        """A special use that another session moves is a change of two entries."""
        self.client.send(b"a ENABLE METADATA\r\n")
        self.server.login().send(b'a SETMETADATA INBOX (/private/specialuse "\\\\Junk")\r\n')
        self.check(
            """
            C: a NOOP
            S: * METADATA INBOX /private/specialuse
            S: * METADATA Junk /private/specialuse
            S: a OK NOOP completed
            C: b SETMETADATA Junk (/private/specialuse "\\\\\\\\Junk")
            S: * METADATA INBOX (/private/specialuse NIL)
            S: b OK SETMETADATA completed
            C: c NOOP
            S: c OK NOOP completed
            """.replace("\\\\\\\\", "\\\\")
        )

    def test_end(self) -> None:
        """A session that is over listens no more."""
        self.client.send(b"a ENABLE METADATA\r\n")
        self.client.disconnect()
        self.assertEqual(self.server.sessions[-1].listeners, [])
        self.server.login().send(b'a SETMETADATA "" (/private/comment "x")\r\n')


class ListMetadataTests(MetadataTestCase):
    """
    RFC 9590.
    """

    def test_list(self) -> None:
        """Behind each LIST response there is a METADATA response with what was asked for."""
        for name in ("Drafts", "Sent", "Junk", "Trash", "Archive"):
            now(self.server.account.deleteMailbox(name))
            now(self.server.account.setSubscribed(name, False))
        now(self.server.account.createMailbox("foo/bar"))
        now(self.server.account.deleteMailbox("foo"))
        now(self.server.account.createMailbox("Bin", "\\Trash"))
        now(self.server.account.setSubscribed("gone", True))
        now(self.server.account.setSubscribed("Bin", True))
        self.put("INBOX", vendor_color=b"#b71c1c")
        self.check(
            r"""
            C: A00 LIST "" % RETURN (METADATA ("/private/vendor/color" /private/specialuse))
            S: * LIST (\HasNoChildren) "/" INBOX
            S: * METADATA INBOX (/private/vendor/color "#b71c1c" /private/specialuse NIL)
            S: * LIST (\HasNoChildren \Trash) "/" Bin
            S: * METADATA Bin (/private/vendor/color NIL /private/specialuse "\\Trash")
            S: * LIST (\Noselect \HasChildren) "/" foo
            S: * METADATA foo (/private/vendor/color NIL /private/specialuse NIL)
            S: A00 OK LIST completed
            C: A01 LIST (SUBSCRIBED) "" (B% g%) RETURN (STATUS (MESSAGES) METADATA (/private/x))
            S: * LIST (\HasNoChildren \Trash \Subscribed) "/" Bin
            S: * STATUS Bin (MESSAGES 0)
            S: * METADATA Bin (/private/x NIL)
            S: * LIST (\NonExistent \HasNoChildren \Subscribed) "/" gone
            S: A01 OK LIST completed
            """
        )

    def test_syntax(self) -> None:
        """One entry at least, in parentheses."""
        for option in (
            "METADATA", "METADATA ()", "METADATA /private/x", "METADATA (x)",
            "METADATA (/private/x", "METADATA (/private/x*)", "METADATA(/private/x)",
        ):  # fmt: skip
            answer = self.client.send(f'a LIST "" * RETURN ({option})\r\n'.encode())
            self.assertRegex(answer, rb"^a BAD ", option)


class CapabilityTests(SynchronousTestCase):
    """
    Where there are no metadata.
    """

    def test_storage(self) -> None:
        """An account whose storage keeps none has no METADATA; its commands are refused."""
        server = Server()
        client = server.login()
        self.assertRegex(client.send(b"a CAPABILITY\r\n"), rb" METADATA LIST-METADATA[ \r]")
        directlyProvides(server.sessions[-1].account, IAccount)
        self.assertNotIn(b"METADATA", client.send(b"a CAPABILITY\r\n"))
        client.check(
            """
            C: a GETMETADATA INBOX /private/comment
            S: a NO [CANNOT] There is no metadata
            C: b SETMETADATA INBOX (/private/comment "x")
            S: b NO [CANNOT] There is no metadata
            """
        )

    def test_states(self) -> None:
        """They need a login."""
        client = Server().connect()
        client.wire.take()
        for command in (b"GETMETADATA INBOX /private/x", b'SETMETADATA INBOX (/private/x "")'):
            self.assertRegex(client.send(b"a " + command + b"\r\n"), rb"^a BAD ")

    def test_faults(self) -> None:
        """A storage that fails at any call: NO, or all is done."""
        store = FaultyStore(MemoryMailStore())
        client = Server(store=store).login()
        script = (
            b'a SETMETADATA INBOX (/private/x "1")\r\n',
            b"a GETMETADATA INBOX /private/x\r\n",
            b'a SETMETADATA Sent (/private/specialuse "\\\\Junk")\r\n',
            b'a LIST "" * RETURN (METADATA (/private/x))\r\n',
        )
        for _ in range(2):
            before = len(store.calls)
            for command in script:
                self.assertIn(b"a OK ", client.send(command))
        for number in range(len(store.calls) - before):
            store.failAt(number + 1)
            answers = [client.send(command) for command in script]
            store.heal()
            self.flushLoggedErrors()
            self.assertEqual(sum(b"a NO [SERVERBUG]" in each for each in answers), 1, number)
            for answer in answers:
                self.assertRegex(answer, rb"(^|\n)a (OK|NO) [^\n]*\n\Z")
