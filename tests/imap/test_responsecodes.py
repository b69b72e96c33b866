"""
Response codes (RFC 9051 §7.1, RFC 5530, and those of extensions): each that the server gives, and
where.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import twisted_mailstack
from tests.imap.support import Server
from tests.imap.test_authentication import plain
from twisted_mailstack.errors import MailError
from twisted_mailstack.model.address import Address
from twisted_mailstack.testing.conversation import Conversation

#: By code: what leads to it, INBOX with two messages being selected, and how the last response
#: that has it begins ("t" is the tag).
GIVEN: dict[str, tuple[list[str], str]] = {
    # RFC 9051 §7.1
    "BADCHARSET": (["SEARCH CHARSET X-NOTHING TEXT x"], "t NO"),
    "CAPABILITY": (["UNAUTHENTICATE", "LOGIN alice@example.test secret"], "t OK"),
    "PERMANENTFLAGS": (["SELECT INBOX"], "* OK"),
    "READ-ONLY": (["EXAMINE INBOX", "STORE 1 FLAGS (x)"], "t NO"),
    "READ-WRITE": (["SELECT INBOX"], "t OK"),
    "TRYCREATE": (["COPY 1 Nowhere"], "t NO"),
    "UIDNEXT": (["SELECT INBOX"], "* OK"),
    "UIDVALIDITY": (["SELECT INBOX"], "* OK"),
    "UNSEEN": (["SELECT INBOX"], "* OK"),
    "HASCHILDREN": (["CREATE above/below", "DELETE above", "DELETE above"], "t NO"),
    # RFC 5530 §3
    "AUTHENTICATIONFAILED": (["UNAUTHENTICATE", "LOGIN alice@example.test wrong"], "t NO"),
    "AUTHORIZATIONFAILED": (
        ["UNAUTHENTICATE", f"AUTHENTICATE PLAIN {plain('alice@example.test', 'secret', 'bob')}"],
        "t NO",
    ),
    "NOPERM": (["SETQUOTA alice@example.test ()"], "t NO"),
    "CANNOT": (["DELETE INBOX"], "t NO"),
    "LIMIT": (["CREATE " + "/".join("x" * 200)], "t NO"),
    "ALREADYEXISTS": (["CREATE Sent"], "t NO"),
    "NONEXISTENT": (["STATUS Nowhere (MESSAGES)"], "t NO"),
    # of extensions
    "APPENDUID": (["APPEND INBOX {3+}\r\na:b"], "t OK"),
    "COPYUID": (["COPY 1 INBOX"], "t OK"),
    "TOOBIG": (["APPEND INBOX {1000000000}"], "t NO"),
    "BADURL": (['APPEND INBOX CATENATE (URL "/INBOX/;UID=99")'], "t NO"),
    "CLOSED": (["SELECT Sent"], "* OK"),
    "HIGHESTMODSEQ": (["SELECT Sent"], "* OK"),
    "MODIFIED": (["STORE 1 (UNCHANGEDSINCE 1) +FLAGS (\\Seen)"], "t OK"),
    "USEATTR": (["CREATE x (USE (\\All))"], "t NO"),
    "METADATA MAXSIZE": ([f'SETMETADATA "" (/private/x {{20000+}}\r\n{"x" * 20000})'], "t NO"),
    "METADATA LONGENTRIES": (
        ['SETMETADATA "" (/private/x "long")', 'GETMETADATA (MAXSIZE 2) "" /private/x'],
        "t OK",
    ),
    "MAILBOXID": (["CREATE Another"], "t OK"),
    "BADEVENT": (["NOTIFY SET (selected (MessageRead))"], "t NO"),
    "NOTIFICATIONOVERFLOW": (["NOTIFY SET " + " ".join(["(personal NONE)"] * 101)], "t NO"),
    "NOUPDATE": (["SEARCH RETURN (UPDATE) YOUNGER 10"], "* NO"),
    "BADCOMPARATOR": (['COMPARATOR "i;octet"'], "t NO"),
    "UNDEFINED-FILTER": (["SEARCH FILTER none"], "t NO"),
    "TOOSMALL": (["UIDBATCHES 10"], "t NO"),
    "CLIENTBUG": (["UIDBATCHES 500 3:2"], "t BAD"),
    "ANNOTATIONS": (["SELECT INBOX"], "* OK"),
    "ANNOTATE TOOBIG": (
        [f"STORE 1 ANNOTATION (/comment (value.priv {{20000+}}\r\n{'x' * 20000}))"],
        "t NO",
    ),
}
#: What needs more than that: which tests have it.
ELSEWHERE = {
    "UNAVAILABLE": "tests.imap.test_messages",
    "PRIVACYREQUIRED": "tests.imap.test_authentication",
    "EXPUNGEISSUED": "tests.imap.test_concurrent",
    "CORRUPTION": "tests.imap.test_fetch",
    "SERVERBUG": "tests.imap.test_session",
    "OVERQUOTA": "tests.imap.test_quota",
    "UNKNOWN-CTE": "tests.imap.test_binary",
    "REFERRAL": "tests.imap.test_loginreferrals",
    "URLMECH INTERNAL": "tests.imap.test_urlauth",
    "UIDREQUIRED": "tests.imap.test_uidonly",
    "COMPRESSIONACTIVE": "tests.imap.test_compress",
    "INPROGRESS": "tests.imap.test_inprogress",
    "MESSAGELIMIT": "tests.imap.test_messagelimit",
    "METADATA TOOMANY": "twisted_mailstack.testing.contracts.annotations",
    "ANNOTATE TOOMANY": "twisted_mailstack.testing.contracts.messageannotations",
}
#: Of another protocol's errors.
NEVER = {"INUSE"}

_CODE = re.compile(
    r"""imapCode(?::[ ]str[ ][|][ ]None)?[ ]?=[ ]?f?"([A-Z][A-Z-]+)(?:[ ]([A-Z]{4,}))?"""
    r"""|b"[^"]*\[([A-Z][A-Z-]{4,})(?:[ ]([A-Z]{4,}))?"""
)


