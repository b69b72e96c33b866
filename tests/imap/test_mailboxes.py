"""
CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, LIST, LSUB, STATUS:
C{twisted_mailstack.imap.commands.mailboxes}.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server, now
from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.extensions import children, objectid, specialuse
from twisted_mailstack.imap.registry import EXTENSIONS
from twisted_mailstack.testing.conversation import Conversation

#: LIST as RFC 3501 has it, without the attributes of extensions.
PLAIN = tuple(
    each
    for each in EXTENSIONS
    if each not in (children.EXTENSION, specialuse.EXTENSION, objectid.EXTENSION)
)


class MailboxesTestCase(SynchronousTestCase):
    """
    An account with INBOX alone.
    """

    def setUp(self) -> None:
        """As in the RFC's examples."""
        self.server = Server(extensions=PLAIN)
        for name in ("Drafts", "Sent", "Junk", "Trash", "Archive"):
            now(self.server.account.deleteMailbox(name))
            now(self.server.account.setSubscribed(name, False))
        now(self.server.account.setSubscribed("INBOX", False))
        self.client = self.server.login()

    def check(self, script: str) -> None:
        """
        See L{Conversation.check}.
        """
        self.client.check(script)

    def create(self, *names: str) -> None:
        """
        Make mailboxes.
        """
        for name in names:
            now(self.server.account.createMailbox(name))

    def names(self) -> list[str]:
        """
        @return: of all mailboxes, as LIST shows them.
        """
        answer = self.client.send(b'z LIST "" *\r\n')
        return [
            name.decode("ascii")
            for name in re.findall(rb'^\* LIST \([^)]*\) "/" (.*?)\r$', answer, re.MULTILINE)
        ]


