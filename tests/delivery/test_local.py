"""
Who an address reaches, and delivery to the accounts of a store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.support import TODAY, TroubledTarget, WatchedStore, now
from twisted_mailstack.delivery.local import MAX_EXPANSION, LocalDelivery, LocalTarget, Resolver
from twisted_mailstack.errors import (
    CannotDoThat,
    MailError,
    MessageTooLarge,
    NoSuchAccount,
    NoSuchDomain,
    OverQuota,
    TemporaryFailure,
)
from twisted_mailstack.interfaces import IDelivery, IStagedContent
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import ConnectionInfo, Envelope, Placement, Recipient

INFO = ConnectionInfo("192.0.2.1", 50000, "smtp")
PREFIX = b"Return-Path: <s@far.test>\r\nDelivered-To: alice@example.test\r\n"


def envelope(
    reversePath: str | None = "s@far.test",
    authenticated: str | None = None,
    **parameters: str | None,
) -> Envelope:
    """
    @return: an envelope.
    """
    return Envelope(
        INFO,
        "client.test",
        None if reversePath is None else Address.parse(reversePath),
        None if authenticated is None else Address.parse(authenticated),
        parameters,
        "Q1",
    )


def to(address: str) -> Recipient:
    """
    @return: a recipient.
    """
    return Recipient(Address.parse(address), {})


class DirectoryTestCase(SynchronousTestCase):
    """
    A store with the domain example.test, in which alice and bob are.
    """

    def setUp(self) -> None:
        """Make it."""
        self.store = WatchedStore(now=lambda: TODAY)
        self.directory = self.store.directory
        now(self.directory.addDomain("example.test"))
        for name in ("alice", "bob"):
            self.addAccount(f"{name}@example.test")

    def addAccount(self, address: str) -> None:
        """
        Make an account.
        """
        now(self.directory.addAccount(Address.parse(address), None))

    def alias(self, address: str, *targets: str) -> None:
        """
        Make an alias.
        """
        now(
            self.directory.setAlias(
                Address.parse(address), [Address.parse(target) for target in targets]
            )
        )

    def reached(self, address: str | Address, **arguments: Any) -> list[str]:
        """
        @param arguments: of the resolver.
        @return: the accounts and the addresses elsewhere, sorted.
        """
        if isinstance(address, str):
            address = Address.parse(address)
        accounts, elsewhere = now(Resolver(self.directory, **arguments).resolve(address))
        found = [str(account.address) for account in accounts] + [str(e) for e in elsewhere]
        self.assertEqual(len(set(found)), len(found), "something is reached twice")
        return sorted(found)

    def inbox(self, address: str) -> list[bytes]:
        """
        @return: the messages of an account.
        """
        record = now(self.directory.findAccount(Address.parse(address)))
        assert record is not None
        entries = self.store.accounts[record.accountId].boxes["INBOX"].entries
        return [entry.message.prefix + entry.message.data for entry in entries]


class ResolverTests(DirectoryTestCase):
    """
    L{Resolver}.
    """

    def test_account(self) -> None:
        """An account's own address, in any case (RFC 5321 §2.4 leaves that to us)."""
        for address in ("alice@example.test", "ALICE@example.test", '"alice"@Example.TEST'):
            self.assertEqual(self.reached(address), ["alice@example.test"])

    def test_unknown(self) -> None:
        """Nobody of that name, and no domain of that name, are told apart."""
        self.assertRaises(NoSuchAccount, self.reached, "nobody@example.test")
        self.assertRaises(NoSuchDomain, self.reached, "alice@far.test")
        self.assertRaises(NoSuchDomain, self.reached, "alice@sub.example.test")
        self.assertRaises(NoSuchDomain, self.reached, "alice@[127.0.0.1]")

    def test_literal(self) -> None:
        """An address literal is a domain like others, if an operator made it one."""
        now(self.directory.addDomain("[127.0.0.1]"))
        self.addAccount("root@[127.0.0.1]")
        self.assertEqual(self.reached("root@[127.0.0.1]"), ["root@[127.0.0.1]"])

    def test_subaddress(self) -> None:
        """user+tag is user's (RFC 5233 §1), whatever the tag."""
        for address in (
            *("alice+tag@example.test", "alice+@example.test", "Alice+A+B@example.test"),
            '"alice+a b"@example.test',
        ):
            self.assertEqual(self.reached(address), ["alice@example.test"])
        # An account without a name is reached by no tag alone.
        self.addAccount('""@example.test')
        for address in ("+tag@example.test", "nobody+tag@example.test", "alice-tag@example.test"):
            self.assertRaises(NoSuchAccount, self.reached, address)

    def test_separator(self) -> None:
        """The separator is configured; it may be of several characters, or none."""
        self.assertEqual(
            self.reached("alice-x@example.test", separator="-"), ["alice@example.test"]
        )
        self.assertEqual(
            self.reached("alice--x@example.test", separator="--"), ["alice@example.test"]
        )
        self.assertRaises(NoSuchAccount, self.reached, "alice+x@example.test", separator="-")
        self.assertRaises(NoSuchAccount, self.reached, "alice+x@example.test", separator="")

    def test_wholeNameFirst(self) -> None:
        """An account or alias of the whole name goes before the one without its tag."""
        self.addAccount("alice+work@example.test")
        self.alias("alice+list@example.test", "bob@example.test")
        self.assertEqual(self.reached("alice+work@example.test"), ["alice+work@example.test"])
        self.assertEqual(self.reached("alice+list@example.test"), ["bob@example.test"])
        self.assertEqual(self.reached("alice+else@example.test"), ["alice@example.test"])

    def test_alias(self) -> None:
        """An alias reaches its targets, aliases and subaddresses among them, each account once."""
        self.addAccount("carol@example.test")
        self.alias("staff@example.test", "alice@example.test", "team@example.test")
        self.alias("team@example.test", "bob@example.test", "Alice+team@example.test")
        self.alias("all@example.test", "staff@example.test", "carol@example.test")
        both = ["alice@example.test", "bob@example.test"]
        self.assertEqual(self.reached("team@example.test"), both)
        self.assertEqual(self.reached("STAFF@example.test"), both)
        self.assertEqual(self.reached("staff+tag@example.test"), both)
        self.assertEqual(self.reached("all@example.test"), [*both, "carol@example.test"])

    def test_aliasElsewhere(self) -> None:
        """What leads to other domains is told as it is, each address once."""
        self.alias("out@example.test", "A@far.test", "alice@example.test", "out2@example.test")
        self.alias("out2@example.test", "A@far.test", "a@far.test", "b@far.test")
        self.assertEqual(
            self.reached("out@example.test"),
            # Whether A and a are the same is for far.test to say (RFC 5321 §2.4).
            ["A@far.test", "a@far.test", "alice@example.test", "b@far.test"],
        )

    def test_otherDomainOfOurs(self) -> None:
        """An alias may lead to any of our domains."""
        now(self.directory.addDomain("other.test"))
        self.alias("alice@other.test", "alice@example.test")
        self.assertEqual(self.reached("alice@other.test"), ["alice@example.test"])

    def test_catchAll(self) -> None:
        """The domain's catch-all gets what nobody else does, and only of its domain."""
        now(self.directory.addDomain("other.test"))
        self.alias("*@example.test", "bob@example.test")
        self.alias("sales@example.test", "alice@example.test")
        for address, who in (
            ("anything@example.test", "bob"),
            ("any+thing@example.test", "bob"),
            ("*@example.test", "bob"),
            ("alice@example.test", "alice"),
            ("alice+x@example.test", "alice"),
            ("sales@example.test", "alice"),
            ("sales+x@example.test", "alice"),
        ):
            self.assertEqual(self.reached(address), [f"{who}@example.test"], address)
        self.assertRaises(NoSuchAccount, self.reached, "anything@other.test")

    def test_loops(self) -> None:
        """Aliases that lead back to themselves end, and what is beside the loop is reached."""
        self.alias("a@example.test", "b@example.test", "alice@example.test")
        self.alias("b@example.test", "c@example.test", "A@example.test")
        self.alias("c@example.test", "a@example.test", "b+x@example.test", "bob@example.test")
        for name in "abc":
            self.assertEqual(
                self.reached(f"{name}@example.test"), ["alice@example.test", "bob@example.test"]
            )
        self.alias("self@example.test", "self@example.test")
        self.alias("one@example.test", "two@example.test")
        self.alias("two@example.test", "ONE@example.test")
        for name in ("self", "one", "two"):
            self.assertRaises(NoSuchAccount, self.reached, f"{name}@example.test")
        self.alias("*@example.test", "nobody@example.test")
        self.assertRaises(NoSuchAccount, self.reached, "x@example.test")

    def test_everyoneEveryone(self) -> None:
        """Thirty aliases that all lead to each other are thirty look-ups, not all the ways."""
        names = [f"n{number}@example.test" for number in range(30)]
        for name in names:
            self.alias(name, *names, "alice@example.test")
        asked: list[Address] = []
        findAlias = self.directory.findAlias

        def watched(address: Address) -> Awaitable[Any]:
            asked.append(address)
            return findAlias(address)

        self.patch(self.directory, "findAlias", watched)
        self.assertEqual(self.reached(names[0]), ["alice@example.test"])
        self.assertEqual(len(asked), 30)

    def test_longChain(self) -> None:
        """A chain of aliases is followed to its end."""
        for here, there in pairwise(range(100)):
            self.alias(f"n{here}@example.test", f"n{there}@example.test")
        self.alias("n99@example.test", "alice@example.test")
        self.assertEqual(self.reached("n0@example.test"), ["alice@example.test"])

    def test_deadTargets(self) -> None:
        """Targets that don't exist (any more) keep nobody else from getting the mail."""
        self.alias("staff@example.test", "gone@example.test", "alice@example.test")
        self.alias("none@example.test", "gone@example.test", "gone2@example.test")
        self.alias("empty@example.test")
        self.assertEqual(self.reached("staff@example.test"), ["alice@example.test"])
        self.assertRaises(NoSuchAccount, self.reached, "none@example.test")
        self.assertRaises(NoSuchAccount, self.reached, "empty@example.test")

    def test_tooMany(self) -> None:
        """An alias may have as many targets as the limit says, through whatever aliases."""
        targets = [f"t{number}@far.test" for number in range(MAX_EXPANSION)]
        self.alias("big@example.test", *targets)
        self.assertEqual(len(self.reached("big@example.test")), MAX_EXPANSION)
        self.alias("bigger@example.test", "big@example.test")
        self.assertRaises(CannotDoThat, self.reached, "bigger@example.test")
        self.alias("big@example.test", *targets, "one@far.test")
        self.assertRaises(CannotDoThat, self.reached, "big@example.test")

    def test_postmaster(self) -> None:
        """
        Every domain has a postmaster (RFC 5321 §4.5.1): the account or alias of that name, else
        the configured one, else the domain's first account, else the first of any.
        """
        now(self.directory.addDomain("empty.test"))
        for address in ("postmaster@example.test", "PostMaster@Example.test"):
            self.assertEqual(self.reached(address), ["alice@example.test"])
        self.assertEqual(self.reached("postmaster+x@example.test"), ["alice@example.test"])
        self.assertEqual(self.reached("postmaster@empty.test"), ["alice@example.test"])
        bob = Address("bob", "example.test")
        for address in ("postmaster@example.test", "postmaster@empty.test"):
            self.assertEqual(self.reached(address, postmaster=bob), ["bob@example.test"])
        self.alias("postmaster@empty.test", "bob@example.test")
        self.assertEqual(self.reached("postmaster@empty.test"), ["bob@example.test"])
        self.addAccount("postmaster@example.test")
        self.assertEqual(
            self.reached("postmaster@example.test", postmaster=bob), ["postmaster@example.test"]
        )
        self.assertRaises(NoSuchDomain, self.reached, "postmaster@far.test")

    def test_postmasterElsewhere(self) -> None:
        """The configured postmaster may be somewhere else."""
        self.assertEqual(
            self.reached("postmaster@example.test", postmaster=Address("root", "far.test")),
            ["root@far.test"],
        )

    def test_barePostmaster(self) -> None:
        """The postmaster without a domain is the server's."""
        bare = Address("postmaster", "")
        self.assertEqual(self.reached(bare), ["alice@example.test"])
        self.assertEqual(
            self.reached(bare, postmaster=Address("bob", "example.test")), ["bob@example.test"]
        )
        self.alias("postmaster@example.test", "bob@example.test")
        self.assertEqual(self.reached(bare), ["bob@example.test"])

    def test_nobodyAtAll(self) -> None:
        """Where there is no account there is no postmaster."""
        empty = WatchedStore().directory
        resolver = Resolver(empty)
        self.assertRaises(NoSuchAccount, now, resolver.resolve(Address("postmaster", "")))
        now(empty.addDomain("example.test"))
        self.assertRaises(
            NoSuchAccount, now, resolver.resolve(Address("postmaster", "example.test"))
        )

    def test_isLocal(self) -> None:
        """Whether a domain is ours."""
        resolver = Resolver(self.directory)
        self.assertTrue(now(resolver.isLocal("example.test")))
        self.assertFalse(now(resolver.isLocal("far.test")))


