"""
LIST-EXTENDED (RFC 5258): C{twisted_mailstack.imap.extensions.listextended},
C{twisted_mailstack.imap.commands.listing}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server, now
from twisted_mailstack.imap.commands.listing import MAX_PATTERNS, SLICE
from twisted_mailstack.imap.extensions import specialuse
from twisted_mailstack.imap.registry import EXTENSIONS
from twisted_mailstack.model.records import DEFAULT_MAILBOXES, MailboxInfo
from twisted_mailstack.testing.conversation import Conversation


class ListExtendedTestCase(SynchronousTestCase):
    """
    An account with INBOX alone, not subscribed.
    """

    def setUp(self) -> None:
        """As in the RFC's examples."""
        self.server = Server()
        for name, _ in DEFAULT_MAILBOXES:
            now(self.server.account.deleteMailbox(name))
            now(self.server.account.setSubscribed(name, False))
        now(self.server.account.setSubscribed("INBOX", False))
        self.client = self.server.login()

    def create(self, *names: str) -> None:
        """
        Make mailboxes.
        """
        for name in names:
            now(self.server.account.createMailbox(name))

    def subscribe(self, *names: str) -> None:
        """
        Subscribe names.
        """
        for name in names:
            now(self.server.account.setSubscribed(name, True))

    def check(self, script: str) -> None:
        """
        See L{Conversation.check}.
        """
        self.client.check(script)


class FruitTests(ListExtendedTestCase):
    """
    RFC 5258 §5, examples 1 to 6. There are no mailboxes on other servers, and children are told
    always.
    """

    def setUp(self) -> None:
        """The hierarchy of the examples."""
        super().setUp()
        self.create("Fruit/Apple", "Fruit/Banana", "Tofu", "Vegetable/Broccoli", "Vegetable/Corn")
        self.subscribe("INBOX", "Fruit/Banana", "Fruit/Peach", "Vegetable", "Vegetable/Broccoli")

    def test_hierarchy(self) -> None:
        """Example 1: a LIST without options tells nothing of subscriptions."""
        self.check(
            r"""
            C: A01 LIST "" "*"
            S: * LIST (\HasNoChildren) "/" INBOX
            S: * LIST (\HasChildren) "/" Fruit
            S: * LIST (\HasNoChildren) "/" Fruit/Apple
            S: * LIST (\HasNoChildren) "/" Fruit/Banana
            S: * LIST (\HasNoChildren) "/" Tofu
            S: * LIST (\HasChildren) "/" Vegetable
            S: * LIST (\HasNoChildren) "/" Vegetable/Broccoli
            S: * LIST (\HasNoChildren) "/" Vegetable/Corn
            S: A01 OK LIST completed
            """
        )

    def test_subscribed(self) -> None:
        """Examples 2 and 5: exactly the names that are subscribed, whether or not they exist."""
        answer = "\n".join(
            f'S: * LIST ({attributes} \\Subscribed) "/" {name}'
            for attributes, name in (
                ("\\HasNoChildren", "INBOX"),
                ("\\HasNoChildren", "Fruit/Banana"),
                ("\\NonExistent \\HasNoChildren", "Fruit/Peach"),
                ("\\HasChildren", "Vegetable"),
                ("\\HasNoChildren", "Vegetable/Broccoli"),
            )
        )
        for arguments in (
            '(SUBSCRIBED) "" *', '(REMOTE SUBSCRIBED) "" "*"',
            '(subscribed SUBSCRIBED remote) "" *', '(SUBSCRIBED) "" * RETURN (SUBSCRIBED)',
        ):  # fmt: skip
            self.check(f"C: A02 LIST {arguments}\n{answer}\nS: A02 OK LIST completed")

    def test_children(self) -> None:
        """Examples 3 and 4: the return option CHILDREN."""
        for options in ("()", "(REMOTE)"):
            self.check(
                rf"""
                C: A03 LIST {options} "" "%" RETURN (CHILDREN)
                S: * LIST (\HasNoChildren) "/" INBOX
                S: * LIST (\HasChildren) "/" Fruit
                S: * LIST (\HasNoChildren) "/" Tofu
                S: * LIST (\HasChildren) "/" Vegetable
                S: A03 OK LIST completed
                """
            )

    def test_returnSubscribed(self) -> None:
        """Example 6: what is subscribed is told, and names that don't exist aren't."""
        self.check(
            r"""
            C: A06 LIST (REMOTE) "" "*" RETURN (SUBSCRIBED)
            S: * LIST (\HasNoChildren \Subscribed) "/" INBOX
            S: * LIST (\HasChildren) "/" Fruit
            S: * LIST (\HasNoChildren) "/" Fruit/Apple
            S: * LIST (\HasNoChildren \Subscribed) "/" Fruit/Banana
            S: * LIST (\HasNoChildren) "/" Tofu
            S: * LIST (\HasChildren \Subscribed) "/" Vegetable
            S: * LIST (\HasNoChildren \Subscribed) "/" Vegetable/Broccoli
            S: * LIST (\HasNoChildren) "/" Vegetable/Corn
            S: A06 OK LIST completed
            C: A07 LIST "" T% RETURN (SUBSCRIBED CHILDREN subscribed)
            S: * LIST (\HasNoChildren) "/" Tofu
            S: A07 OK LIST completed
            """
        )

    def test_noselect(self) -> None:
        r"""A name that only holds children exists; subscribed, it is told as what it is."""
        self.subscribe("Fruit")
        self.check(
            r"""
            C: a DELETE Fruit
            S: a OK DELETE completed
            C: b LIST (SUBSCRIBED) "" F%
            S: * LIST (\Noselect \HasChildren \Subscribed) "/" Fruit
            S: b OK LIST completed
            """
        )

    def test_specialUse(self) -> None:
        """Every selection option must be met (§3)."""
        now(self.server.account.createMailbox("Bin", "\\Trash"))
        self.check(
            r"""
            C: a LIST (SPECIAL-USE SUBSCRIBED) "" *
            S: a OK LIST completed
            C: b SUBSCRIBE Bin
            S: b OK SUBSCRIBE completed
            C: c LIST (SPECIAL-USE SUBSCRIBED) "" *
            S: * LIST (\HasNoChildren \Trash \Subscribed) "/" Bin
            S: c OK LIST completed
            """
        )