class CreateTests(MailboxesTestCase):
    """
    RFC 3501 §6.3.3.
    """

    def test_example(self) -> None:
        """The RFC's example: a trailing delimiter is a declaration, not part of the name."""
        self.check(
            """
            C: A003 CREATE owatagusiam/
            S: A003 OK CREATE completed
            C: A004 CREATE owatagusiam/blurdybloop
            S: A004 OK CREATE completed
            C: A005 LIST "" *
            S: * LIST () "/" INBOX
            S: * LIST () "/" owatagusiam
            S: * LIST () "/" owatagusiam/blurdybloop
            S: A005 OK LIST completed
            """
        )

    def test_superiors(self) -> None:
        """foo/bar/zap makes foo and foo/bar, where they are missing."""
        self.check(
            """
            C: a CREATE foo/bar/zap
            S: a OK CREATE completed
            C: b CREATE foo/bar/zip
            S: b OK CREATE completed
            """
        )
        self.assertEqual(self.names(), ["INBOX", "foo", "foo/bar", "foo/bar/zap", "foo/bar/zip"])

    def test_exists(self) -> None:
        """INBOX in any case, and what is there, can't be made (RFC 5530 ALREADYEXISTS)."""
        self.create("foo/bar")
        for name in ("INBOX", "inBOX", '"inbox"', "inbox/", "foo", "foo/bar", "foo/bar/"):
            self.check(
                f"""
                C: a CREATE {name}
                S: a NO [ALREADYEXISTS] That mailbox exists already
                """
            )

    def test_case(self) -> None:
        """Other names differ by case."""
        self.create("foo", "Foo", "INBOX/foo", "INBOX/Foo", "Inboxes")
        self.assertEqual(self.names(), ["INBOX", "Foo", "INBOX/Foo", "INBOX/foo", "Inboxes", "foo"])

    def test_belowInbox(self) -> None:
        """INBOX in any case is INBOX as a superior name, too."""
        self.check(
            """
            C: a CREATE inbox/Work
            S: a OK CREATE completed
            C: b STATUS INBOX/Work (MESSAGES)
            S: * STATUS INBOX/Work (MESSAGES 0)
            S: b OK STATUS completed
            """
        )

    def test_impossible(self) -> None:
        """What can't be a name is told so (RFC 5530 CANNOT, with its example)."""
        for name in ('""', "///////", "/", "a//b", "/a", '"a\x07b"', "&Jjo!", '"a & b"', "&AGE-"):
            answer = self.client.send(f"l create {name}\r\n".encode())
            self.assertRegex(answer, rb"^l NO \[CANNOT\] ", name)
        self.assertEqual(self.names(), ["INBOX"])

    def test_tooLong(self) -> None:
        """Names and hierarchies have a limit."""
        for name in (b"x" * 1001, b"x/" * 50 + b"x"):
            self.assertRegex(self.client.send(b"a CREATE " + name + b"\r\n"), rb"^a NO \[LIMIT\] ")

    def test_international(self) -> None:
        """RFC 3501 §5.1.3's names are made, and shown as they were given."""
        for name, shown in (
            ("~peter/mail/&U,BTFw-/&ZeVnLIqe-", '"~peter/mail/&U,BTFw-/&ZeVnLIqe-"'),
            ("&Jjo-!", '"&Jjo-!"'),
            ("&U,BTF2XlZyyKng-", "&U,BTF2XlZyyKng-"),
            ("R&-D", "R&-D"),
        ):
            self.check(
                f"""
                C: a CREATE {name}
                S: a OK CREATE completed
                C: b LIST "" {name}
                S: * LIST () "/" {shown}
                S: b OK LIST completed
                """
            )

    def test_utf8(self) -> None:
        """A client that sends UTF-8 is understood; names go out in modified UTF-7 (§5.1)."""
        self.check(
            """
            C: a CREATE "Entwürfe"
            S: a OK CREATE completed
            C: b LIST "" *
            S: * LIST () "/" INBOX
            S: * LIST () "/" Entw&APw-rfe
            S: b OK LIST completed
            C: c SELECT missing
            S: c NO [NONEXISTENT] No such mailbox
            """
        )

    def test_forms(self) -> None:
        """A name may be an atom, quoted with escapes, or a literal."""
        self.check(
            r"""
            C: a CREATE {5}
            S: + Ready
            C: a "b\
            S: a OK CREATE completed
            C: b CREATE "\"My\" mailbox\\Junk"
            S: b OK CREATE completed
            C: c LIST "" *
            S: * LIST () "/" INBOX
            S: * LIST () "/" "\"My\" mailbox\\Junk"
            S: * LIST () "/" "a \"b\\"
            S: c OK LIST completed
            """
        )

    def test_uidValidity(self) -> None:
        """A mailbox made again has another, higher UIDVALIDITY."""

        def uidValidity() -> int:
            answer = self.client.send(b"s STATUS foo (UIDVALIDITY)\r\n")
            match = re.match(rb"\* STATUS foo \(UIDVALIDITY (\d+)\)\r\n", answer)
            assert match is not None, answer
            return int(match.group(1))

        self.create("foo")
        first = uidValidity()
        self.client.send(b"a DELETE foo\r\nb CREATE foo\r\n")
        self.assertGreater(uidValidity(), first)