class LocalTestCase(DirectoryTestCase):
    """
    A target. Nothing may be left staged after a test.
    """

    def setUp(self) -> None:
        """Make it."""
        super().setUp()
        self.target = LocalTarget(self.store, Resolver(self.directory), now=lambda: TODAY)
        self.addCleanup(lambda: self.assertEqual(self.store.staged, set()))

    def deliver(
        self,
        text: bytes,
        *recipients: str,
        reversePath: str | None = "s@far.test",
        pieces: int = 1,
    ) -> Sequence[Exception | None]:
        """
        @return: the results.
        """
        delivery = self.target.begin(envelope(reversePath))
        for recipient in recipients or ("alice@example.test",):
            now(delivery.addRecipient(to(recipient)))
        for at in range(pieces):
            waiting = delivery.write(
                text[at * len(text) // pieces : (at + 1) * len(text) // pieces]
            )
            if waiting is not None:
                now(waiting)
        return now(delivery.commit())


class LocalDeliveryTests(LocalTestCase):
    """
    L{LocalTarget} without a spool.
    """

    TEXT = b"Subject: x\r\n\r\nbody\r\n"

    def test_stored(self) -> None:
        """Return-Path, Delivered-To, then the message as it came, in however many pieces."""
        for pieces in (1, 2, len(self.TEXT)):
            self.assertEqual(self.deliver(self.TEXT, pieces=pieces), [None])
            self.assertEqual(self.inbox("alice@example.test")[-1], PREFIX + self.TEXT)

    def test_returnPath(self) -> None:
        """
        There is exactly one Return-Path, the envelope's (RFC 5321 §4.4): those that came with the
        message are gone from its header and stay in its body.
        """
        for path, line in (
            ("s@far.test", b"<s@far.test>"),
            (None, b"<>"),
            ('"a b"@far.test', b'<"a b"@far.test>'),
            ("用户@far.test", "<用户@far.test>".encode()),
        ):
            self.deliver(
                b"Return-Path: <forged@x.test>\r\nSubject: x\r\nreturn-path:\r\n <y>\r\n\r\n"
                b"Return-Path: <body>\r\n",
                reversePath=path,
                pieces=7,
            )
            self.assertEqual(
                self.inbox("alice@example.test")[-1],
                b"Return-Path: " + line + b"\r\nDelivered-To: alice@example.test\r\n"
                b"Subject: x\r\n\r\nReturn-Path: <body>\r\n",
            )

    def test_endsInField(self) -> None:
        """A message that ends in the midst of its header is stored as far as it came."""
        for text, left in (
            (b"Subject: x\r\nRetur", b"Subject: x\r\nRetur"),
            (b"Subject: x\r\nReturn-Path", b"Subject: x\r\nReturn-Path"),
            (b"Subject: x\r\nReturn-Path: y", b"Subject: x\r\n"),
            (b"Subject: x\r\n\r", b"Subject: x\r\n\r"),
        ):
            self.deliver(text, pieces=len(text))
            self.assertEqual(self.inbox("alice@example.test")[-1], PREFIX + left)

    def test_empty(self) -> None:
        """A message without any text is one."""
        self.assertEqual(self.deliver(b""), [None])
        self.assertEqual(self.inbox("alice@example.test"), [PREFIX])

    def test_severalRecipients(self) -> None:
        """Each gets a copy that names the recipient which led to it, and nobody a second one."""
        self.alias("team@example.test", "alice@example.test", "bob@example.test")
        results = self.deliver(
            self.TEXT,
            *("Bob+tag@example.test", "team@example.test", "bob@example.test"),
            *("alice@example.test", "bob+tag@example.test"),
        )
        self.assertEqual(results, [None] * 5)
        for name, via in (("alice", b"team"), ("bob", b"Bob+tag")):
            (stored,) = self.inbox(f"{name}@example.test")
            self.assertEqual(
                stored,
                b"Return-Path: <s@far.test>\r\nDelivered-To: "
                + via
                + b"@example.test\r\n"
                + self.TEXT,
            )

    def test_oneContent(self) -> None:
        """However many get it, the message is stored once."""
        placed: list[Any] = []
        deliver = self.store.deliver

        def watched(content: Any, placements: Sequence[Placement], *rest: Any) -> Any:
            placed.append((content, [placement.mailbox for placement in placements], rest[0]))
            return deliver(content, placements, *rest)

        self.patch(self.store, "deliver", watched)
        self.deliver(self.TEXT, "alice@example.test", "bob@example.test")
        self.assertEqual([(each[1], each[2]) for each in placed], [(["INBOX", "INBOX"], TODAY)])

    def test_refusedRecipient(self) -> None:
        """A recipient that is refused doesn't touch the others."""
        delivery = self.target.begin(envelope())
        now(delivery.addRecipient(to("alice@example.test")))
        for address, error in (
            ("nobody@example.test", NoSuchAccount),
            ("someone@far.test", NoSuchDomain),
        ):
            self.assertRaises(error, now, delivery.addRecipient(to(address)))
        delivery.write(self.TEXT)
        self.assertEqual(now(delivery.commit()), [None])
        self.assertEqual(len(self.inbox("alice@example.test")), 1)

    def test_elsewhere(self) -> None:
        """
        Without a spool, other domains are refused for good: a stranger's as relaying, our own
        user's with the reason; an alias's that leads there too, since half of it would be lost.
        """
        self.alias("both@example.test", "alice@example.test", "x@far.test")
        stranger = self.target.begin(envelope())
        ours = self.target.begin(envelope(authenticated="alice@example.test"))
        self.assertRaises(NoSuchDomain, now, stranger.addRecipient(to("x@far.test")))
        for delivery, address in (
            (ours, "x@far.test"),
            (ours, "both@example.test"),
            (stranger, "both@example.test"),
        ):
            error = self.assertRaises(MailError, now, delivery.addRecipient(to(address)))
            self.assertEqual((error.smtpCode, error.enhancedStatus), (550, "5.7.1"))
            self.assertIn("does not relay", error.text)
        stranger.abort()
        ours.abort()

    def test_barePostmaster(self) -> None:
        """Who gets the postmaster's mail is named by its own address."""
        delivery = self.target.begin(envelope())
        now(delivery.addRecipient(Recipient(Address("postmaster", ""), {})))
        delivery.write(self.TEXT)
        now(delivery.commit())
        self.assertEqual(self.inbox("alice@example.test"), [PREFIX + self.TEXT])

    def test_verify(self) -> None:
        """VRFY says an address that would be taken, and raises what RCPT would."""
        self.assertEqual(
            now(self.target.verify(Address("Alice", "example.test"))), "Alice@example.test"
        )
        self.assertRaises(NoSuchAccount, now, self.target.verify(Address("nobody", "example.test")))

    def test_inspect(self) -> None:
        """Whoever inspects sees the whole message, and its lines go below Delivered-To."""
        seen: list[bytes] = []

        async def inspect(content: IStagedContent) -> bytes:
            seen.append(await content.read(0, 1000))
            return b"X-Checked: yes\r\n"

        delivery = self.target.begin(envelope())
        for name in ("alice", "bob"):
            now(delivery.addRecipient(to(f"{name}@example.test")))
        delivery.write(self.TEXT)
        now(delivery.commit(inspect))
        self.assertEqual(seen, [self.TEXT])
        for name in ("alice", "bob"):
            (stored,) = self.inbox(f"{name}@example.test")
            self.assertTrue(
                stored.endswith(b"@example.test\r\nX-Checked: yes\r\n" + self.TEXT), stored
            )

    def test_inspectRefuses(self) -> None:
        """What is refused there is delivered to nobody."""
        for error in (MailError("no"), KeyError("x")):

            async def inspect(content: IStagedContent, error: Exception = error) -> bytes:
                raise error

            delivery = self.target.begin(envelope())
            now(delivery.addRecipient(to("alice@example.test")))
            delivery.write(self.TEXT)
            self.assertRaises(type(error), now, delivery.commit(inspect))
        self.assertEqual(self.inbox("alice@example.test"), [])

    def test_abort(self) -> None:
        """At any point before the commit it can be given up, more than once."""
        for steps in range(4):
            delivery = self.target.begin(envelope())
            for step in (
                lambda d: now(d.addRecipient(to("alice@example.test"))),
                lambda d: d.write(b"Subject: x\r\n"),
                lambda d: d.write(b"\r\nbody"),
            )[:steps]:
                step(delivery)
            delivery.abort()
            delivery.abort()
            self.assertEqual(self.store.staged, set())
        self.assertEqual(self.inbox("alice@example.test"), [])

    def test_sideBySide(self) -> None:
        """Deliveries that are under way at the same time don't mix."""
        one, other = (
            self.target.begin(envelope("one@far.test")),
            self.target.begin(envelope("other@far.test")),
        )
        for delivery, name in ((one, "alice"), (other, "bob")):
            now(delivery.addRecipient(to(f"{name}@example.test")))
        for piece in (b"a", b"b"):
            one.write(b"1" + piece)
            other.write(b"2" + piece)
        now(other.commit())
        now(one.commit())
        self.assertTrue(self.inbox("alice@example.test")[0].endswith(b"alice@example.test\r\n1a1b"))
        self.assertTrue(self.inbox("bob@example.test")[0].endswith(b"bob@example.test\r\n2a2b"))


class QuotaTests(LocalTestCase):
    """
    Accounts that are full.
    """

    def limit(self, octets: int | None, messages: int | None = None) -> None:
        """
        Bound alice's account.
        """
        now(self.directory.setQuota(Address("alice", "example.test"), octets, messages))

    def test_atRCPT(self) -> None:
        """A full account is refused at RCPT for now; the others get the message."""
        self.limit(None, 1)
        self.deliver(b"one")
        delivery = self.target.begin(envelope())
        self.assertRaises(OverQuota, now, delivery.addRecipient(to("alice@example.test")))
        now(delivery.addRecipient(to("bob@example.test")))
        delivery.write(b"two")
        self.assertEqual(now(delivery.commit()), [None])
        self.assertEqual(len(self.inbox("alice@example.test")), 1)
        self.assertEqual(len(self.inbox("bob@example.test")), 1)

    def test_declaredSize(self) -> None:
        """What was declared counts (RFC 1870 §6.4): for now, or for good if it never fits."""
        self.limit(500)
        self.deliver(b"x" * 100)
        for size, error in (("100", None), ("450", OverQuota), ("501", MessageTooLarge)):
            delivery = self.target.begin(envelope(SIZE=size))
            adding = delivery.addRecipient(to("alice@example.test"))
            if error is None:
                now(adding)
            else:
                self.assertRaises(error, now, adding)
            delivery.abort()

    def test_group(self) -> None:
        """An address that stands for several, of whom one is full, is refused for now."""
        self.alias("team@example.test", "alice@example.test", "bob@example.test")
        self.limit(None, 0)
        delivery = self.target.begin(envelope())
        self.assertRaises(OverQuota, now, delivery.addRecipient(to("team@example.test")))
        delivery.abort()

    def test_filledMeanwhile(self) -> None:
        """
        One that has filled up since RCPT: nobody gets the message and the client tries again, so
        nobody gets it twice (RFC 5321 §4.1.1.4: one reply for all).
        """
        self.limit(None, 1)
        delivery = self.target.begin(envelope())
        for name in ("bob", "alice"):
            now(delivery.addRecipient(to(f"{name}@example.test")))
        delivery.write(b"late")
        self.deliver(b"first")
        error = self.assertRaises(OverQuota, now, delivery.commit())
        self.assertTrue(error.temporary)
        self.assertEqual(self.inbox("bob@example.test"), [])
        self.assertEqual(len(self.inbox("alice@example.test")), 1)

    def test_removedMeanwhile(self) -> None:
        """
        One whose account was deleted since RCPT: the client tries again, and learns then which
        recipient it is; the others aren't refused for good because of it.
        """
        delivery = self.target.begin(envelope())
        for name in ("bob", "alice"):
            now(delivery.addRecipient(to(f"{name}@example.test")))
        delivery.write(b"late")
        now(self.directory.removeAccount(Address("alice", "example.test")))
        error = self.assertRaises(TemporaryFailure, now, delivery.commit())
        self.assertTrue(error.temporary)
        self.assertEqual(self.inbox("bob@example.test"), [])


class FailureTests(LocalTestCase):
    """
    A store of which a call fails or waits.
    """

    def begin(self) -> LocalDelivery:
        """
        @return: a delivery to alice.
        """
        delivery = self.target.begin(envelope())
        now(delivery.addRecipient(to("alice@example.test")))
        return delivery

    def test_deliver(self) -> None:
        """If the last step fails nothing is there, and nothing staged."""

        async def fail(*arguments: Any) -> None:
            raise OSError("disk full")

        self.patch(self.store, "deliver", fail)
        delivery = self.begin()
        delivery.write(b"x")
        self.assertRaises(OSError, now, delivery.commit())
        self.assertEqual(self.store.staged, set())

    def test_finish(self) -> None:
        """If the content can't be finished, what was written is thrown away."""
        newContent = self.store.newContent

        def broken(sizeHint: int | None = None) -> Any:
            writer = newContent(sizeHint)

            async def fail() -> None:
                raise OSError("disk full")

            setattr(writer, "finish", fail)  # noqa: B010 it is a method
            return writer

        self.patch(self.store, "newContent", broken)
        delivery = self.begin()
        delivery.write(b"x")
        self.assertRaises(OSError, now, delivery.commit())
        self.assertEqual(self.store.staged, set())

    def test_waiting(self) -> None:
        """Every call of the store may take its time."""
        gates: list[Deferred[None]] = []
        deliver = self.store.deliver

        def slow(*arguments: Any) -> Any:
            gate: Deferred[None] = Deferred()
            gates.append(gate)
            return gate.addCallback(lambda _: ensureDeferred(deliver(*arguments)))

        self.patch(self.store, "deliver", slow)
        delivery = self.begin()
        delivery.write(b"x")

        async def commit() -> Sequence[Exception | None]:
            return await delivery.commit()

        done = ensureDeferred(commit())
        self.assertNoResult(done)
        gates[0].callback(None)
        self.assertEqual(self.successResultOf(done), [None])

    def test_waitingWrites(self) -> None:
        """A store that takes each piece in its own time gets them in order, the last one too."""
        newContent = self.store.newContent

        def slow(sizeHint: int | None = None) -> Any:
            writer = newContent(sizeHint)
            write = writer.write

            async def writeLater(data: bytes) -> None:
                write(data)

            setattr(writer, "write", writeLater)  # noqa: B010 it is a method
            return writer

        self.patch(self.store, "newContent", slow)
        for spool in (None, TroubledTarget()):
            self.target.spool = spool
            delivery = self.target.begin(envelope("s@far.test", "alice@example.test"))
            now(delivery.addRecipient(to("alice@example.test")))
            if spool is not None:
                now(delivery.addRecipient(to("x@far.test")))
            for piece in (b"Subject: x\r\n", b"\r\nbody\r\nRet", b"urn-Path"):
                waiting = delivery.write(piece)
                assert waiting is not None
                now(waiting)
            now(delivery.commit())
            self.assertEqual(
                self.inbox("alice@example.test")[-1],
                PREFIX + b"Subject: x\r\n\r\nbody\r\nReturn-Path",
            )
            if spool is not None:
                self.assertTrue(spool.committed[0].endswith(b"\r\nReturn-Path"))


class SpoolTests(LocalTestCase):
    """
    A target with somewhere else for other domains.
    """

    def begin(self, spool: TroubledTarget, *recipients: str) -> IDelivery:
        """
        @return: our own user's delivery.
        """
        self.target.spool = spool
        delivery = self.target.begin(envelope("alice@example.test", "alice@example.test"))
        for recipient in recipients:
            now(delivery.addRecipient(to(recipient)))
        return delivery

    def test_both(self) -> None:
        """
        What is for others goes there as it came, with the lines of policies and without our
        Return-Path (RFC 5321 §4.4: only final delivery adds it); our accounts get theirs.
        """
        spool = TroubledTarget()
        delivery = self.begin(spool, "x@far.test", "alice@example.test", "y@far.test")

        async def inspect(content: IStagedContent) -> bytes:
            return b"X-Added: 1\r\n"

        text = b"Return-Path: <x>\r\nSubject: x\r\n\r\n"
        for piece in (text[:9], text[9:]):
            waiting = delivery.write(piece)
            assert waiting is not None
            now(waiting)
        self.assertEqual(now(delivery.commit(inspect)), [None, None, None])
        self.assertEqual(spool.committed, [b"X-Added: 1\r\n" + text])
        self.assertEqual(spool.calls.count("addRecipient"), 2)
        (stored,) = self.inbox("alice@example.test")
        self.assertTrue(stored.endswith(b"\r\nX-Added: 1\r\nSubject: x\r\n\r\n"))

    def test_once(self) -> None:
        """One address elsewhere is added once, however it is reached."""
        self.alias("out@example.test", "x@far.test")
        spool = TroubledTarget()
        delivery = self.begin(spool, "x@far.test", "out@example.test", "x@far.test")
        self.assertEqual(spool.calls.count("addRecipient"), 1)
        delivery.abort()
        self.assertEqual(spool.aborted, 1)

    def test_onlyLocal(self) -> None:
        """Where nobody elsewhere is meant the spool isn't asked."""
        spool = TroubledTarget()
        delivery = self.begin(spool, "alice@example.test")
        delivery.write(b"x")
        now(delivery.commit())
        self.assertEqual(spool.calls, [])

    def test_strangersAlias(self) -> None:
        """A stranger's mail goes there through an alias of ours, and in no other way."""
        self.alias("out@example.test", "x@far.test")
        spool = self.target.spool = TroubledTarget()
        delivery = self.target.begin(envelope())
        now(delivery.addRecipient(to("out@example.test")))
        self.assertRaises(NoSuchDomain, now, delivery.addRecipient(to("x@far.test")))
        delivery.abort()
        self.assertEqual(spool.calls.count("addRecipient"), 1)

    def test_refuses(self) -> None:
        """A recipient that the spool doesn't take is refused."""
        spool = TroubledTarget("addRecipient", MailError("no"))
        delivery = self.begin(spool)
        self.assertRaises(MailError, now, delivery.addRecipient(to("x@far.test")))
        delivery.abort()

    def test_fails(self) -> None:
        """If the spool fails the client isn't told that all is well, and nothing is left."""
        for trouble in ("write", "commit"):
            spool = TroubledTarget(trouble, OSError("full"))
            delivery = self.begin(spool, "x@far.test")
            waiting = delivery.write(b"x")
            assert waiting is not None
            if trouble == "write":
                self.assertRaises(OSError, now, waiting)
                delivery.abort()
                self.assertEqual(spool.aborted, 1)
            else:
                now(waiting)
                self.assertRaises(OSError, now, delivery.commit())
            self.assertEqual(spool.committed, [])
            self.assertEqual(self.store.staged, set())

    def test_localFails(self) -> None:
        """If our own copies can't be placed, nothing goes elsewhere."""
        spool = TroubledTarget()
        delivery = self.begin(spool, "x@far.test", "alice@example.test")
        waiting = delivery.write(b"x")
        assert waiting is not None
        now(waiting)
        now(self.directory.removeAccount(Address("alice", "example.test")))
        self.assertRaises(TemporaryFailure, now, delivery.commit())
        self.assertEqual((spool.committed, spool.aborted), ([], 1))
