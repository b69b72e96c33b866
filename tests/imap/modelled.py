r"""
A model of an IMAP account, clients that believe what they are told, and programs for them.

The model (L{Truth}) is written from the RFCs and shares nothing with the server: mailboxes are
dictionaries, and each command is a few lines. A L{Client} sends commands, several in one piece and
cut anywhere, and reads the answers one by one: what a command means is decided when its answer is
read, with the numbers that the client has been told until then. So each answer is known before:
OK, NO or BAD, what was found, copied, expunged or refused, flags, UIDs and modSeqs.

Turns of clients don't overlap here (in C{test_model_based} they do, too). After each of them every
client that is to know everything does, and the store agrees with the model.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.imap.client import parseFetch, splitResponses
from tests.imap.support import Server, now
from twisted_mailstack.testing.conversation import Conversation

NAMES = ("INBOX", "box", "other", "third")
FLAGS = ("\\Seen", "\\Deleted", "\\Flagged", "work", "play")
#: During which messages that are gone aren't told (RFC 3501 §7.4.1).
NUMBERED = (b"FETCH", b"STORE", b"SEARCH")

Flags = frozenset[str]
#: Given the tagged response and the untagged ones, does to the model what the command did. What it
#: returns is called when the client has taken in the untagged ones.
Effect = Callable[[bytes, list[bytes]], "Callable[[], None] | None"]

_NUMBERED = re.compile(rb"\* (\d+) (EXISTS|RECENT|EXPUNGE|FETCH|UIDFETCH)(?: (.*))?\Z", re.DOTALL)


def parseSet(numbers: bytes, last: int) -> set[int]:
    """
    @param last: what C{*} is.
    @return: the numbers of a set.
    """
    found: set[int] = set()
    for element in numbers.split(b","):
        ends = [last if each == b"*" else int(each) for each in element.split(b":")]
        found.update(range(min(ends), max(ends) + 1))
    return found


# --- the model -----------------------------------------------------------------------------------


def text(kind: int) -> bytes:
    """
    @return: one of a few messages.
    """
    return b"Subject: s%d\r\n\r\n" % (kind % 3) + b"x" * (kind % 5 * 10) + b"\r\n"


@dataclass
class Message:
    """
    @ivar isFresh: it changed in this turn.
    @ivar modSeq: at the end of the last turn.
    @ivar heard: the highest modSeq that a client was told.
    @ivar past: flags by the modSeqs that it had at the ends of turns.
    """

    content: bytes
    flags: Flags
    isFresh: bool = True
    modSeq: int = 0
    heard: int = 0
    past: dict[int, Flags] = field(default_factory=dict)

    def changedSince(self, modSeq: int) -> bool:
        """
        @return: whether its modSeq is higher, given one of an earlier turn.
        """
        return self.isFresh or self.modSeq > modSeq

    def flagsAt(self, modSeq: int) -> Flags | None:
        """
        @return: as they were then, C{None} if it wasn't there.
        """
        before = [each for each in self.past if each <= modSeq]
        return self.past[max(before)] if before else None


@dataclass
class Box:
    """
    A mailbox.

    @ivar uidValidity: 0 as long as nobody knows.
    @ivar highest: highest modSeq at the end of the last turn.
    @ivar gone: UIDs of expunged messages, and a modSeq after which they went.
    @ivar isNew: what UIDs its messages have has to be learned.
    """

    truth: Truth
    mailboxId: str = ""
    uidValidity: int = 0
    uidNext: int = 1
    highest: int = 0
    messages: dict[int, Message] = field(default_factory=dict)
    gone: dict[int, int] = field(default_factory=dict)
    exists: bool = True
    isNew: bool = True

    def add(self, content: bytes, flags: Flags) -> int:
        """
        @return: the UID of a new message.
        """
        uid = self.uidNext
        self.uidNext += 1
        self.messages[uid] = Message(content, flags)
        self.truth.version += 1
        return uid

    def expunge(self, uids: Sequence[int]) -> None:
        """
        These go.
        """
        for uid in uids:
            del self.messages[uid]
            self.gone[uid] = self.highest
            self.truth.version += 1

    def change(self, uid: int, operation: bytes, flags: Flags) -> bool:
        """
        @return: whether its flags are others now.
        """
        message = self.messages[uid]
        before, message.flags = message.flags, changed(message.flags, operation, flags)
        if message.flags == before:
            return False
        message.isFresh = True
        self.truth.version += 1
        return True

    def deleted(self) -> list[int]:
        r"""
        @return: UIDs of messages with C{\Deleted}.
        """
        return [uid for uid, each in self.messages.items() if "\\Deleted" in each.flags]


def changed(before: Flags, operation: bytes, flags: Flags) -> Flags:
    """
    @return: what STORE makes of flags.
    """
    if operation == b"+FLAGS":
        return before | flags
    return before - flags if operation == b"-FLAGS" else flags


class Truth:
    """
    An account.

    @ivar version: grows with each change.
    """

    def __init__(self, account: Any) -> None:
        self.account = account
        self.version = 0
        self.boxes: dict[str, Box] = {name: Box(self) for name in NAMES[:3]}
        for name in NAMES[1:3]:
            now(account.createMailbox(name))
        self.learn()

    def learn(self) -> None:
        """
        Hold the store to the model at the end of a turn, and learn from it what no model can know:
        modSeqs and other numbers that nobody was told.
        """
        infos = {
            info.name: info.mailboxId
            for info in now(self.account.listMailboxes())
            if info.name in NAMES and info.selectable
        }
        assert set(infos) == set(self.boxes), (infos, set(self.boxes))
        for name, mailboxId in infos.items():
            box = self.boxes[name]
            assert box.mailboxId in ("", mailboxId), name
            box.mailboxId = mailboxId
            self.compare(name, box)

    def compare(self, name: str, box: Box) -> None:
        """
        Hold one mailbox to the model.
        """
        opened = now(self.account.openMailbox(name))
        status = now(opened.status())
        changes = now(opened.changesSince(0))
        uids = list(changes.uids)
        if box.isNew:
            assert len(uids) == len(box.messages), (name, uids, box.messages)
            box.messages = dict(zip(uids, box.messages.values(), strict=True))
            box.uidNext, box.isNew = changes.uidNext, False
        box.uidValidity = box.uidValidity or status.uidValidity
        assert uids == list(box.messages), (name, uids, list(box.messages))
        assert box.uidNext == changes.uidNext == status.uidNext, name
        assert box.uidValidity == status.uidValidity, name
        assert changes.highestModSeq == status.highestModSeq >= box.highest, name
        for uid, flags, modSeq in zip(uids, changes.flags, changes.modSeqs, strict=True):
            message = box.messages[uid]
            assert flags == message.flags, (name, uid, flags, message.flags)
            if message.isFresh:
                assert box.highest < modSeq <= changes.highestModSeq, (name, uid, modSeq)
            else:
                assert modSeq == message.modSeq, (name, uid, modSeq, message.modSeq)
            assert message.heard <= modSeq, (name, uid, modSeq, message.heard)
            message.modSeq, message.isFresh = modSeq, False
            assert message.past.setdefault(modSeq, flags) == flags, (name, uid, modSeq)
        vanished = set(now(opened.changesSince(box.highest)).vanished)
        assert vanished.isdisjoint(uids), name
        assert vanished >= {uid for uid, at in box.gone.items() if at == box.highest}, name
        assert not box.gone or changes.highestModSeq > min(box.gone.values())
        box.highest = changes.highestModSeq
        assert status.messages == len(uids), name
        unseen = sum("\\Seen" not in each.flags for each in box.messages.values())
        assert status.unseen == unseen, name


# --- clients -------------------------------------------------------------------------------------


@dataclass
class Cache:
    """
    What a client keeps of a mailbox while it is away.

    @ivar view: UIDs by sequence number, as far as they are known.
    """

    uidValidity: int
    modSeq: int
    flags: dict[int, Flags]
    view: list[int]


@dataclass
class Sent:
    """
    A command on its way.
    """

    tag: bytes
    name: bytes
    effect: Effect


class Client:
    """
    A client that reads mail, connection after connection.

    @ivar view: UIDs of the messages that it was told to be there, by sequence number. (Of new ones
        EXISTS tells no UID: which they are is looked up in the model.)
    @ivar flags: of those messages of which it was told any.
    @ivar modSeq: up to where it knows the mailbox, reckoned as RFC 7162 §6 says.
    @ivar pushes: the form of NOTIFY that is on: empty, SELECTED, SELECTED-DELAYED, WITHOUT-FLAGS or
        NONE.
    @ivar ofOthers: whether numbers of other mailboxes are told, too: C{statuses} by name.
    @ivar caches: what it keeps of mailboxes, by their ids.
    @ivar deaf: the connection is broken, but the server goes on.
    """

    conversation: Conversation
    box: Box | None
    view: list[int]

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.epoch = 0
        self.caches: dict[str, Cache] = {}
        self.connect()

    # --- connections ---------------------------------------------------------------------------

    def connect(self) -> None:
        """
        Log in.
        """
        self.conversation = self.world.server.login()
        self.enabled: set[bytes] = set()
        self.pushes = b""
        self.idle = self.deaf = self.goodbye = False
        self.output = b""
        self.outgoing: list[Sent] = []
        self.tags = 0
        self.statuses: dict[bytes, dict[bytes, int]] = {}
        self.ofOthers = False
        self.forget()
        self.deflater: Any = None
        self.inflater: Any = None
        if self.number == 1:
            # RFC 4978
            answer = self.conversation.send(b"t COMPRESS DEFLATE\r\n")
            assert answer == b"t OK DEFLATE active\r\n", answer
            self.deflater = zlib.compressobj(wbits=-15)
            self.inflater = zlib.decompressobj(wbits=-15)
        if self.number % 2 == 0:
            _enable(self, 1)

    def forget(self) -> None:
        """
        No mailbox is selected.
        """
        self.epoch += 1
        self.box = None
        self.view = []
        self.flags: dict[int, Flags] = {}
        self.saved: set[int] = set()
        self.readOnly = False
        self.modSeq = self.heardModSeq = 0
        self.codeModSeq: int | None = None
        self.version = -1
        self.fresh()

    def fresh(self) -> None:
        """
        A command begins.
        """
        self.told: dict[int, set[str]] = {}
        self.found: list[int] | None = None
        self.extended: dict[bytes, bytes] | None = None
        self.earlier: set[int] = set()
        self.mayExpunge = True

    def keep(self) -> None:
        """
        Remember the selected mailbox for later.
        """
        box = self.box
        if box is not None and not self.deaf and b"QRESYNC" in self.enabled and self.modSeq:
            known = {uid: self.flags[uid] for uid in self.view if uid in self.flags}
            # The numbers of those before the first that it doesn't know.
            unknown = [at for at, uid in enumerate(self.view) if uid not in self.flags]
            view = self.view[: min(unknown, default=len(self.view))]
            self.caches[box.mailboxId] = Cache(box.uidValidity, self.modSeq, known, view)

    def leave(self, cut: int) -> None:
        """
        The connection breaks behind so many octets of what is on its way to the client.
        """
        self.flush(cut)
        self.keep()
        self.conversation.disconnect()
        self.connect()

    # --- sending -------------------------------------------------------------------------------

    def say(self, name: bytes, arguments: bytes, effect: Effect) -> None:
        """
        Put a command behind what is to be sent.
        """
        self.tags += 1
        tag = b"t%d" % self.tags
        self.output += tag + b" " + name + (b" " + arguments if arguments else b"") + b"\r\n"
        self.outgoing.append(Sent(tag, name, effect))

    def flush(self, cut: int | None = None) -> None:
        """
        Send what there is, in pieces, and read all answers.
        """
        random = self.world.random
        output, self.output = self.output, b""
        if self.deflater is not None and output:
            output = self.deflater.compress(output) + self.deflater.flush(zlib.Z_SYNC_FLUSH)
        while output and not self.conversation.finished:
            size = random.choice((1, 3, 20, 1 << 20))
            self.conversation.stream.received(output[:size])
            output = output[size:]
            if random.random() < 0.3:
                self.conversation.settle()
        self.conversation.settle()
        self.read(self.take(), cut)

    def take(self) -> bytes:
        """
        @return: what came since the last time.
        """
        data = self.conversation.wire.take()
        return data if self.inflater is None else self.inflater.decompress(data)

    def done(self) -> None:
        """
        End IDLE.
        """
        self.output += b"DONE\r\n"
        self.flush()

    # --- reading -------------------------------------------------------------------------------

    def read(self, data: bytes, cut: int | None = None) -> None:
        """
        Take in what came. All commands that were sent are over by now, but for an IDLE.

        @param cut: how much of it the client gets.
        """
        left = len(data) if cut is None else min(cut, len(data))
        responses = splitResponses(data)
        waiting, self.outgoing = self.outgoing, []
        while waiting and not self.goodbye:
            sent = waiting.pop(0)
            ends = [n for n, each in enumerate(responses) if each.startswith(sent.tag + b" ")]
            if not ends:
                # IDLE goes on, or nothing is executed behind a BYE.
                self.idle = sent.name == b"IDLE" and not waiting
                self.fresh()
                bye = any(each.startswith(b"* BYE ") for each in responses)
                assert self.idle or bye, (sent, responses)
                self.outgoing = [sent] * self.idle
                break
            untagged, tagged = responses[: ends[0]], responses[ends[0]]
            responses = responses[ends[0] + 1 :]
            self.fresh()
            then = sent.effect(tagged.partition(b" ")[2], untagged)
            for response in untagged:
                left = self.hear(response, sent.name, left)
            left -= len(tagged) + 2
            if left < 0 and not self.deaf:
                self.keep()
                self.deaf = True
            self.over(sent, tagged.partition(b" ")[2], then)
        for response in responses:
            assert self.idle or self.pushes or self.goodbye or b"* BYE " in response, response
            left = self.hear(response, b"IDLE" if self.idle else b"", left)
        if self.conversation.failure is not None:
            self.conversation.failure.raiseException()
        if self.goodbye:
            # Only because its mailbox was deleted.
            assert self.conversation.finished and self.box is not None and not self.box.exists
            self.connect()
        elif self.idle or self.pushes:
            self.mayExpunge = self.idle or self.pushes == b"SELECTED"
            self.agree()
            self.agreeOnOthers()

    def hear(self, response: bytes, command: bytes, left: int) -> int:
        """
        Take in an untagged response.
        """
        left -= len(response) + 2
        if left < 0 and not self.deaf:
            self.keep()
            self.deaf = True
        self.untagged(response, command)
        return left

    def over(self, sent: Sent, tagged: bytes, then: Callable[[], None] | None) -> None:
        """
        A command is over.
        """
        self.code(tagged)
        code, self.codeModSeq = self.codeModSeq, None
        self.modSeq = max(self.modSeq, self.heardModSeq) if code is None else code
        self.heardModSeq = 0
        if then is not None:
            then()
        self.idle = False
        if sent.name in NUMBERED:
            self.mayExpunge = False
        # Of a command that was refused at its literal nothing was run.
        isRefused = tagged.startswith(b"NO ") and sent.name.endswith((b"APPEND", b"REPLACE"))
        if not (self.goodbye or isRefused or tagged.startswith(b"BAD ")):
            self.agree()

    def agree(self) -> None:
        """
        It was told everything.
        """
        box = self.box
        if box is None or not box.exists or self.pushes == b"NONE":
            return
        there = [uid for uid in self.view if self.mayExpunge or uid in box.messages]
        assert there == list(box.messages), (self.view, list(box.messages), self.mayExpunge)
        if self.pushes != b"WITHOUT-FLAGS":
            for uid in there:
                told, so = self.flags.get(uid), box.messages[uid].flags
                assert told in (None, so), (uid, told, so)
            self.version = self.world.truth.version

    def agreeOnOthers(self) -> None:
        """
        It was told the numbers of mailboxes that it hasn't selected.
        """
        for name, told in self.statuses.items() if self.ofOthers else ():
            box = self.world.truth.boxes.get(name.decode())
            if box is not None and box is not self.box:
                wanted = {b"MESSAGES": len(box.messages), b"UIDNEXT": box.uidNext}
                for item in told.keys() & wanted.keys():
                    assert told[item] == wanted[item], (name, told, wanted)

    def code(self, response: bytes) -> None:
        """
        HIGHESTMODSEQ in a response.
        """
        match = re.match(rb"OK \[HIGHESTMODSEQ (\d+)\] ", response)
        if match is not None:
            self.codeModSeq = int(match.group(1))

    def untagged(self, response: bytes, command: bytes) -> None:
        """
        @param command: that is under way; empty for none.
        """
        match = _NUMBERED.match(response)
        if match is not None:
            number, kind = int(match.group(1)), match.group(2)
            assert self.box is not None, response
            if kind == b"EXISTS":
                new = [uid for uid in self.box.messages if uid not in self.view]
                assert number == len(self.view) + len(new), (number, self.view, new)
                self.view += new
                assert self.view == sorted(self.view), self.view
            elif kind == b"RECENT":
                assert number <= len(self.view), response
            elif kind == b"EXPUNGE":
                assert not self.vanishes, response
                self.expunged(self.view[number - 1], command)
            else:
                assert (kind == b"UIDFETCH") == (b"UIDONLY" in self.enabled), response
                self.fetched(number, response.replace(b" UIDFETCH ", b" FETCH ", 1), command)
        elif response.startswith(b"* VANISHED "):
            assert self.vanishes and self.box is not None, response
            isEarlier = response.startswith(b"* VANISHED (EARLIER) ")
            uids = parseSet(response.rpartition(b" ")[2], 0)
            if isEarlier:
                assert uids.isdisjoint(self.box.messages) and uids.isdisjoint(self.view), response
                self.earlier |= uids
            else:
                for uid in uids:
                    self.expunged(uid, command)
        elif response.startswith(b"* SEARCH"):
            self.found = [int(each) for each in response.partition(b" (")[0].split()[2:]]
        elif response.startswith(b"* ESEARCH "):
            response = re.sub(rb" PARTIAL \([^)]*\)", b"", response)
            words = response.partition(b")")[2].removeprefix(b" UID").split()
            self.extended = dict(zip(words[::2], words[1::2], strict=True))
        elif response.startswith(b"* OK [HIGHESTMODSEQ "):
            self.code(response[2:])
            if command in (b"", b"IDLE"):
                # As soon as it comes.
                assert self.codeModSeq is not None
                self.modSeq, self.codeModSeq, self.heardModSeq = self.codeModSeq, None, 0
        elif response.startswith(b"* STATUS "):
            words = response.split(b" ", 3)
            values = words[3][1:-1].split()
            isSelected = self.world.truth.boxes.get(words[2].decode()) is self.box
            if (self.pushes or command == b"NOTIFY") and not isSelected:
                told = self.statuses.setdefault(words[2], {})
                told.update(zip(values[::2], map(int, values[1::2]), strict=True))
        elif response.startswith(b"* BYE "):
            self.goodbye = True
        else:
            known = (b"* FLAGS (", b"* OK [", b"* LIST ", b"* ENABLED", b"+ idling")
            assert response.startswith(known), response

    @property
    def vanishes(self) -> bool:
        """Whether VANISHED stands in for EXPUNGE."""
        return not self.enabled.isdisjoint((b"QRESYNC", b"UIDONLY"))

    def expunged(self, uid: int, command: bytes) -> None:
        """
        EXPUNGE or VANISHED
        """
        assert self.box is not None
        assert command not in NUMBERED and self.mayExpunge, command
        assert command or self.pushes == b"SELECTED", "EXPUNGE while no command is under way"
        assert uid in self.view and uid not in self.box.messages, (uid, self.view)
        self.view.remove(uid)
        self.flags.pop(uid, None)

    def fetched(self, number: int, response: bytes, command: bytes) -> None:
        """
        FETCH or UIDFETCH
        """
        box = self.box
        assert box is not None
        items = parseFetch(response)[1]
        uid = number if b"UIDONLY" in self.enabled else self.view[number - 1]
        assert uid in self.view and items.get("UID", uid) == uid, (response, self.view)
        self.told.setdefault(uid, set()).update(items)
        message = box.messages.get(uid)
        flags: Flags | None = None
        if "FLAGS" in items:
            flags = frozenset(items["FLAGS"])
            if "\\Recent" in flags and not self.readOnly:
                who = self.number, self.epoch
                assert self.world.recent.setdefault((box.mailboxId, uid), who) == who, response
            self.flags[uid] = flags = flags - {"\\Recent"}
        if "MODSEQ" in items:
            (modSeq,) = items["MODSEQ"]
            self.heardModSeq = max(self.heardModSeq, modSeq)
            if message is not None:
                message.heard = max(message.heard, modSeq)
                if flags is not None:
                    assert message.past.get(modSeq, flags) == flags, (response, message.past)
        if b"CONDSTORE" in self.enabled and not command.endswith(b"FETCH"):
            assert "MODSEQ" in items, response
            assert "UID" in items or b"UIDONLY" in self.enabled, response
        if message is not None:
            body = message.content.partition(b"\r\n\r\n")[2]
            assert items.get("BODY[TEXT]", body) == body, response
            assert items.get("RFC822.SIZE", len(message.content)) == len(message.content)

    def resolve(self, numbers: bytes, byUID: bool) -> list[int] | None:
        """
        @return: the UIDs of these messages; C{None}: there is no such message.
        """
        if numbers == b"$":
            return [uid for uid in self.view if uid in self.saved]
        if byUID:
            wanted = parseSet(numbers, self.view[-1] if self.view else 0)
            return [uid for uid in self.view if uid in wanted]
        wanted = parseSet(numbers, len(self.view))
        if not wanted or not 1 <= min(wanted) <= max(wanted) <= len(self.view):
            return None
        return [self.view[number - 1] for number in sorted(wanted)]


# --- programs ------------------------------------------------------------------------------------

#: What is done how often.
KINDS = {
    "select": 6, "leave": 2, "cut": 2, "enable": 4, "noop": 2, "idle": 4, "status": 2, "append": 4,
    "deliver": 4, "create": 1, "delete": 1, "rename": 1, "close": 1, "search": 6, "expunge": 4,
    "fetch": 10, "store": 10, "copy": 3, "move": 3, "replace": 3, "notify": 4,
}  # fmt: skip

#: What, by which client, how exactly, and whether the next is sent along with it if it is by the
#: same client.
Step = tuple[str, int, int, int, bool]


def randomSteps(random: Random, count: int) -> list[Step]:
    """
    @return: a program.
    """
    kinds = random.choices(list(KINDS), list(KINDS.values()), k=count)
    who = 0
    steps: list[Step] = []
    for kind in kinds:
        if random.random() < 0.6:
            who = random.randrange(4)
        steps.append((kind, who, random.randrange(60), random.randrange(60), random.random() < 0.3))
    return steps


class World:
    r"""
    The server, the model and the clients.

    @ivar recent: which client saw a message as C{\Recent}, by MAILBOXID and UID.
    @ivar commands: how many were sent.
    """

    def __init__(self, server: Server, clients: int, seed: int = 0) -> None:
        self.server = server
        self.random = Random(seed)
        self.recent: dict[tuple[str, int], tuple[int, int]] = {}
        self.truth = Truth(server.account)
        self.commands = 0
        self.clients = [Client(self, number) for number in range(clients)]
        for kind in range(6):
            self.deliver("INBOX", kind, NOTHING)

    def deliver(self, name: str, kind: int, flags: Flags) -> None:
        """
        New mail.
        """
        self.truth.boxes[name].add(text(kind), flags)
        self.server.deliver(text(kind), name, sorted(flags))

    def turnOver(self) -> None:
        """
        The end of a turn: everyone listens, and all agree.
        """
        for client in list(self.clients):
            client.conversation.settle()
            data = client.take()
            if client.idle or client.pushes or client.conversation.finished:
                client.read(data)
            else:
                # RFC 3501 §5.2 would allow EXISTS.
                assert not data, data
        self.truth.learn()
        for client in self.clients:
            if client.box is not None and client.box.exists:
                # What it would miss if its connection broke now (RFC 7162 §3.2.4).
                gone = [client.box.gone[uid] for uid in client.view if uid in client.box.gone]
                assert client.modSeq <= min([client.box.highest, *gone]), (client.modSeq, gone)

    def play(self, steps: Sequence[Step]) -> None:
        """
        Run these steps; in the end every client knows everything.
        """
        talking: Client | None = None
        for kind, who, a, b, more in steps:
            client = self.clients[who % len(self.clients)]
            if talking is not None and talking is not client:
                self.flush(talking)
            talking = None
            if kind == "deliver":
                self.flush(client)
                name = _name(a)
                if name in self.truth.boxes:
                    self.deliver(name, b, frozenset(FLAGS[b % 5 : b % 5 + 1]) if b % 2 else NOTHING)
                self.turnOver()
                continue
            if client.idle:
                client.done()
                self.turnOver()
            if kind in ("leave", "cut"):
                if kind == "cut":
                    choose(client, ("store", "expunge", "move", "fetch")[a % 4], b, a)
                client.leave(b * 8 if kind == "cut" else 1 << 30)
                self.turnOver()
                continue
            choose(client, kind, a, b)
            self.commands += 1
            talking = client
            # Who listens while others talk would see what the model forgets: messages that come and
            # go.
            heard = any(each.idle or each.pushes for each in self.clients if each is not client)
            if not more or heard or kind in ("idle", "create", "delete", "rename"):
                self.flush(client)
                talking = None
        if talking is not None:
            self.flush(talking)
        for client in self.clients:
            if client.idle:
                client.done()
                self.turnOver()
            client.say(b"NOOP", b"", ok(client))
            self.flush(client)
            if client.box is not None and client.box.exists and client.box.messages:
                _fetchAll(client)
                self.flush(client)

    def flush(self, client: Client) -> None:
        """
        Send what the client has to say.
        """
        if client.outgoing and not client.idle:
            client.flush()
            self.turnOver()


NOTHING: Flags = frozenset()


def ok(client: Client) -> Effect:
    """
    @return: of a command that always succeeds.
    """

    def effect(tagged: bytes, untagged: list[bytes]) -> None:
        assert tagged.startswith(b"OK "), tagged

    return effect


def onSelected(client: Client, effect: Callable[[bytes], Callable[[], None] | None]) -> Effect:
    """
    @return: of a command for when a mailbox is selected.
    """

    def selected(tagged: bytes, untagged: list[bytes]) -> Callable[[], None] | None:
        if client.box is None:
            assert tagged.startswith(b"BAD "), tagged
        elif client.box.exists:
            return effect(tagged)
        # Of a mailbox that another client deleted, anything may be said, and then BYE.
        return None

    return selected


def onMessages(
    client: Client,
    numbers: bytes,
    byUID: bool,
    effect: Callable[[bytes, Box, list[int]], Callable[[], None] | None],
) -> Effect:
    """
    @return: of a command on some messages of the selected mailbox.
    """

    def messages(tagged: bytes) -> Callable[[], None] | None:
        assert client.box is not None
        if not byUID and b"UIDONLY" in client.enabled:
            assert tagged.startswith(b"BAD [UIDREQUIRED] "), tagged
            return None
        uids = client.resolve(numbers, byUID)
        if uids is None:
            assert tagged.startswith(b"BAD "), tagged
            return None
        return effect(tagged, client.box, uids)

    return onSelected(client, messages)


def _fetchAll(client: Client) -> None:
    def everything(tagged: bytes, box: Box, uids: list[int]) -> Callable[[], None]:
        def then() -> None:
            for uid in set(uids) & set(box.messages):
                assert client.flags[uid] == box.messages[uid].flags, (uid, client.flags)

        return then

    client.say(b"UID FETCH", b"1:* (UID FLAGS)", onMessages(client, b"1:*", True, everything))


def _name(a: int) -> str:
    # Mostly the same, so that clients meet there.
    return NAMES[(0, 0, 0, 1, 1, 2, 3)[a % 7]]


def choose(client: Client, kind: str, a: int, b: int) -> None:
    """
    Let the client give a command.
    """
    truth = client.world.truth
    name = _name(a)
    other = NAMES[b % 4]
    if kind == "select":
        _select(client, name, b)
        if b % 4:
            # As clients do, to know what there is.
            _fetchAll(client)
    elif kind == "enable":
        _enable(client, a)
    elif kind in ("noop", "idle"):
        client.say(kind.upper().encode(), b"", ok(client))
    elif kind == "status":
        _status(client, name, b % 3 == 0)
    elif kind == "append":
        _append(client, name, b)
    elif kind == "notify":
        _notify(client, b)
    elif kind == "create":

        def create(tagged: bytes, untagged: list[bytes]) -> None:
            assert tagged.startswith(b"NO " if name in truth.boxes else b"OK "), tagged
            truth.boxes.setdefault(name, Box(truth))
            _names(client.world)

        client.say(b"CREATE", name.encode(), create)
    elif kind == "delete":

        def delete(tagged: bytes, untagged: list[bytes]) -> None:
            if name not in truth.boxes or name == "INBOX":
                assert tagged.startswith(b"NO "), tagged
                return
            assert tagged.startswith(b"OK "), tagged
            box = truth.boxes.pop(name)
            box.exists = False
            if client.box is box:
                client.forget()
            _names(client.world)

        client.say(b"DELETE", name.encode(), delete)
    elif kind == "rename":
        client.say(b"RENAME", f"{name} {other}".encode(), _renamed(client, name, other))
    elif kind == "close":

        def close(tagged: bytes) -> None:
            assert client.box is not None
            assert tagged.startswith(b"OK ") and b"HIGHESTMODSEQ" not in tagged, tagged
            client.keep()
            if a % 2 and not client.readOnly:
                client.box.expunge(client.box.deleted())
            client.forget()

        client.say(b"CLOSE" if a % 2 else b"UNSELECT", b"", onSelected(client, close))
    elif kind == "search":
        _search(client, a, b)
    elif kind == "expunge" and a % 2 == 0:

        def expunge(tagged: bytes) -> None:
            assert client.box is not None
            assert tagged.startswith(b"NO " if client.readOnly else b"OK "), tagged
            if not client.readOnly:
                client.box.expunge(client.box.deleted())

        client.say(b"EXPUNGE", b"", onSelected(client, expunge))
    elif kind == "expunge":
        numbers = _numbers(client, b, a, True)

        def uidExpunge(tagged: bytes, box: Box, uids: list[int]) -> None:
            assert tagged.startswith(b"NO " if client.readOnly else b"OK "), tagged
            if not client.readOnly:
                box.expunge([uid for uid in box.deleted() if uid in uids])

        client.say(b"UID EXPUNGE", numbers, onMessages(client, numbers, True, uidExpunge))
    elif kind == "fetch":
        _fetch(client, a, b)
    elif kind == "store":
        _store(client, a, b)
    elif kind in ("copy", "move"):
        _copy(client, a, b, kind.upper().encode())
    elif kind == "replace":
        _replace(client, a, b)
    else:
        raise AssertionError(kind)


def _names(world: World) -> None:
    for client in world.clients:
        # Nobody asked to be told of names.
        client.statuses = {}


def _renamed(client: Client, old: str, new: str) -> Effect:
    truth = client.world.truth

    def rename(tagged: bytes, untagged: list[bytes]) -> None:
        if old not in truth.boxes or new in truth.boxes:
            assert tagged.startswith(b"NO "), tagged
            return
        assert tagged.startswith(b"OK "), tagged
        _names(client.world)
        if old == "INBOX":
            # Its messages move (RFC 3501 §6.3.5).
            inbox = truth.boxes["INBOX"]
            box = truth.boxes[new] = Box(truth)
            for message in list(inbox.messages.values()):
                box.add(message.content, message.flags)
            inbox.expunge(list(inbox.messages))
        else:
            box = truth.boxes[new] = truth.boxes.pop(old)
            # Under one name it only grows.
            box.uidValidity = 0

    return rename


def _numbers(client: Client, a: int, b: int, byUID: bool) -> bytes:
    # A set; now and then with numbers that aren't there.
    if a % 5 == 4 and client.saved:
        return b"$"
    known: list[int] = client.view if byUID else list(range(1, len(client.view) + 1))
    if not known:
        return b"1"
    first, last = known[a % len(known)], known[b % len(known)]
    forms = (b"%d" % first, b"%d:%d" % (first, last), b"%d,%d" % (first, last), b"%d:*" % first)
    return (*forms, b"1:*", b"*", b"%d" % (known[-1] + 1))[(a + b) % 7]


def _select(client: Client, name: str, b: int) -> None:
    truth = client.world.truth
    readOnly = b % 5 == 0
    parameters = b""
    cache: Cache | None = None
    box = truth.boxes.get(name)
    if b"QRESYNC" in client.enabled and box is not None and not client.outgoing:
        client.keep()
        cache = client.caches.get(box.mailboxId)
    if cache is not None:
        more = b""
        if b % 3 == 1 and cache.flags:
            more = b" 1:%d" % max(cache.flags)
        if b % 4 == 1 and cache.view and b"UIDONLY" not in client.enabled:
            sample = list(enumerate(cache.view, 1))[:: 1 + b % 3]
            more += b" (%b %b)" % (
                b",".join(b"%d" % number for number, _ in sample),
                b",".join(b"%d" % uid for _, uid in sample),
            )
        parameters = b" (QRESYNC (%d %d%b))" % (cache.uidValidity, cache.modSeq, more)
    elif b % 7 == 1:
        parameters = b" (CONDSTORE)"

    def select(tagged: bytes, untagged: list[bytes]) -> Callable[[], None] | None:
        client.keep()
        client.forget()
        box = truth.boxes.get(name)
        if box is None:
            assert tagged.startswith(b"NO "), tagged
            return None
        assert tagged.startswith(b"OK [READ-ONLY]" if readOnly else b"OK [READ-WRITE]"), tagged
        client.box, client.readOnly = box, readOnly
        client.statuses.pop(name.encode(), None)
        if parameters == b" (CONDSTORE)":
            client.enabled.add(b"CONDSTORE")
        if cache is None or cache.uidValidity != box.uidValidity:
            return None
        return lambda: _resynchronised(client, box, cache)

    client.say(b"EXAMINE" if readOnly else b"SELECT", name.encode() + parameters, select)


def _resynchronised(client: Client, box: Box, cache: Cache) -> None:
    # What it kept and what it was told together (RFC 7162 §6); agree() looks at the flags.
    for uid, flags in cache.flags.items():
        if uid not in client.earlier:
            assert uid in box.messages, f"UID {uid} vanished, and nobody said so"
            client.flags.setdefault(uid, flags)


def _enable(client: Client, a: int) -> None:
    names = ((b"CONDSTORE",), (b"QRESYNC",), (b"QRESYNC", b"UIDONLY"), (b"QRESYNC",), (b"UIDONLY",))
    chosen = names[a % 5]

    def enable(tagged: bytes, untagged: list[bytes]) -> None:
        if client.box is not None:
            # RFC 5161 §3.1
            assert tagged.startswith(b"BAD "), tagged
            return
        assert tagged.startswith(b"OK "), tagged
        client.enabled.update(chosen)
        if b"QRESYNC" in chosen:
            client.enabled.add(b"CONDSTORE")

    client.say(b"ENABLE", b" ".join(chosen), enable)


def _status(client: Client, name: str, withModSeq: bool) -> None:
    truth = client.world.truth

    def status(tagged: bytes, untagged: list[bytes]) -> None:
        box = truth.boxes.get(name)
        if box is None:
            assert tagged.startswith(b"NO "), tagged
            return
        assert tagged.startswith(b"OK "), tagged
        if withModSeq:
            client.enabled.add(b"CONDSTORE")
        beginning = b"* STATUS %b (MESSAGES " % name.encode()
        (line,) = (each for each in untagged if each.startswith(beginning))
        words = line.partition(b"(")[2].rstrip(b")").split()
        told = {key: int(value) for key, value in zip(words[::2], words[1::2], strict=True)}
        flags = [each.flags for each in box.messages.values()]
        assert told[b"MESSAGES"] == len(flags), (line, flags)
        assert told[b"UIDNEXT"] == box.uidNext, line
        assert told[b"UNSEEN"] == sum("\\Seen" not in each for each in flags), (line, flags)
        assert told[b"DELETED"] == sum("\\Deleted" in each for each in flags), (line, flags)
        assert told[b"SIZE"] == sum(len(each.content) for each in box.messages.values()), line
        assert told.get(b"HIGHESTMODSEQ", box.highest) >= box.highest

    items = b"MESSAGES UIDNEXT UNSEEN DELETED SIZE" + b" HIGHESTMODSEQ" * withModSeq
    client.say(b"STATUS", name.encode() + b" (" + items + b")", status)


def _append(client: Client, name: str, b: int) -> None:
    truth = client.world.truth
    messages = [(text(b + n), frozenset(FLAGS[n + b % 3 : b % 4])) for n in range(1 + b % 3)]

    def append(tagged: bytes, untagged: list[bytes]) -> None:
        box = truth.boxes.get(name)
        if box is None:
            assert tagged.startswith(b"NO [TRYCREATE] "), tagged
            return
        uids = [box.add(content, flags) for content, flags in messages]
        _uidCode(tagged, b"APPENDUID", box, uids)

    client.say(b"APPEND", name.encode() + b"".join(_literal(*each) for each in messages), append)


def _literal(content: bytes, flags: Flags) -> bytes:
    listed = " ".join(sorted(flags)).encode()
    return b" (%b) {%d+}\r\n%b" % (listed, len(content), content)


def _uidCode(response: bytes, code: bytes, box: Box, *sets: Sequence[int]) -> None:
    match = re.match(rb"OK \[(\w+) (\d+) ([^]]*)\] ", response)
    assert match is not None and match.group(1) == code, (response, code)
    assert box.uidValidity in (0, int(match.group(2))), response
    told = [sorted(parseSet(each, 0)) for each in match.group(3).split()]
    assert told == [sorted(each) for each in sets], (response, sets)


def _notify(client: Client, b: int) -> None:
    events = b"MessageNew MessageExpunge FlagChange"
    forms = {
        b"SELECTED": b"(SELECTED (%b))" % events,
        b"SELECTED-DELAYED": b"(SELECTED-DELAYED (%b))" % events.replace(b"w", b"w (UID FLAGS)", 1),
        b"WITHOUT-FLAGS": b"(SELECTED-DELAYED (MessageNew MessageExpunge))",
        b"NONE": b"",
    }
    form = (*forms, b"SELECTED", b"SELECTED-DELAYED")[b % 6]
    others = b"(PERSONAL (%b))" % events
    arguments = b"SET STATUS " + b" ".join([forms[form], others]).strip()
    if b == 59:
        arguments = b"NONE"

    def notify(tagged: bytes, untagged: list[bytes]) -> Callable[[], None]:
        assert tagged.startswith(b"OK "), tagged
        client.pushes = form if b < 59 else b"NONE"
        client.statuses = {}
        client.ofOthers = b < 59

        def then() -> None:
            for name, box in client.world.truth.boxes.items():
                if b < 59 and box is not client.box:
                    assert name.encode() in client.statuses, (name, client.statuses)

        return then

    client.say(b"NOTIFY", arguments, notify)


def _search(client: Client, a: int, b: int) -> None:
    byUID = a % 2 == 0
    box = client.box
    known: list[int] = client.view or [1]
    first, last = sorted((known[a % len(known)], known[b % len(known)]))
    low, high = sorted((1 + a % len(known), 1 + b % len(known)))
    modSeq = max(1, (box.highest if box else 0) - b % 5)
    has: Callable[[str], Callable[[int, Message], bool]] = lambda flag: (  # noqa: E731
        lambda uid, message: flag in message.flags
    )
    keys: tuple[tuple[bytes, Callable[[int, Message], bool]], ...] = (
        (b"ALL", lambda uid, message: True),
        (b"SEEN", has("\\Seen")),
        (b"UNSEEN", lambda uid, message: "\\Seen" not in message.flags),
        (b"DELETED", has("\\Deleted")),
        (b"KEYWORD work", has("work")),
        (b"NOT FLAGGED", lambda uid, message: "\\Flagged" not in message.flags),
        (b"OR SEEN KEYWORD play", lambda uid, message: bool({"\\Seen", "play"} & message.flags)),
        (b"UID %d:%d" % (first, last), lambda uid, message: first <= uid <= last),
        (b"SUBJECT s1", lambda uid, message: b"s1" in message.content),
        (b"LARGER 30", lambda uid, message: len(message.content) > 30),
        (b"MODSEQ %d" % modSeq, lambda uid, message: message.changedSince(modSeq - 1)),
        (b"%d:%d" % (low, high), lambda uid, message: low <= client.view.index(uid) + 1 <= high),
        (b"$", lambda uid, message: uid in client.saved),
    )
    key, matches = keys[(a // 2 + b) % len(keys)]
    options = (b"", b"", b"ALL", b"MIN MAX COUNT", b"SAVE ALL", b"SAVE MIN", b"PARTIAL 1:2")[b % 7]
    byNumber = (a // 2 + b) % len(keys) == 11

    def search(tagged: bytes) -> Callable[[], None] | None:
        box = client.box
        assert box is not None
        if b"UIDONLY" in client.enabled and (byNumber or not byUID):
            assert tagged.startswith(b"BAD [UIDREQUIRED] "), tagged
            return None
        if byNumber:
            client.mayExpunge = False
        assert tagged.startswith(b"OK "), tagged
        if key.startswith(b"MODSEQ "):
            client.enabled.add(b"CONDSTORE")
        view = list(client.view)
        isCurrent = client.version == client.world.truth.version
        wanted = [uid for uid in view if uid in box.messages and matches(uid, box.messages[uid])]
        gone = {uid for uid in view if uid not in box.messages}

        def then() -> None:
            _found(client, view, byUID, options, wanted if isCurrent else None, gone)

        return then

    returns = b"RETURN (%b) " % options if options else b""
    client.say(b"UID SEARCH" if byUID else b"SEARCH", returns + key, onSelected(client, search))


def _found(
    client: Client,
    view: list[int],
    byUID: bool,
    options: bytes,
    wanted: list[int] | None,
    gone: set[int],
) -> None:
    # Holds the response to what is wanted; None if what it is can't be told.
    def uids(numbers: bytes) -> list[int]:
        found = sorted(parseSet(numbers, 0))
        # In the extended form a range may span what isn't there.
        return [uid for uid in view if uid in found] if byUID else [view[n - 1] for n in found]

    if not options:
        assert client.found is not None
        found = client.found if byUID else [view[number - 1] for number in client.found]
        assert set(found) <= set(view), (found, view)
        assert wanted is None or set(wanted) <= set(found) <= set(wanted) | gone, (found, wanted)
        return
    told = client.extended
    assert told is not None
    words = options.split()
    if "ALL" in options.decode():
        everything = uids(told[b"ALL"]) if b"ALL" in told else []
        assert wanted is None or set(wanted) <= set(everything) <= set(wanted) | gone, told
        if words[0] == b"SAVE":
            client.saved = set(everything)
    elif words[0] == b"SAVE":
        least = uids(told[b"MIN"]) if b"MIN" in told else []
        assert wanted is None or gone or least == wanted[:1], (told, wanted)
        client.saved = set(least)
    elif words[0] == b"MIN" and wanted is not None and not gone:
        assert int(told[b"COUNT"]) == len(wanted), (told, wanted)
        if wanted:
            assert uids(told[b"MIN"]) == wanted[:1], (told, wanted)
            assert uids(told[b"MAX"]) == wanted[-1:], (told, wanted)
        else:
            assert b"MIN" not in told and b"MAX" not in told, told


def _fetch(client: Client, a: int, b: int) -> None:
    byUID = a % 2 == 0
    numbers = _numbers(client, a, b, byUID)
    items = (
        (b"FLAGS",), (b"UID", b"FLAGS"), (b"UID", b"RFC822.SIZE"), (b"BODY[TEXT]",),
        (b"BODY.PEEK[TEXT]", b"FLAGS"), (b"MODSEQ",), (b"UID", b"FLAGS", b"MODSEQ"), (b"ENVELOPE",),
    )[b % 8]  # fmt: skip
    modifiers = b""
    since = 0
    if b % 4 == 1 and client.box is not None:
        since = max(1, (client.modSeq if a % 3 else client.box.highest) - b % 6)
        modifiers = b" (CHANGEDSINCE %d)" % since
        if byUID and b % 3 == 0:
            modifiers = b" (CHANGEDSINCE %d PARTIAL -1:-3)" % since
        elif byUID and b"QRESYNC" in client.enabled and b"$" not in numbers and b"*" not in numbers:
            modifiers = b" (CHANGEDSINCE %d VANISHED)" % since

    def fetch(tagged: bytes, box: Box, uids: list[int]) -> Callable[[], None]:
        there = [uid for uid in uids if uid in box.messages]
        mayFail = len(there) < len(uids) and not byUID
        if b"PARTIAL" in modifiers:
            # Of those that are asked for; and then those that changed (RFC 9394 §3.4).
            there = [uid for uid in uids[-3:] if uid in box.messages]
        assert tagged.startswith((b"OK ", b"NO [EXPUNGEISSUED] ") if mayFail else b"OK "), tagged
        if modifiers:
            there = [uid for uid in there if box.messages[uid].changedSince(since)]
        if modifiers or b"MODSEQ" in items:
            client.enabled.add(b"CONDSTORE")
        wanted = {each.decode().replace(".PEEK", "") for each in items}
        if b"BODY[TEXT]" in items and not client.readOnly:
            seen = [uid for uid in there if box.change(uid, b"+FLAGS", frozenset(["\\Seen"]))]
        else:
            seen = []
        known = set(client.view)

        def then() -> None:
            for uid in there:
                also = {"UID"} if byUID else set()
                if uid in seen:
                    also |= {"FLAGS"}
                    also |= {"MODSEQ"} if b"CONDSTORE" in client.enabled else set()
                missing = (wanted | also) - client.told.get(uid, set())
                missing -= {"UID"} if b"UIDONLY" in client.enabled else set()
                assert not missing, (uid, missing, client.told)
                if b"FLAGS" in items and uid in box.messages:
                    # Also if changes aren't told unasked.
                    assert client.flags[uid] == box.messages[uid].flags, (uid, client.flags)
            if b"VANISHED" in modifiers:
                asked = parseSet(numbers, 0)
                gone = {uid for uid, at in box.gone.items() if uid in asked and at >= since}
                assert client.earlier >= gone - known, (client.earlier, gone, known)

        return then

    text = b"(" + b" ".join(items) + b")"
    effect = onMessages(client, numbers, byUID, fetch)
    client.say(b"UID FETCH" if byUID else b"FETCH", b"%b %b%b" % (numbers, text, modifiers), effect)


def _store(client: Client, a: int, b: int) -> None:
    byUID = a % 2 == 0
    numbers = _numbers(client, a // 2, b, byUID)
    operation = (b"+FLAGS", b"-FLAGS", b"FLAGS", b"+FLAGS")[a // 2 % 4]
    first = FLAGS[b % 5]
    flags = frozenset([first, FLAGS[a % 5]])
    silent = b".SILENT" if b % 3 == 0 else b""
    since = 0
    if b % 4 == 1 and client.box is not None:
        since = max(1, (client.modSeq if a % 3 else client.box.highest) - b % 6)

    def store(tagged: bytes, box: Box, uids: list[int]) -> Callable[[], None] | None:
        if client.readOnly:
            assert tagged.startswith(b"NO [READ-ONLY] "), tagged
            return None
        there = [uid for uid in uids if uid in box.messages]
        match = re.match(rb"(?:OK|NO) \[MODIFIED ([\d,:]+)\] ", tagged)
        modified: set[int] = set()
        if match is not None:
            assert since, tagged
            modified = parseSet(match.group(1), 0)
            if not byUID:
                modified = {client.view[number - 1] for number in modified}
            assert modified <= set(there), (modified, there)
        mayFail = len(there) < len(uids) and not byUID and not silent
        assert tagged.startswith(b"NO " if mayFail else b"OK "), tagged
        for uid in there:
            message = box.messages[uid]
            if uid in modified:
                assert message.changedSince(since), (uid, message)
                continue
            if since and message.changedSince(since):
                # Only if nobody touched those flags (RFC 7162 §3.1.12).
                before = message.flagsAt(since)
                assert operation != b"FLAGS" and message.past, (uid, message)
                assert before is None or before & flags == message.flags & flags, (uid, message)
            box.change(uid, operation, flags)
        done = [uid for uid in there if uid not in modified]
        if since:
            client.enabled.add(b"CONDSTORE")
        before = dict(client.flags)

        def then() -> None:
            for uid in done:
                told = client.told.get(uid, set())
                assert silent or "FLAGS" in told, (uid, told)
                assert not since or "MODSEQ" in told, (uid, told)
                if "FLAGS" not in told and uid in before:
                    # As it has to expect.
                    client.flags[uid] = changed(before[uid], operation, flags)

        return then

    condition = b"(UNCHANGEDSINCE %d) " % since if since else b""
    listed = " ".join(sorted(flags)).encode()
    arguments = b"%b %b%b%b (%b)" % (numbers, condition, operation, silent, listed)
    effect = onMessages(client, numbers, byUID, store)
    client.say(b"UID STORE" if byUID else b"STORE", arguments, effect)


def _copy(client: Client, a: int, b: int, verb: bytes) -> None:
    byUID = a % 2 == 0
    numbers = _numbers(client, a // 2, b, byUID)
    name = NAMES[b % 4]

    def copy(tagged: bytes, box: Box, uids: list[int]) -> Callable[[], None] | None:
        target = client.world.truth.boxes.get(name)
        if verb == b"MOVE" and client.readOnly:
            assert tagged.startswith(b"NO [READ-ONLY] "), tagged
            return None
        if target is None:
            assert tagged.startswith(b"NO [TRYCREATE] "), tagged
            return None
        there = [uid for uid in uids if uid in box.messages]
        if uids and not there and not byUID:
            assert tagged.startswith(b"NO [EXPUNGEISSUED] "), tagged
            return None
        assert tagged.startswith(b"OK "), tagged
        new = [target.add(box.messages[uid].content, box.messages[uid].flags) for uid in there]
        if verb == b"MOVE":
            box.expunge(there)
            codes = [each for each in moved if b"COPYUID" in each]
            assert len(codes) == bool(there), moved
            for response in codes:
                _uidCode(response[2:], b"COPYUID", target, there, new)
        elif there:
            _uidCode(tagged, b"COPYUID", target, there, new)
        return None

    moved: list[bytes] = []
    inner = onMessages(client, numbers, byUID, copy)

    def effect(tagged: bytes, untagged: list[bytes]) -> Callable[[], None] | None:
        moved.extend(untagged)
        return inner(tagged, untagged)

    client.say(b"UID " * byUID + verb, numbers + b" " + name.encode(), effect)


def _replace(client: Client, a: int, b: int) -> None:
    byUID = a % 2 == 0
    known: Sequence[int] = client.view if byUID else range(1, len(client.view) + 1)
    number = b"*" if a % 5 == 0 or not known else b"%d" % known[a % len(known)]
    name = NAMES[b % 4]
    flags = frozenset(FLAGS[b % 5 : b % 6])
    said: list[bytes] = []

    def replace(tagged: bytes, box: Box, uids: list[int]) -> None:
        target = client.world.truth.boxes.get(name)
        there = [uid for uid in uids if uid in box.messages]
        if client.readOnly or target is None or not there:
            assert tagged.startswith(b"NO "), tagged
            return
        assert tagged.startswith(b"OK "), tagged
        new = target.add(text(b), flags)
        box.expunge(there)
        (code,) = (each for each in said if b"APPENDUID" in each)
        _uidCode(code[2:], b"APPENDUID", target, [new])

    inner = onMessages(client, number, byUID, replace)

    def effect(tagged: bytes, untagged: list[bytes]) -> Callable[[], None] | None:
        said.extend(untagged)
        return inner(tagged, untagged)

    arguments = b"%b %b%b" % (number, name.encode(), _literal(text(b), flags))
    client.say(b"UID REPLACE" if byUID else b"REPLACE", arguments, effect)
