# -*- test-case-name: tests.test_config -*-
"""
The configuration: a TOML file, every key of which is a field of L{Configuration}.

A field's metadata is its key in the file and its documentation; C{docs/configuration.rst} is held
to it by a test. An unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import re
import socket
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, get_type_hints

from twisted_mailstack.auth.checkers.source import SourceProblem
from twisted_mailstack.auth.guessing import GuessingLimits
from twisted_mailstack.checkers import checkCheckers
from twisted_mailstack.delivery.registry import RECEIVING, SUBMISSION
from twisted_mailstack.delivery.step import StepProblem
from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.address import Address, parseDomain
from twisted_mailstack.net.dns import parseServer
from twisted_mailstack.policies import checkPolicies
from twisted_mailstack.relay.routes import RouteProblem, parseRoute
from twisted_mailstack.sasl.registry import MAKERS
from twisted_mailstack.sasl.scram import SCHEMES

#: The services, their protocol, whether TLS is implicit (RFC 8314 §3), and where they listen by
#: default.
SERVICES: dict[str, tuple[str, bool, str]] = {
    "smtp": ("smtp", False, "tcp:2525:interface=127.0.0.1"),
    "submission": ("smtp", False, "tcp:2587:interface=127.0.0.1"),
    "submissions": ("smtp", True, "tcp:2465:interface=127.0.0.1"),
    # For a mail server in front of this one, so only where it is wanted.
    "lmtp": ("lmtp", False, "off"),
    "pop3": ("pop3", False, "tcp:2110:interface=127.0.0.1"),
    "pop3s": ("pop3", True, "tcp:2995:interface=127.0.0.1"),
    "imap": ("imap", False, "tcp:2143:interface=127.0.0.1"),
    "imaps": ("imap", True, "tcp:2993:interface=127.0.0.1"),
}
OFF = "off"
FAMILIES = {"ipv6": "AAAA", "ipv4": "A"}
LISTEN = "listen"
#: What may separate the account from the tag in an address.
SEPARATORS = "+-_=.#!~"
#: What is offered by default. Not what needs passwords in plain, nor what is for nobody; nor
#: SCRAM-SHA-256-PLUS, which clients in use (mutt 2.2) take and then can't do.
MECHANISMS = (*("EXTERNAL", "GSSAPI", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"),)
#: The largest number that may be given; more than this the database can't keep.
MOST = 2**53


class ConfigurationProblem(Exception):
    """The configuration can't be used; the text says what is wrong, where, and what to do."""


#   URI = scheme ":" hier-part
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+\Z")
_HOST = re.compile(r"(?=[A-Za-z0-9.-]{1,255}(?::\d{1,5})?\Z)[A-Za-z0-9]")


