"""
Several sessions on the same mailboxes never come to differ.

Random commands run in a few sessions, with deliveries and changes of flags from outside between
them, over both stores, in two ways:

  - L{OverlappingTests}: commands of several sessions are under way at once, and steps of the store
    come between. Each session's client believes only what it is told (C{tests.imap.client}), and
    checks that it may be told that. In the end all of them say NOOP, and then know what is stored.
  - L{TurnsTests}: one after the other, each with all that it says in one piece or in many, and each
    answer is what a model says (C{tests.imap.modelled}).

C{MAILSTACK_THOROUGH=20} makes it try twenty times as much; C{MAILSTACK_MODEL=100000} runs so many
commands against the model.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.imap import modelled
from tests.imap.client import Known, MailboxModel, splitResponses
from tests.imap.stepped import SteppedServer
from tests.imap.support import Server, now
from twisted_mailstack.errors import NoSuchMailbox, TemporaryFailure
from twisted_mailstack.imap import fetch, search
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.interfaces import IMailStore
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.records import Attribute, Placement
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing.conversation import Conversation
from twisted_mailstack.testing.faulty import FaultyStore

THOROUGH = int(os.environ.get("MAILSTACK_THOROUGH", "1"))
#: Commands that are run against the model in its long form.
COMMANDS = int(os.environ.get("MAILSTACK_MODEL", "0"))
#: Making a failure small takes minutes: only where somebody asked for it.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate) + (Phase.shrink,) * (THOROUGH > 1)
NAMES = ("INBOX", "box", "other", "box/sub")
FLAGS = ("\\Seen", "\\Deleted", "\\Flagged", "work", "play")
TEXT = b"Subject: x\r\n\r\ntext\r\n"
ALL = NumberSet([(1, 0xFFFFFFFF)])

After = Callable[[bytes], None]


def nothing(tagged: bytes) -> None:
    """Nothing follows from the answer."""


@dataclass
class Session:
    """
    One connection, and what its client knows.

    @ivar server: the server's side of it; asked only for what it shows a client that comes back.
    @ivar selected: MAILBOXID of the selected mailbox.
    @ivar name: under which it was selected.
    @ivar epoch: counts selections: what is recent in one isn't in the next.
    @ivar idle: in IDLE.
    @ivar pushed: it is told at any time, by NOTIFY, but of what was expunged.
    @ivar waiting: the command under way: its name, its tag (C{None}: it gets no tagged response
        yet), and what follows from the answer.
    """

    conversation: Conversation
    server: IMAPSession
    model: MailboxModel = field(default_factory=MailboxModel)
    selected: str | None = None
    name: str = ""
    readOnly: bool = False
    epoch: int = 0
    idle: bool = False
    pushed: bool = False
    waiting: tuple[bytes, bytes | None, After] | None = None


class World:
    """
    The server and all who use it.
    """

    def __init__(self, server: Server, sessions: int, faults: FaultyStore | None = None) -> None:
        self.server = server
        self.faults = faults
        self.account: Any = server.account
        self.store: Any = server.store
        if faults is not None:
            # What is so, and what comes from outside, is seen past the faults.
            self.account, self.store = self.account.wrapped, faults.wrapped
        # Which session and selection saw a message as recent, by MAILBOXID and UID.
        self.recent: dict[tuple[str, int], tuple[int, int]] = {}
        self.connected = 0
        for name in NAMES[1:3]:
            now(self.account.createMailbox(name))
        self.sessions = [self.connect(0) for _ in range(sessions)]
        # Logged in while nothing else goes on, for who comes back while much does.
        self.spare: Conversation | None = None
        self.outside: list[Deferred[None]] = []

    # --- what is so ----------------------------------------------------------------------------

    def names(self) -> dict[str, str]:
        """
        @return: names of mailboxes by their MAILBOXID.
        """
        infos = now(self.account.listMailboxes())
        return {info.mailboxId: info.name for info in infos if info.selectable}

    def stored(self, name: str) -> dict[int | None, frozenset[str]]:
        """
        @return: flags by UID.
        """
        mailbox = now(self.account.openMailbox(name))
        return dict(now(mailbox.fetch(ALL, (Attribute.FLAGS,))))

    # --- from outside --------------------------------------------------------------------------

    def beside(self, work: Awaitable[None]) -> None:
        """
        Something that no session does.
        """

        async def run() -> None:
            await work

        self.outside.append(ensureDeferred(run()))

    async def deliver(self, name: str, flags: Sequence[str]) -> None:
        """
        New mail.
        """
        writer = self.store.newContent()
        writer.write(TEXT)
        staged = await writer.finish()
        placement = Placement(self.account.accountId, name, b"", frozenset(flags))
        await self.store.deliver(staged, [placement], 0)
        staged.discard()

    async def change(self, name: str, first: int, operation: FlagOperation, flag: str) -> None:
        """
        Flags of some messages.
        """
        for info in await self.account.listMailboxes():
            if info.name == name and info.selectable:
                mailbox = await self.account.openMailbox(name)
                numbers = NumberSet([(first, first + 2)])
                try:
                    await mailbox.storeFlags(numbers, operation, frozenset([flag]))
                except NoSuchMailbox:
                    # A session deleted it meanwhile.
                    pass

    # --- time ----------------------------------------------------------------------------------

    def step(self) -> None:
        """
        Run one thing that waits.
        """
        steps = getattr(self.store, "steps", None)
        if steps:
            steps.popleft()()
        else:
            self.server.clock.advance(0)

    def settle(self) -> None:
        """
        Run all that waits, and let every client read.
        """
        self.sessions[0].conversation.settle()
        if self.faults is not None:
            self.faults.heal()
        for done in self.outside:
            # Raises what it raised.
            results: list[Any] = []
            done.addBoth(results.append)
            assert results == [None], results
        self.outside.clear()
        for session in list(self.sessions):
            self.read(session)
        if self.spare is None:
            self.spare = self.server.login()
            self.spare.send(b"t ENABLE QRESYNC\r\n")

    # --- sessions ------------------------------------------------------------------------------

    def connect(self, epoch: int) -> Session:
        """
        @return: a session that is logged in.
        """
        conversation = self.server.login()
        session = Session(conversation, self.server.sessions[-1], epoch=epoch)
        # Every other one knows modSeqs.
        self.connected += 1
        if self.connected % 2:
            conversation.send(b"t ENABLE QRESYNC\r\n")
            session.model.qresync = True
        return session

    def comeBack(self, session: Session, cut: int, readOnly: bool) -> None:
        """
        The connection breaks while whatever is under way in it goes on, and the client comes back
        with what it knows.

        @param cut: how much of what was on its way it gets.
        """
        if self.spare is None or not session.model.qresync:
            return
        self.hear(session, session.conversation.wire.take()[:cut])
        spare, self.spare = self.spare, None
        again = Session(spare, self.server.sessions[-1], session.model, session.selected)
        again.epoch, again.name = session.epoch + 1, session.name
        for each in self.server.sessions:
            if each.stream is spare.stream:
                again.server = each
        session.conversation.stream.lost()
        self.sessions[self.sessions.index(session)] = again
        chosen = _resync(self, again, readOnly)
        if chosen is None or session.model.goodbye:
            again.model = MailboxModel(qresync=True)
            again.selected = None
        else:
            self.send(again, *chosen)

    def hear(self, session: Session, data: bytes) -> None:
        """
        Take in those responses of which all came.
        """
        while data:
            try:
                splitResponses(data)
                break
            except (AssertionError, ValueError):
                data = data[: data.rfind(b"\r\n", 0, -1) + 2 if b"\r\n" in data[:-1] else 0]
        name, tag, after = session.waiting or (b"IDLE" if session.idle else b"", None, nothing)
        session.waiting = None
        isOver = tag is not None and any(
            each.startswith(tag + b" ") for each in splitResponses(data)
        )
        tagged = session.model.read(data, name, tag if isOver else None)
        if tagged:
            after(tagged)

    def send(self, session: Session, command: bytes, after: After) -> None:
        """
        Send a command.
        """
        if session.pushed:
            # What was told of the mailbox until now isn't what it is told of another.
            self.settle()
        words = command.split(b" ")
        name = b" ".join(words[:2]) if words[0] == b"UID" else words[0]
        if name in (b"SELECT", b"EXAMINE"):
            # Of the mailbox before nothing is told any more.
            session.model.reset()
        session.waiting = (name, None if name == b"IDLE" else b"t", after)
        session.idle = name == b"IDLE"
        session.conversation.stream.received(b"t " + command + b"\r\n")

    def sendDone(self, session: Session) -> None:
        """
        End IDLE.
        """
        session.idle = False
        session.waiting = (b"IDLE", b"t", nothing)
        session.conversation.stream.received(b"DONE\r\n")

    def read(self, session: Session) -> None:
        """
        Read all that came; the command under way is over by now.
        """
        data = session.conversation.wire.take()
        waiting, session.waiting = session.waiting, None
        if waiting is None:
            # Nothing comes unasked but in IDLE. (RFC 3501 §5.2 would allow EXISTS.)
            assert session.idle or session.pushed or not data, f"unasked: {data!r}"
            session.model.read(data, b"IDLE" if session.idle else b"")
        else:
            name, tag, after = waiting
            tagged = session.model.read(data, name, tag, session.pushed)
            # The client knows what it does: it names no message that isn't there.
            assert not tagged.startswith(b"BAD "), (name, tagged)
            if tagged:
                after(tagged)
        if session.conversation.failure is not None:
            session.conversation.failure.raiseException()
        if session.model.goodbye:
            # Only because its mailbox was deleted.
            assert session.selected is not None and session.selected not in self.names()
            assert session.conversation.finished
            where = self.sessions.index(session)
            self.sessions[where] = self.connect(session.epoch + 1)
        else:
            self.checkRecent(session)

    def checkRecent(self, session: Session) -> None:
        """
        No message is recent in two sessions (RFC 3501 §2.3.2).
        """
        if session.selected is None or session.readOnly:
            return
        who = self.sessions.index(session), session.epoch
        for known in session.model.messages:
            if known.uid is not None and known.flags is not None and "\\Recent" in known.flags:
                first = self.recent.setdefault((session.selected, known.uid), who)
                assert first == who, f"UID {known.uid} is recent in {first} and {who}"

    # --- the end -------------------------------------------------------------------------------

    def agree(self) -> None:
        """
        After a NOOP each client that has a mailbox knows what is stored in it: how many messages,
        and UIDs and flags as far as it was ever told them. Then it asks for the rest.
        """
        self.settle()
        for session in self.sessions:
            if session.idle:
                self.sendDone(session)
        self.settle()
        for session in self.sessions:
            self.send(session, b"NOOP", nothing)
        self.settle()
        for session in list(self.sessions):
            if session.selected is None:
                continue
            # Else it would have been told so.
            name = self.names()[session.selected]
            stored = self.stored(name)
            model = session.model
            assert len(model.messages) == len(stored), (model.messages, stored)
            for known, (uid, flags) in zip(model.messages, stored.items(), strict=True):
                assert known.uid in (None, uid), (model.messages, stored)
                assert known.flags is None or known.flags - {"\\Recent"} == flags, (known, flags)
            if stored:
                self.send(session, b"FETCH 1:* (UID FLAGS)", nothing)
                self.settle()
            assert model.flagsByUID() == stored, (model.flagsByUID(), stored)
            recent = sum("\\Recent" in (known.flags or ()) for known in model.messages)
            # RECENT isn't told again when EXPUNGE makes it less.
            assert recent <= model.recent, (recent, model.recent)


def choose(world: World, session: Session, kind: str, a: int, b: int) -> tuple[bytes, After] | None:
    """
    @param kind: a word that says what it is to be; C{a} and C{b}: the details.
    @return: a command that this client can give now, and what follows from the answer.
    """
    name = NAMES[a % len(NAMES)]
    target = NAMES[b % len(NAMES)].encode()
    if kind == "select":
        return _select(session, name, b % 3 == 0)
    if kind == "noop":
        return b"NOOP", nothing
    if kind == "idle":
        return b"IDLE", nothing
    if kind == "status":
        return b"STATUS INBOX (MESSAGES UNSEEN)", nothing
    if kind == "append":
        flag = FLAGS[b % len(FLAGS)].encode()
        return b"APPEND %b (%b) {%d+}\r\n%b" % (name.encode(), flag, len(TEXT), TEXT), nothing
    if kind == "create":
        return b"CREATE " + name.encode(), nothing
    if kind == "delete":
        if name in ("INBOX", session.name, world.names().get(session.selected or "")):
            return None
        return b"DELETE " + name.encode(), nothing
    if kind == "rename":

        def renamed(tagged: bytes) -> None:
            if tagged.startswith(b"OK ") and session.name == name != "INBOX":
                session.name = target.decode()

        return b"RENAME %b %b" % (name.encode(), target), renamed
    if session.selected is None:
        return None
    if kind == "resync":
        return _resync(world, session, b % 3 == 0)
    if kind == "notify":
        session.pushed = True
        items = b"(UID FLAGS) " if b % 3 else b""
        events = b"(MessageNew %bMessageExpunge FlagChange)" % items
        return b"NOTIFY SET (SELECTED-DELAYED %b)" % events, nothing
    if kind == "replace":
        return _replace(session, a, target)
    if kind == "close":

        def closed(tagged: bytes) -> None:
            if tagged.startswith(b"OK "):
                session.selected = None
                session.model.reset()

        return (b"CLOSE" if a % 2 else b"UNSELECT"), closed
    byUID = a % 2 == 0
    prefix = b"UID " if byUID else b""
    count = len(session.model.messages)
    if kind == "search":
        query = (b"ALL", b"SEEN", b"NOT DELETED", b"SUBJECT x", b"RECENT")[b % 5]

        def found(tagged: bytes) -> None:
            # What came meanwhile may be found too, where it is told unasked (RFC 5465).
            known = len(session.model.messages) if session.pushed else count
            assert byUID or all(1 <= each <= known for each in session.model.found)

        return prefix + b"SEARCH " + query, found
    if kind == "expunge":
        return (b"UID EXPUNGE %d:*" % (1 + b % 6) if byUID else b"EXPUNGE"), nothing
    if byUID:
        some = b"%d:%d" % (1 + a % 7, 1 + b % 11)
    elif count:
        some = b"%d,%d" % (1 + a % count, 1 + b % count) if b % 3 else b"%d:*" % (1 + a % count)
    else:
        return None
    if kind == "fetch":
        flags = b"(UID FLAGS MODSEQ)" if session.model.qresync else b"FLAGS"
        items = (b"(UID FLAGS)", flags, b"(UID RFC822.SIZE)", b"BODY[TEXT]", b"(UID ENVELOPE)")
        return prefix + b"FETCH " + some + b" " + items[b % 5], nothing
    if kind == "store":
        return _store(session, prefix, some, a, b)
    return prefix + kind.upper().encode() + b" " + some + b" " + target, nothing


def _replace(session: Session, a: int, target: bytes) -> tuple[bytes, After] | None:
    count = len(session.model.messages)
    if not count:
        return None
    literal = b"{%d+}\r\n%b" % (len(TEXT), TEXT)
    number = 1 + a % count
    uid = session.model.messages[number - 1].uid
    if a % 2 and uid is not None:
        return b"UID REPLACE %d %b %b" % (uid, target, literal), nothing
    return b"REPLACE %d %b %b" % (number, target, literal), nothing


def _select(session: Session, name: str, readOnly: bool) -> tuple[bytes, After]:
    session.epoch += 1
    # Whatever comes of it, the mailbox before isn't selected any more (RFC 3501 §6.3.1).
    session.selected = None

    def selected(tagged: bytes) -> None:
        if tagged.startswith(b"OK "):
            # The server's session knows it no more where the mailbox was deleted at once.
            told = b"".join(session.model.responses).partition(b"[MAILBOXID (")[2]
            session.selected, session.name = told.partition(b")")[0].decode(), name
            session.readOnly = readOnly

    return (b"EXAMINE " if readOnly else b"SELECT ") + name.encode(), selected


def _resync(world: World, session: Session, readOnly: bool) -> tuple[bytes, After] | None:
    # The connection breaks, as it were, and the client comes back.
    model = session.model
    name = world.names().get(session.selected or "")
    if not model.qresync or not model.highestModSeq or name is None:
        return None
    cached = {each.uid: each.flags for each in model.messages if each.uid is not None}
    known = model.uidValidity, model.highestModSeq
    command, selected = _select(session, name, readOnly)

    def resynchronised(tagged: bytes) -> None:
        selected(tagged)
        if session.selected is None or model.goodbye or model.uidValidity != known[0]:
            return
        view = session.server.theSelected().view
        told = model.flagsByUID()
        for uid, flags in cached.items():
            if uid in model.gone:
                continue
            at = view.index(uid)
            assert at is not None, f"UID {uid} vanished, and nobody said so"
            if told.get(uid) is None and flags is not None:
                assert view.flags[at] == flags - {"\\Recent"}, f"flags of UID {uid}"
                # Recent is what it is in the session that selects.
                model.messages[at] = Known(uid, flags - {"\\Recent"})

    return command + b" (QRESYNC (%d %d))" % known, resynchronised


def _store(session: Session, prefix: bytes, some: bytes, a: int, b: int) -> tuple[bytes, After]:
    operation, flag = (b"+FLAGS", b"-FLAGS", b"FLAGS")[a // 2 % 3], FLAGS[b // 3 % len(FLAGS)]
    silent = b"" if a % 4 else b".SILENT"
    before = [(known, known.flags) for known in session.model.messages]
    count = len(before)

    def named(number: int, known: Known) -> bool:
        value = known.uid if prefix else number
        assert value is not None
        for element in some.split(b","):
            first, colon, last = element.partition(b":")
            ends = int(first), count if last == b"*" else int(last if colon else first)
            if min(ends) <= value <= max(ends):
                return True
        return False

    def stored(tagged: bytes) -> None:
        if not silent or not tagged.startswith(b"OK "):
            return
        for number, (known, flags) in enumerate(before, 1):
            if flags is None or known.flags is not flags:
                # It was told, or never known.
                continue
            if prefix and known.uid is None:
                # It can't tell whether that one was meant.
                known.flags = None
            elif named(number, known):
                # It wasn't told, so it must be as it has to expect.
                recent = flags & {"\\Recent"}
                known.flags = {
                    b"+FLAGS": flags | {flag},
                    b"-FLAGS": flags - {flag},
                    b"FLAGS": frozenset([flag]) | recent,
                }[operation]

    text = operation + silent + b" (" + flag.encode() + b")"
    return prefix + b"STORE " + some + b" " + text, stored


KINDS = {
    "select": 5,
    "noop": 1,
    "resync": 3,
    "idle": 3,
    "status": 1,
    "append": 3,
    "create": 1,
    "delete": 1,
    "rename": 1,
    "close": 1,
    "search": 2,
    "expunge": 2,
    "fetch": 5,
    "store": 6,
    "copy": 2,
    "move": 2,
    "replace": 2,
    "notify": 1,
    "break": 3,
    "deliver": 3,
    "change": 2,
}

#: What, by which session, how exactly, and how much of what waits is run before the next: 3 is all.
Step = tuple[str, int, int, int, int]
STEPS = st.tuples(
    st.sampled_from([kind for kind, often in KINDS.items() for _ in range(often)]),
    st.integers(0, 3),
    st.integers(0, 59),
    st.integers(0, 59),
    st.integers(0, 3),
)


def _inINBOX(step: Step) -> Step:
    # Which mailbox it is, deliver and change tell from this.
    kind, who, a, b, wait = step
    return kind, who, (a % 2 * 3 if kind in ("deliver", "change") else a), b, wait


RESYNC_STEPS = st.tuples(
    st.sampled_from(
        "noop fetch fetch store store expunge change change deliver resync break break".split()
    ),
    st.integers(0, 3),
    st.integers(0, 59),
    st.integers(0, 59),
    st.integers(0, 3),
).map(_inINBOX)


def play(world: World, steps: Sequence[Step]) -> None:
    """
    Run these steps, then compare.
    """
    for kind, who, a, b, wait in steps:
        if kind == "deliver":
            world.beside(world.deliver(NAMES[a % 3], [FLAGS[b % 5]] if b % 2 else []))
        elif kind == "change":
            operation = FlagOperation.ADD if a % 2 else FlagOperation.REMOVE
            world.beside(world.change(NAMES[a % 3], 1 + b % 6, operation, FLAGS[b % 5]))
        else:
            who %= len(world.sessions)
            if world.faults is not None and b % 3 == 0:
                world.faults.failAt(1 + a % 4, TemporaryFailure)
            # What it is told unasked comes before it decides what to do.
            before = world.sessions[who]
            if (before.waiting is not None or before.pushed) and kind != "break":
                world.settle()
            session = world.sessions[who]
            if kind == "break":
                world.comeBack(session, a * b, b % 3 == 0)
            elif session.idle:
                world.sendDone(session)
            else:
                chosen = choose(world, session, kind, a, b)
                if chosen is not None:
                    world.send(session, *chosen)
        if wait == 3:
            world.settle()
        else:
            for _ in range(wait):
                world.step()
    world.agree()


_NOTIFIED: list[Step] = [("select", 0, 0, 1, 3), ("notify", 0, 0, 0, 3)]


class OverlappingTests(SynchronousTestCase):
    """
    Commands of several sessions at once.
    """

    def setUp(self) -> None:
        """Small slices, so that commands are cut where others can come between."""
        for module, name, size in (
            (fetch, "METADATA_SLICE", 2),
            (fetch, "CONTENT_SLICE", 1),
            (search, "ROWS", 2),
            (search, "HEADERS", 1),
        ):
            self.patch(module, name, size)
        fetch.compileItems.cache_clear()
        self.addCleanup(fetch.compileItems.cache_clear)

    @settings(
        deadline=None,
        max_examples=100 * THOROUGH,
        phases=PHASES,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.integers(2, 4), st.lists(STEPS, min_size=20, max_size=60))
    def test_memory(self, sessions: int, steps: list[Step]) -> None:
        """
        Over the memory store.
        """
        play(World(Server(), sessions), steps)

    @settings(
        deadline=None,
        max_examples=100 * THOROUGH,
        phases=PHASES,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.lists(RESYNC_STEPS, min_size=10, max_size=40))
    def test_resync(self, steps: list[Step]) -> None:
        """
        Clients that come back by QRESYNC, whenever they went, know all that happened meanwhile (RFC
        7162 §3.2).
        """
        world = World(Server(), 3)
        for number in range(8):
            now(world.deliver("INBOX", FLAGS[number % 2 : number % 2 + 1]))
        for session in world.sessions:
            world.send(session, *_select(session, "INBOX", False))
            world.settle()
            world.send(session, b"FETCH 1:* (UID FLAGS)", nothing)
            world.settle()
        play(world, steps)

    @settings(
        deadline=None,
        max_examples=50 * THOROUGH,
        phases=PHASES,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.integers(2, 3), st.lists(STEPS, min_size=20, max_size=60))
    def test_failing(self, sessions: int, steps: list[Step]) -> None:
        """
        Over a store of which now and then a call fails.
        """
        faults = FaultyStore(MemoryMailStore())
        server = Server(store=cast(IMailStore, faults))
        try:
            play(World(server, sessions, faults), steps)
        finally:
            self.flushLoggedErrors(TemporaryFailure)

    @settings(
        deadline=None,
        max_examples=15 * THOROUGH,
        phases=PHASES,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    # New mail between NOTIFY and a SEARCH.
    @example(2, [*_NOTIFIED, ("deliver", 0, 0, 0, 0), ("search", 0, 1, 0, 3)])
    # What is being selected is deleted.
    @example(2, [("append", 0, 1, 0, 0), ("select", 0, 1, 1, 0), ("delete", 1, 1, 0, 0)])
    @given(st.integers(2, 3), st.lists(STEPS, min_size=20, max_size=60))
    def test_sql(self, sessions: int, steps: list[Step]) -> None:
        """
        Over the SQL store, where others come between each step of a command.
        """
        server = SteppedServer(self.mktemp())
        try:
            world = World(server, sessions)
            server.store.atOnce = False
            play(world, steps)
        finally:
            server.store.atOnce = True
            server.settle()
            now(server.store.stop())


MODELLED_STEPS = st.tuples(
    st.sampled_from([kind for kind, often in modelled.KINDS.items() for _ in range(often)]),
    st.integers(0, 3),
    st.integers(0, 59),
    st.integers(0, 59),
    st.booleans(),
)


class TurnsTests(SynchronousTestCase):
    """
    Commands of several sessions, one after the other, against a model.
    """

    def setUp(self) -> None:
        """Small slices."""
        self.patch(fetch, "METADATA_SLICE", 2)
        self.patch(search, "ROWS", 2)
        fetch.compileItems.cache_clear()
        self.addCleanup(fetch.compileItems.cache_clear)

    @settings(
        deadline=None,
        max_examples=60 * THOROUGH,
        phases=PHASES,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.integers(2, 4), st.lists(MODELLED_STEPS, min_size=20, max_size=60))
    def test_memory(self, clients: int, steps: list[modelled.Step]) -> None:
        """
        Over the memory store.
        """
        modelled.World(Server(), clients).play(steps)

    def sql(self, clients: int, steps: Sequence[modelled.Step], seed: int = 0) -> None:
        """
        Run a program over the SQL store.
        """
        path = self.mktemp()
        server = SteppedServer(path)
        try:
            modelled.World(server, clients, seed).play(steps)
        finally:
            now(server.store.stop())
            shutil.rmtree(path, ignore_errors=True)

    @settings(
        deadline=None,
        max_examples=10 * THOROUGH,
        phases=PHASES,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.integers(2, 4), st.lists(MODELLED_STEPS, min_size=20, max_size=60))
    def test_sql(self, clients: int, steps: list[modelled.Step]) -> None:
        """
        Over the SQL store.
        """
        self.sql(clients, steps)

    def test_long(self) -> None:
        """
        As many commands as C{MAILSTACK_MODEL} says, three out of four over the memory store.
        """
        for seed in range(0, COMMANDS, 500):
            steps = modelled.randomSteps(Random(seed), min(500, COMMANDS - seed))
            clients = 2 + seed // 500 % 3
            try:
                if seed % 2000:
                    modelled.World(Server(), clients, seed).play(steps)
                else:
                    self.sql(clients, steps, seed)
            except Exception as error:
                raise AssertionError(f"with seed {seed}") from error

    if not COMMANDS:
        test_long.skip = "MAILSTACK_MODEL=100000 runs so many commands"  # type: ignore[attr-defined]