class DeleteTests(MailboxesTestCase):
    """
    RFC 3501 §6.3.4.
    """

    def test_example(self) -> None:
        """The first example: a name that isn't selectable and has inferiors stays."""
        self.create("blurdybloop", "foo/bar")
        self.client.send(b"a DELETE foo\r\n")
        self.check(
            r"""
            C: A682 LIST "" *
            S: * LIST () "/" INBOX
            S: * LIST () "/" blurdybloop
            S: * LIST (\Noselect) "/" foo
            S: * LIST () "/" foo/bar
            S: A682 OK LIST completed
            C: A683 DELETE blurdybloop
            S: A683 OK DELETE completed
            C: A684 DELETE foo
            S: A684 NO [HASCHILDREN] That mailbox has children
            C: A685 DELETE foo/bar
            S: A685 OK DELETE completed
            C: A686 LIST "" *
            S: * LIST () "/" INBOX
            S: * LIST (\Noselect) "/" foo
            S: A686 OK LIST completed
            C: A687 DELETE foo
            S: A687 OK DELETE completed
            C: A688 LIST "" *
            S: * LIST () "/" INBOX
            S: A688 OK LIST completed
            """
        )

    def test_withChildren(self) -> None:
        """The second: all messages go, the inferiors don't; then the name can't be selected."""
        self.create("foo/bar")
        self.server.deliver(mailbox="foo")
        self.server.deliver(mailbox="foo/bar")
        self.check(
            r"""
            C: A84 DELETE foo
            S: A84 OK DELETE completed
            C: A86 LIST "" %
            S: * LIST () "/" INBOX
            S: * LIST (\Noselect) "/" foo
            S: A86 OK LIST completed
            C: A87 SELECT foo
            S: A87 NO That mailbox cannot be selected
            C: A88 STATUS foo (MESSAGES)
            S: A88 NO That mailbox cannot be selected
            C: A89 STATUS foo/bar (MESSAGES)
            S: * STATUS foo/bar (MESSAGES 1)
            S: A89 OK STATUS completed
            C: A90 CREATE foo
            S: A90 OK CREATE completed
            C: A91 STATUS foo (MESSAGES)
            S: * STATUS foo (MESSAGES 0)
            S: A91 OK STATUS completed
            """
        )

    def test_refused(self) -> None:
        """INBOX in any case, and what isn't there."""
        self.check(
            """
            C: a DELETE INBOX
            S: a NO [CANNOT] INBOX can't be deleted
            C: b DELETE iNbOx
            S: b NO [CANNOT] INBOX can't be deleted
            C: p DELETE missing
            S: p NO [NONEXISTENT] No such mailbox
            """
        )

    def test_selected(self) -> None:
        """Who deletes the selected mailbox has none selected then, and stays connected."""
        self.create("foo")
        self.client.send(b"a SELECT foo\r\n")
        self.check(
            """
            C: b DELETE foo
            S: b OK DELETE completed
            C: c CHECK
            S: c BAD Not when authenticated
            C: d NOOP
            S: d OK NOOP completed
            """
        )

    def test_selectedIsAnother(self) -> None:
        """
        A mailbox of the name under which the selected one was selected isn't the selected one, if
        that was renamed; and if it is deleted under its new name, it is.
        """
        self.create("foo")
        self.client.send(b"a SELECT foo\r\n")
        self.server.login().send(b"a RENAME foo bar\r\nb CREATE foo\r\n")
        self.check(
            """
            C: b DELETE foo
            S: b OK DELETE completed
            C: c CHECK
            S: c OK CHECK completed
            C: d DELETE bar
            S: d OK DELETE completed
            C: e CHECK
            S: e BAD Not when authenticated
            """
        )

    def test_failureKeepsSelection(self) -> None:
        """A DELETE that fails changes no state."""
        self.client.send(b"a SELECT INBOX\r\n")
        self.check(
            """
            C: b DELETE INBOX
            S: b NO [CANNOT] INBOX can't be deleted
            C: c CHECK
            S: c OK CHECK completed
            """
        )

    def test_keepsSubscription(self) -> None:
        """The server "MUST NOT unilaterally remove" a name from the subscriptions (§6.3.6)."""
        self.create("foo")
        self.check(
            """
            C: a SUBSCRIBE foo
            S: a OK SUBSCRIBE completed
            C: b DELETE foo
            S: b OK DELETE completed
            C: c LSUB "" *
            S: * LSUB () "/" foo
            S: c OK LSUB completed
            C: d LIST "" *
            S: * LIST () "/" INBOX
            S: d OK LIST completed
            """
        )