def _option(key: str, doc: str, default: Any, least: int | None = None) -> Any:
    metadata = {"key": key, "doc": doc, "least": least}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """
    What can be configured. See each field's documentation.
    """

    hostname: str = _option(
        "hostname",
        "The server's name, as other servers see it: in greetings and Received fields. The"
        " machine's own name if it isn't set.",
        "",
    )
    data: str = _option("data", "The directory in which everything is kept.", "mailstack-data")
    listen: Mapping[str, str] = _option(
        "listen",
        "A table of services (smtp, submission, submissions, lmtp, pop3, pop3s, imap, imaps) and"
        ' the Twisted endpoint on which each listens, or "off". Those that aren\'t named keep their'
        " default: on loopback, and lmtp off.",
        {},
    )
    workers: int = _option(
        "workers",
        "Processes that serve clients, over the same data; 0: the only one, which is enough for"
        " most servers. What is said of connections holds for each of them.",
        0,
        0,
    )
    certificate: str = _option(
        "tls.certificate",
        "The file with the certificate chain, PEM. Without it a self-signed one is made. Read again"
        " when it changes, and on SIGHUP.",
        "",
    )
    key: str = _option("tls.key", "The file with the certificate's private key, PEM.", "")
    certificates: Mapping[str, str] = _option(
        "tls.certificates",
        "A table of more certificates: the file with the chain, and the file with its private key."
        " A client that names a host gets the one that is for that host (SNI).",
        {},
    )
    clientAuthorities: str = _option(
        "tls.client-authorities",
        "A file with the certificates, PEM, of those who vouch for clients' certificates, for"
        " EXTERNAL. Clients are asked for one only if it is set and EXTERNAL is offered, and never"
        " where other servers deliver (smtp, lmtp).",
        "",
    )
    tlsNames: tuple[str, ...] = _option(
        "tls.names",
        "Names of hosts, besides hostname, by which clients know the server. Those that no"
        " certificate is for get a self-signed one.",
        (),
    )
    maxConnections: int = _option(
        "limits.connections", "Connections of one service at a time.", 10_000, 1
    )
    maxConnectionsPerPeer: int = _option(
        "limits.connections-per-peer",
        "Connections of one service at a time from one IPv4 address or IPv6 /64 network. Loopback"
        " is exempt.",
        100,
        1,
    )
    proxyNetworks: tuple[str, ...] = _option(
        "limits.proxy-networks",
        "Networks of load balancers, as 192.0.2.0/24: what connects from there must send the PROXY"
        " protocol's header (version 1 or 2) first, which is believed.",
        (),
    )
    allowPlaintext: bool = _option(
        "auth.allow-plaintext",
        "Take passwords without TLS. Holds only for services that listen on loopback or on a Unix"
        " socket.",
        False,
    )
    maxLoginFailures: int = _option(
        "auth.max-failures", "Failed logins after which a connection is closed.", 3, 1
    )
    networkFailures: int = _option(
        "auth.network-failures",
        "Failed logins after which a client's network may try no more for a while; 0 for any"
        " number. They are counted for all services together, and stay through a restart.",
        20,
        0,
    )
    accountFailures: int = _option(
        "auth.account-failures",
        "Failed logins under one name after which only networks from which its owner logged in"
        " lately may try, for a while; 0 for any number.",
        50,
        0,
    )
    lockout: int = _option(
        "auth.lockout", "Seconds that a failed login counts, and so that this lasts.", 900, 1
    )
    ipv4Prefix: int = _option(
        "auth.ipv4-prefix", "Bits of an IPv4 address that make a network, up to 32.", 24, 8
    )
    ipv6Prefix: int = _option("auth.ipv6-prefix", "Likewise of IPv6, up to 128.", 64, 16)
    loginExempt: tuple[str, ...] = _option(
        "auth.exempt-networks",
        "Networks whose failed logins aren't counted: this machine's, and those of a webmail, from"
        " which all users come.",
        ("127.0.0.0/8", "::1/128"),
    )
    defaultDomain: str = _option("auth.default-domain", "The domain of login names without @.", "")
    checkers: tuple[str, ...] = _option(
        "auth.checkers",
        "Who is asked whether a password is right, in this order, until one says yes: the store's"
        ' own "accounts", and "file", "sql", "ldap", "pam", "command", "http", each of which has'
        " its table of settings, [checker-file] and so on. With another one than accounts SCRAM is"
        " offered only if auth.mechanisms is set, and without accounts not at all.",
        ("accounts",),
    )
    createAccounts: bool = _option(
        "auth.create-accounts",
        "Make the account of whoever logs in for the first time with a password that another"
        " checker than accounts knows, in the domains there are.",
        False,
    )
    mechanisms: tuple[str, ...] = _option(
        "auth.mechanisms",
        "The SASL mechanisms that clients may use, as far as what they need is there: those that"
        " send passwords are offered under TLS only, those with -PLUS only where there is something"
        " to bind to, OAUTHBEARER and XOAUTH2 only with the keys of [oauth], GSSAPI only with"
        " auth.gssapi-realms, EXTERNAL only to clients that have shown a certificate. Also known:"
        " SCRAM-SHA-1, SCRAM-SHA-512, the forms with -PLUS of all three, CRAM-MD5, ANONYMOUS."
        " Unless it is set, SCRAM is offered only while everybody who has a password can use it.",
        MECHANISMS,
    )
    scram: tuple[str, ...] = _option(
        "auth.scram",
        "The SCRAM mechanisms for which something is kept of each password: SCRAM-SHA-1,"
        " SCRAM-SHA-256, SCRAM-SHA-512. For accounts that have nothing yet it is made when they log"
        " in with their password (PLAIN, LOGIN); until then they can't by SCRAM.",
        ("SCRAM-SHA-256",),
    )
    scramIterations: int = _option(
        "auth.scram-iterations",
        "How much work that makes of guessing a password, and of each login for the client.",
        65536,
        4096,
    )
    certificateAccounts: Mapping[str, str] = _option(
        "auth.certificates",
        "A table of SHA-256 fingerprints of client certificates and the account of each, for"
        " EXTERNAL.",
        {},
    )
    certificateAddresses: bool = _option(
        "auth.certificate-addresses",
        "Client certificates that aren't in auth.certificates are of the accounts whose addresses"
        " they are issued for.",
        True,
    )
    anonymous: str = _option(
        "auth.anonymous-account",
        "The account that IMAP clients see who are nobody in particular (ANONYMOUS). They may do"
        " whatever its owner may: give it nothing but what others share with it.",
        "",
    )
    gssapiRealms: Mapping[str, str] = _option(
        "auth.gssapi-realms",
        "A table of Kerberos realms whose tickets are taken (GSSAPI), and the mail domain of each:"
        " user@REALM is the account user@domain.",
        {},
    )
    gssapiKeytab: str = _option(
        "auth.gssapi-keytab",
        "The file with the keys of imap/HOST, pop/HOST and smtp/HOST; by default the system's.",
        "",
    )
    checkerFilePath: str = _option(
        "checker-file.path",
        "The password file: lines of address:hash, as Dovecot's passwd-file. Read again when it"
        " changes.",
        "",
    )
    checkerSQLModule: str = _option(
        "checker-sql.module", "The database's driver, a module of Python's DB-API 2.0.", "sqlite3"
    )
    checkerSQLArguments: Mapping[str, str] = _option(
        "checker-sql.arguments",
        'A table of the arguments of its connect: {database = "/srv/web/users.db"}.',
        {},
    )
    checkerSQLPasswordFile: str = _option(
        "checker-sql.password-file", "A file with the password that is given with them.", ""
    )
    checkerSQLQuery: str = _option(
        "checker-sql.query",
        "The SQL that gives the hash of a password, in the first column of one row, with"
        " :address, :name (of the address) and :domain for the login's.",
        "",
    )
    checkerSQLConnections: int = _option(
        "checker-sql.connections", "Connections, each in a thread.", 4, 1
    )
    checkerSQLTimeout: int = _option("checker-sql.timeout", "Seconds for an answer.", 10, 1)
    checkerLDAPURL: str = _option(
        "checker-ldap.url", "The directory server, like ldaps://ldap.example.org.", ""
    )
    checkerLDAPStartTLS: bool = _option(
        "checker-ldap.starttls", "Begin TLS on connections of ldap URLs.", False
    )
    checkerLDAPCAFile: str = _option(
        "checker-ldap.ca-file",
        "A file with the certificates of those whose certificates are believed; by default the"
        " system's.",
        "",
    )
    checkerLDAPDN: str = _option(
        "checker-ldap.dn",
        'The DN of an address, like "uid={name},ou=people,dc=example,dc=org", with {address},'
        " {name} and {domain}; empty: it is searched for.",
        "",
    )
    checkerLDAPBase: str = _option("checker-ldap.base", "The DN below which it is searched.", "")
    checkerLDAPFilter: str = _option(
        "checker-ldap.filter", "The filter by which it is searched.", "(mail={address})"
    )
    checkerLDAPBindDN: str = _option(
        "checker-ldap.bind-dn", "As whom it is searched; empty: as nobody.", ""
    )
    checkerLDAPBindPasswordFile: str = _option(
        "checker-ldap.bind-password-file", "The file with the password of bind-dn.", ""
    )
    checkerLDAPConnections: int = _option(
        "checker-ldap.connections", "Questions at a time, each in a thread.", 4, 1
    )
    checkerLDAPTimeout: int = _option("checker-ldap.timeout", "Seconds for an answer.", 10, 1)
    checkerPAMService: str = _option(
        "checker-pam.service", "The name of the file in /etc/pam.d.", "mailstack"
    )
    checkerPAMDomain: str = _option(
        "checker-pam.domain", "The domain whose users the machine's users are.", ""
    )
    checkerPAMUsername: str = _option(
        "checker-pam.username",
        'What PAM is asked about: "name" (of the address) or "address".',
        "name",
    )
    checkerPAMThreads: int = _option("checker-pam.threads", "Questions at a time.", 4, 1)
    checkerPAMTimeout: int = _option("checker-pam.timeout", "Seconds for an answer.", 10, 1)
    checkerCommand: tuple[str, ...] = _option(
        "checker-command.command",
        "A program and its arguments. It reads address NUL password NUL NUL and ends with 0 for"
        " yes, 1 for no, anything else if it can't tell, as checkpassword does.",
        (),
    )
    checkerCommandDescriptor: int = _option(
        "checker-command.descriptor",
        "The descriptor from which it reads: 3, or 0 for its standard input.",
        3,
        0,
    )
    checkerCommandProcesses: int = _option(
        "checker-command.processes", "Processes at a time.", 10, 1
    )
    checkerCommandTimeout: int = _option(
        "checker-command.timeout", "Seconds after which it is killed.", 10, 1
    )
    checkerHTTPURL: str = _option(
        "checker-http.url",
        "Where a JSON object with address, name, domain and password is posted to. 204, or 200 with"
        ' {"valid": true}, is yes; 401, 403, or {"valid": false} no.',
        "",
    )
    checkerHTTPTokenFile: str = _option(
        "checker-http.token-file", "A file with a token that is sent along (Bearer).", ""
    )
    checkerHTTPCAFile: str = _option(
        "checker-http.ca-file",
        "A file with the certificates of those whose certificates are believed; by default the"
        " system's.",
        "",
    )
    checkerHTTPConnections: int = _option("checker-http.connections", "Requests at a time.", 20, 1)
    checkerHTTPTimeout: int = _option("checker-http.timeout", "Seconds for an answer.", 10, 1)
    oauthIntrospection: str = _option(
        "oauth.introspection",
        "The URL at which the authorisation server tells whose an access token is (RFC 7662). It"
        " turns OAUTHBEARER and XOAUTH2 on.",
        "",
    )
    oauthClient: str = _option(
        "oauth.client", "By which this server is known to the authorisation server.", ""
    )
    oauthSecretFile: str = _option(
        "oauth.secret-file", "The file with the password that goes with oauth.client.", ""
    )
    oauthKeys: str = _option(
        "oauth.keys",
        "The URL of the keys by which access tokens are signed (JWKS), if they are JWTs: then"
        " nobody is asked about each. Needs oauth.issuer.",
        "",
    )
    oauthIssuer: str = _option("oauth.issuer", "Who has to have signed the tokens.", "")
    oauthAudience: str = _option(
        "oauth.audience",
        "For whom tokens have to be (their claim aud). Empty: for anybody, which lets in tokens"
        " that were made for other services.",
        "",
    )
    oauthScope: str = _option(
        "oauth.scope", "What tokens have to be good for; clients are told to ask for it.", ""
    )
    oauthClaims: tuple[str, ...] = _option(
        "oauth.claims",
        "The claims that say whose account a token is for; the first one that is there counts.",
        ("email", "username", "sub"),
    )
    oauthDiscovery: str = _option(
        "oauth.discovery",
        "The URL of the OpenID configuration, for clients that want to know where to get a token.",
        "",
    )
    maxMessageOctets: int = _option(
        "smtp.max-message-size",
        "The largest message in octets, for SMTP and for IMAP's APPEND.",
        50 * 1024 * 1024,
        65536,
    )
    maxRecipients: int = _option("smtp.max-recipients", "Recipients of one message.", 1000, 100)
    maxLineOctets: int = _option(
        "smtp.max-line",
        "Octets of a line of text, its end included; longer ones are refused. 0: any length.",
        0,
        0,
    )
    bareNewlines: str = _option(
        "smtp.bare-newlines",
        'What to do with a message in which a CR or LF stands by itself: "refuse", "normalise"'
        ' (each becomes CRLF) or "keep". It never ends the message.',
        "refuse",
    )
    hopLimit: int = _option(
        "smtp.hop-limit", "Received fields with which a message is refused as looping.", 100, 100
    )
    separator: str = _option(
        "smtp.subaddress-separator",
        "Separates the account from the tag in user+tag@example.org; empty for no subaddresses.",
        "+",
    )
    postmaster: str = _option(
        "smtp.postmaster",
        "Who gets mail for the postmaster of a domain that has neither an account nor an alias of"
        " that name. The domain's first account if it isn't set.",
        "",
    )
    verify: bool = _option("smtp.verify", "Whether VRFY tells if an address exists.", False)
    maxHold: int = _option(
        "smtp.max-hold",
        "Seconds that a message may be held by its sender's wish (FUTURERELEASE); 0: not at all.",
        30 * 86400,
        0,
    )
    minDeliverBy: int = _option(
        "smtp.min-deliver-by",
        "Seconds; nobody may wish a message delivered or returned sooner (DELIVERBY).",
        0,
        0,
    )
    maxPriority: int = _option(
        "smtp.max-priority",
        "The highest priority, 0 to 9, that our own users may give to a message (MT-PRIORITY).",
        0,
        0,
    )
    priorityNetworks: tuple[str, ...] = _option(
        "smtp.priority-networks", "Networks whose servers may give any priority.", ()
    )
    etrnNetworks: tuple[str, ...] = _option(
        "smtp.etrn-networks",
        "Networks whose servers may ask for what waits for them (ETRN), besides our own users.",
        (),
    )
    xclientNetworks: tuple[str, ...] = _option(
        "smtp.xclient-networks",
        "Networks of proxies that speak for their clients (XCLIENT). Whatever they say is believed,"
        " who has logged in too.",
        (),
    )
    xforwardNetworks: tuple[str, ...] = _option(
        "smtp.xforward-networks",
        "Networks of content filters that tell where mail comes from (XFORWARD).",
        (),
    )
    smtpTimeout: int = _option(
        "smtp.timeout", "Seconds to wait for a client's command or data.", 300, 300
    )
    policies: tuple[str, ...] = _option(
        "smtp.policies",
        "Who has a say in whether mail from other servers is taken, in the order in which they are"
        " asked. Each has a section of its own with its settings; most do nothing before something"
        " is set there.",
        RECEIVING,
    )
    submissionPolicies: tuple[str, ...] = _option(
        "submission.policies", "Likewise, for what our own users submit.", SUBMISSION
    )
    ownSender: bool = _option(
        "own-sender.required",
        "Whoever is logged in may only send under addresses that reach the account: its own, with"
        " any tag, and aliases that lead to it.",
        True,
    )
    ownSenderFields: bool = _option(
        "own-sender.fields", "That holds for From and Sender in the header, too.", True
    )
    ownSenderAllowed: tuple[str, ...] = _option(
        "own-sender.allowed", "Addresses and domains that every account may send under.", ()
    )
    ownSenderUnrestricted: tuple[str, ...] = _option(
        "own-sender.unrestricted", "Accounts that may send under any address.", ()
    )
    accountMessagesPerHour: int = _option(
        "account-limits.messages-per-hour",
        "Messages that an account may send in an hour; 0 for no limit.",
        0,
        0,
    )
    accountMessagesPerDay: int = _option(
        "account-limits.messages-per-day", "Likewise in a day.", 0, 0
    )
    accountRecipientsPerHour: int = _option(
        "account-limits.recipients-per-hour",
        "Recipients to which an account may send in an hour; 0 for no limit.",
        0,
        0,
    )
    accountRecipientsPerDay: int = _option(
        "account-limits.recipients-per-day", "Likewise in a day.", 0, 0
    )
    rateConnections: str = _option(
        "rates.connections",
        'Connections of one client network (an IPv4 /24, an IPv6 /64), as "30/1m": that many at'
        " once, and in that time; units are s, m, h and d. What exceeds it is put off. Empty for no"
        " limit. This machine is exempt.",
        "",
    )
    rateMessages: str = _option("rates.messages", "Messages of one client network, likewise.", "")
    rateRecipients: str = _option(
        "rates.recipients", "Recipients of mail of one client network, likewise.", ""
    )
    rateAccountMessages: str = _option(
        "rates.account-messages", "Messages of one account that is logged in, likewise.", ""
    )
    rateAccountRecipients: str = _option(
        "rates.account-recipients", "Recipients of mail of one account, likewise.", ""
    )
    rateExempt: tuple[str, ...] = _option(
        "rates.exempt-networks", "Networks that may come as fast as they like.", ()
    )
    dnsblLists: tuple[str, ...] = _option(
        "dnsbl.lists",
        "Lists of clients that are asked by DNS (RFC 5782): zone[=answers][*weight], such as"
        ' "bl.example.org", "bl.example.org=127.0.0.2-11*2", "good.example.net*-3".',
        (),
    )
    dnsblReject: int = _option(
        "dnsbl.reject",
        "The sum of a client's weights from which on its mail is refused; 0: never.",
        1,
        0,
    )
    dnsblMark: int = _option(
        "dnsbl.mark",
        "The sum from which on its mail gets the field X-DNSBL; 0: never.",
        0,
        0,
    )
    dnsblTimeout: int = _option(
        "dnsbl.timeout", "Seconds to wait for a list, which then has no opinion.", 5, 1
    )
    dnsblExempt: tuple[str, ...] = _option(
        "dnsbl.exempt-networks", "Networks of clients that are not looked up.", ()
    )
    reverseDNS: str = _option(
        "reverse-dns.action",
        "Whether a client's address must have a name that has this address:"
        ' "reject" its mail if not, "header": only the field X-Reverse-DNS says so, "off".',
        "off",
    )
    reverseDNSTimeout: int = _option(
        "reverse-dns.timeout", "Seconds to wait for the DNS; then nothing is refused.", 10, 1
    )
    reverseDNSExempt: tuple[str, ...] = _option(
        "reverse-dns.exempt-networks", "Networks of clients that are not looked up.", ()
    )
    heloOurs: bool = _option(
        "helo.ours",
        "Refuse clients that call themselves by this server's name, or by an address that isn't"
        " theirs.",
        False,
    )
    heloQualified: bool = _option(
        "helo.qualified", "Refuse clients that call themselves by a name without a dot.", False
    )
    heloResolves: bool = _option(
        "helo.resolves", "Refuse clients whose name the DNS doesn't have.", False
    )
    heloTimeout: int = _option(
        "helo.timeout", "Seconds to wait for the DNS; then nothing is refused.", 5, 1
    )
    heloExempt: tuple[str, ...] = _option(
        "helo.exempt-networks", "Networks of clients that may call themselves as they like.", ()
    )
    greylisting: bool = _option(
        "greylisting.enabled",
        "Put off mail between two addresses that comes from a network the first time (RFC 6647)."
        " Servers try again; much of what sends to stolen addresses doesn't.",
        False,
    )
    greylistingDelay: int = _option(
        "greylisting.delay", "Seconds; who comes again earlier is put off again.", 300, 1
    )
    greylistingWindow: int = _option(
        "greylisting.window", "Seconds in which one has to come again.", 2 * 86400, 3600
    )
    greylistingKept: int = _option(
        "greylisting.kept", "Seconds that what passed is known without being used.", 36 * 86400, 1
    )
    greylistingNetworkPasses: int = _option(
        "greylisting.network-passes",
        "After so many different ones passed, their network isn't put off any more; 0: each is.",
        5,
        0,
    )
    greylistingExempt: tuple[str, ...] = _option(
        "greylisting.exempt-networks", "Networks of clients that are not put off.", ()
    )
    greylistingExemptRecipients: tuple[str, ...] = _option(
        "greylisting.exempt-recipients", "Addresses and domains whose mail isn't put off.", ()
    )
    sizesRecipients: Mapping[str, int] = _option(
        "sizes.recipients",
        "A table of addresses or domains and the octets of the largest message that they take,"
        " where that is less than smtp.max-message-size.",
        {},
    )
    sizesSenders: Mapping[str, int] = _option(
        "sizes.senders",
        "A table of accounts or domains and the octets of the largest message that they may send.",
        {},
    )
    headerChecks: tuple[str, ...] = _option(
        "header-checks.checks",
        'Refuse messages whose header is not as RFC 5322 wants it: "from" (an address in From),'
        ' "date" (a valid Date), "once" (no field twice that may be there once), "syntax" (every'
        ' line is of a field), "ascii" (it is ASCII, but with SMTPUTF8).',
        (),
    )
    imapTimeout: int = _option(
        "imap.timeout", "Seconds without a command before an IMAP client is logged out.", 1800, 1800
    )
    imapMessageLimit: int = _option(
        "imap.message-limit",
        "How many messages one IMAP command may be about (MESSAGELIMIT, RFC 9738), at least 1000; 0"
        " for no limit.",
        0,
        0,
    )
    imapComment: str = _option(
        "imap.comment", "What IMAP clients are told about the server (METADATA, RFC 5464).", ""
    )
    imapAdmin: str = _option(
        "imap.admin",
        "How IMAP clients reach the administrator: a URI, like mailto:admin@example.org or tel:.",
        "",
    )
    imapReferrals: Mapping[str, str] = _option(
        "imap.referrals",
        "A table of accounts or domains whose mailboxes are on another server, and that server's"
        " host: who logs in here is told to go there (RFC 2221).",
        {},
    )
    pop3Timeout: int = _option(
        "pop3.timeout", "Seconds without a command before a POP3 client is logged out.", 600, 600
    )
    pop3LoginDelay: int = _option(
        "pop3.login-delay",
        "Seconds that an account has to wait between two POP3 logins; 0 for none. An account may"
        " have its own: mailstack user pop3.",
        0,
        0,
    )
    pop3ExpireDays: int = _option(
        "pop3.expire-days",
        "Days after which what a POP3 client has fetched is removed, when its session ends; counted"
        " from when this is set. 0 for never. Clients are told (EXPIRE). An account may have its"
        " own: mailstack user pop3.",
        0,
        0,
    )
    pop3Apop: bool = _option(
        "pop3.apop",
        "Let accounts log in with APOP that have a password stored in plain. It needs no TLS, and"
        " is safe from nobody who listens.",
        False,
    )
    quotaOctets: int = _option(
        "quota.octets", "Octets that a new account may hold; 0 for no limit.", 0, 0
    )
    quotaMessages: int = _option(
        "quota.messages", "Messages that a new account may hold; 0 for no limit.", 0, 0
    )
    quotaWarnings: tuple[int, ...] = _option(
        "quota.warnings",
        "Percent of a quota from which on the account is told by a message, and the log has a line,"
        " once for each time that it comes above. It is looked at every five minutes.",
        (90,),
    )
    quotaAdministrators: tuple[str, ...] = _option(
        "quota.administrators", "Accounts that may change quotas with IMAP's SETQUOTA.", ()
    )
    searchIndex: bool = _option(
        "search.index",
        "Keep indexes of the texts of all mail, so that searches take milliseconds. They take about"
        " half as much room as the texts, and are made in the background.",
        True,
    )

    relay: bool = _option(
        "relay.enabled",
        "Pass mail for other domains on: what our own users submit, and what aliases lead to. Else"
        " it is refused. Needs DNS and, to the servers of other domains, port 25.",
        False,
    )
    smarthost: str = _option(
        "relay.smarthost",
        "The route of all mail that no other route is for, such as"
        " smtps://user@mail.example.net; empty to ask the DNS for each domain's servers.",
        "",
    )
    routes: Mapping[str, str] = _option(
        "relay.routes",
        "A table of recipients' domains and their routes; .example.org is for all domains below"
        ' example.org. A route is "mx", "smtp://host:port", "smtps://host", "lmtp://host:port" or'
        ' "lmtp+unix:/path"; a user@ before the host logs in.',
        {},
    )
    senderRoutes: Mapping[str, str] = _option(
        "relay.sender-routes",
        "A table of senders' addresses or domains and the routes of their mail.",
        {},
    )
    relayPasswords: str = _option(
        "relay.passwords",
        "A file with the passwords of routes with a user, a line each: user@host password.",
        "",
    )
    resolvers: tuple[str, ...] = _option(
        "relay.resolvers",
        'DNS resolvers to ask, as "address" or "address:port"; without any those of'
        " /etc/resolv.conf.",
        (),
    )
    trustResolvers: bool = _option(
        "relay.trust-resolvers",
        "Believe these resolvers that they validated an answer (DNSSEC), although they are not on"
        " this machine. DANE needs that.",
        False,
    )
    dane: bool = _option(
        "relay.dane", "Verify servers by their TLSA records where DNSSEC vouches for them.", True
    )
    mtasts: bool = _option("relay.mta-sts", "Heed the MTA-STS policies of domains.", True)
    relayFamilies: tuple[str, ...] = _option(
        "relay.address-families",
        'Kinds of addresses to connect to, in the order in which they are tried: "ipv6", "ipv4".',
        ("ipv6", "ipv4"),
    )
    relayPort: int = _option(
        "relay.port", "The port of other domains' servers; another than 25 is for tests.", 25, 1
    )
    relayConnections: int = _option(
        "relay.connections", "Connections to all other servers at a time.", 100, 1
    )
    relayConnectionsPerDestination: int = _option(
        "relay.connections-per-destination",
        "Connections to one domain (or smarthost) at a time, and to one host, however many domains"
        " it serves; fewer where it doesn't take so many.",
        20,
        1,
    )
    queueLifetime: int = _option(
        "queue.lifetime",
        "Seconds for which mail that can't be passed on is tried again, before it goes back to its"
        " sender.",
        5 * 86400,
        60,
    )
    queueWarnAfter: int = _option(
        "queue.warn-after",
        "Seconds after which the sender is told that the mail is delayed; 0: never.",
        4 * 3600,
        0,
    )
    queueRetry: tuple[int, ...] = _option(
        "queue.retry",
        "Seconds between attempts: after the first failure, the second, and so on; the last one"
        " goes on.",
        (60, 300, 600, 1800, 3600, 7200, 14400),
    )
    doubleFailures: str = _option(
        "queue.double-failures",
        "Who gets notifications that can't be delivered themselves; empty: they are only logged.",
        "",
    )

    @property
    def values(self) -> dict[str, Any]:
        """What each key has."""
        return {each.metadata["key"]: getattr(self, each.name) for each in fields(self)}

    @property
    def guessing(self) -> GuessingLimits:
        """When who guesses passwords is locked out."""
        return GuessingLimits(
            self.networkFailures,
            self.accountFailures,
            self.lockout,
            networks(self.loginExempt),
            self.ipv4Prefix,
            self.ipv6Prefix,
        )

    @property
    def name(self) -> str:
        """The host name that is used."""
        if self.hostname:
            return parseDomain(self.hostname)
        try:
            return parseDomain(socket.gethostname())
        except SyntaxProblem:
            return "localhost"

    def endpoints(self) -> dict[str, str]:
        """
        @return: the endpoint of each service that is to listen.
        """
        wanted = {name: self.listen.get(name, default[2]) for name, default in SERVICES.items()}
        return {name: endpoint for name, endpoint in wanted.items() if endpoint != OFF}


