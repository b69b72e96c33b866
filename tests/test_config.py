"""
The configuration file: each key, and what is said of a file that can't be used.
"""

from __future__ import annotations

import re
import socket
import tomllib
from dataclasses import fields
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.config import (
    SERVICES,
    Configuration,
    ConfigurationProblem,
    load,
    template,
)

#: Every key: a value in TOML that isn't the default, the field, and what it becomes.
KEYS: dict[str, tuple[str, str, object]] = {
    "hostname": ('"mx.example.org"', "hostname", "mx.example.org"),
    "data": ('"/var/mail"', "data", "/var/mail"),
    "listen": ('{smtp = "tcp:25"}', "listen", {"smtp": "tcp:25"}),
    "workers": ("3", "workers", 3),
    "tls.certificate": ('"c.pem"', "certificate", "c.pem"),
    "tls.key": ('"k.pem"', "key", "k.pem"),
    "tls.client-authorities": ('"ca.pem"', "clientAuthorities", "ca.pem"),
    "tls.certificates": ('{"/a.pem" = "/a.key"}', "certificates", {"/a.pem": "/a.key"}),
    "tls.names": ('["mail.example.org"]', "tlsNames", ("mail.example.org",)),
    "limits.connections": ("5", "maxConnections", 5),
    "limits.connections-per-peer": ("6", "maxConnectionsPerPeer", 6),
    "limits.proxy-networks": ('["192.0.2.0/24"]', "proxyNetworks", ("192.0.2.0/24",)),
    "auth.allow-plaintext": ("true", "allowPlaintext", True),
    "auth.max-failures": ("7", "maxLoginFailures", 7),
    "auth.network-failures": ("0", "networkFailures", 0),
    "auth.account-failures": ("9", "accountFailures", 9),
    "auth.lockout": ("60", "lockout", 60),
    "auth.ipv4-prefix": ("32", "ipv4Prefix", 32),
    "auth.ipv6-prefix": ("48", "ipv6Prefix", 48),
    "auth.exempt-networks": ('["192.0.2.0/24"]', "loginExempt", ("192.0.2.0/24",)),
    "auth.default-domain": ('"example.org"', "defaultDomain", "example.org"),
    "auth.mechanisms": ('["PLAIN", "CRAM-MD5"]', "mechanisms", ("PLAIN", "CRAM-MD5")),
    "auth.scram": ('["SCRAM-SHA-1"]', "scram", ("SCRAM-SHA-1",)),
    "auth.scram-iterations": ("5000", "scramIterations", 5000),
    "auth.certificates": ('{"AB:CD" = "a@a.test"}', "certificateAccounts", {"AB:CD": "a@a.test"}),
    "auth.certificate-addresses": ("false", "certificateAddresses", False),
    "auth.anonymous-account": ('"public@a.test"', "anonymous", "public@a.test"),
    "auth.gssapi-realms": ('{"A.TEST" = "a.test"}', "gssapiRealms", {"A.TEST": "a.test"}),
    "auth.gssapi-keytab": ('"/etc/mail.keytab"', "gssapiKeytab", "/etc/mail.keytab"),
    "auth.checkers": ('["file", "accounts"]', "checkers", ("file", "accounts")),
    "auth.create-accounts": ("true", "createAccounts", True),
    "checker-file.path": ('"/etc/users"', "checkerFilePath", "/etc/users"),
    "checker-sql.module": ('"psycopg"', "checkerSQLModule", "psycopg"),
    "checker-sql.arguments": ('{database = "u"}', "checkerSQLArguments", {"database": "u"}),
    "checker-sql.password-file": ('"/etc/p"', "checkerSQLPasswordFile", "/etc/p"),
    "checker-sql.query": ('"SELECT 1"', "checkerSQLQuery", "SELECT 1"),
    "checker-sql.connections": ("3", "checkerSQLConnections", 3),
    "checker-sql.timeout": ("11", "checkerSQLTimeout", 11),
    "checker-ldap.url": ('"ldaps://a.test"', "checkerLDAPURL", "ldaps://a.test"),
    "checker-ldap.starttls": ("true", "checkerLDAPStartTLS", True),
    "checker-ldap.ca-file": ('"/etc/ca"', "checkerLDAPCAFile", "/etc/ca"),
    "checker-ldap.dn": ('"uid={name}"', "checkerLDAPDN", "uid={name}"),
    "checker-ldap.base": ('"dc=test"', "checkerLDAPBase", "dc=test"),
    "checker-ldap.filter": ('"(uid={name})"', "checkerLDAPFilter", "(uid={name})"),
    "checker-ldap.bind-dn": ('"cn=mail"', "checkerLDAPBindDN", "cn=mail"),
    "checker-ldap.bind-password-file": ('"/etc/p"', "checkerLDAPBindPasswordFile", "/etc/p"),
    "checker-ldap.connections": ("3", "checkerLDAPConnections", 3),
    "checker-ldap.timeout": ("11", "checkerLDAPTimeout", 11),
    "checker-pam.service": ('"login"', "checkerPAMService", "login"),
    "checker-pam.domain": ('"a.test"', "checkerPAMDomain", "a.test"),
    "checker-pam.username": ('"address"', "checkerPAMUsername", "address"),
    "checker-pam.threads": ("3", "checkerPAMThreads", 3),
    "checker-pam.timeout": ("11", "checkerPAMTimeout", 11),
    "checker-command.command": ('["/bin/c", "-v"]', "checkerCommand", ("/bin/c", "-v")),
    "checker-command.descriptor": ("0", "checkerCommandDescriptor", 0),
    "checker-command.processes": ("3", "checkerCommandProcesses", 3),
    "checker-command.timeout": ("11", "checkerCommandTimeout", 11),
    "checker-http.url": ('"https://a.test"', "checkerHTTPURL", "https://a.test"),
    "checker-http.token-file": ('"/etc/t"', "checkerHTTPTokenFile", "/etc/t"),
    "checker-http.ca-file": ('"/etc/ca"', "checkerHTTPCAFile", "/etc/ca"),
    "checker-http.connections": ("3", "checkerHTTPConnections", 3),
    "checker-http.timeout": ("11", "checkerHTTPTimeout", 11),
    "oauth.introspection": ('"https://a.test/i"', "oauthIntrospection", "https://a.test/i"),
    "oauth.client": ('"mail"', "oauthClient", "mail"),
    "oauth.secret-file": ('"/etc/secret"', "oauthSecretFile", "/etc/secret"),
    "oauth.keys": ('"https://a.test/keys"', "oauthKeys", "https://a.test/keys"),
    "oauth.issuer": ('"https://a.test"', "oauthIssuer", "https://a.test"),
    "oauth.audience": ('"mail"', "oauthAudience", "mail"),
    "oauth.scope": ('"imap"', "oauthScope", "imap"),
    "oauth.claims": ('["upn"]', "oauthClaims", ("upn",)),
    "oauth.discovery": ('"https://a.test/o"', "oauthDiscovery", "https://a.test/o"),
    "smtp.max-message-size": ("70000", "maxMessageOctets", 70000),
    "smtp.max-recipients": ("101", "maxRecipients", 101),
    "smtp.max-line": ("1000", "maxLineOctets", 1000),
    "smtp.bare-newlines": ('"keep"', "bareNewlines", "keep"),
    "smtp.hop-limit": ("102", "hopLimit", 102),
    "smtp.subaddress-separator": ('"-"', "separator", "-"),
    "smtp.postmaster": ('"root@example.org"', "postmaster", "root@example.org"),
    "smtp.verify": ("true", "verify", True),
    "smtp.max-hold": ("60", "maxHold", 60),
    "smtp.min-deliver-by": ("61", "minDeliverBy", 61),
    "smtp.max-priority": ("4", "maxPriority", 4),
    "smtp.priority-networks": ('["192.0.2.1"]', "priorityNetworks", ("192.0.2.1",)),
    "smtp.etrn-networks": ('["192.0.2.2"]', "etrnNetworks", ("192.0.2.2",)),
    "smtp.xclient-networks": ('["2001:db8::/32"]', "xclientNetworks", ("2001:db8::/32",)),
    "smtp.xforward-networks": ('["192.0.2.3"]', "xforwardNetworks", ("192.0.2.3",)),
    "smtp.timeout": ("301", "smtpTimeout", 301),
    "smtp.policies": ('["hop-limit"]', "policies", ("hop-limit",)),
    "submission.policies": ('["own-sender"]', "submissionPolicies", ("own-sender",)),
    "own-sender.required": ("false", "ownSender", False),
    "own-sender.fields": ("false", "ownSenderFields", False),
    "own-sender.allowed": ('["a.test"]', "ownSenderAllowed", ("a.test",)),
    "own-sender.unrestricted": ('["a@a.test"]', "ownSenderUnrestricted", ("a@a.test",)),
    "account-limits.messages-per-hour": ("10", "accountMessagesPerHour", 10),
    "account-limits.messages-per-day": ("11", "accountMessagesPerDay", 11),
    "account-limits.recipients-per-hour": ("12", "accountRecipientsPerHour", 12),
    "account-limits.recipients-per-day": ("13", "accountRecipientsPerDay", 13),
    "rates.connections": ('"30/1m"', "rateConnections", "30/1m"),
    "rates.messages": ('"31/m"', "rateMessages", "31/m"),
    "rates.recipients": ('"32/10s"', "rateRecipients", "32/10s"),
    "rates.account-messages": ('"33/h"', "rateAccountMessages", "33/h"),
    "rates.account-recipients": ('"34/d"', "rateAccountRecipients", "34/d"),
    "rates.exempt-networks": ('["192.0.2.4"]', "rateExempt", ("192.0.2.4",)),
    "dnsbl.lists": ('["bl.test=127.0.0.2*2"]', "dnsblLists", ("bl.test=127.0.0.2*2",)),
    "dnsbl.reject": ("2", "dnsblReject", 2),
    "dnsbl.mark": ("3", "dnsblMark", 3),
    "dnsbl.timeout": ("4", "dnsblTimeout", 4),
    "dnsbl.exempt-networks": ('["192.0.2.5"]', "dnsblExempt", ("192.0.2.5",)),
    "reverse-dns.action": ('"header"', "reverseDNS", "header"),
    "reverse-dns.timeout": ("6", "reverseDNSTimeout", 6),
    "reverse-dns.exempt-networks": ('["192.0.2.6"]', "reverseDNSExempt", ("192.0.2.6",)),
    "helo.ours": ("true", "heloOurs", True),
    "helo.qualified": ("true", "heloQualified", True),
    "helo.resolves": ("true", "heloResolves", True),
    "helo.timeout": ("7", "heloTimeout", 7),
    "helo.exempt-networks": ('["192.0.2.7"]', "heloExempt", ("192.0.2.7",)),
    "greylisting.enabled": ("true", "greylisting", True),
    "greylisting.delay": ("60", "greylistingDelay", 60),
    "greylisting.window": ("7200", "greylistingWindow", 7200),
    "greylisting.kept": ("86400", "greylistingKept", 86400),
    "greylisting.network-passes": ("0", "greylistingNetworkPasses", 0),
    "greylisting.exempt-networks": ('["192.0.2.8"]', "greylistingExempt", ("192.0.2.8",)),
    "greylisting.exempt-recipients": (
        '["a@a.test"]',
        "greylistingExemptRecipients",
        ("a@a.test",),
    ),
    "sizes.recipients": ('{"a.test" = 5000}', "sizesRecipients", {"a.test": 5000}),
    "sizes.senders": ('{"a@a.test" = 6000}', "sizesSenders", {"a@a.test": 6000}),
    "header-checks.checks": ('["from"]', "headerChecks", ("from",)),
    "quota.administrators": ('["root@example.org"]', "quotaAdministrators", ("root@example.org",)),
    "imap.timeout": ("1801", "imapTimeout", 1801),
    "imap.message-limit": ("1000", "imapMessageLimit", 1000),
    "imap.comment": ('"Of the house"', "imapComment", "Of the house"),
    "imap.admin": ('"mailto:a@a.test"', "imapAdmin", "mailto:a@a.test"),
    "imap.referrals": (
        '{"a@a.test" = "imap.b.test"}',
        "imapReferrals",
        {"a@a.test": "imap.b.test"},
    ),
    "pop3.timeout": ("601", "pop3Timeout", 601),
    "pop3.login-delay": ("60", "pop3LoginDelay", 60),
    "pop3.expire-days": ("30", "pop3ExpireDays", 30),
    "pop3.apop": ("true", "pop3Apop", True),
    "quota.octets": ("1", "quotaOctets", 1),
    "quota.messages": ("2", "quotaMessages", 2),
    "search.index": ("false", "searchIndex", False),
    "relay.enabled": ("true", "relay", True),
    "relay.smarthost": ('"smtp://hub.test:587"', "smarthost", "smtp://hub.test:587"),
    "relay.routes": ('{"a.test" = "mx"}', "routes", {"a.test": "mx"}),
    "relay.sender-routes": (
        '{"b.test" = "smtps://u@hub.test"}',
        "senderRoutes",
        {"b.test": "smtps://u@hub.test"},
    ),
    "relay.passwords": ('"secrets"', "relayPasswords", "secrets"),
    "relay.resolvers": ('["127.0.0.1:53"]', "resolvers", ("127.0.0.1:53",)),
    "relay.trust-resolvers": ("true", "trustResolvers", True),
    "relay.dane": ("false", "dane", False),
    "relay.mta-sts": ("false", "mtasts", False),
    "relay.address-families": ('["ipv4"]', "relayFamilies", ("ipv4",)),
    "relay.port": ("2525", "relayPort", 2525),
    "relay.connections": ("3", "relayConnections", 3),
    "relay.connections-per-destination": ("4", "relayConnectionsPerDestination", 4),
    "queue.lifetime": ("86400", "queueLifetime", 86400),
    "queue.warn-after": ("0", "queueWarnAfter", 0),
    "quota.warnings": ("[80, 95]", "quotaWarnings", (80, 95)),
    "queue.retry": ("[5, 10]", "queueRetry", (5, 10)),
    "queue.double-failures": ('"root@a.test"', "doubleFailures", "root@a.test"),
}