class RenameTests(MailboxesTestCase):
    """
    RFC 3501 §6.3.5.
    """

    def test_example(self) -> None:
        """Inferiors go along, of a name that isn't selectable too."""
        self.create("blurdybloop", "foo/bar")
        self.client.send(b"a DELETE foo\r\n")
        self.check(
            r"""
            C: A683 RENAME blurdybloop sarasoop
            S: A683 OK RENAME completed
            C: A684 RENAME foo zowie
            S: A684 OK RENAME completed
            C: A685 LIST "" *
            S: * LIST () "/" INBOX
            S: * LIST () "/" sarasoop
            S: * LIST (\Noselect) "/" zowie
            S: * LIST () "/" zowie/bar
            S: A685 OK LIST completed
            """
        )

    def test_inbox(self) -> None:
        """The messages of INBOX move; it stays, empty, and what is below it isn't touched."""
        self.create("INBOX/bar")
        self.server.deliver(flags=["\\Seen"])
        self.server.deliver()
        self.check(
            """
            C: Z433 RENAME inbox old-mail
            S: Z433 OK RENAME completed
            C: Z434 LIST "" *
            S: * LIST () "/" INBOX
            S: * LIST () "/" INBOX/bar
            S: * LIST () "/" old-mail
            S: Z434 OK LIST completed
            C: a STATUS INBOX (MESSAGES)
            S: * STATUS INBOX (MESSAGES 0)
            S: a OK STATUS completed
            C: b STATUS old-mail (MESSAGES UNSEEN)
            S: * STATUS old-mail (MESSAGES 2 UNSEEN 1)
            S: b OK STATUS completed
            """
        )

    def test_selectedInbox(self) -> None:
        """Sessions that have it selected are told that the messages are gone."""
        self.server.deliver()
        self.server.deliver()
        other = self.server.select()
        self.client.send(b"a RENAME INBOX old-mail\r\n")
        other.check(
            """
            C: a NOOP
            S: * 2 EXPUNGE
            S: * 1 EXPUNGE
            S: a OK NOOP completed
            """
        )

    def test_superiors(self) -> None:
        """Superiors of the new name are made."""
        self.create("foo/bar/zap")
        self.check(
            """
            C: a RENAME foo/bar/zap baz/rag/zowie
            S: a OK RENAME completed
            """
        )
        self.assertEqual(
            self.names(), ["INBOX", "baz", "baz/rag", "baz/rag/zowie", "foo", "foo/bar"]
        )

    def test_refused(self) -> None:
        """What isn't there, what is there already, and a name below itself."""
        self.create("this", "that/one", "foo/one")
        self.check(
            """
            C: p RENAME missing that
            S: p NO [NONEXISTENT] No such mailbox
            C: o RENAME this that
            S: o NO [ALREADYEXISTS] That mailbox exists already
            C: o RENAME this this
            S: o NO [ALREADYEXISTS] That mailbox exists already
            C: o RENAME this inBox
            S: o NO [ALREADYEXISTS] That mailbox exists already
            C: q RENAME this this/below
            S: q NO [CANNOT] A mailbox can't be moved below itself
            """
        )
        self.assertRegex(self.client.send(b'r RENAME this ""\r\n'), rb"^r NO \[CANNOT\]")
        self.assertEqual(self.names(), ["INBOX", "foo", "foo/one", "that", "that/one", "this"])

    def test_selectedByOthers(self) -> None:
        """RFC 2180 §3.4: who has the mailbox selected goes on with it."""
        self.create("FOO")
        self.server.deliver(mailbox="FOO")
        other = self.server.select("FOO")
        self.check(
            """
            C: A001 RENAME FOO BAR
            S: A001 OK RENAME completed
            """
        )
        self.server.deliver(mailbox="BAR")
        other.check(
            r"""
            C: B001 FETCH 1 FLAGS
            S: * 1 FETCH (FLAGS (\Recent))
            S: * 2 EXISTS
            S: * 2 RECENT
            S: B001 OK FETCH completed
            C: B002 SELECT FOO
            S: * OK [CLOSED] Previous mailbox closed
            S: B002 NO [NONEXISTENT] No such mailbox
            """
        )