class PatternsTests(ListExtendedTestCase):
    """
    §3: several patterns.
    """

    def setUp(self) -> None:
        """Example 7's mailboxes."""
        super().setUp()
        self.create("Drafts", "Sent/March2004", "Sent/December2003", "Sent/August2004", "Other")

    def test_example(self) -> None:
        """Example 7: a name that any pattern matches is told, once."""
        for patterns in (
            '("INBOX" "Drafts" "Sent/%")', '(INBOX Sent/% Drafts Sent/Mar% "" Missing drafts)',
            '(inbox {6+}\r\nDrafts Sent/*)',
        ):  # fmt: skip
            answer = self.client.send(f'BBB LIST "" {patterns}\r\n'.encode())
            self.assertEqual(
                answer.decode().split("\r\n"),
                [
                    '* LIST (\\HasNoChildren) "/" INBOX',
                    '* LIST (\\HasNoChildren) "/" Drafts',
                    '* LIST (\\HasNoChildren) "/" Sent/August2004',
                    '* LIST (\\HasNoChildren) "/" Sent/December2003',
                    '* LIST (\\HasNoChildren) "/" Sent/March2004',
                    "BBB OK LIST completed",
                    "",
                ],
            )

    def test_reference(self) -> None:
        """The reference goes before each of them."""
        self.check(
            r"""
            C: a LIST Sent (M% /Drafts "" Aug%) RETURN (CHILDREN)
            S: * LIST (\HasNoChildren) "/" Sent/August2004
            S: * LIST (\HasNoChildren) "/" Sent/March2004
            S: a OK LIST completed
            """
        )

    def test_empty(self) -> None:
        """In an extended LIST an empty name matches nothing, and asks for no delimiter (§3)."""
        for arguments in ('"" ("")', '"" ("" "")', 'Sent ("")', '() "" ""', '(REMOTE) "" ""'):
            self.check(f"C: a LIST {arguments}\nS: a OK LIST completed")

    def test_syntax(self) -> None:
        """§6: at least one pattern, one space between two."""
        for arguments in (
            '"" ()', '"" (a', '"" (a  b)', '"" (a b', '"" ( a)', '"" (a )', '"" (a)b', '"" (a) b',
            '"" (a) RETURN', '"" (a) RETURN ()x', '"" ((a))', '() (a) b', '(SUBSCRIBED) ""',
        ):  # fmt: skip
            self.assertRegex(self.client.send(f"a LIST {arguments}\r\n".encode()), rb"^a BAD ")

    def test_many(self) -> None:
        """As many names as fit, so many patterns with wildcards; more are refused, not slow."""
        names = " ".join(f"n{number}" for number in range(5000))
        self.check(
            rf"""
            C: a LIST "" ({names} Drafts)
            S: * LIST (\HasNoChildren) "/" Drafts
            S: a OK LIST completed
            """
        )
        patterns = " ".join(f"*{number}*" for number in range(MAX_PATTERNS))
        answer = self.client.send(f'a LIST "" ({patterns})\r\n'.encode())
        self.assertTrue(answer.endswith(b"a OK LIST completed\r\n"))
        answer = self.client.send(f'a LIST "" ({patterns} x*)\r\n'.encode())
        self.assertRegex(answer, rb"^a BAD ")


