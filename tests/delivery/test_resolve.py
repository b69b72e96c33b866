"""
Who an address reaches.
"""

from __future__ import annotations

from collections.abc import Awaitable
from itertools import pairwise
from typing import Any

from tests.delivery.support import DirectoryTestCase
from tests.smtp.support import WatchedStore, now
from twisted_mailstack.delivery.resolve import MAX_EXPANSION, Resolver
from twisted_mailstack.errors import CannotDoThat, NoSuchAccount, NoSuchDomain
from twisted_mailstack.model.address import Address


class ResolverTests(DirectoryTestCase):
    """
    L{Resolver}.
    """

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