class ListTests(MailboxesTestCase):
    """
    RFC 3501 §6.3.8.
    """

    def setUp(self) -> None:
        """Some hierarchy."""
        super().setUp()
        self.create("foo/bar/baz", "fox", "Entwürfe/a b", "INBOX/in")

    def listed(
        self, arguments: str, command: str = "LIST", client: Conversation | None = None
    ) -> str:
        """
        @return: the names that are listed, separated by commas.
        """
        answer = (client or self.client).send(f"a {command} {arguments}\r\n".encode())
        self.assertTrue(answer.endswith(f"a OK {command} completed\r\n".encode()), answer)
        pattern = rf'^\* {command} \([^)]*\) "/" (.*?)\r$'
        return ",".join(re.findall(pattern, answer.decode("ascii"), re.MULTILINE))

    def test_root(self) -> None:
        """An empty name asks for the delimiter and the root."""
        for reference in ('""', "foo", "foo/", "missing", '"/"'):
            self.check(
                rf"""
                C: A101 LIST {reference} ""
                S: * LIST (\Noselect) "/" ""
                S: A101 OK LIST completed
                """
            )

    def test_patterns(self) -> None:
        """C{*} matches all, C{%} within a level; without them it is one name."""
        entw, ab = "Entw&APw-rfe", '"Entw&APw-rfe/a b"'
        for pattern, names in (
            ("*", f"INBOX,{entw},{ab},INBOX/in,foo,foo/bar,foo/bar/baz,fox"),
            ("%", f"INBOX,{entw},foo,fox"),
            ("foo", "foo"),
            ("FOO", ""),
            ("foo/%", "foo/bar"),
            ("foo/*", "foo/bar,foo/bar/baz"),
            ("%/%", f"{ab},INBOX/in,foo/bar"),
            ("*/%", f"{ab},INBOX/in,foo/bar,foo/bar/baz"),
            ("%o%", "foo,fox"),
            ("*ba*", "foo/bar,foo/bar/baz"),
            ("f%/bar", "foo/bar"),
            ("foo%", "foo"),
            ("foo*", "foo,foo/bar,foo/bar/baz"),
            ("inbox", "INBOX"),
            ("iNbOx/%", "INBOX/in"),
            ("IN%", "INBOX"),
            ("Entw&APw-rfe/%", ab),
            ('"Entwürfe/%"', ab),
            ('"Entw&APw-rfe/a %"', ab),
            ("missing", ""),
            ("foo/", ""),
            ("/*", ""),
            ("{3+}\r\nf%x", "fox"),
        ):
            self.assertEqual(self.listed(f'"" {pattern}'), names, pattern)

    def test_reference(self) -> None:
        """
        RFC 2683 §3.4.9: the reference goes before the name with one delimiter in between, and a
        name that begins with one ignores it.
        """
        for arguments, names in (
            ("foo/ %", "foo/bar"),
            ("foo %", "foo/bar"),
            ("foo bar", "foo/bar"),
            ("foo/ *", "foo/bar,foo/bar/baz"),
            ("foo/bar baz", "foo/bar/baz"),
            ("foo/ /bar", ""),
            ("inbox %", "INBOX/in"),
            ("inbox/ in", "INBOX/in"),
            ('Entw&APw-rfe/ "a b"', '"Entw&APw-rfe/a b"'),
            ("missing/ *", ""),
        ):
            self.assertEqual(self.listed(arguments), names, arguments)

    def test_lists(self) -> None:
        """What LIST shows can be selected, and is its own pattern."""
        for name in self.listed('"" *').split(","):
            self.assertEqual(self.listed(f'"" {name}'), name)
            answer = self.client.send(f"a SELECT {name}\r\n".encode())
            self.assertIn(b"a OK [READ-WRITE]", answer)

    def test_invalid(self) -> None:
        """A pattern in no encoding is refused, and the session goes on."""
        for pattern in (b"&", b"&Jjo!*", b'"\xff"'):
            self.assertRegex(
                self.client.send(b'a LIST "" ' + pattern + b"\r\n"), rb"^a NO \[CANNOT\]"
            )

    def test_options(self) -> None:
        """Options that no extension brings are BAD."""
        for arguments in (
            '(SPECIAL-USE) "" *', '"" * RETURN (CHILDREN)', '"" * RETURN', '"" * RETURN ',
            '"" * ()', '"" * FOO ()', '( "" *', '(SUBSCRIBED "" *', '"" * RETURN () x',
        ):  # fmt: skip
            self.assertRegex(self.client.send(f"a LIST {arguments}\r\n".encode()), rb"^a BAD ")

    def test_speed(self) -> None:
        """A pattern that is made to be slow isn't."""
        self.create("a" * 900)
        self.assertEqual(self.listed('"" ' + "%a" * 4000), "")
        self.assertEqual(self.listed('"" ' + "%a" * 900), "a" * 900)

    def test_lsub(self) -> None:
        """LSUB lists subscribed names only, by the same patterns (§6.3.9)."""
        for name in ("foo/bar", "missing/one", "INBOX"):
            now(self.server.account.setSubscribed(name, True))
        for arguments, names in (
            ('"" *', "INBOX,foo/bar,missing/one"),
            ('"" foo/*', "foo/bar"),
            ("foo %", "foo/bar"),
            ('"" inbox', "INBOX"),
            ('"" fox', ""),
        ):
            self.assertEqual(self.listed(arguments, "LSUB"), names, arguments)

    def test_lsubPercent(self) -> None:
        r"""
        "A "%" wildcard to LSUB must return foo, not foo/bar, in the LSUB response, and it MUST be
        flagged with the \Noselect attribute".
        """
        for name in ("foo/bar/baz", "fox", "a/b", "a"):
            now(self.server.account.setSubscribed(name, True))
        self.check(
            r"""
            C: A003 LSUB "" "%"
            S: * LSUB () "/" a
            S: * LSUB (\Noselect) "/" foo
            S: * LSUB () "/" fox
            S: A003 OK LSUB completed
            C: A004 LSUB "foo/" "%"
            S: * LSUB (\Noselect) "/" foo/bar
            S: A004 OK LSUB completed
            C: A005 LSUB "" "foo/%/%"
            S: * LSUB () "/" foo/bar/baz
            S: A005 OK LSUB completed
            C: A006 LSUB "" ""
            S: * LSUB (\Noselect) "/" ""
            S: A006 OK LSUB completed
            """
        )