def load(path: str | None, **given: Any) -> Configuration:
    """
    Read a configuration file.

    @param path: C{None} for the defaults.
    @param given: values by field that override the file's; C{listen} is merged with it.
    @raise ConfigurationProblem: if it can't be used.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            parsed = tomllib.loads(Path(path).read_text("utf-8"))
        except OSError as error:
            raise ConfigurationProblem(f"{path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationProblem(f"{path} is not valid TOML: {error}") from error
        values = _read(path, parsed)
    _checkListen(f"{path}: ", values.setdefault("listen", {}))
    listen = given.pop("listen", {})
    _checkListen("", listen)
    values["listen"] = {**values["listen"], **listen}
    values.update({name: value for name, value in given.items() if value is not None})
    configuration = Configuration(**values)
    _check("" if path is None else f"{path}: ", configuration)
    return configuration


def _read(path: str, parsed: Mapping[str, Any]) -> dict[str, Any]:
    known = {each.metadata["key"]: each for each in fields(Configuration)}
    hints = get_type_hints(Configuration)
    values: dict[str, Any] = {}
    for key, value in _flatten(path, parsed, known):
        found = known.get(key)
        if found is None:
            raise ConfigurationProblem(f"{path}: there is no key {key}{_nearest(key, known)}")
        kind, fits = _KINDS[hints[found.name]]
        # What is to listen is checked together with the command line's.
        if key != LISTEN and not fits(value):
            raise ConfigurationProblem(f"{path}: {key} must be {kind}")
        values[found.name] = tuple(value) if isinstance(value, list) else value
    return values


def _isStrings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _isNumbers(value: object) -> bool:
    return isinstance(value, list) and all(type(each) is int for each in value)


def _isTable(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def _isNumberTable(value: object) -> bool:
    return isinstance(value, dict) and all(type(each) is int for each in value.values())


#: By a field's type: what its value must be, in words and as a test.
_KINDS: dict[Any, tuple[str, Callable[[object], bool]]] = {
    str: ("a string", lambda value: isinstance(value, str)),
    int: ("a whole number", lambda value: type(value) is int),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    tuple[str, ...]: ("a list of strings", _isStrings),
    tuple[int, ...]: ("a list of whole numbers", _isNumbers),
    Mapping[str, str]: ("a table of strings", _isTable),
    Mapping[str, int]: ("a table of whole numbers", _isNumberTable),
}


def _flatten(
    path: str, parsed: Mapping[str, Any], known: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    sections = {key.partition(".")[0] for key in known if "." in key}
    found = []
    for key, value in parsed.items():
        if key in sections:
            if not isinstance(value, dict):
                raise ConfigurationProblem(f"{path}: {key} must be a table: [{key}]")
            found += [(f"{key}.{below}", each) for below, each in value.items()]
        elif isinstance(value, dict) and key not in known:
            raise ConfigurationProblem(
                f"{path}: there is no table {key}{_nearest(key, sections | {LISTEN})}"
            )
        else:
            found.append((key, value))
    return found


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _checkListen(where: str, listen: object) -> None:
    if not isinstance(listen, dict):
        raise ConfigurationProblem(f"{where}listen must be a table: [listen]")
    for name, endpoint in listen.items():
        if name not in SERVICES:
            raise ConfigurationProblem(
                f"{where}there is no service {name}{_nearest(name, SERVICES)}"
                f" (there are {', '.join(SERVICES)})"
            )
        if not isinstance(endpoint, str) or not endpoint:
            raise ConfigurationProblem(
                f'{where}listen.{name} must be an endpoint, like "tcp:25", or "{OFF}"'
            )


def _check(where: str, configuration: Configuration) -> None:
    for each in fields(Configuration):
        key, least = each.metadata["key"], each.metadata["least"]
        value = getattr(configuration, each.name)
        if least is not None and value < least:
            raise ConfigurationProblem(f"{where}{key} must be at least {least}, not {value}")
        if least is not None and value > MOST:
            raise ConfigurationProblem(f"{where}{key} must be at most {MOST}")
        texts = _texts(value)
        if any(not text.isprintable() for text in texts):
            # A line end in what the server says of itself would be a reply of its own.
            raise ConfigurationProblem(f"{where}{key} has control characters in it")
    if not configuration.data:
        raise ConfigurationProblem(f"{where}data must name a directory")
    if configuration.bareNewlines not in ("refuse", "normalise", "keep"):
        raise ConfigurationProblem(
            f'{where}smtp.bare-newlines must be "refuse", "normalise" or "keep"'
        )
    for key, value, most in (
        ("smtp.max-priority", configuration.maxPriority, 9),
        ("smtp.max-hold", configuration.maxHold, 999_999_999),
        ("smtp.min-deliver-by", configuration.minDeliverBy, 999_999_999),
    ):
        if value > most:
            raise ConfigurationProblem(f"{where}{key} must be at most {most}")
    if 0 < configuration.maxLineOctets < 1000:
        # RFC 5321 §4.5.3.1.6
        raise ConfigurationProblem(f"{where}smtp.max-line must be 0 or at least 1000")
    _checkRelay(where, configuration)
    if not all(0 < each <= 100 for each in configuration.quotaWarnings):
        raise ConfigurationProblem(f"{where}quota.warnings must be a list of numbers up to 100")
    for key, bits, most in (
        ("auth.ipv4-prefix", configuration.ipv4Prefix, 32),
        ("auth.ipv6-prefix", configuration.ipv6Prefix, 128),
    ):
        if bits > most:
            raise ConfigurationProblem(f"{where}{key} must be at most {most}")
    for key, values, known in (
        ("auth.mechanisms", configuration.mechanisms, list(MAKERS)),
        ("auth.scram", configuration.scram, [each.upper() for each in SCHEMES]),
    ):
        for name in values:
            if name not in known:
                raise ConfigurationProblem(
                    f"{where}{key}: there is no {name}{_nearest(name, known)}"
                )
    for each in fields(Configuration):
        key = each.metadata["key"]
        if key.endswith("-networks"):
            try:
                networks(getattr(configuration, each.name))
            except ValueError as problem:
                raise ConfigurationProblem(f"{where}{key}: {problem}") from None
    try:
        checkCheckers(configuration.values)
        checkPolicies(configuration.values)
    except (SourceProblem, StepProblem) as problem:
        raise ConfigurationProblem(f"{where}{problem}") from None
    if bool(configuration.certificate) != bool(configuration.key):
        raise ConfigurationProblem(f"{where}tls.certificate and tls.key go together")
    separator = configuration.separator
    if separator and (len(separator) > 1 or separator not in SEPARATORS):
        raise ConfigurationProblem(
            f"{where}smtp.subaddress-separator must be one of {' '.join(SEPARATORS)} or empty"
        )
    if configuration.imapAdmin and not _URI.match(configuration.imapAdmin):
        raise ConfigurationProblem(f"{where}imap.admin must be a URI, like mailto:admin@a.example")
    for account, host in configuration.imapReferrals.items():
        if not _HOST.match(host) or not _HOST.match(account.rpartition("@")[2]):
            raise ConfigurationProblem(
                f'{where}imap.referrals must be like {{"a@a.example" = "imap.b.example"}},'
                f" not {account} = {host}"
            )
    if 0 < configuration.imapMessageLimit < 1000:
        raise ConfigurationProblem(
            f"{where}imap.message-limit must be 0 or at least 1000, not"
            f" {configuration.imapMessageLimit}"
        )
    names: tuple[tuple[str, str, Callable[[str], object]], ...] = (
        ("hostname", configuration.hostname, parseDomain),
        *(("tls.names", name, parseDomain) for name in configuration.tlsNames),
        ("auth.default-domain", configuration.defaultDomain, parseDomain),
        ("checker-pam.domain", configuration.checkerPAMDomain, parseDomain),
        ("auth.anonymous-account", configuration.anonymous, Address.parse),
        *(
            ("auth.certificates", account, Address.parse)
            for account in configuration.certificateAccounts.values()
        ),
        *(
            ("auth.gssapi-realms", domain, parseDomain)
            for domain in configuration.gssapiRealms.values()
        ),
        ("smtp.postmaster", configuration.postmaster, Address.parse),
        ("queue.double-failures", configuration.doubleFailures, Address.parse),
        *(
            ("quota.administrators", address, Address.parse)
            for address in configuration.quotaAdministrators
        ),
    )
    for key, text, parse in names:
        try:
            if text:
                parse(text)
        except SyntaxProblem as problem:
            raise ConfigurationProblem(f"{where}{key}: {text}: {problem.text}") from None


def _texts(value: Any) -> list[str]:
    # Whatever of a value is text.
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [*value, *(each for each in value.values() if isinstance(each, str))]
    return [each for each in value if isinstance(each, str)] if isinstance(value, tuple) else []


def networks(texts: Iterable[str]) -> list[IPv4Network | IPv6Network]:
    """
    @return: the networks that the texts name.
    @raise ValueError: if one is none.
    """
    return [ip_network(text) for text in texts]


def _checkRelay(where: str, configuration: Configuration) -> None:
    if not configuration.queueRetry or min(configuration.queueRetry) < 1:
        raise ConfigurationProblem(f"{where}queue.retry must be a list of seconds above 0")
    families = configuration.relayFamilies
    if not families or not set(families) <= set(FAMILIES) or len(set(families)) < len(families):
        raise ConfigurationProblem(
            f'{where}relay.address-families must be a list of "ipv6" and "ipv4"'
        )
    if configuration.relayPort > 65535:
        raise ConfigurationProblem(f"{where}relay.port must be at most 65535")
    for server in configuration.resolvers:
        try:
            parseServer(server)
        except ValueError as problem:
            raise ConfigurationProblem(f"{where}relay.resolvers: {problem}") from None
    for key, table in (
        ("relay.routes", configuration.routes),
        ("relay.sender-routes", configuration.senderRoutes),
    ):
        names: set[str] = set()
        for name in table:
            try:
                known = routeName(name)
            except SyntaxProblem as problem:
                raise ConfigurationProblem(f"{where}{key}: {name!r}: {problem.text}") from None
            if "@" in known and key == "relay.routes":
                raise ConfigurationProblem(f"{where}{key}: {name!r}: a domain is wanted")
            if known in names:
                raise ConfigurationProblem(f"{where}{key}: {known} has two routes")
            names.add(known)
    for key, route in (
        ("relay.smarthost", configuration.smarthost),
        *(("relay.routes", route) for route in configuration.routes.values()),
        *(("relay.sender-routes", route) for route in configuration.senderRoutes.values()),
    ):
        try:
            if route or key != "relay.smarthost":
                # The real password is in a file that only the server reads.
                parseRoute(route, "given" if "@" in route else "")
        except RouteProblem as problem:
            raise ConfigurationProblem(f"{where}{key}: {problem}") from None


def routeName(text: str) -> str:
    """
    @param text: whose route it is: a domain, C{.} and a domain, or a sender's address.
    @return: it in lower case and as A-labels, as L{twisted_mailstack.relay.routes.Routes} wants it.
    @raise SyntaxProblem: if it is none of them.
    """
    if "@" in text:
        return str(Address.parse(text)).lower()
    if text.startswith("."):
        return "." + parseDomain(text[1:])
    return parseDomain(text)


def template() -> str:
    """
    @return: a configuration file with every key, commented out.
    """
    lines = ["# The configuration of twisted_mailstack. Every key is optional.\n"]
    section = ""
    for each in fields(Configuration):
        head, _, name = each.metadata["key"].rpartition(".")
        if head != section:
            section = head
            lines.append(f"\n[{section}]\n")
        lines.append(f"\n# {each.metadata['doc']}\n")
        default = each.default if each.default is not MISSING else {}
        if each.name == "listen":
            lines.append('# listen.smtp = "tcp:25"\n')
        else:
            lines.append(f"# {name} = {_toml(default)}\n")
    return "".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
