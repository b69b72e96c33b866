"""
Random IMAP commands, made from everything that a server's registry knows: a generator for each
command, FETCH item, SEARCH key, return option, modifier, parameter and STATUS item.

What they make is valid as it stands (though a server may well refuse it), so that mutations of it
reach far into the code. C{test_fuzz} holds the tables to those of the registry: whoever adds
something adds its generator here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

Make = Callable[[Random], bytes]

MAILBOXES = (b"INBOX", b"Sent", b"foo", b"foo/bar", b"&ZeVnLIqe-", b"missing", b'"a b"', b"Trash")
WORDS = (b"meeting", b"x", b'"two words"', b"a@b", b'""', b"{3+}\r\nabc")
FLAG_NAMES = (b"\\Seen", b"\\Deleted", b"\\Flagged", b"\\Draft", b"kw", b"$Important", b"$Junk")
MESSAGES = (
    b"Subject: small\r\n\r\nx\r\n",
    b"From: a@b\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\none\r\n--x--\r\n",
    b"\r\n",
    b"no header",
)
#: What a URL of RFC 4467 looks like.
URLS = (
    b"imap://alice%40example.test@imap.example.test/INBOX/;uid=1",
    b"/INBOX;UIDVALIDITY=1/;UID=1",
    b"/INBOX/;UID=1/;SECTION=HEADER",
    b"/missing/;uid=1",
    b"http://example.test/",
)


def _one(*choices: bytes) -> Make:
    return lambda random: random.choice(choices)


def _some(make: Make, most: int = 3, separator: bytes = b" ") -> Make:
    return lambda random: separator.join(make(random) for _ in range(random.randint(1, most)))


def _join(*makers: Make | bytes) -> Make:
    return lambda random: b" ".join(
        each if isinstance(each, bytes) else each(random) for each in makers
    )


def _maybe(make: Make) -> Make:
    # With a space before it, or nothing.
    return lambda random: b" " + make(random) if random.random() < 0.5 else b""


def _list(make: Make, most: int = 3) -> Make:
    inner = _some(make, most)
    return lambda random: b"(" + inner(random) + b")"


def _literal(data: bytes) -> bytes:
    return b"{%d+}\r\n%b" % (len(data), data)


def _set(random: Random) -> bytes:
    return random.choice((b"1", b"1:*", b"*", b"2,1", b"1:2", b"4:1", b"$", b"1,3:*", b"99"))


def _byUID(make: Make) -> Make:
    return make


nothing = _one(b"")
mailbox = _one(*MAILBOXES)
word = _one(*WORDS)
flag = _one(*FLAG_NAMES)
number = _one(b"0", b"1", b"5", b"100", b"4294967295", b"4294967296")
date = _one(b"1-Feb-1994", b'"17-Jul-1996"', b"31-Dec-2037")
url = _one(*URLS)
modSeq = _one(b"1", b"5", b"20", b"9223372036854775807")
SERVER_METADATA: dict[str, Make] = {
    "/private/vendor/twisted_mailstack/logins": nothing,
}
entry = _one(
    *(b"/private/comment", b"/shared/comment", b"/private/vendor/x", b"/private/filters/values/f"),
    *(name.encode("ascii") for name in SERVER_METADATA),
)


def _pick(table: dict[bytes, Make]) -> Make:
    # One of the table, its name before what it takes.
    names = sorted(table)

    def pick(random: Random) -> bytes:
        name = random.choice(names)
        return name + table[name](random)

    return pick


def _after(make: Make) -> Make:
    return lambda random: b" " + make(random)


# --- FETCH ---------------------------------------------------------------------------------------


def section(random: Random) -> bytes:
    """
    @return: of BODY: C{[...]}, with a partial now and then.
    """
    part = random.choice((b"", b"", b"1", b"2", b"2.1", b"1.2.3", b"1000"))
    kind = random.choice(
        (b"", b"", b"HEADER", b"TEXT", b"HEADER.FIELDS (Subject To)", b"HEADER.FIELDS.NOT (X)")
    )
    if part and random.random() < 0.2:
        kind = b"MIME"
    text = part + b"." * bool(part and kind) + kind
    return b"[" + text + b"]" + random.choice((b"", b"", b"<0.5>", b"<3.100>", b"<999.1>"))


def _binary(random: Random) -> bytes:
    part = random.choice((b"", b"1", b"2", b"2.1", b"9"))
    return b"[" + part + b"]" + random.choice((b"", b"<0.4>"))


FETCH_ITEMS: dict[bytes, Make] = {
    b"ANNOTATION": lambda random: _annotations(random),
    b"BINARY": _binary,
    b"BINARY.PEEK": _binary,
    b"BINARY.SIZE": _one(b"[1]", b"[]", b"[2.1]"),
    b"BODY": _one(b""),
    b"BODYSTRUCTURE": nothing,
    b"EMAILID": nothing,
    b"ENVELOPE": nothing,
    b"INTERNALDATE": nothing,
    b"MODSEQ": nothing,
    b"PREVIEW": _one(b"", b" (LAZY)"),
    b"RFC822.SIZE": nothing,
    b"SAVEDATE": nothing,
    b"THREADID": nothing,
}
#: That the parser knows without the registry.
MORE_ITEMS: dict[bytes, Make] = {
    b"FLAGS": nothing,
    b"UID": nothing,
    b"BODY": section,
    b"BODY.PEEK": section,
    b"RFC822": nothing,
    b"RFC822.HEADER": nothing,
    b"RFC822.TEXT": nothing,
}


def items(random: Random) -> bytes:
    """
    @return: what FETCH is to tell.
    """
    if random.random() < 0.1:
        return random.choice((b"ALL", b"FAST", b"FULL"))
    one = _pick(random.choice((FETCH_ITEMS, MORE_ITEMS)))
    return one(random) if random.random() < 0.3 else _list(one, 4)(random)


FETCH_MODIFIERS: dict[bytes, Make] = {
    b"CHANGEDSINCE": _after(modSeq),
    b"PARTIAL": _one(b" 1:2", b" -1:-2", b" 2:1", b" 1:4294967295"),
    b"VANISHED": nothing,
}


def _fetch(random: Random) -> bytes:
    modifiers = _maybe(_list(_pick(FETCH_MODIFIERS), 2))
    return _set(random) + b" " + items(random) + modifiers(random)


def _annotations(random: Random) -> bytes:
    # RFC 5257
    entries = b"(%b)" % b" ".join(random.sample((b"/comment", b"/altsubject", b"/vendor/x/*"), 2))
    attributes = random.choice((b"value.priv", b"(value.shared size.priv)", b"value"))
    return b" (%b %b)" % (random.choice((entries, b"/comment")), attributes)


def _annotation(random: Random) -> bytes:
    value = random.choice((b'"x"', b"NIL", b"{3+}\r\nabc", b"~{3+}\r\na\0c"))
    entry = random.choice((b"/comment", b"/altsubject", b"/vendor/x", b"/1/comment"))
    return b" (%b (value.%b %b))" % (entry, random.choice((b"priv", b"shared")), value)


# --- STORE, COPY ---------------------------------------------------------------------------------

STORE_MODIFIERS: dict[bytes, Make] = {b"UNCHANGEDSINCE": _after(modSeq)}


STORE_ITEMS: dict[bytes, Make] = {b"ANNOTATION": _annotation}


def _store(random: Random) -> bytes:
    condition = _list(_pick(STORE_MODIFIERS), 1)(random) + b" " if random.random() < 0.3 else b""
    if random.random() < 0.2:
        return _set(random) + b" " + condition + _pick(STORE_ITEMS)(random)
    how = random.choice((b"FLAGS", b"+FLAGS", b"-FLAGS")) + random.choice((b"", b".SILENT"))
    what = random.choice((_list(flag), _some(flag), _one(b"()")))(random)
    return _set(random) + b" " + condition + how + b" " + what


_copy = _join(_set, mailbox)


# --- APPEND --------------------------------------------------------------------------------------


def _catenate(random: Random) -> bytes:
    def part(random: Random) -> bytes:
        if random.random() < 0.5:
            return b"URL " + url(random)
        return b"TEXT " + _literal(random.choice(MESSAGES))

    return b" " + _list(part)(random)


APPEND_DATA: dict[bytes, Make] = {
    b"CATENATE": _catenate,
    b"UTF8": lambda random: b" (~" + _literal(random.choice(MESSAGES)) + b")",
}


APPEND_OPTIONS: dict[bytes, Make] = {b"ANNOTATION": _annotation}


def message(random: Random) -> bytes:
    """
    @return: append-message.
    """
    text = b" " + _list(flag)(random) if random.random() < 0.5 else b""
    text += random.choice((b"", b"", b' "17-Jul-1996 02:44:25 -0700"'))
    if random.random() < 0.1:
        text += b" " + _pick(APPEND_OPTIONS)(random)
    kind = random.random()
    if kind < 0.6:
        return text + b" " + _literal(random.choice(MESSAGES))
    if kind < 0.7:
        return text + b" ~" + _literal(b"Subject: x\r\n\r\n\0\r\n")
    return text + b" " + _pick(APPEND_DATA)(random)


def _append(random: Random) -> bytes:
    return mailbox(random) + b"".join(message(random) for _ in range(random.choice((1, 1, 1, 3))))


def _replace(random: Random) -> bytes:
    return random.choice((b"1", b"*", b"2", b"99")) + b" " + mailbox(random) + message(random)


# --- SEARCH --------------------------------------------------------------------------------------


def key(random: Random) -> bytes:
    """
    @return: a SEARCH key.
    """
    if random.random() < 0.1:
        return random.choice((_set(random), b"(" + keys(random) + b")"))
    return _pick(SEARCH_KEYS)(random)


keys = _some(key, 2)

SEARCH_KEYS: dict[bytes, Make] = {
    **dict.fromkeys(
        (
            *(b"ALL", b"ANSWERED", b"DELETED", b"DRAFT", b"FLAGGED", b"NEW", b"OLD", b"RECENT"),
            *(b"SEEN", b"UNANSWERED", b"UNDELETED", b"UNDRAFT", b"UNFLAGGED", b"UNSEEN"),
            b"SAVEDATESUPPORTED",
        ),
        nothing,
    ),
    **dict.fromkeys((b"BCC", b"BODY", b"CC", b"FROM", b"SUBJECT", b"TEXT", b"TO"), _after(word)),
    **dict.fromkeys(
        (
            *(b"BEFORE", b"ON", b"SINCE", b"SENTBEFORE", b"SENTON", b"SENTSINCE"),
            *(b"SAVEDBEFORE", b"SAVEDON", b"SAVEDSINCE"),
        ),
        _after(date),
    ),
    **dict.fromkeys((b"LARGER", b"SMALLER", b"OLDER", b"YOUNGER"), _after(number)),
    **dict.fromkeys((b"UIDAFTER", b"UIDBEFORE"), _after(number)),
    **dict.fromkeys((b"KEYWORD", b"UNKEYWORD"), _after(_one(b"kw", b"$Junk", b"unknown"))),
    b"ANNOTATION": _one(b" /comment value x", b' "/*" value.priv "x"'),
    b"EMAILID": _after(_one(b"M1", b"x-_9", b"Mabc")),
    b"THREADID": _after(_one(b"T1", b"T2")),
    b"FILTER": _after(_one(b"f", b"loop", b"missing")),
    b"FUZZY": lambda random: b" " + key(random),
    b"HEADER": _after(_join(_one(b"Subject", b"X-None", b'""'), word)),
    b"MODSEQ": _one(b" 1", b" 620162338", b' "/flags/\\\\draft" all 5', b" 0"),
    b"NOT": lambda random: b" " + key(random),
    b"OR": lambda random: b" " + key(random) + b" " + key(random),
    b"UID": _after(_set),
}

SEARCH_RETURNS: dict[bytes, Make] = {
    **dict.fromkeys((b"ALL", b"CONTEXT", b"COUNT", b"MAX", b"MIN", b"SAVE", b"RELEVANCY"), nothing),
    b"UPDATE": _one(b"", b" (UID FLAGS)", b"(BODY[HEADER.FIELDS (TO)])", b" (ENVELOPE MODSEQ)"),
    b"PARTIAL": _one(b" 1:2", b" -1:-3", b" 5:1"),
}


def _returns(random: Random) -> bytes:
    if random.random() < 0.5:
        return b""
    return (
        b"RETURN "
        + (_list(_pick(SEARCH_RETURNS), 2)(random) if random.random() < 0.9 else b"()")
        + b" "
    )


def _search(random: Random) -> bytes:
    charset = random.choice((b"", b"", b"CHARSET UTF-8 ", b"CHARSET US-ASCII "))
    return _returns(random) + charset + keys(random)


SORT_KEYS: dict[bytes, Make] = dict.fromkeys(
    (
        *(b"ARRIVAL", b"CC", b"DATE", b"DISPLAYFROM", b"DISPLAYTO", b"FROM", b"RELEVANCY"),
        *(b"SIZE", b"SUBJECT", b"TO"),
    ),
    nothing,
)


SORT_KEYS[b"ANNOTATION"] = _one(b" /comment value.priv")


def _sort(random: Random) -> bytes:
    def criterion(random: Random) -> bytes:
        return random.choice((b"", b"", b"REVERSE ")) + _pick(SORT_KEYS)(random)

    return _returns(random) + _list(criterion)(random) + b" UTF-8 " + keys(random)


THREAD_ALGORITHMS: dict[bytes, Make] = dict.fromkeys(
    (b"ORDEREDSUBJECT", b"REFERENCES", b"REFS"), nothing
)
_thread = _join(_pick(THREAD_ALGORITHMS), b"UTF-8", keys)

SOURCES = _one(
    *(b"selected", b"personal", b"inboxes", b"subscribed", b"selected-delayed"),
    *(b"mailboxes INBOX", b"mailboxes (INBOX foo)", b"subtree foo", b"subtree-one (foo Sent)"),
)


def _esearch(random: Random) -> bytes:
    source = b"IN " + _list(SOURCES, 2)(random) + b" " if random.random() < 0.7 else b""
    return source + _returns(random) + keys(random)


# --- mailboxes -----------------------------------------------------------------------------------

STATUS_ITEMS: dict[bytes, Make] = dict.fromkeys(
    (
        *(b"DELETED", b"HIGHESTMODSEQ", b"MESSAGES", b"RECENT", b"SIZE", b"UIDNEXT"),
        *(b"UIDVALIDITY", b"UNSEEN"),
    ),
    nothing,
)
STATUS_QUERIES: dict[bytes, Make] = dict.fromkeys(
    (b"APPENDLIMIT", b"DELETED-STORAGE", b"MAILBOXID"), nothing
)
_statusItems = _list(_pick({**STATUS_ITEMS, **STATUS_QUERIES}))

LIST_SELECTIONS: dict[bytes, Make] = dict.fromkeys(
    (b"RECURSIVEMATCH", b"REMOTE", b"SPECIAL-USE", b"SUBSCRIBED"), nothing
)
LIST_RETURNS: dict[bytes, Make] = {
    **dict.fromkeys((b"CHILDREN", b"MYRIGHTS", b"SPECIAL-USE", b"SUBSCRIBED"), nothing),
    b"METADATA": _after(_list(entry)),
    b"STATUS": _after(_statusItems),
}
pattern = _one(b"*", b"%", b'"foo/%"', b"INBOX", b"*o*", b'""', b"&ZeVnLIqe-")


def _listing(random: Random) -> bytes:
    selection = _list(_pick(LIST_SELECTIONS), 2)(random) + b" " if random.random() < 0.4 else b""
    reference = random.choice((b'""', b"foo/", b'"~"'))
    patterns = pattern(random) if random.random() < 0.7 else _list(pattern)(random)
    returns = b" RETURN " + _list(_pick(LIST_RETURNS))(random) if random.random() < 0.4 else b""
    return selection + reference + b" " + patterns + returns


CREATE_PARAMETERS: dict[bytes, Make] = {
    b"USE": _one(b" (\\Drafts)", b" (\\Archive)", b" ()", b" (\\Sent \\Junk)")
}


def _create(random: Random) -> bytes:
    return mailbox(random) + _maybe(_list(_pick(CREATE_PARAMETERS), 1))(random)


SELECT_PARAMETERS: dict[bytes, Make] = {
    b"ANNOTATE": nothing,
    b"CONDSTORE": nothing,
    b"QRESYNC": _one(
        *(b" (1 1)", b" (1 5 1:9)", b" (1 3 1:9 (1,2 1,2))", b" (9 9)", b" (1 2 (1 1))"),
        *(b" (1 9223372036854775807)", b" (1 5 2,1 (2,1 2,1))"),
    ),
}


def _select(random: Random) -> bytes:
    return mailbox(random) + _maybe(_list(_pick(SELECT_PARAMETERS), 2))(random)


# --- others --------------------------------------------------------------------------------------

ENABLED: dict[bytes, Make] = dict.fromkeys(
    (
        b"CONDSTORE",
        b"IMAP4REV2",
        b"METADATA",
        b"METADATA-SERVER",
        b"QRESYNC",
        b"UIDONLY",
        b"UTF8=ACCEPT",
    ),
    nothing,
)


def _notify(random: Random) -> bytes:
    if random.random() < 0.1:
        return b"NONE"
    messages = (
        b"(MessageNew MessageExpunge)", b"(MessageNew MessageExpunge FlagChange)",
        b"(MessageNew (UID FLAGS BODY.PEEK[HEADER.FIELDS (Subject)]) MessageExpunge)", b"NONE",
    )  # fmt: skip
    others = (
        *messages[:2], b"(MailboxName SubscriptionChange)", b"NONE",
        b"(MailboxMetadataChange ServerMetadataChange)",
        b"(MessageNew MessageExpunge MailboxName)", b"(AnnotationChange)",
    )  # fmt: skip
    groups = []
    if random.random() < 0.8:
        kind = random.choice((b"SELECTED", b"SELECTED-DELAYED"))
        groups.append(b"(%b %b)" % (kind, random.choice(messages)))
    for _ in range(random.randint(0 if groups else 1, 2)):
        kind = random.choice(
            (b"PERSONAL", b"INBOXES", b"SUBSCRIBED", b"MAILBOXES (INBOX foo)", b"SUBTREE foo")
        )
        groups.append(b"(%b %b)" % (kind, random.choice(others)))
    return b"SET " + random.choice((b"", b"STATUS ")) + b" ".join(groups)


def _setMetadata(random: Random) -> bytes:
    value = random.choice((b"NIL", b'"x"', b"{3+}\r\na\r\n", b"~{3+}\r\na\0b", b'"FILTER f"'))
    return b"%b (%b %b)" % (random.choice((b'""', b"INBOX", b"foo")), entry(random), value)


def _getMetadata(random: Random) -> bytes:
    options = random.choice(
        (b"", b"(MAXSIZE 1024) ", b"(DEPTH 1) ", b"(DEPTH infinity MAXSIZE 1) ")
    )
    entries = entry(random) if random.random() < 0.5 else _list(entry)(random)
    return options + random.choice((b'""', b"INBOX", b"foo")) + b" " + entries


identifier = _one(b"alice@example.test", b"bob@example.test", b"anyone", b"-anyone", b'"x y"')

#: By the command's name, what follows it. AUTHENTICATE and IDLE have lines behind the command's.
COMMANDS: dict[bytes, Make] = {
    **dict.fromkeys(
        (
            *(b"CAPABILITY", b"CHECK", b"CLOSE", b"EXPUNGE", b"LOGOUT", b"NAMESPACE", b"NOOP"),
            *(b"STARTTLS", b"UNAUTHENTICATE", b"UNSELECT"),
        ),
        nothing,
    ),
    b"APPEND": _after(_append),
    b"AUTHENTICATE": _one(
        *(b" PLAIN AGEAYg==", b" PLAIN\r\n*", b" LOGIN\r\neA==\r\neQ==", b" PLAIN =", b" X"),
        b" PLAIN\r\nAGFsaWNlQGV4YW1wbGUudGVzdABzZWNyZXQ=",
    ),
    b"CANCELUPDATE": _one(b' "a"', b" a b", b' "x" "y"'),
    b"COMPARATOR": _one(b"", b' "i;octet"', b' "i;ascii-casemap" "i;unicode-casemap"', b' "x*"'),
    b"COMPRESS": _one(b" DEFLATE", b" GZIP"),
    b"COPY": _after(_copy),
    b"CREATE": _after(_create),
    b"DELETE": _after(mailbox),
    b"DELETEACL": _after(_join(mailbox, identifier)),
    b"ENABLE": _after(_some(_pick(ENABLED))),
    b"ESEARCH": _after(_esearch),
    b"EXAMINE": _after(_select),
    b"FETCH": _after(_fetch),
    b"GENURLAUTH": lambda random: b' "' + url(random) + b';urlauth=anonymous" INTERNAL',
    b"GETACL": _after(mailbox),
    b"GETMETADATA": _after(_getMetadata),
    b"GETQUOTA": _one(b' ""', b" alice@example.test", b" x"),
    b"GETQUOTAROOT": _after(mailbox),
    b"ID": _one(b" NIL", b' ("name" "x" "y" NIL)', b" ()", b' ("name" {1+}\r\nx)'),
    b"IDLE": _one(b"\r\nDONE", b"", b"\r\ndone", b"\r\nx"),
    b"LANGUAGE": _one(b"", b" DE", b' "en-GB" "de"', b" *"),
    b"LIST": _after(_listing),
    b"LISTRIGHTS": _after(_join(mailbox, identifier)),
    b"LOGIN": _one(b" alice@example.test secret", b' "a" {1+}\r\nb', b" {1}\r\na {1}\r\nb"),
    b"LSUB": _after(_join(_one(b'""', b"foo/"), pattern)),
    b"MOVE": _after(_copy),
    b"MYRIGHTS": _after(mailbox),
    b"NOTIFY": _after(_notify),
    b"RENAME": _after(_join(mailbox, mailbox)),
    b"REPLACE": _after(_replace),
    b"RESETKEY": _one(b"", b" INBOX", b" INBOX INTERNAL", b" missing"),
    b"SEARCH": _after(_search),
    b"SELECT": _after(_select),
    b"SETACL": _after(_join(mailbox, identifier, _one(b"lrs", b"+w", b"-x", b'""', b"QQ"))),
    b"SETMETADATA": _after(_setMetadata),
    b"SETQUOTA": _one(b' "" (STORAGE 512)', b' "" ()', b' "x" (MESSAGE 1)'),
    b"SORT": _after(_sort),
    b"STATUS": _after(_join(mailbox, _statusItems)),
    b"STORE": _after(_store),
    b"SUBSCRIBE": _after(mailbox),
    b"THREAD": _after(_thread),
    b"UID COPY": _after(_copy),
    b"UID EXPUNGE": _after(_set),
    b"UID FETCH": _after(_fetch),
    b"UID MOVE": _after(_copy),
    b"UID REPLACE": _after(_replace),
    b"UID SEARCH": _after(_search),
    b"UID SORT": _after(_sort),
    b"UID STORE": _after(_store),
    b"UID THREAD": _after(_thread),
    b"UIDBATCHES": _one(b" 500", b" 1000 1:5", b" 1", b" 500 2:1"),
    b"UNSUBSCRIBE": _after(mailbox),
    b"URLFETCH": _after(_some(url)),
    b"XLIST": _after(_join(_one(b'""'), pattern)),
}

#: The tables of L{twisted_mailstack.imap.session.Registry} and the generators for them.
TABLES: dict[str, Mapping[Any, Make]] = {
    "known": COMMANDS,
    "fetchItems": FETCH_ITEMS,
    "searchKeys": SEARCH_KEYS,
    "sortKeys": SORT_KEYS,
    "threadAlgorithms": THREAD_ALGORITHMS,
    "statusItems": STATUS_ITEMS,
    "statusQueries": STATUS_QUERIES,
    "listSelections": LIST_SELECTIONS,
    "listReturns": LIST_RETURNS,
    "createParameters": CREATE_PARAMETERS,
    "appendData": APPEND_DATA,
    "selectParameters": SELECT_PARAMETERS,
    "fetchModifiers": FETCH_MODIFIERS,
    "storeItems": STORE_ITEMS,
    "appendOptions": APPEND_OPTIONS,
    "storeModifiers": STORE_MODIFIERS,
    "searchReturns": SEARCH_RETURNS,
    "implied": ENABLED,
    "serverMetadata": SERVER_METADATA,
}

#: Pieces that are put into commands.
TOKENS = (
    *(b" ", b" ", b"\r\n", b"\n", b"\r", b"(", b")", b'"', b"\\", b'"a b"', b"*", b"%", b"$"),
    *(b"{1}\r\n", b"{3+}\r\nabc", b"{0}\r\n", b"{0+}\r\n", b"{-5}", b"{99999999999}\r\n"),
    *(b"{5000}\r\n", b"{70000000+}\r\n", b"{20+}\r\n", b"{$0}", b"{$0}\n", b"\0", b"\xff"),
    *(b"\xc3\xa4", b"NIL", b"1", b"1:*", b"0", b"4294967295", b"4294967296", b"2,1", b"9" * 30),
    *(b"INBOX", b"&", b"&-", b"/", b"]", b"[", b"<0.5>", b"BODY[", b"\\Seen", b"\\Recent", b"+"),
    *(b"UID", b"RETURN (", b"DONE", b"=", b"~{3+}\r\nabc", b"(" * 60, b"NOT " * 60, b"x" * 9000),
    *(b"HEADER.FIELDS (", b"CHARSET UTF-16 ", b"MODSEQ ", b"-1:-2"),
)


#: Large ones, which are put in seldom.
LARGE = (
    *(b"(" * 20_000, b"NOT " * 20_000, b"OR " * 20_000, b"FUZZY " * 10_000, b"x" * 100_000),
    *(b"1:*," * 20_000 + b"1", b"1," * 40_000 + b"1", b"SEEN " * 20_000, b"1." * 40_000),
    *(
        b"(NOT " * 10_000,
        b"BODY[] " * 10_000,
        b"\\Seen " * 10_000,
        b'"x" ' * 20_000,
        b"9" * 100_000,
    ),
    *(b"&AAA-" * 10_000, b"a/" * 30_000, b"%*" * 10_000, b"*" * 30_000, b"{0+}\r\n" * 10_000),
    b" ".join(b"k%d" % at for at in range(5_000)),
    b",".join(b"%d" % at for at in range(1, 40_000, 2)),
)


def command(random: Random, name: bytes | None = None) -> bytes:
    """
    @return: a valid command, this or any, without its tag and its last CRLF.
    """
    name = name or random.choice(_NAMES)
    return name + COMMANDS[name](random)


#: Those that have most to them are made more often, those that end a session less.
_OFTEN = (b"FETCH", b"SEARCH", b"STORE", b"APPEND", b"SORT", b"LIST", b"NOTIFY", b"SELECT")
_NAMES: Sequence[bytes] = [
    name
    for name in sorted(COMMANDS)
    for _ in range(8 if name.endswith(_OFTEN) else 1 if name == b"LOGOUT" else 2)
]


def mutated(random: Random) -> bytes:
    """
    @return: a command with some octets taken out, put in, doubled or in another case.
    """
    text = command(random)
    for _ in range(random.choice((0, 0, 1, 1, 2))):
        # Rather behind the name than in it.
        at = random.choice((random.randint(0, len(text)), text.rfind(b" ") + 1, len(text)))
        to = min(len(text), at + random.randint(0, 8))
        pieces = (
            random.choice(TOKENS),
            random.randbytes(random.randint(0, 3)),
            text[at:to] * 2,
            text[at:to].swapcase(),
            command(random)[:20],
        )
        if random.random() < 0.03:
            pieces = (random.choice(LARGE),)
        text = text[:at] + random.choice(pieces) + text[to:]
    return text