class ResponseCodeTests(SynchronousTestCase):
    """
    What goes wrong is told in a way that programs understand.
    """

    def client(self) -> Conversation:
        """
        @return: a session with two messages in INBOX, selected.
        """
        server = Server()
        for _ in range(2):
            server.deliver()
        return server.select()

    def test_given(self) -> None:
        """Each comes with the response, and in the case, that its RFC says."""
        for code, (lines, response) in GIVEN.items():
            client = self.client()
            for line in lines:
                answer = client.send(f"t {line}\r\n".encode())
                if line == "UNAUTHENTICATE":
                    self.assertEqual(answer, b"t OK UNAUTHENTICATE completed\r\n")
            client.clock.advance(20)
            answer += client.wire.take()
            wanted = rf"(?m)^{re.escape(response)} \[{code}[] ]"
            self.assertRegex(answer.decode("latin-1"), wanted, code)

    def test_all(self) -> None:
        """There are no others; those that need more have tests of their own."""
        found: set[str] = set()
        for folder in ("imap", "storage", "sharing"):
            for path in (Path(twisted_mailstack.__file__).parent / folder).rglob("*.py"):
                if "client" not in path.name:
                    found.update(
                        " ".join(filter(None, match.groups()))
                        for match in _CODE.finditer(path.read_text("utf-8"))
                    )
        errors: Any = import_module("twisted_mailstack.errors")
        kinds = [each for each in vars(errors).values() if hasattr(each, "imapCode")]
        found |= {str(each.imapCode).partition(" ")[0] for each in kinds if each.imapCode}
        self.assertEqual(found - GIVEN.keys() - ELSEWHERE.keys() - NEVER, set())
        for code, name in ELSEWHERE.items():
            source = Path(str(import_module(name).__file__)).read_text("utf-8")
            self.assertIn(code.split(" ")[-1], source, code)

    def test_selfMade(self) -> None:
        """
        A checker or a store of one's own may say what it knows, as that a password isn't valid any
        more (RFC 5530: EXPIRED, CONTACTADMIN).
        """
        for code in ("EXPIRED", "CONTACTADMIN"):
            server = Server()
            client = server.connect()
            client.wire.take()

            async def refuse(address: Address, code: str = code) -> None:
                raise MailError("Ask the desk", imapCode=code)

            self.patch(server.store.directory, "findAccount", refuse)
            answer = client.send(b"a LOGIN alice@example.test secret\r\n")
            self.assertEqual(answer, f"a NO [{code}] Ask the desk\r\n".encode())