class RecursiveMatchTests(ListExtendedTestCase):
    """
    §3.5 and examples 8 to 10.
    """

    def test_example8(self) -> None:
        """Example 8: the difference between children and CHILDINFO."""
        self.create("Foo/Bar", "Foo/Baz", "Moo")
        self.subscribe("Foo/Baz")
        self.check(
            r"""
            C: CA3 LIST "" "%" RETURN (CHILDREN)
            S: * LIST (\HasNoChildren) "/" INBOX
            S: * LIST (\HasChildren) "/" Foo
            S: * LIST (\HasNoChildren) "/" Moo
            S: CA3 OK LIST completed
            C: C02 LIST (SUBSCRIBED) "" "*"
            S: * LIST (\HasNoChildren \Subscribed) "/" Foo/Baz
            S: C02 OK LIST completed
            C: C03 LIST (SUBSCRIBED) "" "%"
            S: C03 OK LIST completed
            C: C04 LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"
            S: * LIST (\HasChildren) "/" Foo ("CHILDINFO" ("SUBSCRIBED"))
            S: C04 OK LIST completed
            C: a1 SUBSCRIBE Foo
            S: a1 OK SUBSCRIBE completed
            C: A1 LIST (RECURSIVEMATCH SUBSCRIBED) "" "%"
            S: * LIST (\HasChildren \Subscribed) "/" Foo ("CHILDINFO" ("SUBSCRIBED"))
            S: A1 OK LIST completed
            C: a2 UNSUBSCRIBE Foo/Baz
            S: a2 OK UNSUBSCRIBE completed
            C: a3 SUBSCRIBE Moo
            S: a3 OK SUBSCRIBE completed
            C: C LIST (SUBSCRIBED RECURSIVEMATCH) "" "%" RETURN (CHILDREN)
            S: * LIST (\HasChildren \Subscribed) "/" Foo
            S: * LIST (\HasNoChildren \Subscribed) "/" Moo
            S: C OK LIST completed
            C: b1 UNSUBSCRIBE Foo
            S: b1 OK UNSUBSCRIBE completed
            C: b2 UNSUBSCRIBE Moo
            S: b2 OK UNSUBSCRIBE completed
            C: B LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"
            S: B OK LIST completed
            """
        )

    def test_parentMissing(self) -> None:
        """Example 8 A2: the superior name need not exist."""
        self.subscribe("Foo/Baz")
        self.check(
            r"""
            C: C04 LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"
            S: * LIST (\NonExistent \HasNoChildren) "/" Foo ("CHILDINFO" ("SUBSCRIBED"))
            S: C04 OK LIST completed
            C: C05 LIST (SUBSCRIBED RECURSIVEMATCH) "" Foo%
            S: * LIST (\NonExistent \HasNoChildren) "/" Foo ("CHILDINFO" ("SUBSCRIBED"))
            S: C05 OK LIST completed
            """
        )

    def test_example9(self) -> None:
        """
        Example 9: children count whether or not they match the pattern; a name that isn't selected
        is there only for the sake of some that aren't told (§3.3, 2.B; the example's second
        answer tells redundant ones too, which §3.5 advises against).
        """
        self.create(
            *("foo2/bar1", "foo2/bar2", "baz2/bar2", "baz2/bar22", "baz2/bar222"),
            *("eps2/mamba", "qux2/bar2"),
        )
        self.subscribe(
            *("foo2/bar1", "foo2/bar2", "baz2/bar2", "baz2/bar22", "baz2/bar222"),
            *("eps2", "eps2/mamba", "qux2/bar2"),
        )
        self.check(
            r"""
            C: D03 LIST (RECURSIVEMATCH SUBSCRIBED) "" "*2"
            S: * LIST (\HasNoChildren \Subscribed) "/" baz2/bar2
            S: * LIST (\HasNoChildren \Subscribed) "/" baz2/bar22
            S: * LIST (\HasNoChildren \Subscribed) "/" baz2/bar222
            S: * LIST (\HasChildren \Subscribed) "/" eps2 ("CHILDINFO" ("SUBSCRIBED"))
            S: * LIST (\HasChildren) "/" foo2 ("CHILDINFO" ("SUBSCRIBED"))
            S: * LIST (\HasNoChildren \Subscribed) "/" foo2/bar2
            S: * LIST (\HasNoChildren \Subscribed) "/" qux2/bar2
            S: D03 OK LIST completed
            C: D04 LIST (RECURSIVEMATCH SUBSCRIBED) "" "*"
            S: * LIST (\HasNoChildren \Subscribed) "/" baz2/bar2
            S: * LIST (\HasNoChildren \Subscribed) "/" baz2/bar22
            S: * LIST (\HasNoChildren \Subscribed) "/" baz2/bar222
            S: * LIST (\HasChildren \Subscribed) "/" eps2 ("CHILDINFO" ("SUBSCRIBED"))
            S: * LIST (\HasNoChildren \Subscribed) "/" eps2/mamba
            S: * LIST (\HasNoChildren \Subscribed) "/" foo2/bar1
            S: * LIST (\HasNoChildren \Subscribed) "/" foo2/bar2
            S: * LIST (\HasNoChildren \Subscribed) "/" qux2/bar2
            S: D04 OK LIST completed
            """
        )

    def test_example10(self) -> None:
        r"""Example 10: CHILDINFO doesn't imply C{\HasChildren}."""
        self.create("foo")
        self.subscribe("foo/bar")
        self.check(
            r"""
            C: a1 LIST "" ("foo" "foo/*")
            S: * LIST (\HasNoChildren) "/" foo
            S: a1 OK LIST completed
            C: a2 LIST (SUBSCRIBED) "" "foo/*"
            S: * LIST (\NonExistent \HasNoChildren \Subscribed) "/" foo/bar
            S: a2 OK LIST completed
            C: a3 LIST (SUBSCRIBED RECURSIVEMATCH) "" foo RETURN (CHILDREN)
            S: * LIST (\HasNoChildren) "/" foo ("CHILDINFO" ("SUBSCRIBED"))
            S: a3 OK LIST completed
            """
        )

    def test_alone(self) -> None:
        """§3.1: "The server MUST return BAD" for RECURSIVEMATCH alone or with REMOTE only."""
        for options in ("RECURSIVEMATCH", "REMOTE RECURSIVEMATCH", "RECURSIVEMATCH REMOTE"):
            answer = self.client.send(f'a LIST ({options}) "" *\r\n'.encode())
            self.assertRegex(answer, rb"^a BAD ")

    def test_criteria(self) -> None:
        """CHILDINFO names the criteria that were met: all of them, by one and the same name."""
        self.create("a/b", "c/d")
        now(self.server.account.createMailbox("a/t", "\\Trash"))
        self.subscribe("a/b", "c/d")
        self.check(
            r"""
            C: a LIST (SUBSCRIBED SPECIAL-USE RECURSIVEMATCH) "" %
            S: a OK LIST completed
            C: b SUBSCRIBE a/t
            S: b OK SUBSCRIBE completed
            C: c LIST (SUBSCRIBED SPECIAL-USE RECURSIVEMATCH) "" %
            S: * LIST (\HasChildren) "/" a ("CHILDINFO" ("SUBSCRIBED" "SPECIAL-USE"))
            S: c OK LIST completed
            C: d LIST (RECURSIVEMATCH SPECIAL-USE) "" %
            S: * LIST (\HasChildren) "/" a ("CHILDINFO" ("SPECIAL-USE"))
            S: d OK LIST completed
            """
        )


