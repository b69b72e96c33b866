"""
Every contract of the house. The docstring of an interface is its specification; the tests in
C{twisted_mailstack.testing.contracts} hold each implementation to it.

Who implements what:

  - storage authors: L{IMailStore}, L{IAccount}, L{IMailbox}, L{IContentWriter},
    L{IMessageContent}; for names and passwords L{IDirectory}; and what is "Optional" by its
    docstring, for what not every storage can do: who needs it asks whether an object provides it;
  - delivery: L{IDeliveryTarget}, L{IDelivery}, L{IPolicyStep}; the queue: L{ISpool} by a store,
    L{IRelay}, L{IRelayConnection};
  - authentication: L{IServerMechanism}, L{IClientMechanism}, L{IPasswordHasher}, L{ISecretSource},
    L{ITokenVerifier}.

Methods that are C{async} here may be coroutines or return anything awaitable, a fired Deferred
among them. Everything is called in the reactor's thread. An implementation raises the subclasses
of L{twisted_mailstack.errors.MailError} named here; any other exception is a defect.

"Durable" means: survives a crash of the process and of the machine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from typing import Any

from zope.interface import Attribute, Interface

from twisted_mailstack.model.address import Address
from twisted_mailstack.model.dns import DNSAnswer
from twisted_mailstack.model.flags import FlagOperation, Flags, FlagScope
from twisted_mailstack.model.message import Summary
from twisted_mailstack.model.mime import Part
from twisted_mailstack.model.queue import (
    AttemptResult,
    DestinationState,
    Outcome,
    QueueCounts,
    QueuedMessage,
    QueuedRecipient,
    QueueFilter,
)
from twisted_mailstack.model.records import (
    AccountPolicy,
    AccountRecord,
    AliasRecord,
    Annotation,
    AnnotationChange,
    AnnotationKey,
    AnnotationScope,
    AppendResult,
    Changes,
    ConnectionInfo,
    CopyResult,
    Credential,
    Damage,
    DomainRecord,
    Envelope,
    LoginRecord,
    MailboxInfo,
    MailboxStatus,
    MaildropSettings,
    MaildropSurvey,
    MetadataChange,
    Placement,
    Quota,
    Recipient,
    StoredSecret,
    StoreResult,
)
from twisted_mailstack.model.records import Attribute as MessageAttribute
from twisted_mailstack.model.rights import Rights, SharedMailbox
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.model.sorting import SortCriterion, ThreadRow

# --- content -----------------------------------------------------------------------------------


class IStagedContent(Interface):
    """
    A message that was written whole and waits to be placed, once or several times.

    It is not durable until a call that places it has fired, and can be placed again whatever became
    of what was placed before. What is never placed costs nothing after L{discard}, or after the
    store's next start.
    """

    summary: Summary = Attribute("What was found in it while it was written.")

    def read(offset: int, length: int) -> Awaitable[bytes]:
        """
        @return: the octets of that range, cut at the end; so policies can look at them.
        """

    def discard() -> None:
        """
        Let go: it can't be placed any more. Idempotent; what was placed stays. Every staged content
        is discarded by whoever had it made, in a C{finally}.
        """


class IContentWriter(Interface):
    """
    Takes a message as it arrives. Holds a bounded window in memory, however large the message.
    """

    size: int = Attribute("Octets written so far.")

    def write(data: bytes) -> Awaitable[None] | None:
        """
        Take the next octets, never altered.

        @return: C{None}, or something to wait for before the next write (back-pressure).
        """

    def finish() -> Awaitable[IStagedContent]:
        """
        All is written. Not durable yet.
        """

    def abort() -> None:
        """
        Throw it away. Idempotent, and allowed after C{finish} (then it does nothing).
        """


class IMessageContent(Interface):
    """
    One stored message, opened for reading. It stays readable for as long as the entry it was
    opened from exists; after that C{read} may raise
    L{MessageExpunged<twisted_mailstack.errors.MessageExpunged>}.
    """

    size: int = Attribute("RFC822.SIZE: octets, prefix included.")
    structure: Part = Attribute("The root part; offsets count from 0 of this content.")

    def read(offset: int, length: int) -> Awaitable[bytes]:
        """
        @return: exactly the octets that were stored, cut at the end of the message.
        """


# --- mailboxes ---------------------------------------------------------------------------------


class IMailbox(Interface):
    """
    One mailbox as a change log. It knows nothing of sessions: what a session has been told so far
    is the session's own business (C{imap.view}).

    Entries are named by UID. A UID that names no entry (any more) is ignored by every method. Each
    change takes the next modSeq of the account, and is one durable step: all of it or nothing,
    and durable when the awaitable fires.

    After DELETE of the mailbox, or of its account, every method but L{watch} raises
    L{NoSuchMailbox<twisted_mailstack.errors.NoSuchMailbox>}; after RENAME the object goes on.
    """

    account: IAccount = Attribute("The account it belongs to.")
    mailboxId: str = Attribute("RFC 8474 MAILBOXID.")

    def status() -> Awaitable[MailboxStatus]:
        """
        The numbers of this instant; the cost does not grow with the mailbox.
        """

    def changesSince(modSeq: int) -> Awaitable[Changes]:
        """
        The one way to learn what happened. C{changesSince(0)} is the whole mailbox.
        """

    def claimRecent() -> Awaitable[tuple[int, int]]:
        r"""
        Take the recent messages for the calling session (RFC 3501 §2.3.2): every UID is claimed by
        exactly one call. It is no change: it takes no modSeq, and nobody is told.

        @return: the first and the last UID that are C{\Recent} for this session; the last is below
            the first if there is none.
        """

    def fetch(
        uids: NumberSet, attributes: Sequence[MessageAttribute]
    ) -> Awaitable[Sequence[tuple[Any, ...]]]:
        """
        A batch of rows, ascending by UID. The first column is always the UID, then one column for
        each attribute asked for, in that order (asking for UID gives it twice).

        All rows are of one instant. Callers cut large sets into slices of a few hundred to a few
        thousand UIDs, so that nobody waits for them.
        """

    def openMessage(uid: int) -> Awaitable[IMessageContent]:
        """
        @raise MessageExpunged: if there is no such entry.
        """

    def storeFlags(
        uids: NumberSet,
        operation: FlagOperation,
        flags: Flags,
        unchangedSince: int | None = None,
        scope: FlagScope | None = None,
    ) -> Awaitable[StoreResult]:
        r"""
        Change flags (RFC 9051 §6.4.6; RFC 7162 §3.1.3 for C{unchangedSince}).

        An entry whose flags would stay as they are gets no new modSeq. Keywords take the spelling
        that the mailbox already knows.

        @param flags: canonical (model.flags), without C{\Recent}.
        @param scope: flags outside it stay as they are, and none of C{flags} is outside it.
        """

    def expunge(uids: NumberSet | None, onlyDeleted: bool = True) -> Awaitable[Sequence[int]]:
        r"""
        Remove entries for ever.

        @param uids: of these; C{None} for all.
        @param onlyDeleted: only those that have C{\Deleted} at that instant.
        @return: the UIDs that are gone by this call, ascending.
        """

    def append(
        messages: Sequence[tuple[IStagedContent, Flags, int, int]],
    ) -> Awaitable[AppendResult]:
        """
        Add messages, all or none (RFC 3502).

        @param messages: content, flags, internal date (seconds) and its zone (minutes).
        @raise OverQuota: if they don't fit.
        @raise CannotDoThat: if the mailbox has no UIDs left.
        """

    def copyMessages(
        uids: NumberSet, destination: IMailbox, scope: FlagScope | None = None
    ) -> Awaitable[CopyResult]:
        r"""
        Copy entries within the store, all or none, without copying content; flags, keywords and
        internal date go along (RFC 9051 §6.4.7), the save date is new. The message keeps its
        MESSAGE_ID within an account.

        @param destination: a mailbox of the same store, this very one allowed; or one that
            provides L{IReceivingMailbox}, which is then asked to do it.
        @param scope: flags outside it don't go along.
        @raise OverQuota: if they don't fit.
        @raise CannotDoThat: if the destination has no UIDs left, or is in another store.
        """

    def watch(changed: Callable[[], None]) -> Callable[[], None]:
        """
        Be called, soon and in the reactor's thread, after any change of this mailbox by anybody,
        other processes included; also when it is deleted. Says only that something changed;
        several changes may make one call. Exceptions of C{changed} are logged and stop nothing.

        Of a change that was made through this store it is called before that change's awaitable
        fires: whoever made it finds it told.

        @return: call it to stop; idempotent.
        """


class IMovableMailbox(Interface):
    """
    Optional: MOVE as one step (RFC 6851). Without it the library copies and then expunges.
    """

    def moveMessages(
        uids: NumberSet, destination: IMailbox, scope: FlagScope | None = None
    ) -> Awaitable[CopyResult]:
        """
        As C{copyMessages}, and the sources vanish in the same step. Within an account it needs no
        room.
        """


class IReceivingMailbox(Interface):
    """
    Optional: a mailbox that stands for another one, of the storage, and looks at what is put there.
    """

    def receive(
        source: IMailbox, uids: NumberSet, move: bool, reader: str | None = None
    ) -> Awaitable[CopyResult]:
        """
        Copy or move messages of a mailbox of the storage into the mailbox that this one stands for.

        @param reader: the accountId of who does it; C{None} for the source's owner.
        @raise MailError: as C{copyMessages}, or if that is not allowed.
        """


class IReplacingMailbox(Interface):
    """
    Optional: REPLACE as one step (RFC 8508). Without it the library appends and then expunges.
    """

    def replaceMessage(
        uid: int, destination: IMailbox, message: tuple[IStagedContent, Flags, int, int]
    ) -> Awaitable[AppendResult]:
        """
        Add a message, as C{append} of the destination does, and remove an entry of this mailbox in
        the same step, whatever its flags. Within an account only the room counts that is needed
        when the old message is gone.

        @param destination: a mailbox of the same store, this very one allowed.
        @raise MessageExpunged: if there is no such entry; nothing is added.
        @raise OverQuota: if it doesn't fit; nothing is removed.
        @raise CannotDoThat: as C{append}; or if the destination is in another store.
        """


class IAnnotatedMailbox(IMailbox):
    """
    Optional: a mailbox whose messages have annotations (RFC 5257).

    An annotation has a name and is private or shared. A private one is another for each C{reader},
    the accountId of who looks; C{None} is the mailbox's owner. Annotations vanish with their entry,
    and go with it where RENAME of INBOX moves it. A change takes the next modSeq, which becomes
    that of the entry: L{changesSince} tells of it whose flags are as they were.

    Where it is an L{IMovableMailbox} or an L{IReplacingMailbox}, too, C{moveMessages} has C{along},
    and C{replaceMessage} has C{annotations} and C{reader}, as they are here.
    """

    def annotations(
        uids: NumberSet, entries: Collection[str] | None = None, reader: str | None = None
    ) -> Awaitable[Sequence[Annotation]]:
        """
        All rows are of one instant. Values may be large: callers ask for a few messages at a time.

        @param entries: names of those that are wanted; C{None} for all.
        @return: what there is, ascending by UID, then by name; the shared one before the private.
        """

    def annotatedMessages(uids: NumberSet, reader: str | None = None) -> Awaitable[Sequence[int]]:
        """
        @return: the UIDs of messages that have an annotation, ascending. The cost grows with their
            number only.
        """

    def storeAnnotations(
        uids: NumberSet,
        values: Mapping[AnnotationKey, bytes | None],
        limit: int,
        unchangedSince: int | None = None,
        reader: str | None = None,
    ) -> Awaitable[StoreResult]:
        """
        Set annotations of messages, all or none.

        @param values: C{None} removes it, if it is there.
        @param limit: of annotations that a message may have then, unless none is added to it. Those
            of other readers don't count.
        @param unchangedSince: a message is left alone if one of these annotations was changed after
            it (RFC 7162 §3.1.3); one that never was is as it was at 0.
        @return: C{changed} are the messages of which one is another now.
        @raise CannotDoThat: with C{imapCode ANNOTATE TOOMANY}, if a message would have more.
        """

    def annotationChangesSince(
        modSeq: int, reader: str | None = None
    ) -> Awaitable[Sequence[AnnotationChange]]:
        """
        What was changed after a modSeq in messages that are there, in that order; removed ones
        among it unless they were very many. The cost grows with their number only.
        """

    def append(
        messages: Sequence[tuple[IStagedContent, Flags, int, int]],
        annotations: Sequence[Mapping[AnnotationKey, bytes]] = (),
        reader: str | None = None,
    ) -> Awaitable[AppendResult]:
        """
        As L{IMailbox.append}.

        @param annotations: of each message, in the same order; empty for none at all.
        """

    def copyMessages(
        uids: NumberSet,
        destination: IMailbox,
        scope: FlagScope | None = None,
        along: AnnotationScope | None = None,
    ) -> Awaitable[CopyResult]:
        """
        As L{IMailbox.copyMessages}; annotations are copied, too (RFC 5257 §4.6).

        @param along: which; C{None} for the shared ones and the owner's.
        """


class ISearchableMailbox(Interface):
    """
    Optional: a first, fast answer to a substring search.
    """

    def candidates(
        texts: Sequence[str], inHeader: bool = True, inBody: bool = True
    ) -> Awaitable[NumberSet | None]:
        """
        @param texts: each has to occur somewhere in a message, whatever the case: in its header,
            words decoded, or in its body: decoded texts, headers of parts and of enclosed
            messages (L{twisted_mailstack.model.searchtext}).
        @param inHeader: the header counts.
        @param inBody: the body counts.
        @return: a set that has every match (and maybe others), or C{None} for "look at all".
        """


class IIdentifiedMailbox(Interface):
    """
    Optional: mailbox objects that can be known to be of the same mailbox, so that sessions share
    what they know of it. Objects with the same C{identity} give the same answers, but for what
    they refuse.
    """

    identity: Hashable = Attribute("Equal for objects of this mailbox, of no other of any store.")


class ISortingMailbox(Interface):
    """
    Optional: a mailbox that is sorted, and read for threading, by the storage. What it gives is
    what the library would find in each message's header (L{twisted_mailstack.model.sorting}).
    """

    def sortMessages(
        uids: NumberSet, criteria: Sequence[SortCriterion]
    ) -> Awaitable[Sequence[int]]:
        """
        Sort messages (RFC 5256 §3, RFC 5957).

        @param criteria: the first one counts, then the second, and so on.
        @return: the UIDs of those that are there; equal ones ascending, whatever is reversed.
        """

    def threadRows(uids: NumberSet) -> Awaitable[Sequence[ThreadRow]]:
        """
        @return: what threads these messages, ascending by UID.
        """


class IAccount(Interface):
    """
    What a person has: mailboxes. The avatar that the realm gives to IMAP, POP3 and submission
    alike. Mailbox names are C{str}, normalised by C{model.mailboxname.normaliseName}.

    Whatever gets a name, by CREATE or by RENAME, has a higher uidValidity than all that had it
    before (RFC 9051 §2.3.1.1), those of a removed account of the same address included.

    After the account was removed, every method that gives an awaitable raises
    L{NoSuchAccount<twisted_mailstack.errors.NoSuchAccount>}.
    """

    accountId: str = Attribute("Never changes.")
    address: Address = Attribute("The address that names the account.")

    def listMailboxes() -> Awaitable[Sequence[MailboxInfo]]:
        """
        All mailboxes, and subscribed names too that no mailbox has (those with C{mailboxId ""},
        not selectable). Ordered by name, INBOX first. INBOX is always there.
        """

    def openMailbox(name: str) -> Awaitable[IMailbox]:
        """
        @raise NoSuchMailbox: if there is none of that name.
        @raise MailboxNotSelectable: if the name only holds children.
        """

    def createMailbox(name: str, specialUse: str | None = None) -> Awaitable[MailboxInfo]:
        r"""
        Make a mailbox, and its superiors where they are missing (RFC 9051 §6.3.4). A name that
        only held children becomes selectable.

        @param specialUse: one of C{model.records.SPECIAL_USES}, or several separated by spaces.
        @raise AlreadyExists: if a selectable mailbox has that name, or (with C{imapCode
            USEATTR}) the account's mailbox of such a special use is another.
        """

    def deleteMailbox(name: str) -> Awaitable[None]:
        r"""
        Delete a mailbox with its messages (RFC 9051 §6.3.5). One with children stays as a name
        that is not selectable.

        @raise NoSuchMailbox: if there is none.
        @raise HasChildren: if it is not selectable and has children.
        @raise CannotDoThat: for INBOX.
        """

    def renameMailbox(old: str, new: str) -> Awaitable[None]:
        """
        Rename a mailbox and all below it (RFC 9051 §6.3.6), making superiors as CREATE does.
        Renaming INBOX moves its messages to a new mailbox and leaves INBOX, and what is below it,
        where it is.

        @raise NoSuchMailbox: if there is no C{old}.
        @raise AlreadyExists: if there is a C{new} (or a name below it that would collide).
        @raise CannotDoThat: if C{new} is below C{old}.
        """

    def setSubscribed(name: str, subscribed: bool) -> Awaitable[None]:
        """
        Subscribe or unsubscribe a name, whether or not a mailbox has it (RFC 9051 §6.3.7).
        Idempotent.
        """

    def newContent(sizeHint: int | None = None) -> IContentWriter:
        """
        Start writing a message, to be appended to a mailbox of this account.
        """

    def quota() -> Awaitable[Quota]:
        """
        Use and limits of this instant; the cost does not grow with the account.
        """

    def lockMaildrop() -> Awaitable[Callable[[], None]]:
        """
        POP3's exclusive lock (RFC 1939 §4). It excludes other callers of this method, in this and
        in other processes, and nobody else; a process that dies leaves no lock.

        @return: call it to release; idempotent.
        @raise MaildropLocked: if somebody has it.
        """

    def watch(changed: Callable[[str], None]) -> Callable[[], None]:
        """
        Be called with a mailboxId after any change of that mailbox, or with C{""} after a change
        of the list of mailboxes. As L{IMailbox.watch}.
        """


class ISurveyableAccount(IAccount):
    """
    Optional: an account that can tell the numbers of all its mailboxes at once, for LIST-STATUS.
    """

    def statuses() -> Awaitable[Mapping[str, MailboxStatus]]:
        """
        @return: by mailboxId, of each mailbox that can be selected, all of one instant.
        """


class ISearchableAccount(IAccount):
    """
    Optional: a first, fast answer to a substring search in all mailboxes, so that those with no
    match needn't be opened.
    """

    def candidates(
        texts: Sequence[str], inHeader: bool = True, inBody: bool = True
    ) -> Awaitable[Mapping[str, NumberSet] | None]:
        """
        @param texts: as of L{ISearchableMailbox.candidates}; so are C{inHeader} and C{inBody}.
        @return: by mailboxId, of each mailbox of this account that can be selected, a set that has
            every match (and maybe others), all of one instant; C{None} for "look at all".
        """


class ISpecialUseAccount(IAccount):
    """
    Optional: an account whose mailboxes can get another special use when they are there (RFC 6154
    §4).
    """

    def setSpecialUse(name: str, specialUse: str | None) -> Awaitable[Sequence[str]]:
        """
        Give a mailbox these special uses and no others.

        @param specialUse: as of L{IAccount.createMailbox}.
        @return: the names of other mailboxes that had one of them: they have it no more.
        @raise NoSuchMailbox: if there is none.
        @raise MailboxNotSelectable: if the name only holds children.
        """


class IAnnotatedAccount(IAccount):
    """
    Optional: an account whose mailboxes are each an L{IAnnotatedMailbox}.

    Its quota holds for all of its messages' annotations, whoever noted them. What would make them
    larger than that, C{storeAnnotations}, C{append}, C{copyMessages}, C{moveMessages} or
    C{replaceMessage}, fails with L{OverQuota}, and nothing of it is done; they can always become
    smaller.
    """

    def annotationQuota() -> Awaitable[tuple[int, int | None]]:
        """
        @return: the octets of the values of all annotations, and how many there may be at most;
            C{None} for no limit (RFC 9208 §5.4: ANNOTATION-STORAGE counts in 1024 octets).
        @raise NoSuchAccount: if the account was removed.
        """


class IMetadataAccount(IAccount):
    """
    Optional: an account that keeps metadata entries (RFC 5464) of its mailboxes, and of itself.

    A mailbox is named by its name, the account itself by C{""}. An entry whose name begins with
    C{/private/} is another for each C{reader}, the accountId of who looks; C{None} is the account
    itself. What has an entry keeps it through RENAME (the new mailbox that RENAME of INBOX makes
    gets copies) and loses it with DELETE. Names of entries are lower-case C{str} of ASCII, values
    C{bytes}. A change is one durable step and takes the next modSeq of the account, which becomes
    the mailbox's highest (RFC 7162 §3.2). Those who watch the account hear of it as of a change of
    the list of mailboxes.

    After the account was removed every method raises
    L{NoSuchAccount<twisted_mailstack.errors.NoSuchAccount>}; a name that neither a mailbox nor
    children have, L{NoSuchMailbox<twisted_mailstack.errors.NoSuchMailbox>}.
    """

    def metadataSizes(mailboxName: str, reader: str | None = None) -> Awaitable[Mapping[str, int]]:
        """
        @return: the octets of each entry there is, by its name.
        """

    def getMetadata(
        mailboxName: str, names: Collection[str], reader: str | None = None
    ) -> Awaitable[Mapping[str, bytes]]:
        """
        @return: the values of those entries that there are, by their names.
        """

    def setMetadata(
        mailboxName: str,
        values: Mapping[str, bytes | None],
        limit: int,
        reader: str | None = None,
    ) -> Awaitable[int]:
        """
        Set entries, all or none.

        @param values: by the entry's name; C{None} removes it, if it is there.
        @param limit: of entries that there may be then, unless none is added. Those of other
            readers don't count.
        @return: the change's modSeq.
        @raise CannotDoThat: with C{imapCode METADATA TOOMANY}, if there would be more.
        """

    def metadataChangesSince(
        modSeq: int, reader: str | None = None
    ) -> Awaitable[tuple[int, Sequence[MetadataChange]]]:
        """
        What was changed after a modSeq, removed entries among it unless very many were.

        @return: where to go on, and the changes in their order.
        """


class IMaildropAccount(IAccount):
    """
    Optional: an account that keeps what POP3 wants to know of it. Without it POP3 shows INBOX,
    expunges what is deleted, and the unique-ids of messages are their MESSAGE_IDs.

    After the account was removed every method raises
    L{NoSuchAccount<twisted_mailstack.errors.NoSuchAccount>}.
    """

    def maildropSettings() -> Awaitable[MaildropSettings]:
        """
        @return: the defaults, if they were never set.
        """

    def setMaildropSettings(settings: MaildropSettings) -> Awaitable[None]:
        """
        Durable. Names in them needn't be those of mailboxes.
        """

    def uniqueIds(messageIds: Collection[str]) -> Awaitable[Mapping[str, str]]:
        """
        The unique-ids (RFC 1939 §7) of messages, by their MESSAGE_IDs. They never change, whatever
        mailboxes a message goes through, and no other message of the account ever gets one of them,
        in no other process and after no restart. Copies of a message have the same.

        @return: for all that are asked for.
        """

    def assignUniqueIds(values: Mapping[str, str]) -> Awaitable[Collection[str]]:
        """
        Give messages, by their MESSAGE_IDs, unique-ids that they had on another server: 1 to 70
        characters of C{!} to C{~} (RFC 1939 §7). Durable, in one step. What another message has or
        had isn't given; nor are messages given one that have one already which was given to them.

        @return: the MESSAGE_IDs of those that have them now.
        """

    def knownUniqueIds(values: Collection[str]) -> Awaitable[Collection[str]]:
        """
        @return: those of these unique-ids that were ever given to a message by L{assignUniqueIds},
            whether or not it is there any more.
        """

    def removeMessages(
        messages: Sequence[tuple[IMailbox, NumberSet]], destination: IMailbox | None
    ) -> Awaitable[int]:
        """
        In one durable step, all or none: move messages of mailboxes of this account to another one
        of its mailboxes, as C{moveMessages}; what is there already is expunged. Without a
        destination all are. What isn't there (any more), mailboxes too, is passed over.

        @return: how many messages are gone from their mailboxes.
        @raise NoSuchMailbox: if the destination isn't there.
        @raise CannotDoThat: if it has no UIDs left.
        """

    def noteRetrieved(messageIds: Collection[str], at: int) -> Awaitable[None]:
        """
        Remember that a POP3 client has messages, by their MESSAGE_IDs, since a time in seconds
        since 1970. Durable. What is remembered already stays; what isn't there is passed over.
        """

    def retrievedUntil(at: int) -> Awaitable[Collection[str]]:
        """
        @return: the MESSAGE_IDs of the messages that are remembered since then or before, without
            those that are in no mailbox any more.
        """


# --- the store ---------------------------------------------------------------------------------


class IDirectory(Interface):
    """
    Domains, accounts and aliases. Answers are never older than the last change that anybody, in
    any process, was told is done. Domains in lower case; local-parts are compared as
    C{model.address.foldLocalPart} folds them.
    """

    def findDomain(name: str) -> Awaitable[DomainRecord | None]:
        """
        @param name: lower case, A-labels.
        """

    def findAccount(address: Address) -> Awaitable[AccountRecord | None]:
        """
        The account that the address names, no alias followed, no subaddress cut.
        """

    def findAccountById(accountId: str) -> Awaitable[AccountRecord | None]:
        """
        The account with that id.
        """

    def findAlias(address: Address) -> Awaitable[AliasRecord | None]:
        """
        The alias of exactly that address (ask with the local-part C{*} for the catch-all).
        """

    def findCredentials(accountId: str) -> Awaitable[Sequence[Credential]]:
        """
        @return: by which the account's owner shows who he is, the main password first, then in the
            order in which they were made, those that have expired too. Empty: nobody can log in, or
            there is no such account.
        """

    def findPolicy(accountId: str) -> Awaitable[AccountPolicy]:
        """
        @return: who may log in to the account. That of an account that isn't there, or of which
            nothing was said, forbids nothing.
        """


class IDirectoryAdmin(IDirectory):
    """
    Changes to the directory. Each is durable when it fires, and seen at once by everyone.
    """

    def listDomains() -> Awaitable[Sequence[DomainRecord]]:
        """Ordered by name."""

    def addDomain(name: str) -> Awaitable[DomainRecord]:
        """
        @raise AlreadyExists: if it is there.
        """

    def removeDomain(name: str) -> Awaitable[None]:
        """
        @raise NoSuchDomain: if it isn't there.
        @raise CannotDoThat: if it still has accounts or aliases.
        """

    def listAccounts(domain: str | None = None) -> Awaitable[Sequence[AccountRecord]]:
        """Ordered by domain, then local-part."""

    def addAccount(
        address: Address, secrets: Mapping[str, str] | str | None
    ) -> Awaitable[AccountRecord]:
        """
        Make an account with INBOX and C{model.records.DEFAULT_MAILBOXES}, subscribed.

        @param secrets: of the main password, as L{setPassword} has it.
        @raise NoSuchDomain: if the domain isn't there: add it first.
        @raise AlreadyExists: if the address is taken by an account or an alias.
        """

    def setPassword(address: Address, secrets: Mapping[str, str] | str | None) -> Awaitable[None]:
        """
        Put another main password in the place of what was.

        @param secrets: as L{Credential.secrets}; a text is a PHC string of argon2id; C{None} or
            none: there is no main password any more.
        @raise NoSuchAccount: if there is none.
        """

    def addAppPassword(
        address: Address,
        name: str,
        secrets: Mapping[str, str],
        services: frozenset[str] | None = None,
        expires: int | None = None,
    ) -> Awaitable[Credential]:
        """
        @raise NoSuchAccount: if there is none.
        @raise AlreadyExists: if the account has an app password of that name.
        """

    def removeCredential(credentialId: str) -> Awaitable[None]:
        """
        It holds no more. Nothing happens if it isn't there.
        """

    def touchCredential(credentialId: str, when: int) -> Awaitable[None]:
        """
        It was used; never moves C{lastUsed} back. Nothing happens if it isn't there.
        """

    def changeSecrets(credentialId: str, secrets: Mapping[str, str]) -> Awaitable[None]:
        """
        Verify the same password by other secrets from now on. Nothing happens if it isn't there.
        """

    def setPolicy(address: Address, policy: AccountPolicy) -> Awaitable[None]:
        """
        @raise NoSuchAccount: if there is none.
        """

    def setEnabled(address: Address, enabled: bool) -> Awaitable[None]:
        """
        @raise NoSuchAccount: if there is none.
        """

    def setQuota(
        address: Address,
        octetLimit: int | None,
        messageLimit: int | None,
        mailboxLimit: int | None = None,
        annotationLimit: int | None = None,
    ) -> Awaitable[None]:
        """
        @param octetLimit: C{None} for no limit; likewise the others.
        @param mailboxLimit: of mailboxes that are made from now on; for stores whose accounts are
            L{ILimitedAccount}s.
        @param annotationLimit: of the octets of annotations; for stores whose accounts are
            L{IAnnotatedAccount}s.
        @raise NoSuchAccount: if there is none.
        """

    def removeAccount(address: Address) -> Awaitable[None]:
        """
        Delete the account with all its mail.

        @raise NoSuchAccount: if there is none.
        """

    def listAliases(domain: str | None = None) -> Awaitable[Sequence[AliasRecord]]:
        """Ordered by domain, then local-part."""

    def setAlias(address: Address, targets: Sequence[Address]) -> Awaitable[AliasRecord]:
        """
        Make or replace an alias.

        @raise NoSuchDomain: if the domain isn't there.
        @raise AlreadyExists: if an account has that address.
        """

    def removeAlias(address: Address) -> Awaitable[None]:
        """
        @raise NoSuchAccount: if there is none.
        """


class IMailStore(Interface):
    """
    A storage backend: accounts, mailboxes and messages in one place.
    """

    directory: IDirectoryAdmin = Attribute("The accounts of this store.")

    def start() -> Awaitable[None]:
        """
        Open, upgrading an older schema, and clear up what a crash left.

        @raise StoreDamaged: if it can't be opened.
        """

    def stop() -> Awaitable[None]:
        """
        Finish what is being committed, then close. Idempotent.
        """

    def openAccount(accountId: str) -> Awaitable[IAccount]:
        """
        @raise NoSuchAccount: if there is none.
        """

    def newContent(sizeHint: int | None = None) -> IContentWriter:
        """
        Start writing a message that is to be delivered.
        """

    def deliver(
        content: IStagedContent,
        placements: Sequence[Placement],
        internalDate: int,
        partial: bool = False,
    ) -> Awaitable[Sequence[Exception | None]]:
        """
        Give each local recipient a copy, the content stored once. One durable step. What counts for
        a quota is each copy with its prefix.

        @param internalDate: seconds since 1970 UTC.
        @param partial: place what can be placed, if not all can.
        @return: for each placement C{None}, or (with C{partial}) why that one was not placed:
            L{OverQuota}, L{NoSuchAccount}, or what else is wrong with that account alone. Whatever
            is raised, nothing was placed.
        @raise OverQuota: if (without C{partial}) one does not fit.
        @raise NoSuchAccount: if (without C{partial}) there is one whose account isn't there.
        """

    def check(progress: Callable[[int, int], None] | None = None) -> Awaitable[Sequence[Damage]]:
        """
        Look at everything there is, changing nothing.

        @param progress: called with what is done and how much there is.
        @return: all that is damaged; empty for a sound store.
        """


# --- sharing -----------------------------------------------------------------------------------


class IURLKeyStore(IMailStore):
    """
    Optional: a store that keeps keys of mailboxes. Without it URLs can't be authorised.
    """

    urlKeys: IURLKeys = Attribute("The keys.")


class IURLKeys(Interface):
    """
    The mailbox access keys of RFC 4467 §7: random octets, known to nobody but the server, with
    which URLs of a mailbox's messages are authorised. Where there is none, no URL holds. They go
    with their mailboxes.
    """

    def key(mailboxId: str, make: bool) -> Awaitable[bytes | None]:
        """
        @param make: make a key if there is none; it is durable.
        @return: a mailbox's key, at least 16 octets.
        @raise NoSuchMailbox: if one can't be made.
        """

    def forget(mailboxId: str) -> Awaitable[None]:
        """
        Nothing that a mailbox's key authorised holds any more. Durable.
        """

    def forgetAll(accountId: str) -> Awaitable[None]:
        """
        As C{forget}, of all mailboxes of an account.
        """


class ISharingStore(IMailStore):
    """
    Optional: a store whose accounts can share mailboxes. Without it each has only its own.
    """

    sharing: IAccessControl = Attribute("Who may do what in whose mailboxes.")


class IAccessControl(Interface):
    """
    The access control lists of mailboxes (RFC 4314 §2): rights by identifier (L{model.rights
    <twisted_mailstack.model.rights>}). They are kept here, and kept to by C{sharing}.

    An owner is in no list: an account may do everything in its mailboxes. The list of a mailbox
    stays through RENAME and goes with DELETE; a new mailbox gets that of the nearest superior
    mailbox, if it has one. What is said of an account goes with the account. Only mailboxes that
    can be selected have lists.

    Each change is one durable step, and tells those who watch the mailbox.
    """

    def entries(
        mailboxId: str, identifiers: Collection[str] | None = None
    ) -> Awaitable[Mapping[str, Rights]]:
        """
        @param identifiers: look for these only; C{None} for all.
        @return: by identifier, ordered by it, each with one right at least. None if there is no
            such mailbox (any more).
        """

    def change(
        mailboxId: str, identifier: str, operation: FlagOperation, rights: Rights
    ) -> Awaitable[None]:
        """
        Add rights to an identifier's, take some away, or replace them. Without any, it is in the
        list no more.

        @raise NoSuchMailbox: if there is none.
        @raise CannotDoThat: (C{imapCode LIMIT}) if the list gets too long.
        """

    def replace(mailboxId: str, entries: Mapping[str, Rights]) -> Awaitable[None]:
        """
        Give a mailbox another list.

        @raise NoSuchMailbox: if there is none.
        @raise CannotDoThat: (C{imapCode LIMIT}) if the list is too long.
        """

    def shared(identifiers: Collection[str]) -> Awaitable[Sequence[SharedMailbox]]:
        """
        @return: the mailboxes in whose lists any of these is. The cost grows with their number,
            not with that of accounts or mailboxes.
        """

    def publish(accountId: str, name: str | None) -> Awaitable[None]:
        """
        Make an account a public one: one of nobody, whose mailboxes are under this name; or, with
        C{None}, a person's again.

        @param name: one level of a mailbox's name.
        @raise NoSuchAccount: if there is none.
        @raise AlreadyExists: if another account has that name.
        """

    def published(name: str) -> Awaitable[str | None]:
        """
        @return: the accountId of the account that is public under that name.
        """

    def watch(changed: Callable[[], None]) -> Callable[[], None]:
        """
        Be called after any change of any list, or of what is public. As L{IMailbox.watch}.
        """


class ISharingAccount(IAccount):
    """
    An account together with what others share with it: the avatar. Mailboxes of others have names
    below L{othersPrefix} and L{publicPrefix}, and each call looks at what may be done there:
    L{AccessDenied<twisted_mailstack.errors.AccessDenied>} (NOPERM) is raised for a mailbox that may
    be listed, and for one that may not L{NoSuchMailbox<twisted_mailstack.errors.NoSuchMailbox>}, as
    if it weren't there.

    C{createMailbox} needs the right C{k} in the nearest superior mailbox (an account's INBOX is
    above all its others), C{deleteMailbox} C{x}, C{renameMailbox} both, and it goes on within one
    account only. C{openMailbox} gives L{IRestrictedMailbox}es. C{watch} is about all that
    C{listMailboxes} has, and what may be done there; C{quota} and C{lockMaildrop} are those of the
    account itself.
    """

    othersPrefix: str = Attribute("Of the names of other persons' mailboxes, with the delimiter.")
    publicPrefix: str = Attribute("Of the names of public accounts' mailboxes.")
    administrator: bool = Attribute("Whether it may change quotas.")

    def rights(name: str) -> Awaitable[Rights]:
        """
        @return: what the account may do in a mailbox; all, if it is its own.
        @raise NoSuchMailbox: if there is none, or none of C{model.rights.REVEALING} is among them.
        """

    def sharedRights() -> Awaitable[Mapping[str, Rights]]:
        """
        @return: what it may do in each of the mailboxes of others that C{listMailboxes} has.
        """

    def accessList(name: str) -> Awaitable[Mapping[str, Rights]]:
        """
        @return: who may do what there, the owner among them. Needs C{a}.
        """

    def changeRights(
        name: str, identifier: str, operation: FlagOperation, rights: Rights
    ) -> Awaitable[None]:
        """
        As L{IAccessControl.change}. Needs C{a}.

        @param identifier: as a person writes it.
        @raise SyntaxProblem: if it can't be an identifier.
        @raise MailError: if it is about nobody.
        @raise CannotDoThat: if it is the owner, and would not have all rights then.
        """

    def grantable(name: str, identifier: str) -> Awaitable[tuple[Rights, Rights]]:
        """
        Needs C{a}.

        @return: the rights that an identifier always has there, and those that it can be given.
        """

    def mayCreate(name: str) -> Awaitable[bool]:
        """
        @return: whether C{createMailbox} would be allowed.
        """

    def quotaRoot(name: str) -> Awaitable[str]:
        """
        @return: whose quota a mailbox of that name counts for: an account's address.
        @raise MailError: if it is another's mailbox, which may not be read.
        """

    def quotaOf(
        root: str,
    ) -> Awaitable[tuple[Quota, tuple[int, int | None] | None, tuple[int, int | None] | None]]:
        """
        @return: use and limits of an account, of its mailboxes (C{mailboxQuota}), and of their
            annotations (C{annotationQuota}).
        @raise MailError: if it isn't there, or nothing of it may be known.
        """

    def setQuota(
        root: str,
        octetLimit: int | None,
        messageLimit: int | None,
        mailboxLimit: int | None,
        annotationLimit: int | None = None,
    ) -> Awaitable[None]:
        """
        As L{IDirectoryAdmin.setQuota}.

        @raise AccessDenied: if the account is no L{administrator}.
        """


class IRestrictedMailbox(IMailbox):
    """
    A mailbox of another account, in which only some things may be done. C{account} is who does
    them.

    Each method looks at the rights of that instant. Reading needs C{r}; C{storeFlags} changes the
    flags that may be changed, and is refused if that is none of those that are given; messages are
    put there (with C{i}) with the flags that may be set; C{expunge} needs C{e}, and C{t} too where
    it is not C{onlyDeleted}. C{moveMessages} needs C{r}, C{t} and C{e}. Who has not C{s} has no
    recent messages.
    """

    def rights() -> Awaitable[Rights]:
        """
        @return: what may be done there now.
        """

    def require(rights: Rights) -> Awaitable[None]:
        """
        @raise AccessDenied: if not all of these are there; L{NoSuchMailbox} if C{l} isn't, either.
        """


class ILimitedAccount(IAccount):
    """
    Optional: an account that knows how many mailboxes it has.
    """

    def mailboxQuota() -> Awaitable[tuple[int, int | None]]:
        """
        @return: the number of its mailboxes, and how many there may be at most.
        """


# --- what a server has to remember -------------------------------------------------------------


class IRememberingStore(IMailStore):
    """
    Optional: a store that remembers small things for its server. Policies that need that can't be
    used without it.
    """

    memory: IKeyedMemory = Attribute("Its memory.")


class IKeyedMemory(Interface):
    """
    Numbers under keys, each for a time: what policies have to know of earlier connections. Durable
    like mailboxes, and the same for all processes.

    A key is a word of who uses it, a colon, and what that one wants, 200 characters at most. An
    entry is a key, a number (of 53 bits) and the time at which it is forgotten, in seconds since
    1970; from then on it is as if it had never been there. Each call is one step.
    """

    def recall(keys: Collection[str]) -> Awaitable[Mapping[str, int]]:
        """
        @return: the numbers of those that are remembered.
        """

    def remember(entries: Sequence[tuple[str, int, int]]) -> Awaitable[None]:
        """
        Remember entries in the place of what was there.
        """

    def introduce(entries: Sequence[tuple[str, int, int]]) -> Awaitable[Mapping[str, int]]:
        """
        Remember entries where there is nothing; what is there stays, its time too.

        @return: the numbers of all these keys now.
        """

    def add(entries: Sequence[tuple[str, int, int]]) -> Awaitable[Mapping[str, int]]:
        """
        Add to numbers; those that aren't there were 0. The later one of the times holds.

        @return: the numbers of all these keys now.
        """


class ILoginRecordingStore(IMailStore):
    """
    Optional: a store that keeps which logins there were lately.
    """

    logins: ILoginHistory = Attribute("They.")


class ILoginHistory(Interface):
    """
    The latest logins, right and wrong: C{model.records.KEPT_LOGINS} of each account, and
    C{KEPT_STRAY_LOGINS} of all names that nobody has. They go with their accounts.
    """

    def record(records: Sequence[LoginRecord]) -> Awaitable[None]:
        """
        Keep them, in the order in which they were. Those of accounts that aren't there are not.
        """

    def recent(accountId: str | None, limit: int) -> Awaitable[Sequence[LoginRecord]]:
        """
        @param accountId: C{None} for those of names that nobody has.
        @return: the latest ones first, so many at most.
        """


class ILoginRecordingAccount(IAccount):
    """
    Optional: an account that can tell its owner of its latest logins. Without it only an operator
    sees them, if the store is an L{ILoginRecordingStore}.
    """

    def recentLogins(limit: int) -> Awaitable[Sequence[LoginRecord]]:
        """
        @return: the latest ones first, so many at most.
        @raise NoSuchAccount: if the account was removed.
        """


# --- the queue ---------------------------------------------------------------------------------


class ISpoolingStore(IMailStore):
    """
    Optional: a store in which mail for others can wait. Without it nothing can be relayed.
    """

    spool: ISpool = Attribute("Its spool.")


class ISpool(Interface):
    """
    Mail that is accepted and yet to be delivered or relayed. Durable like mailboxes, and part of
    their store, so that a message for local and other recipients is one step.

    Many processes may put mail in and look at it; one at a time takes it out (L{lockQueue}).
    """

    def accept(
        content: IStagedContent | None,
        placements: Sequence[Placement],
        internalDate: int,
        queued: QueuedMessage | None,
        settled: Sequence[Outcome] = (),
        fallbacks: Sequence[QueuedRecipient | None] = (),
        successes: Sequence[Sequence[QueuedRecipient]] = (),
    ) -> Awaitable[Sequence[Exception | None]]:
        """
        In one durable step: give local recipients their copy, put a message into the spool for
        others, and note what became of recipients that waited. So a message that makes a
        notification is settled and notified, or neither.

        @param content: stored once for all; C{None} if there are neither placements nor a message.
        @param placements: as of L{IMailStore.deliver}; those that can't be placed are told in the
            result, the others are placed.
        @param queued: with all its recipients. If it has none in the end, nothing is queued.
        @param settled: outcomes of recipients; those that aren't in the spool (any more) are
            ignored. If there are some and none of them is, nothing at all is done.
        @param fallbacks: empty, or for each placement the recipient that is queued in its stead if
            it can't be placed; C{None} for nobody. C{queued} must be given.
        @param successes: empty, or for each placement the recipients that are queued if it is
            placed, since their senders are to be told (for the destination
            C{model.queue.DELIVERED}). C{queued} must be given.
        @return: for each placement C{None}, or why that one was not placed.
        """

    def settle(outcomes: Sequence[Outcome]) -> Awaitable[None]:
        """
        As L{accept} with nothing but C{settled}. A message whose last recipient is final leaves the
        spool.
        """

    def destinations() -> Awaitable[Sequence[DestinationState]]:
        """
        All that recipients wait for whose messages aren't held. The cost grows with their number,
        not with that of the messages.
        """

    def due(destination: str, now: int, limit: int) -> Awaitable[Sequence[QueuedMessage]]:
        """
        What may be tried: messages with those of their recipients whose C{nextAttempt} has come,
        the highest priority first, then by C{nextAttempt}. Held messages are left out;
        C{retryAt} of the destination is not looked at.

        @param limit: recipients.
        """

    def earliest(destination: str) -> Awaitable[int | None]:
        """
        @return: the earliest C{nextAttempt} of a destination, C{None} if nothing waits for it.
            Held messages are left out.
        """

    def waiting(spoolId: int, destination: str) -> Awaitable[Collection[int]]:
        """
        @return: the numbers of a message's recipients that wait for a destination; none if it is
            held, or not in the spool (any more).
        """

    def place(
        spoolId: int,
        placements: Sequence[tuple[int, Placement]],
        internalDate: int,
        told: Collection[int] = (),
    ) -> Awaitable[Sequence[Exception | None]]:
        """
        Give accounts copies of a queued message (for the destination C{model.queue.LOCAL}). In the
        same step the recipients whose copies were placed are final.

        @param placements: the recipient's number and where its copy goes. The placement's prefix is
            all that comes in front of the content.
        @param told: numbers of recipients whose senders are to be told if they have their copy: in
            their stead a recipient with another number waits for C{model.queue.DELIVERED}, due at
            C{internalDate}, and is never overdue.
        @return: for each C{None}, or why it was not placed.
        @raise MessageExpunged: if the message is not in the spool (any more).
        """

    def overdue(now: int, limit: int) -> Awaitable[Sequence[QueuedMessage]]:
        """
        Messages with those of their recipients whose C{checkAt} has come, the oldest first. Held
        messages are left out.

        @param limit: recipients.
        """

    def postpone(destination: str, retryAt: int, failures: int, lastReply: str) -> Awaitable[None]:
        """
        Remember that a destination could not be reached (C{failures} above 0), or could (0).
        """

    def openContent(spoolId: int) -> Awaitable[IMessageContent]:
        """
        The message as it is to be sent: prefix and content.

        @raise MessageExpunged: if it is not in the spool (any more).
        """

    def select(
        wanted: QueueFilter, limit: int, after: int = 0
    ) -> Awaitable[Sequence[QueuedMessage]]:
        """
        Queued messages with all their waiting recipients, the oldest first.

        @param after: C{spoolId} of the last one seen.
        """

    def hold(wanted: QueueFilter, held: bool) -> Awaitable[int]:
        """
        Hold or release messages.

        @return: how many are now what they weren't.
        """

    def retry(wanted: QueueFilter) -> Awaitable[int]:
        """
        Make messages due at once, and forget that their destinations could not be reached.

        @return: how many.
        """

    def delete(wanted: QueueFilter) -> Awaitable[int]:
        """
        Remove messages, telling nobody; and forget which destinations could not be reached, if
        nobody waits for them any more.

        @return: how many.
        """

    def counts() -> Awaitable[QueueCounts]:
        """
        The queue in numbers. May take a while with a large one; nobody waits for it.
        """

    def reroute(route: Callable[[QueuedMessage, str], str]) -> Awaitable[int]:
        """
        Give recipients the destination that holds now, as after a change of routes.

        @param route: given a message (with one of its recipients) and that recipient's destination,
            the destination it should have.
        @return: how many changed.
        """

    def watch(changed: Callable[[Collection[str] | None], None]) -> Callable[[], None]:
        """
        Be called, soon and in the reactor's thread, when there may be more to do: with the
        destinations that have new recipients, or with C{None} after changes by an operator or by
        another process.

        @return: call it to stop; idempotent.
        """

    def lockQueue() -> Callable[[], None] | None:
        """
        Become the one who takes mail out.

        @return: call it to stop being so; C{None} if somebody else is.
        """


class IRelayConnection(Interface):
    """
    A connection to the next hop, for one message after another.
    """

    wanted: bool = Attribute("Whether others wait for it to be closed, and get nowhere meanwhile.")

    def accepts(message: QueuedMessage) -> bool:
        """
        @return: whether this connection can be used for this message, still being open and having
            what the message demands (REQUIRETLS, for one).
        """

    def send(
        message: QueuedMessage, content: IMessageContent
    ) -> Awaitable[Sequence[AttemptResult]]:
        """
        Try to hand over a message.

        @return: what was said of each of C{message.recipients}, in their order. Never raises for
            what the next hop does: a connection that breaks is a temporary result, and
            C{accepts} is false then.
        """

    def close() -> Awaitable[None]:
        """
        End it politely, without waiting long.
        """


class IRelay(Interface):
    """
    The way to a kind of destination: by SMTP to other servers, or into our own accounts.
    """

    def destinationOf(reversePath: Address | None, address: Address) -> str:
        """
        @return: whom a recipient waits for, by the routes that hold now.
        """

    def connect(destination: str, message: QueuedMessage) -> Awaitable[IRelayConnection]:
        """
        Reach the next hop for a destination, trying its hosts in order.

        @param message: the first one to be sent, which may demand something of the hosts.
        @raise DestinationUnavailable: if none could be reached; trying later may help. All
            recipients of the destination wait.
        @raise HostBusy: if there are too many connections to its host, by other destinations.
        @raise MailError: what makes no sense to try again, or concerns only this message: its
            recipients get it as their result.
        """


# --- delivery ----------------------------------------------------------------------------------


class IDelivery(Interface):
    """
    One message on its way to one target: addRecipient one or more times, write as often as the
    message needs, then either commit or abort.
    """

    def addRecipient(recipient: Recipient) -> Awaitable[None]:
        """
        @raise MailError: if the target will not take it for this recipient. The others stay.
        """

    def write(data: bytes) -> Awaitable[None] | None:
        """
        As L{IContentWriter.write}.
        """

    def commit(
        inspect: Callable[[IStagedContent], Awaitable[bytes]] | None = None,
    ) -> Awaitable[Sequence[Exception | None]]:
        """
        The message is whole: make it durable.

        @param inspect: called with the whole message before it is made durable: gives header lines
            to put in front of it, or raises to refuse it.
        @return: for each recipient, in the order in which they were added, C{None} (durable, ours
            to deliver from now on) or the error that it is to be told.
        @raise MailError: if nobody got it; C{abort} is then not needed.
        """

    def abort() -> None:
        """
        Forget it, at any time before C{commit} was called. Idempotent.
        """


class IDeliveryTarget(Interface):
    """
    Somewhere mail can go: the local accounts, a spool, somebody's program.
    """

    def begin(envelope: Envelope) -> IDelivery:
        """
        Start a transaction.
        """

    def verify(address: Address) -> Awaitable[str]:
        """
        VRFY (RFC 5321 §3.5): say without delivering whether the address would be taken.

        @return: the text of the reply.
        @raise MailError: if it would not.
        """


class IHonouringTarget(IDeliveryTarget):
    """
    Optional: a target that heeds what senders wish beyond delivery. Without it such wishes are
    refused before they come here.
    """

    honours: Collection[str] = Attribute(
        "Keywords of the SMTP extensions whose parameters of MAIL and RCPT it heeds: C{DSN},"
        " C{DELIVERBY}, C{FUTURERELEASE}, C{MT-PRIORITY}, C{REQUIRETLS}."
    )


class IPolicyStep(Interface):
    """
    A say in whether and how mail is taken. Steps are asked in the configured order; the first
    that raises L{MailError<twisted_mailstack.errors.MailError>} decides. A step that doesn't care
    about a stage inherits C{delivery.policy.PolicyStep}, which accepts.
    """

    def connection(info: ConnectionInfo) -> Awaitable[None] | None:
        """Before the greeting. A refusal is the greeting (RFC 5321 §3.1: 554, or 421)."""

    def reversePath(envelope: Envelope) -> Awaitable[None] | None:
        """At MAIL."""

    def recipient(envelope: Envelope, recipient: Recipient) -> Awaitable[None] | None:
        """At RCPT, before the target is asked."""

    def message(
        envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
    ) -> Awaitable[bytes] | bytes:
        """
        At the end of data.

        @return: header lines to put in front, each ended by CRLF; may be empty.
        """


class IDNSLookup(Interface):
    """
    Asks the domain name system. Answers are kept for as long as they say (RFC 1035 §3.2.1), also
    that there is none (RFC 2308).
    """

    def lookup(name: str, kind: str) -> Awaitable[DNSAnswer]:
        """
        @param name: in A-labels.
        @param kind: C{A}, C{AAAA}, C{CNAME}, C{MX}, C{PTR}, C{TLSA} or C{TXT}.
        @raise LookupFailed: if there is no answer, neither yes nor no.
        """


# --- authentication ----------------------------------------------------------------------------


class ISASLExchange(Interface):
    """
    One authentication attempt of one mechanism (RFC 4422 §3).
    """

    def respond(response: bytes | None) -> Any:
        """
        Take the client's next message; C{None} if it sent no initial response.

        @return: C{bytes}, the next challenge to send; or a
            L{twisted.cred.credentials.ICredentials} for the portal: the exchange is over. Or an
            awaitable of these, for what has to be looked up.
        @raise SyntaxProblem: if the message is malformed.
        @raise AuthenticationFailed: if it is already clear that it fails; as L{ProofRefused
            <twisted_mailstack.errors.ProofRefused>} it tells who it was to be.
        """


class IServerMechanism(Interface):
    """
    A SASL mechanism's server half.
    """

    name: bytes = Attribute("As registered: upper case, digits, - and _.")
    needsTLS: bool = Attribute(
        "Sends a password in the clear, or what it can be guessed from, so TLS comes first."
    )

    def begin(info: ConnectionInfo) -> ISASLExchange:
        """
        Start an attempt.
        """


class IConditionalMechanism(IServerMechanism):
    """
    One that can't be used on every connection that is safe enough for it.
    """

    def isAvailable(info: ConnectionInfo) -> bool:
        """
        Whether it is offered there.
        """


class ICredentialSurvey(Interface):
    """
    Optional, of a directory.
    """

    def isMissing(scheme: str) -> Awaitable[bool]:
        """
        Whether there is an account with a main password of which nothing is kept in that scheme:
        who has it can't log in by a mechanism that needs it. May take time.
        """


class IMaildropSurvey(Interface):
    """
    Optional, of a directory whose accounts are L{IMaildropAccount}s: without it POP3 doesn't heed
    what accounts have of their own, since it has to tell clients about it before they log in.
    """

    def surveyMaildrops() -> Awaitable[MaildropSurvey]:
        """
        What settings accounts have of their own. It is asked at each CAPA, so the cost doesn't grow
        with the accounts.
        """


class ISecretSource(Interface):
    """
    What mechanisms verify a client by that doesn't show its password.
    """

    def secretsFor(name: bytes, scheme: str, peer: str = "") -> Awaitable[Sequence[StoredSecret]]:
        """
        @param name: of an account, as the client says it, UTF-8.
        @param scheme: of L{Credential.secrets<twisted_mailstack.model.records.Credential>}.
        @param peer: who asks, as C{ConnectionInfo.peer}, where a client that has it right is told
            so before the policy of logins is asked: whoever is locked out gets what nobody has the
            password of.
        @return: at least one. For a name that isn't known, or has none, one that nobody has the
            password of, the same at each time: the client can't tell.
        """


class ITokenVerifier(Interface):
    """
    Knows whose an OAuth 2.0 access token is.
    """

    def verify(token: bytes) -> Awaitable[bytes | None]:
        """
        @return: the name of the account that it is for, UTF-8; C{None} if it is for none.
        @raise TemporaryFailure: if it couldn't be found out.
        """


class ISASLClientExchange(Interface):
    """
    A client's half of one authentication attempt (RFC 4422 §3).
    """

    def respond(challenge: bytes | None) -> bytes | None:
        """
        Take the server's next message; C{None} at first, when there is none yet. That comes first
        in each exchange, and only there.

        @return: the response; to C{None} the initial response, or C{None} if it is the server that
            begins.
        @raise AuthenticationFailed: if the server asks for what it must not, or has shown that it
            isn't the right one. The exchange is to be cancelled.
        """

    def accepted() -> None:
        """
        The server says that all is well.

        @raise AuthenticationFailed: if it should have shown first who it is and hasn't; or if it
            hasn't heard yet who we are. It is not to be trusted.
        """


class IClientMechanism(Interface):
    """
    A SASL mechanism's client half.
    """

    name: bytes = Attribute("As registered: upper case, digits, - and _.")
    needsTLS: bool = Attribute(
        "Sends a password in the clear, or what it can be guessed from, so TLS comes first."
    )

    def begin(credentials: Any, info: ConnectionInfo) -> ISASLClientExchange:
        """
        Start an attempt.

        @param credentials: what the server's half ends in for the same exchange; with a password
            L{PasswordCredentials<twisted_mailstack.sasl.credentials.PasswordCredentials>}.
        @raise SyntaxProblem: if the mechanism has no way of saying that; as L{WrongCredentials
            <twisted_mailstack.sasl.credentials.WrongCredentials>} if it is for others.
        """


class INegotiatingMechanism(IClientMechanism):
    """
    One that depends on what else the server offers.
    """

    def against(names: Collection[bytes], info: ConnectionInfo) -> IClientMechanism | None:
        """
        @param names: of the mechanisms that the server offers.
        @return: the mechanism to be used with such a server, C{None} if it can't be.
        """


class IPasswordSource(Interface):
    """
    Somebody else who knows passwords: a file, a database, a directory service.
    """

    def start() -> Awaitable[None]:
        """
        From now on it is asked.
        """

    def stop() -> Awaitable[None]:
        """
        It isn't asked any more: close what is open. Idempotent.
        """

    def verify(address: Address, password: bytes, origin: str = "") -> Awaitable[bool]:
        """
        @param address: whose password it would be, in the form that C{model.address.foldLocalPart}
            gives its local-part.
        @param password: as it was typed; not empty, without NUL, not always UTF-8.
        @param origin: as of L{IPasswordHasher.verify}.
        @return: whether it is, now: it was asked of whoever knows. Where that is in its hands, an
            unknown address takes as long as a wrong password.
        @raise TemporaryFailure: if it can't be found out; the log says why.
        """


class IPasswordHasher(Interface):
    """
    Hashes passwords, off the reactor's thread and only so many at a time.
    """

    def hash(password: bytes) -> Awaitable[str]:
        """
        @return: a PHC string.
        """

    def verify(hashed: str | None, password: bytes, origin: str = "") -> Awaitable[bool]:
        """
        @param hashed: a PHC string, or C{{SCHEME}} and a text of that scheme; C{None} for an
            unknown name: takes as long as a wrong password, and fails.
        @param origin: the network from which it is asked, for those of one network to wait for one
            another rather than others for them; empty if that isn't known.
        @raise TemporaryFailure: if too many wait.
        """
