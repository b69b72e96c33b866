"""
Routes: how they are written, and which one holds for whom.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import DestinationUnavailable
from twisted_mailstack.model.address import Address
from twisted_mailstack.relay.routes import Route, RouteProblem, Routes, parseRoute


class ParseTests(SynchronousTestCase):
    """
    Routes as they are written in the configuration.
    """

    def problem(self, text: str, password: str = "") -> str:
        """
        @return: why that is no route.
        """
        return str(self.assertRaises(RouteProblem, parseRoute, text, password))

    def test_smtp(self) -> None:
        """SMTP to a host; the port is 25, and TLS is used where it works."""
        route = parseRoute("smtp://Relay.Example.NET")
        self.assertEqual(
            (route.host, route.port, route.tls, route.lmtp, route.domain, route.path),
            ("relay.example.net", 25, "opportunistic", False, None, ""),
        )
        self.assertEqual(route.destination, "smtp://relay.example.net:25")
        self.assertEqual(parseRoute("smtp://host:587").port, 587)
        self.assertEqual(parseRoute("smtp://host:587/"), parseRoute("smtp://host:587"))

    def test_smtps(self) -> None:
        """TLS from the beginning (RFC 8314 §3.3), on port 465."""
        route = parseRoute("smtps://host")
        self.assertEqual((route.port, route.tls), (465, "implicit"))
        route = parseRoute("smtps://bob%40example.org@host:1465", "secret")
        self.assertEqual(
            (route.host, route.port, route.username, route.password),
            ("host", 1465, "bob@example.org", "secret"),
        )

    def test_lmtp(self) -> None:
        """LMTP by TCP, or over a socket of this machine (RFC 2033)."""
        route = parseRoute("lmtp://127.0.0.1")
        self.assertEqual((route.host, route.port, route.lmtp), ("127.0.0.1", 24, True))
        route = parseRoute("lmtp+unix:/run/lmtp socket")
        self.assertEqual(
            (route.path, route.lmtp, route.tls, route.destination),
            ("/run/lmtp socket", True, "none", "lmtp+unix:/run/lmtp socket"),
        )

    def test_mx(self) -> None:
        """The mail exchangers, where another route would hold otherwise."""
        route = parseRoute("mx")
        self.assertTrue(route.byMX)
        self.assertFalse(parseRoute("smtp://mx").byMX)
        self.assertEqual(parseRoute("mx?tls=verified").tls, "verified")

    def test_addresses(self) -> None:
        """Hosts may be addresses, IPv6 in brackets."""
        for text, host in (
            ("smtp://192.0.2.1", "192.0.2.1"),
            ("smtp://[2001:DB8::1]", "2001:db8::1"),
            ("smtp://[2001:db8::1]:2525", "2001:db8::1"),
        ):
            self.assertEqual(parseRoute(text).host, host)
        self.assertEqual(
            parseRoute("smtp://[2001:db8:0::1]").destination, "smtp://[2001:db8::1]:25"
        )

    def test_international(self) -> None:
        """Host names may be written as people write them."""
        self.assertEqual(parseRoute("smtp://b\xfccher.example").host, "xn--bcher-kva.example")

    def test_tls(self) -> None:
        """What TLS is to be like may be said, and is part of what the destination is called."""
        for level in ("none", "opportunistic", "required", "verified"):
            route = parseRoute(f"smtp://host:26?tls={level}")
            self.assertEqual(route.tls, level)
            self.assertEqual(route.destination, f"smtp://host:26?tls={level}")

    def test_password(self) -> None:
        """
        A user needs a password and a connection that is verified, unless something else is said;
        the password is in none of the texts that people see.
        """
        route = parseRoute("smtp://user@host:587", "secret")
        self.assertEqual((route.username, route.tls), ("user", "verified"))
        self.assertEqual(route.destination, "smtp://user@host:587")
        self.assertNotIn("secret", repr(route) + str(route) + route.destination)
        self.assertEqual(parseRoute("smtp://u@h?tls=required", "secret").tls, "required")
        self.assertEqual(parseRoute("smtp://u@h?tls=none", "secret").tls, "none")
        self.assertIn("interferes", self.problem("smtp://u@h?tls=opportunistic", "secret"))

    def test_addressAsUser(self) -> None:
        """A user that is an address may be written with its @."""
        self.assertEqual(parseRoute("smtps://bob@x.test@host", "p").username, "bob@x.test")

    def test_passwordInText(self) -> None:
        """A password in the route is refused, and isn't repeated."""
        for text in (
            "smtp://user:secret@host",
            "smtps://user:secret@host:465?tls=none",
            "smtp://user:sec/ret@host",
            "imap://user:secret@host",
            "smtp://user:secret@",
        ):
            problem = self.problem(text)
            self.assertIn("password", problem)
            self.assertNotIn("ret", problem)

    def test_passwordWithoutUser(self) -> None:
        """So is one for nobody, and a user without one."""
        for text in ("smtp://host", "mx", "lmtp+unix:/run/lmtp"):
            self.assertIn("no user", self.problem(text, "secret"))
        self.assertIn("no password", self.problem("smtp://user@host"))

    def test_notRoutes(self) -> None:
        """Whatever else is refused, and it is said what a route is."""
        for text in (
            *("", "host", "example.org", "MX", "mx2", "smtp:", "smtp:host", "smtp//host"),
            *("smtp://", "smtp://:25", "smtp://host/path", "smtp://ho st", "smtp://a..b"),
            *("smtp://[::1", "smtp://::1", "smtp://[host]", "smtp://[]", "smtp://host:25:25"),
            *("imap://host", "http://host", "lmtp+unix://host", "lmtp+unix:run/lmtp"),
            *(
                "lmtp+unix:",
                "lmtp+unix:///run/lmtp",
                "lmtp+unix:/a\0b",
                "smtp+unix:/run/smtp",
                "smtp://host\r\n",
            ),
        ):
            self.assertIn(repr(text), self.problem(text))
        self.assertIn("smtp://host:port", self.problem("example.org"))

    def test_notPorts(self) -> None:
        """A port is a number from 1 to 65535."""
        for port in ("", "0", "65536", "-1", "x", "\u0662\u0665", "999999", "2 5", "+25"):
            self.assertIn("port", self.problem(f"smtp://host:{port}"), port)

    def test_notOptions(self) -> None:
        """Only tls may be said, with one of its levels, and not where it makes no sense."""
        for text in ("smtp://h?", "smtp://h?tls", "smtp://h?tls=", "smtp://h?tls=yes", "mx?a=b"):
            self.assertIn("tls=none", self.problem(text))
        self.assertIn("always verified", self.problem("smtps://h?tls=none"))
        self.assertIn("Unix socket", self.problem("lmtp+unix:/run/lmtp?tls=required"))

    def test_notUsers(self) -> None:
        """A user has a name, which can be sent."""
        for text in ("smtp://@host", "smtp://%00@host", "smtp://%ff@host"):
            self.assertIn("user", self.problem(text, "secret"))


