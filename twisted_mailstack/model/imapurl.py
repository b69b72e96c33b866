# -*- test-case-name: tests.model.test_imapurl -*-
"""
URLs of messages and their parts (RFC 5092), with what authorises others to use them (RFC 4467 §9).

Only what names a message is a value here: URLs of servers, mailboxes and searches aren't. What is
said about octets is: mailbox names are UTF-8, escaped with C{%} (RFC 5092 §8).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from twisted_mailstack.errors import SyntaxProblem

#: Octets of a URL.
MAX_URL = 4096
#: Numbers of a section's path.
MAX_PATH = 200

#   iserver = [iuserinfo "@"] host [ ":" port ]
#   iuserinfo = enc-user [iauth] / [enc-user] iauth; iauth = ";AUTH=" ( "*" / enc-auth-type )
_SERVER = re.compile(
    r"imap://(?:(?P<user>[^/?#@;]*)(?:;AUTH=(?P<auth>[^/?#@;]+))?@)?"
    r"(?P<host>\[[0-9A-F:.]+\]|[^/?#@:;\[\]]+)(?::(?P<port>[0-9]{1,5}))?(?=/)",
    re.IGNORECASE,
)
#   imessagepart = imailbox-ref iuid [isection] [ipartial]
#   imailbox-ref = enc-mailbox [uidvalidity]; uidvalidity = ";UIDVALIDITY=" nz-number
#   iuid = "/;UID=" nz-number; isection = "/;SECTION=" enc-section
#   ipartial = "/;PARTIAL=" number [ "." nz-number ]
#   iurlauth-rump = [";EXPIRE=" date-time] ";URLAUTH=" access
_MESSAGE = re.compile(
    r"(?:/?(?P<mailbox>[^;?#]+?)(?:;UIDVALIDITY=(?P<validity>[1-9][0-9]{0,9}))?/)?"
    r";UID=(?P<uid>[1-9][0-9]{0,9})"
    r"(?:/;SECTION=(?P<section>[^;?#]+?))?"
    r"(?:/;PARTIAL=(?P<first>[0-9]{1,19})(?:\.(?P<count>[1-9][0-9]{0,18}))?)?"
    r"(?P<rump>(?:;EXPIRE=(?P<expire>[^;?#/]+))?;URLAUTH=(?P<access>[^:;?#/]+)"
    r"(?P<verifier>:(?P<mechanism>[A-Z0-9.\-]+):(?P<token>[0-9A-F]{32,}))?)?",
    re.IGNORECASE,
)
#   section-spec = section-msgtext / (section-part ["." section-text])
_SECTION = re.compile(
    r"(?:(?P<path>[1-9][0-9]{0,9}(?:\.[1-9][0-9]{0,9})*)(?:\.(?=[A-Z])|\Z))?"
    r"(?P<kind>HEADER|TEXT|MIME|(?P<fields>HEADER\.FIELDS(?P<not>\.NOT)? \((?P<names>[^()]+)\)))?",
    re.IGNORECASE,
)
#   date-time of RFC 3339 §5.6
_TIMESTAMP = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.IGNORECASE | re.ASCII
)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
#   access = ("submit+" enc-user) / ("user+" enc-user) / "authuser" / "anonymous"
_ACCESS = re.compile(r"(submit|user)\+(.+)|authuser|anonymous", re.IGNORECASE)


class URLAuth(NamedTuple):
    """
    Who may use a URL (RFC 4467 §3).

    @ivar rump: the URL up to and with the access identifier.
    @ivar expire: seconds since 1970 until which, C{None} for ever.
    @ivar access: C{submit}, C{user}, C{authuser} or C{anonymous}.
    @ivar user: of C{submit} and C{user}.
    @ivar mechanism: upper case; empty if this is only the rump. C{token} likewise, as octets.
    """

    rump: str
    expire: int | None
    access: str
    user: str
    mechanism: str
    token: bytes


class IMAPURL(NamedTuple):
    """
    A URL of a message, or of a part of one.

    @ivar user: whose mailbox; empty if it doesn't say.
    @ivar host: of the server; empty if the URL is a relative one.
    @ivar port: C{None} if it doesn't say.
    @ivar mailbox: its name; empty if the URL is relative to a mailbox.
    @ivar uidValidity: C{None} if it doesn't say.
    @ivar path: of the section, numbers of parts; C{kind} what of it: empty, C{HEADER}, C{TEXT} or
        C{MIME}; C{fields}: which ones, or with C{exclude} all but them; C{None} for all.
    @ivar partial: the first octet, and how many; C{None} for the rest.
    @ivar authorisation: who may use it, besides its owner.
    """

    user: str
    host: str
    port: int | None
    mailbox: str
    uidValidity: int | None
    uid: int
    path: tuple[int, ...] = ()
    kind: str = ""
    fields: tuple[bytes, ...] | None = None
    exclude: bool = False
    partial: tuple[int, int | None] | None = None
    authorisation: URLAuth | None = None


def _decode(text: str) -> str:
    if _BAD_ESCAPE.search(text):
        raise SyntaxProblem("Not a URL")
    try:
        value = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise SyntaxProblem("A URL has UTF-8 only") from None
    if "\0" in value or "\r" in value or "\n" in value:
        raise SyntaxProblem("Not a URL")
    return value


def parseURL(octets: bytes) -> IMAPURL:
    """
    @param octets: an absolute URL of a message, or one relative to a server (C{/mailbox/;UID=1}) or
        to a mailbox (C{;UID=1}).
    @raise SyntaxProblem: if it is no URL of a message.
    """
    try:
        text = octets.decode("ascii")
    except UnicodeDecodeError:
        raise SyntaxProblem("Not a URL") from None
    if len(text) > MAX_URL or not text.isprintable() or " " in text:
        raise SyntaxProblem("Not a URL")
    server = _SERVER.match(text)
    at = 0
    user, host, port = "", "", None
    if server is not None:
        at = server.end()
        user = _decode(server.group("user") or "")
        host = server.group("host").lower()
        port = None if server.group("port") is None else int(server.group("port"))
    elif text.startswith("//") or re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:", text):
        raise SyntaxProblem("Not the URL of a message")
    found = _MESSAGE.fullmatch(text, at)
    if found is None or (server is not None and found.group("mailbox") is None):
        raise SyntaxProblem("Not the URL of a message")
    validity, uid = found.group("validity"), int(found.group("uid"))
    if uid >= 1 << 32 or (validity is not None and int(validity) >= 1 << 32):
        raise SyntaxProblem("Not the URL of a message")
    partial = None
    if found.group("first") is not None:
        count = found.group("count")
        partial = int(found.group("first")), None if count is None else int(count)
    return IMAPURL(
        user,
        host,
        port,
        _decode(found.group("mailbox") or ""),
        None if validity is None else int(validity),
        uid,
        *parseSection(_decode(found.group("section") or "")),
        partial,
        _authorisation(text, found),
    )


def parseSection(
    section: str,
) -> tuple[tuple[int, ...], str, tuple[bytes, ...] | None, bool]:
    """
    @return: path, kind, fields and whether these are excluded, as L{IMAPURL} has them.
    @raise SyntaxProblem: if it is no section.
    """
    match = _SECTION.fullmatch(section)
    if match is None:
        raise SyntaxProblem("Not a section")
    path = tuple(int(each) for each in (match.group("path") or "").split(".") if each)
    kind = (match.group("kind") or "").upper()
    if len(path) > MAX_PATH or (kind == "MIME" and not path):
        raise SyntaxProblem("Not a section")
    fields = None
    if match.group("fields"):
        kind = "HEADER"
        fields = tuple(name.encode("utf-8") for name in match.group("names").split(" ") if name)
    return path, kind, fields, match.group("not") is not None


def _authorisation(text: str, found: re.Match[str]) -> URLAuth | None:
    if found.group("rump") is None:
        return None
    access = _ACCESS.fullmatch(_decode(found.group("access")))
    if access is None:
        raise SyntaxProblem("Not an access identifier")
    expire = None
    if found.group("expire") is not None:
        expire = _timestamp(_decode(found.group("expire")))
    end = len(text) if found.group("verifier") is None else found.start("verifier")
    token = found.group("token") or ""
    if len(token) % 2:
        raise SyntaxProblem("Not a URL")
    return URLAuth(
        text[:end],
        expire,
        (access.group(1) or access.group()).lower(),
        access.group(2) or "",
        (found.group("mechanism") or "").upper(),
        bytes.fromhex(token),
    )


def _timestamp(text: str) -> int:
    if not _TIMESTAMP.fullmatch(text):
        raise SyntaxProblem("Not a time")
    # A fraction of a second is of no use here, and a leap second no time of Python's.
    whole = re.sub(r"\.\d+", "", text.upper()).replace(":60", ":59")
    try:
        return int(datetime.fromisoformat(whole).timestamp())
    except (ValueError, OverflowError):
        raise SyntaxProblem("Not a time") from None


def renderMessageURL(mailbox: str, uidValidity: int, uid: int, section: str = "") -> str:
    """
    @return: a URL relative to the server.
    """
    name = quote(mailbox, safe="/!$'()*+,&=~:@-._")
    more = f"/;SECTION={quote(section, safe='.')}" if section else ""
    return f"/{name};UIDVALIDITY={uidValidity}/;UID={uid}{more}"
