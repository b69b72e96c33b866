"""
Who an address reaches.
"""

from __future__ import annotations

from collections.abc import Awaitable
from itertools import pairwise
from typing import Any

from tests.delivery.support import DirectoryTestCase
from tests.smtp.support import WatchedStore, now
from twisted_mailstack.delivery.resolve import MAX_EXPANSION, AliasLoop, Resolver, formatCircle
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

    def test_separators(self) -> None:
        """Several characters may separate; the longest name that somebody has counts."""
        both = {"separator": ("+", "-")}
        self.addAccount("bob-builder@example.test")
        for address, account in (
            ("alice+x@example.test", "alice"),
            ("alice-x@example.test", "alice"),
            ("alice-x+y-z@example.test", "alice"),
            ("bob-x@example.test", "bob"),
            ("bob-builder@example.test", "bob-builder"),
            ("bob-builder+x@example.test", "bob-builder"),
            ("bob-builder-x@example.test", "bob-builder"),
            ("bob-build+x@example.test", "bob"),
        ):
            self.assertEqual(self.reached(address, **both), [f"{account}@example.test"], address)
        for address in ("-alice@example.test", "+-alice@example.test", "al-ice@example.test"):
            self.assertRaises(NoSuchAccount, self.reached, address, **both)
        self.assertRaises(NoSuchAccount, self.reached, "alice+x@example.test", separator=())

    def test_severalTags(self) -> None:
        """Of several separators in a name any may be the one."""
        self.alias("list+team@example.test", "bob@example.test")
        self.alias("list@example.test", "alice@example.test")
        self.assertEqual(self.reached("list+team+x@example.test"), ["bob@example.test"])
        self.assertEqual(self.reached("list+else+x@example.test"), ["alice@example.test"])

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

    def test_domainAlias(self) -> None:
        """
        A catch-all that leads to * in another domain makes a domain that one's alias: the same
        local-part there. What the domain has itself goes first.
        """
        now(self.directory.addDomain("old.test"))
        self.alias("*@old.test", "*@example.test")
        self.alias("info@old.test", "bob@example.test")
        self.alias("sales@example.test", "alice@example.test", "bob@example.test")
        for address, accounts in (
            ("alice@old.test", ["alice@example.test"]),
            ("Alice+tag@old.test", ["alice@example.test"]),
            ("info@old.test", ["bob@example.test"]),
            ("info+tag@old.test", ["bob@example.test"]),
            ("sales@old.test", ["alice@example.test", "bob@example.test"]),
            ("postmaster@old.test", ["alice@example.test"]),
        ):
            self.assertEqual(self.reached(address), accounts, address)
        for address in ("nobody@old.test", "*@old.test", "info@example.test"):
            self.assertRaises(NoSuchAccount, self.reached, address)
        self.addAccount("alice@old.test")
        self.assertEqual(self.reached("alice@old.test"), ["alice@old.test"])

    def test_domainAliases(self) -> None:
        """Domains may be aliases of aliases, of several domains, and of domains elsewhere."""
        for domain in ("old.test", "older.test"):
            now(self.directory.addDomain(domain))
        self.alias("*@older.test", "*@old.test")
        self.alias("*@old.test", "*@example.test", "*@far.test")
        self.assertEqual(
            self.reached("Bob+x@older.test"), sorted(["Bob+x@far.test", "bob@example.test"])
        )
        self.assertEqual(self.reached("nobody@older.test"), ["nobody@far.test"])

    def test_anyInAlias(self) -> None:
        """* in the target of an alias that is no catch-all is that alias's name."""
        now(self.directory.addDomain("other.test"))
        self.addAccount("info@other.test")
        self.alias("info@example.test", "*@other.test")
        self.assertEqual(self.reached("info@example.test"), ["info@other.test"])

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

    def test_loopIsTold(self) -> None:
        """Who only comes back is refused with 5.4.6 (RFC 3463 §3.5); a dead address with 5.1.1."""
        now(self.directory.addDomain("old.test"))
        self.alias("one@example.test", "two@example.test", "gone@example.test")
        self.alias("two@example.test", "three+x@example.test")
        self.alias("three@example.test", "ONE@example.test")
        self.alias("before@example.test", "gone@example.test", "two@example.test")
        # Two ways to one address are no loop.
        self.alias("left@example.test", "end@example.test")
        self.alias("right@example.test", "end@example.test")
        self.alias("fork@example.test", "left@example.test", "right@example.test")
        self.alias("*@old.test", "*@old.test")
        for name, kind, status in (
            ("one@example.test", AliasLoop, "5.4.6"),
            ("three@example.test", AliasLoop, "5.4.6"),
            ("before@example.test", AliasLoop, "5.4.6"),
            ("x@old.test", AliasLoop, "5.4.6"),
            ("fork@example.test", NoSuchAccount, "5.1.1"),
            ("gone@example.test", NoSuchAccount, "5.1.1"),
        ):
            error = self.assertRaises(NoSuchAccount, self.reached, name)
            self.assertEqual((type(error), error.enhancedStatus), (kind, status), name)
            self.assertEqual(error.smtpCode, 550)

    def circle(self, address: str, *targets: str) -> str:
        """
        @return: where an alias would lead back to.
        """
        parsed = [Address.parse(each) for each in (address, *targets)]
        return formatCircle(now(Resolver(self.directory).findCircle(parsed[0], parsed[1:])))

    def test_findCircle(self) -> None:
        """
        Before an alias is made it is seen that it would lead back to itself, directly or through
        others, through subaddresses and catch-alls; what the alias is now doesn't count.
        """
        self.alias("two@example.test", "three@example.test", "alice@example.test")
        self.alias("three@example.test", "ONE+tag@example.test", "x@far.test")
        self.alias("one@example.test", "one@example.test")
        for targets, circle in (
            (["alice@example.test", "x@far.test", "gone@example.test"], ""),
            (["one@example.test"], "one@example.test -> one@example.test"),
            (
                ["alice@example.test", "two@example.test"],
                "one@example.test -> two@example.test -> three@example.test"
                " -> ONE+tag@example.test -> two@example.test",
            ),
        ):
            self.assertEqual(self.circle("one@example.test", *targets), circle)
        self.assertEqual(
            self.circle("*@example.test", "gone@example.test"),
            "*@example.test -> gone@example.test -> gone@example.test",
        )
        self.assertEqual(self.circle("*@example.test", "bob+all@example.test"), "")

    def test_findCircleOfDomains(self) -> None:
        """Likewise of domains that would be aliases of each other."""
        now(self.directory.addDomain("old.test"))
        self.alias("*@old.test", "*@example.test")
        self.assertEqual(
            self.circle("*@example.test", "*@old.test"),
            "*@example.test -> *@old.test -> *@example.test",
        )
        self.assertEqual(self.circle("*@example.test", "bob@old.test"), "")
        self.assertEqual(
            self.circle("info@example.test", "info@old.test"),
            "info@example.test -> info@old.test -> info@example.test",
        )
        now(self.directory.removeAlias(Address("*", "old.test")))
        self.assertEqual(self.circle("*@example.test", "*@old.test"), "")
        # Only this one address would come back.
        self.alias("info@old.test", "info@example.test")
        self.assertEqual(
            self.circle("*@example.test", "*@old.test"),
            "info@example.test -> info@old.test -> info@example.test",
        )

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

    def test_postmasterAlways(self) -> None:
        """Also where its alias, or the catch-all, leads nowhere."""
        now(self.directory.addDomain("old.test"))
        for address, target in (
            ("postmaster@old.test", "gone@example.test"),
            ("postmaster@old.test", "postmaster@old.test"),
            ("*@old.test", "*@old.test"),
            ("*@old.test", "gone@old.test"),
        ):
            self.alias(address, target)
            for asked in ("postmaster@old.test", "Postmaster+x@old.test"):
                self.assertEqual(self.reached(asked), ["alice@example.test"], (address, target))
            now(self.directory.removeAlias(Address.parse(address)))

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

    def test_hostname(self) -> None:
        """The server's own postmaster has an address (RFC 3461 §9.3), and nobody else there."""
        name = {"hostname": "MX.test"}
        for address in ("postmaster@mx.test", "Postmaster+x@MX.test"):
            self.assertEqual(self.reached(address, **name), ["alice@example.test"])
        self.alias("postmaster@example.test", "bob@example.test")
        self.assertEqual(self.reached("postmaster@mx.test", **name), ["bob@example.test"])
        self.assertRaises(NoSuchDomain, self.reached, "alice@mx.test", **name)
        self.assertRaises(NoSuchDomain, self.reached, "postmaster@mx.test")
        now(self.directory.addDomain("mx.test"))
        self.addAccount("postmaster@mx.test")
        self.assertEqual(self.reached("postmaster@mx.test", **name), ["postmaster@mx.test"])

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