class RoutesTests(SynchronousTestCase):
    """
    Which route holds.
    """

    def destination(self, routes: Routes, sender: str | None, recipient: str) -> str:
        """
        @return: whom that mail waits for.
        """
        path = None if sender is None else Address.parse(sender)
        return routes.destinationOf(path, Address.parse(recipient))

    def test_none(self) -> None:
        """Without routes mail goes to the domain's mail exchangers."""
        routes = Routes()
        self.assertEqual(self.destination(routes, "a@x.test", "b@Example.ORG"), "example.org")
        self.assertEqual(routes.find("example.org"), Route("example.org", domain="example.org"))

    def test_byDomain(self) -> None:
        """By the recipient's domain; with a dot in front all that are below it, the nearest."""
        routes = Routes(
            {
                "example.org": parseRoute("smtp://one"),
                ".example.org": parseRoute("smtp://below"),
                ".a.example.org": parseRoute("smtp://nearer"),
            }
        )
        for recipient, destination in (
            ("b@example.org", "smtp://one:25"),
            ("b@x.example.org", "smtp://below:25"),
            ("b@y.x.example.org", "smtp://below:25"),
            ("b@a.example.org", "smtp://below:25"),
            ("b@x.a.example.org", "smtp://nearer:25"),
            ("b@badexample.org", "badexample.org"),
            ("b@org", "org"),
        ):
            self.assertEqual(self.destination(routes, None, recipient), destination, recipient)

    def test_bySender(self) -> None:
        """By the sender's address, in any case, or domain; the null path has none."""
        routes = Routes(
            bySender={
                "alice@here.test": parseRoute("smtp://alice"),
                "here.test": parseRoute("smtp://here"),
                ".there.test": parseRoute("smtp://there"),
            }
        )
        for sender, destination in (
            ("alice@here.test", "smtp://alice:25"),
            ("Alice@HERE.test", "smtp://alice:25"),
            ("bob@here.test", "smtp://here:25"),
            ("bob@a.there.test", "smtp://there:25"),
            ("bob@there.test", "example.org"),
            (None, "example.org"),
        ):
            self.assertEqual(self.destination(routes, sender, "b@example.org"), destination)

    def test_order(self) -> None:
        """The recipient's domain comes before the sender, and both before the smarthost."""
        routes = Routes(
            {"a.test": parseRoute("smtp://byDomain")},
            {"here.test": parseRoute("smtp://bySender")},
            parseRoute("smtp://smarthost"),
        )
        self.assertEqual(self.destination(routes, "x@here.test", "b@a.test"), "smtp://bydomain:25")
        self.assertEqual(self.destination(routes, "x@here.test", "b@b.test"), "smtp://bysender:25")
        self.assertEqual(self.destination(routes, "x@y.test", "b@b.test"), "smtp://smarthost:25")

    def test_exceptions(self) -> None:
        """A domain may be excepted from the smarthost, and say how well it must be secured."""
        routes = Routes(
            {"partner.test": parseRoute("mx?tls=verified"), ".in.test": parseRoute("mx")},
            default=parseRoute("smtp://smarthost"),
        )
        self.assertEqual(self.destination(routes, None, "b@partner.test"), "partner.test")
        self.assertEqual(self.destination(routes, None, "b@x.in.test"), "x.in.test")
        self.assertEqual(
            routes.find("partner.test"),
            Route("partner.test", domain="partner.test", tls="verified"),
        )
        self.assertEqual(routes.find("x.in.test").tls, "opportunistic")

    def test_defaultByMX(self) -> None:
        """All mail may be held to something, by mail exchangers too."""
        routes = Routes(default=parseRoute("mx?tls=required"))
        self.assertEqual(self.destination(routes, None, "b@b.test"), "b.test")
        self.assertEqual(routes.find("b.test").tls, "required")

    def test_find(self) -> None:
        """A destination leads to its route, with what isn't part of its name."""
        route = parseRoute("smtp://user@host:587", "secret")
        routes = Routes(default=route)
        self.assertIs(routes.find("smtp://user@host:587"), route)

    def test_goneRoute(self) -> None:
        """
        What waits for a route that isn't configured any more is no domain that doesn't exist: it
        waits on, until it is routed anew.
        """
        for destination in ("smtp://gone:25", "lmtp+unix:/run/lmtp"):
            error = self.assertRaises(DestinationUnavailable, Routes().find, destination)
            self.assertIn(destination, error.text)

    def test_literals(self) -> None:
        """An address literal is a domain like any."""
        routes = Routes()
        for domain in ("[192.0.2.1]", "[IPv6:2001:db8::1]"):
            self.assertEqual(self.destination(routes, None, f"b@{domain}"), domain)
            self.assertEqual(routes.find(domain).domain, domain)