class SubscribeTests(MailboxesTestCase):
    """
    RFC 3501 §6.3.6, §6.3.7.
    """

    def test_example(self) -> None:
        """A name need not be a mailbox's; twice is once; taking away what isn't there is fine."""
        self.check(
            """
            C: A002 SUBSCRIBE #news.comp.mail.mime
            S: A002 OK SUBSCRIBE completed
            C: A002 SUBSCRIBE #news.comp.mail.mime
            S: A002 OK SUBSCRIBE completed
            C: A003 LSUB "" *
            S: * LSUB () "/" #news.comp.mail.mime
            S: A003 OK LSUB completed
            C: A002 UNSUBSCRIBE #news.comp.mail.mime
            S: A002 OK UNSUBSCRIBE completed
            C: A002 UNSUBSCRIBE #news.comp.mail.mime
            S: A002 OK UNSUBSCRIBE completed
            C: A003 LSUB "" *
            S: A003 OK LSUB completed
            """
        )

    def test_inbox(self) -> None:
        """INBOX in any case is one name."""
        self.check(
            """
            C: a SUBSCRIBE inbox
            S: a OK SUBSCRIBE completed
            C: b LSUB "" *
            S: * LSUB () "/" INBOX
            S: b OK LSUB completed
            C: c UNSUBSCRIBE InBox
            S: c OK UNSUBSCRIBE completed
            C: d LSUB "" *
            S: d OK LSUB completed
            """
        )

    def test_impossible(self) -> None:
        """A name that no mailbox can have can't be subscribed."""
        self.assertRegex(self.client.send(b'a SUBSCRIBE "a//b"\r\n'), rb"^a NO \[CANNOT\]")


class StatusTests(MailboxesTestCase):
    """
    RFC 3501 §6.3.10.
    """

    def test_example(self) -> None:
        """The items that were asked for, in that order, in any case."""
        self.create("blurdybloop")
        for _ in range(3):
            self.server.deliver(mailbox="blurdybloop")
        self.server.deliver(mailbox="blurdybloop", flags=["\\Seen"])
        self.check(
            """
            C: A042 STATUS blurdybloop (uidnext MESSAGES)
            S: * STATUS blurdybloop (UIDNEXT 5 MESSAGES 4)
            S: A042 OK STATUS completed
            C: A043 STATUS blurdybloop (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN)
            S: * STATUS blurdybloop (MESSAGES 4 RECENT 4 UIDNEXT 5 UIDVALIDITY 7 UNSEEN 3)
            S: A043 OK STATUS completed
            """
        )

    def test_keepsRecent(self) -> None:
        r"""STATUS "MUST NOT cause messages to lose the \Recent flag"."""
        self.server.deliver()
        for _ in range(2):
            self.check(
                """
                C: a STATUS inbox (RECENT)
                S: * STATUS INBOX (RECENT 1)
                S: a OK STATUS completed
                """
            )
        self.assertIn(b"* 1 RECENT", self.client.send(b"b SELECT INBOX\r\n"))

    def test_keepsSelection(self) -> None:
        """It doesn't touch the selected mailbox, but tells its news."""
        self.create("foo")
        self.client.send(b"a SELECT foo\r\n")
        self.server.deliver(mailbox="foo")
        self.check(
            """
            C: b STATUS INBOX (MESSAGES)
            S: * STATUS INBOX (MESSAGES 0)
            S: * 1 EXISTS
            S: * 1 RECENT
            S: b OK STATUS completed
            C: c FETCH 1 UID
            S: * 1 FETCH (UID 1)
            S: c OK FETCH completed
            """
        )

    def test_selected(self) -> None:
        """It may be asked of the selected mailbox."""
        self.client.send(b"a SELECT INBOX\r\n")
        self.server.deliver(flags=["\\Seen"])
        self.check(
            """
            C: b STATUS INBOX (MESSAGES UNSEEN UIDNEXT)
            S: * STATUS INBOX (MESSAGES 1 UNSEEN 0 UIDNEXT 2)
            S: * 1 EXISTS
            S: * 1 RECENT
            S: b OK STATUS completed
            """
        )

    def test_missing(self) -> None:
        """No status for that name is NO."""
        self.check(
            """
            C: a STATUS missing (MESSAGES)
            S: a NO [NONEXISTENT] No such mailbox
            """
        )

    def test_names(self) -> None:
        """The response has the name as LIST has it."""
        self.create("Entwürfe/a b")
        self.check(
            """
            C: a STATUS "Entwürfe/a b/" (MESSAGES)
            S: * STATUS "Entw&APw-rfe/a b" (MESSAGES 0)
            S: a OK STATUS completed
            """
        )