class ConfigTestCase(SynchronousTestCase):
    """
    Writes files.
    """

    def load(self, text: str | bytes, **given: Any) -> Configuration:
        """
        @return: what a file with that text says.
        """
        self.path = self.mktemp()
        with open(self.path, "wb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
        return load(self.path, **given)

    def problem(self, text: str | bytes, **given: Any) -> str:
        """
        @return: what is said of a file that can't be used, without its name at the beginning.
        """
        said = str(self.assertRaises(ConfigurationProblem, self.load, text, **given))
        self.assertTrue(said.startswith(self.path), said)
        return said.removeprefix(self.path).lstrip(": ")


class KeyTests(ConfigTestCase):
    """
    What each key does.
    """

    def test_everyKeyIsHere(self) -> None:
        """These tests know every key, so a new one needs its line here."""
        self.assertEqual({each.metadata["key"] for each in fields(Configuration)}, set(KEYS))

    def test_defaults(self) -> None:
        """An empty file, and no file, mean the defaults: loopback only, nothing plain."""
        self.assertEqual(self.load(""), Configuration())
        self.assertEqual(load(None), Configuration())
        endpoints = load(None).endpoints()
        self.assertEqual(set(endpoints), set(SERVICES) - {"lmtp"})
        for endpoint in endpoints.values():
            self.assertTrue(endpoint.endswith(":interface=127.0.0.1"), endpoint)
            self.assertGreater(int(endpoint.split(":")[1]), 1024)
        self.assertIs(load(None).allowPlaintext, False)

    def test_each(self) -> None:
        """Each key sets its field and nothing else, dotted and in its table alike."""
        for key, (text, name, value) in KEYS.items():
            # Those that don't go alone.
            other = {
                "tls.certificate": ('tls.key = "x"\n', "key"),
                "tls.key": ('tls.certificate = "x"\n', "certificate"),
                "auth.checkers": ('checker-file.path = "x"\n', "checkerFilePath"),
            }
            more, field = other.get(key, ("", name))
            found = self.load(f"{more}{key} = {text}\n")
            self.assertEqual(getattr(found, name), value, key)
            changed = {
                each.name
                for each in fields(Configuration)
                if getattr(found, each.name) != getattr(Configuration(), each.name)
            }
            self.assertEqual(changed, {name, field})
            section, _, last = key.rpartition(".")
            if section and key not in other:
                table = self.load(f"[{section}]\n{last} = {text}\n")
                self.assertEqual(table, found)

    def test_wrongType(self) -> None:
        """A value of another type is refused with the key and what it must be."""
        for key, (_, name, value) in KEYS.items():
            if name == "listen":
                continue
            kind = {str: "a string", int: "a whole number", bool: "true or false"}.get(type(value))
            if isinstance(value, dict):
                whole = isinstance(next(iter(value.values())), int)
                kind = "a table of whole numbers" if whole else "a table of strings"
            elif isinstance(value, tuple):
                whole = isinstance(value[0], int)
                kind = "a list of whole numbers" if whole else "a list of strings"
            good = list if isinstance(value, tuple) else type(value)
            wrong = [[1.5], {"a": "b"} if kind == "a table of whole numbers" else {"a": 1}]
            for text in (
                *('"text"', "5", "true", "1.5", "[]", "[1.5]", "2026-01-01"),
                *("{a = 1}", '{a = "b"}'),
            ):
                given = tomllib.loads(f"a = {text}")["a"]
                if type(given) is good and given not in wrong:
                    continue
                self.assertEqual(self.problem(f"{key} = {text}"), f"{key} must be {kind}")

    def test_bounds(self) -> None:
        """Numbers below what an RFC wants, below zero or beyond all use are refused."""
        for each in fields(Configuration):
            key, least = each.metadata["key"], each.metadata["least"]
            if not isinstance(each.default, int) or isinstance(each.default, bool):
                continue
            self.assertEqual(getattr(self.load(f"{key} = {least}"), each.name), least)
            for number in (least - 1, -1):
                self.assertEqual(
                    self.problem(f"{key} = {number}"),
                    f"{key} must be at least {least}, not {number}",
                )
            self.assertIn(f"{key} must be at most", self.problem(f"{key} = {10**18}"))

    def test_leastOfTheRFCs(self) -> None:
        """The bounds of RFC 5321 §4.5.3.1-2 and §6.3, RFC 9051 §5.4, RFC 1939 §3."""
        least = {each.metadata["key"]: each.metadata["least"] for each in fields(Configuration)}
        self.assertEqual(least["smtp.max-message-size"], 64 * 1024)
        self.assertEqual(least["smtp.max-recipients"], 100)
        self.assertEqual(least["smtp.hop-limit"], 100)
        self.assertEqual(least["smtp.timeout"], 5 * 60)
        self.assertEqual(least["imap.timeout"], 30 * 60)
        self.assertEqual(least["pop3.timeout"], 10 * 60)

    def test_messageLimit(self) -> None:
        """RFC 9738 §3: a limit is at least 1,000, or there is none."""
        self.assertIn("0 or at least 1000, not 999", self.problem("imap.message-limit = 999"))
        self.assertEqual(self.load("imap.message-limit = 0").imapMessageLimit, 0)

    def test_hostname(self) -> None:
        """A name that isn't one is refused; what isn't ASCII becomes A-labels."""
        for name in ("mx example", "a..b", "mx.example.org.", "[1.2.3", "x" * 300):
            self.assertIn("hostname: ", self.problem(f'hostname = "{name}"'))
        self.assertIn("control characters", self.problem('hostname = "mx\\r\\n220 other"'))
        self.assertEqual(
            self.load('hostname = "MX.Bücher.example"').name, "mx.xn--bcher-kva.example"
        )

    def test_machinesName(self) -> None:
        """Without a host name it is the machine's, or localhost if that can't be one."""
        for name, expected in (("Box", "box"), ("my machine", "localhost"), ("", "localhost")):
            self.patch(socket, "gethostname", lambda name=name: name)
            self.assertEqual(Configuration().name, expected)

    def test_addresses(self) -> None:
        """The postmaster must be an address, the default domain a domain."""
        self.assertIn("smtp.postmaster: root: ", self.problem('smtp.postmaster = "root"'))
        self.assertIn(
            "quota.administrators: root: ", self.problem('quota.administrators = ["a@b", "root"]')
        )
        self.assertIn("auth.default-domain: a b: ", self.problem('auth.default-domain = "a b"'))

    def test_separator(self) -> None:
        """The separator is one character that names don't consist of, or none."""
        self.assertEqual(self.load('smtp.subaddress-separator = ""').separator, "")
        for text in ("a", "@", "++", " ", '\\"', "ü"):
            self.assertIn(
                "smtp.subaddress-separator must be one of",
                self.problem(f'smtp.subaddress-separator = "{text}"'),
            )

    def test_maxLine(self) -> None:
        """A limit of lines is at least what RFC 5321 §4.5.3.1.6 guarantees, or none."""
        for value in (1, 999):
            self.assertIn(
                "smtp.max-line must be 0 or at least 1000",
                self.problem(f"smtp.max-line = {value}"),
            )

    def test_bareNewlines(self) -> None:
        """Only the two words are known."""
        self.assertEqual(
            self.problem('smtp.bare-newlines = "drop"'),
            'smtp.bare-newlines must be "refuse", "normalise" or "keep"',
        )

    def test_certificateNeedsKey(self) -> None:
        """One without the other is refused."""
        for text in ('tls.certificate = "c.pem"', 'tls.key = "k.pem"'):
            self.assertEqual(self.problem(text), "tls.certificate and tls.key go together")

    def test_data(self) -> None:
        """The data directory has a name, without control characters."""
        self.assertEqual(self.problem('data = ""'), "data must name a directory")
        self.assertIn("control characters", self.problem('data = "a\\u0000b"'))

    def test_referrals(self) -> None:
        """Where mailboxes are is a host, and the administrator a URI: both become responses."""
        for host in ('"a b"', '"a]"', '""', '"a/b"', '"-a"'):
            self.assertIn(
                "imap.referrals must be like",
                self.problem(f"imap.referrals = {{'a.test' = {host}}}"),
            )
        self.assertIn(
            "imap.referrals must be", self.problem("imap.referrals = {'a@b c' = 'x.test'}")
        )
        for uri in ('"admin@a.test"', '"mailto:"', '"mailto:a b"'):
            self.assertIn("imap.admin must be a URI", self.problem(f"imap.admin = {uri}"))


class UnknownTests(ConfigTestCase):
    """
    What the file must not have.
    """

    def test_nearest(self) -> None:
        """An unknown key is an error that names the nearest known one."""
        for text, said in (
            ('hostnme = "a"', "there is no key hostnme; did you mean hostname?"),
            (
                "[smtp]\nmax-recipient = 5",
                "there is no key smtp.max-recipient; did you mean smtp.max-recipients?",
            ),
            ('[tls]\ncert = "a"', "there is no key tls.cert; did you mean tls.certificate?"),
            (
                "max-recipients = 500",
                "there is no key max-recipients; did you mean smtp.max-recipients?",
            ),
            ("zzzz = 1", "there is no key zzzz"),
        ):
            self.assertEqual(self.problem(text), said)

    def test_table(self) -> None:
        """An unknown table is an error even if nothing is in it; a known one may be empty."""
        self.assertEqual(self.problem("[smpt]"), "there is no table smpt; did you mean smtp?")
        self.assertEqual(self.problem("[listne]"), "there is no table listne; did you mean listen?")
        self.assertEqual(self.load("[smtp]\n[listen]\n"), Configuration())

    def test_noTable(self) -> None:
        """What must be a table is no value."""
        for text in ("smtp = 25", "[[smtp]]", 'smtp = "tcp:25"'):
            self.assertEqual(self.problem(text), "smtp must be a table: [smtp]")
        for text in ('listen = "tcp:25"', "listen = 25", "listen = []"):
            self.assertEqual(self.problem(text), "listen must be a table: [listen]")

    def test_tooDeep(self) -> None:
        """A table inside a table is an unknown key."""
        self.assertIn("smtp.tls", self.problem("[smtp.tls]\nkey = 1"))

    def test_service(self) -> None:
        """An unknown service names the nearest and all there are."""
        said = self.problem('listen.submision = "tcp:587"')
        self.assertIn("there is no service submision; did you mean submission?", said)
        self.assertIn("smtp, submission, submissions, lmtp, pop3, pop3s, imap, imaps", said)

    def test_endpoint(self) -> None:
        """An endpoint is text."""
        for text in ("25", '""', "true", "{}"):
            self.assertEqual(
                self.problem(f"listen.smtp = {text}"),
                'listen.smtp must be an endpoint, like "tcp:25", or "off"',
            )


class FileTests(ConfigTestCase):
    """
    The file itself, and what is given besides.
    """

    def test_missing(self) -> None:
        """A file that isn't there, or is a directory: its name and why."""
        path = self.mktemp()
        said = str(self.assertRaises(ConfigurationProblem, load, path))
        self.assertEqual(said, f"{path}: No such file or directory")
        said = str(self.assertRaises(ConfigurationProblem, load, "/"))
        self.assertEqual(said, "/: Is a directory")

    def test_notTOML(self) -> None:
        """A syntax error names the line."""
        self.assertRegex(self.problem('hostname = "a"\ndata = b\n'), r"is not valid TOML: .*line 2")
        self.assertIn("is not valid TOML", self.problem(b"hostname = '\xff'"))

    def test_given(self) -> None:
        """What the command line says goes before the file; what it doesn't say is the file's."""
        text = 'data = "there"\nhostname = "a.example"\n[listen]\nsmtp = "tcp:1"\nimap = "tcp:2"\n'
        found = self.load(text, data="here", listen={"imap": "tcp:3", "pop3": "off"})
        self.assertEqual((found.data, found.hostname), ("here", "a.example"))
        endpoints = found.endpoints()
        self.assertEqual((endpoints["smtp"], endpoints["imap"]), ("tcp:1", "tcp:3"))
        self.assertNotIn("pop3", endpoints)
        self.assertEqual(endpoints["pop3s"], SERVICES["pop3s"][2])
        self.assertEqual(self.load(text, data=None).data, "there")

    def test_givenWrong(self) -> None:
        """What is wrong on the command line isn't said of the file."""
        for given in ({"listen": {"smpt": "tcp:1"}}, {"data": ""}):
            error = self.assertRaises(ConfigurationProblem, load, None, **given)
            self.assertNotIn("None", str(error))
        self.assertIn(
            "there is no service smpt; did you mean smtp?",
            str(self.assertRaises(ConfigurationProblem, load, None, listen={"smpt": "tcp:1"})),
        )


class TemplateTests(ConfigTestCase):
    """
    The commented file that C{mailstack init} writes.
    """

    def test_commented(self) -> None:
        """As it is written it changes nothing."""
        self.assertEqual(self.load(template()), Configuration())

    def test_uncommented(self) -> None:
        """Each key with its default, uncommented, changes nothing either."""
        lines = [
            re.sub(r"^# (?=\S+ = )", "", line)
            for line in template().splitlines()
            # Its example isn't the default.
            if not line.startswith("# listen.")
        ]
        self.assertGreaterEqual(
            sum(" = " in line and line[0] != "#" for line in lines), len(KEYS) - 1
        )
        self.assertEqual(self.load("\n".join(lines)), Configuration())

    def test_example(self) -> None:
        """The example of an endpoint can be used."""
        (example,) = [line[2:] for line in template().splitlines() if line.startswith("# listen.")]
        self.assertIn(self.load(example).endpoints()["smtp"], ("tcp:25",))

    def test_documented(self) -> None:
        """Each key has its documentation right above it."""
        lines = template().splitlines()
        for each in fields(Configuration):
            self.assertIn(f"# {each.metadata['doc']}", lines)
