"""
Registered keywords (RFC 5788, RFC 8457, RFC 9051 §2.3.2), as a session sees them.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server


class KeywordTests(SynchronousTestCase):
    """
    They are keywords like others, spelled as they are registered.
    """

    def test_spelling(self) -> None:
        """However a client spells them, all clients see one keyword."""
        server = Server()
        server.deliver()
        client = server.select()
        client.check(
            r"""
            C: a STORE 1 +FLAGS.SILENT ($forwarded $important $MDNSENT)
            S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft $Forwarded $Important $MDNSent)
            S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft $Forwarded $Important $MDNSent \*)] Flags that are kept
            S: a OK STORE completed
            C: b FETCH 1 FLAGS
            S: * 1 FETCH (FLAGS (\Recent $Forwarded $Important $MDNSent))
            S: b OK FETCH completed
            C: c SEARCH KEYWORD $IMPORTANT KEYWORD $forwarded UNKEYWORD $Junk
            S: * SEARCH 1
            S: c OK SEARCH completed
            C: d STORE 1 -FLAGS ($Important)
            S: * 1 FETCH (FLAGS (\Recent $Forwarded $MDNSent))
            S: d OK STORE completed
            """  # noqa: E501
        )

    def test_junk(self) -> None:
        """$Junk, $NotJunk and $Phishing are each what a client says: resolving them is its work."""
        server = Server()
        server.deliver(flags=["$Junk"])
        server.select().check(
            r"""
            C: a STORE 1 +FLAGS ($notjunk $phishing)
            S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft $Junk $NotJunk $Phishing)
            S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft $Junk $NotJunk $Phishing \*)] Flags that are kept
            S: * 1 FETCH (FLAGS (\Recent $Junk $NotJunk $Phishing))
            S: a OK STORE completed
            """  # noqa: E501
        )