class Gaps:
    """
    An account of a storage that lets mailboxes be without their superiors.
    """

    def __init__(self, account: Any) -> None:
        self.account = account

    def __getattr__(self, name: str) -> Any:
        return getattr(self.account, name)

    async def listMailboxes(self) -> list[MailboxInfo]:
        """Without those that aren't deep enough."""
        infos = await self.account.listMailboxes()
        return [info for info in infos if info.name not in ("also", "music", "music/old")]


class MissingLevelsTests(ListExtendedTestCase):
    """
    Example 11: mailboxes without superiors.
    """

    def setUp(self) -> None:
        """The example's mailboxes."""
        super().setUp()
        self.create("music/rock", "also/jazz", "music/old/swing")
        session = self.server.sessions[-1]
        session.account = Gaps(session.account)  # type: ignore[assignment]

    def test_example(self) -> None:
        """C{%} shows the levels there are, as names that don't exist."""
        self.check(
            r"""
            C: a1 LIST (REMOTE) "" *
            S: * LIST (\HasNoChildren) "/" INBOX
            S: * LIST (\HasNoChildren) "/" also/jazz
            S: * LIST (\HasNoChildren) "/" music/old/swing
            S: * LIST (\HasNoChildren) "/" music/rock
            S: a1 OK LIST completed
            C: a2 LIST () "" %
            S: * LIST (\HasNoChildren) "/" INBOX
            S: * LIST (\NonExistent \HasChildren) "/" also
            S: * LIST (\NonExistent \HasChildren) "/" music
            S: a2 OK LIST completed
            C: a3 LIST "" (m% music/rock)
            S: * LIST (\NonExistent \HasChildren) "/" music
            S: * LIST (\HasNoChildren) "/" music/rock
            S: a3 OK LIST completed
            C: a4 LIST "" (music music/%)
            S: * LIST (\NonExistent \HasChildren) "/" music/old
            S: * LIST (\HasNoChildren) "/" music/rock
            S: a4 OK LIST completed
            """
        )

    def test_basic(self) -> None:
        r"""For a client of RFC 3501 (§6.3.8) they are C{\Noselect}."""
        self.check(
            r"""
            C: a LIST "" m%
            S: * LIST (\Noselect \HasChildren) "/" music
            S: a OK LIST completed
            """
        )


