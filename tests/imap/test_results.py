"""
Tests of what SEARCH, SORT and ESEARCH have in common.
"""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server
from twisted_mailstack.imap import results, search
from twisted_mailstack.imap.extensions import thread
from twisted_mailstack.imap.results import renderInOrder
from twisted_mailstack.testing.conversation import Conversation


class RenderTests(SynchronousTestCase):
    """
    Sequence-sets in an order.
    """

    def test_order(self) -> None:
        """
        The order stays; only what ascends by ones is a range: C{12:10} would mean C{10:12}
        (RFC 5267 §3.2).
        """
        for numbers, written in (
            ([], b""),
            ([7], b"7"),
            ([1, 2], b"1:2"),
            ([1, 3], b"1,3"),
            ([2, 10, 11, 12, 20], b"2,10:12,20"),
            ([12, 11, 10], b"12,11,10"),
            ([5, 3, 4, 1], b"5,3:4,1"),
            ([4294967294, 4294967295, 1], b"4294967294:4294967295,1"),
        ):
            self.assertEqual(renderInOrder(numbers), written, numbers)


COMMANDS = """\
SEARCH RETURN ({options}) {keys}
UID SEARCH RETURN ({options}) {keys}
SORT RETURN ({options}) (REVERSE SIZE) UTF-8 {keys}
UID SORT RETURN ({options}) (ARRIVAL) UTF-8 {keys}
ESEARCH IN ({sources}) RETURN ({options}) {keys}
ESEARCH RETURN ({options}) {keys}
SEARCH {keys}
UID SEARCH {keys}
THREAD REFS UTF-8 {keys}
FETCH $ UID
UID FETCH $ FLAGS (PARTIAL -1:-2)
STORE $ +FLAGS (\\Seen)
STORE 1:3 -FLAGS (\\Flagged)
UID STORE $ +FLAGS.SILENT (\\Deleted)
EXPUNGE
NOOP
COPY $ Sent
UID MOVE 3 INBOX
CANCELUPDATE "a5"
SELECT INBOX""".split("\n")
OPTIONS = "MIN,MAX,ALL,COUNT,SAVE,PARTIAL 1:2,PARTIAL -1:-2,UPDATE,CONTEXT,RELEVANCY".split(",")
KEYS = (
    "ALL,FLAGGED,SEEN,UNSEEN,$,1:3,UID 2:*,NOT $,OR SEEN 2,OLDER 5,YOUNGER 5,FILTER nobody,"
    "MODSEQ 3,SUBJECT 1,FUZZY SUBJECT 1,TEXT x,DELETED,LARGER 1"
).split(",")
SOURCES = (
    "selected,personal,mailboxes INBOX,subtree (INBOX Sent),selected mailboxes Sent,subscribed"
).split(",")
WORDS = "RETURN ( ) () MIN ALL SAVE PARTIAL 1:2 UPDATE $ UID * 2,4 NOT OR SEEN UTF-8 IN (SIZE)"


class RandomTests(SynchronousTestCase):
    """
    Whatever is combined, and wherever.
    """

    def test_everythingIsAnswered(self) -> None:
        """
        Two sessions that change what they search: each command is answered with its tag, and none
        fails for a reason of ours.
        """
        self.patch(search, "SLICE", 3)
        self.patch(results, "SLICE", 2)
        chance = random.Random(5267)
        server = Server()
        for number in range(9):
            flags = [["\\Flagged"], ["\\Seen"], []][number % 3]
            server.deliver(b"Subject: %d\r\n\r\nx" % number, flags=flags)
        sessions = [server.select(), server.select()]
        for number in range(600):
            if chance.random() < 0.85:
                command = chance.choice(COMMANDS).format(
                    options=" ".join(chance.sample(OPTIONS, chance.randrange(4))),
                    keys=" ".join(chance.sample(KEYS, chance.randrange(1, 3))),
                    sources=chance.choice(SOURCES),
                )
            else:
                words = chance.choices(WORDS.split(), k=chance.randrange(1, 8))
                command = " ".join((chance.choice(("SEARCH", "ESEARCH", "UID SORT")), *words))
            if chance.random() < 0.2:
                server.deliver(b"Subject: %d\r\n\r\ny" % number, flags=["\\Flagged"])
            tag = b"a%d" % chance.randrange(12)
            answer = chance.choice(sessions).send(b"%b %b\r\n" % (tag, command.encode()))
            last = answer.rstrip(b"\r\n").rpartition(b"\r\n")[2]
            self.assertRegex(last, rb"\A%b (OK|NO|BAD) " % tag, command)
            self.assertNotIn(b"SERVERBUG", answer, command)
        self.assertEqual(self.flushLoggedErrors(), [])


class TimeoutTests(SynchronousTestCase):
    """
    A client that takes nothing of a long response.
    """

    def test_noGoodbye(self) -> None:
        """
        It is disconnected in the end, with no BYE where the rest of a response is due.
        """
        self.patch(results, "SLICE", 1)
        self.patch(thread, "PIECES", 1)
        server = Server()
        for _ in range(3):
            server.deliver()
        for command in (b"SEARCH ALL", b"SORT (SIZE) UTF-8 ALL", b"THREAD REFS UTF-8 ALL"):
            session = server.select()

            def send(data: bytes, session: Conversation = session) -> None:
                session.wire.sent += data
                session.stream.setBlocked(True)

            session.wire.send = send  # type: ignore[method-assign]
            session.stream.received(b"a " + command + b"\r\n")
            session.settle()
            self.assertRegex(session.wire.sent, rb"\A\* [A-Z]+ ")
            session.clock.advance(1800)
            session.settle()
            self.assertTrue(session.finished, command)
            self.assertNotIn(b"BYE", session.wire.sent, command)
            self.assertNotIn(b"\n", session.wire.sent, command)