class OldNameTests(SynchronousTestCase):
    """
    RFC 9051 §6.3.9.7: a client that speaks IMAP4rev2 is told which name counts, if it gave another.
    """

    def setUp(self) -> None:
        """A session that has IMAP4rev2 enabled."""
        extra = Extension(b"", 9051, enables=(b"IMAP4REV2",))
        known = {name for each in EXTENSIONS for name in each.enables}
        extensions = EXTENSIONS if b"IMAP4REV2" in known else (*EXTENSIONS, extra)
        self.server = Server(extensions=extensions)
        self.client = self.server.login()
        self.client.send(b"e ENABLE IMAP4rev2\r\n")

    def check(self, command: str, *lines: str) -> None:
        """
        A command, and the untagged LIST responses in its answer.
        """
        said = self.client.send(f"a {command}\r\n".encode())
        # A literal is as good as a quoted string.
        while (literal := re.search(rb"\{(\d+)\}\r\n", said)) is not None:
            end = literal.end() + int(literal.group(1))
            said = b'%b"%b"%b' % (
                said[: literal.start()],
                said[literal.end() : end],
                said[end:],
            )
        answer = said.decode()
        self.assertRegex(answer, "(^|\n)a OK ")
        self.assertEqual([each for each in answer.split("\r\n") if "* LIST" in each], list(lines))

    def test_create(self) -> None:
        """§6.3.4: CREATE of a name that isn't normalised tells the one that is made."""
        self.check(
            'CREATE "Entwu\u0308rfe"', '* LIST () "/" "Entw\xfcrfe" ("OLDNAME" ("Entwu\u0308rfe"))'
        )
        self.check("CREATE inbox/Sub", '* LIST () "/" INBOX/Sub ("OLDNAME" (inbox/Sub))')
        self.check("CREATE plain/")
        self.check('CREATE "Entw\xfcrfe/b"')

    def test_rename(self) -> None:
        """§6.3.6: RENAME tells the old name as it was given, and the new one that counts."""
        self.check('CREATE "\xe4"')
        self.check('RENAME "a\u0308" b', '* LIST () "/" b ("OLDNAME" ("a\u0308"))')
        self.check('RENAME b "o\u0308"', '* LIST () "/" "\xf6" ("OLDNAME" (b))')
        self.check('RENAME "\xf6" c')

    def test_delete(self) -> None:
        """§6.3.5: DELETE tells what doesn't exist any more."""
        self.check('CREATE "\xe4"')
        self.check('DELETE "a\u0308"', '* LIST (\\NonExistent) "/" "\xe4" ("OLDNAME" ("a\u0308"))')
        self.check("DELETE Sent")

    def test_notEnabled(self) -> None:
        """A client of IMAP4rev1 gets no extended data unasked (RFC 5258 §3)."""
        self.client = self.server.login()
        self.check('CREATE "Entwu\u0308rfe"')
        self.check("CREATE inbox/Sub")