class SelectionTests(SynchronousTestCase):
    """
    What there is without the extension, and with many mailboxes.
    """

    def test_without(self) -> None:
        """Its options belong to the extension."""
        kept = [each for each in EXTENSIONS if each.capability not in (b"LIST-EXTENDED",)]
        client = Server(extensions=kept).login()
        for arguments in (
            '(SUBSCRIBED) "" *', '(REMOTE) "" *', '(SPECIAL-USE RECURSIVEMATCH) "" *',
            '"" * RETURN (SUBSCRIBED)',
        ):  # fmt: skip
            self.assertRegex(client.send(f"a LIST {arguments}\r\n".encode()), rb"^a BAD ")
        self.assertIn(specialuse.EXTENSION, kept)

    def test_slowPatterns(self) -> None:
        """
        Patterns that are slow to try on many names find what they should, and others have their
        turn meanwhile.
        """
        server = Server()
        names = [f"{'ab' * 200}{number:03}/{'c' * 50}" for number in range(200)]
        for name in names:
            now(server.account.createMailbox(name))
        client: Conversation = server.login()
        turns: list[None] = []
        breathe = client.stream.breathe

        async def counted() -> None:
            turns.append(None)
            await breathe()

        self.patch(client.stream, "breathe", counted)
        patterns = " ".join([*(f"*a%b*{number}x*" for number in range(20)), "%a*b*007", "%b*9%"])
        client.stream.received(f'a LIST "" (inbox {patterns})\r\n'.encode())
        for _ in range(1000):
            client.settle()
        answer = client.wire.take().decode().split("\r\n")
        expected = ["INBOX"]
        for number in range(200):
            level = names[number].rpartition("/")[0]
            expected += [level] if number == 7 or "9" in f"{number:03}" else []
        self.assertEqual([each.partition(' "/" ')[2] for each in answer[:-2]], expected)
        self.assertEqual(answer[-2:], ["a OK LIST completed", ""])
        self.assertGreater(len(turns), 20)

    def test_many(self) -> None:
        """Many names come all the same, in order, the options heeded for each."""
        server = Server()
        names = [f"box{number:04}" for number in range(3 * SLICE + 1)]
        for name in names:
            now(server.account.createMailbox(name))
        now(server.account.setSubscribed(names[-1], True))
        client: Conversation = server.login()
        client.stream.received(b'a LIST "" box* RETURN (SUBSCRIBED)\r\n')
        for _ in range(10):
            client.settle()
        answer = client.wire.take().decode().split("\r\n")
        self.assertEqual(
            answer,
            [
                *(f'* LIST (\\HasNoChildren) "/" {name}' for name in names[:-1]),
                f'* LIST (\\HasNoChildren \\Subscribed) "/" {names[-1]}',
                "a OK LIST completed",
                "",
            ],
        )
