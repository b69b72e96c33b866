# -*- test-case-name: tests.imap.test_registry -*-
"""
What an IMAP server of ours speaks: one line a command group, one line an extension.
"""

from __future__ import annotations

from twisted_mailstack.imap.commands import (
    anystate,
    append,
    authentication,
    copy,
    expunge,
    fetch,
    listing,
    mailboxes,
    search,
    selection,
    store,
)
from twisted_mailstack.imap.extension import Command, Extension
from twisted_mailstack.imap.extensions import (
    acl,
    appendlimit,
    binary,
    catenate,
    children,
    condstore,
    context,
    createspecialuse,
    enable,
    esearch,
    filters,
    id,
    idle,
    inprogress,
    listextended,
    liststatus,
    literalplus,
    metadata,
    move,
    multiappend,
    multisearch,
    namespace,
    objectid,
    partial,
    preview,
    qresync,
    quota,
    replace,
    sasl,
    savedate,
    searchres,
    sort,
    specialuse,
    starttls,
    statussize,
    thread,
    uidonly,
    uidplus,
    unselect,
    urlauth,
    utf8,
    within,
    xlist,
)
from twisted_mailstack.imap.fetch import ITEMS
from twisted_mailstack.imap.search import KEYS
from twisted_mailstack.imap.session import Registry

COMMANDS: tuple[Command, ...] = (
    *anystate.COMMANDS,
    *authentication.COMMANDS,
    *mailboxes.COMMANDS,
    *listing.COMMANDS,
    *selection.COMMANDS,
    *append.COMMANDS,
    *fetch.COMMANDS,
    *store.COMMANDS,
    *search.COMMANDS,
    *copy.COMMANDS,
    *expunge.COMMANDS,
)

#: In the order in which CAPABILITY lists them.
EXTENSIONS: tuple[Extension, ...] = (
    literalplus.EXTENSION,
    sasl.SASL_IR,
    id.EXTENSION,
    enable.EXTENSION,
    idle.EXTENSION,
    namespace.EXTENSION,
    acl.EXTENSION,
    acl.LIST,
    quota.EXTENSION,
    quota.MAILBOX,
    quota.QUOTASET,
    children.EXTENSION,
    listextended.EXTENSION,
    liststatus.EXTENSION,
    specialuse.EXTENSION,
    createspecialuse.EXTENSION,
    xlist.EXTENSION,
    statussize.EXTENSION,
    objectid.EXTENSION,
    metadata.EXTENSION,
    metadata.LIST_METADATA,
    uidplus.EXTENSION,
    unselect.EXTENSION,
    move.EXTENSION,
    esearch.EXTENSION,
    searchres.EXTENSION,
    within.EXTENSION,
    filters.EXTENSION,
    multisearch.EXTENSION,
    # Before CONDSTORE: PARTIAL of UID FETCH is applied before CHANGEDSINCE (RFC 9394 §3.4).
    partial.EXTENSION,
    context.SEARCH,
    inprogress.EXTENSION,
    condstore.EXTENSION,
    qresync.EXTENSION,
    uidonly.EXTENSION,
    multiappend.EXTENSION,
    catenate.EXTENSION,
    urlauth.EXTENSION,
    urlauth.URL_PARTIAL,
    replace.EXTENSION,
    binary.EXTENSION,
    savedate.EXTENSION,
    preview.EXTENSION,
    utf8.EXTENSION,
    appendlimit.EXTENSION,
    sort.EXTENSION,
    sort.DISPLAY,
    context.ESORT,
    context.SORT,
    thread.EXTENSION,
    thread.ORDEREDSUBJECT,
    thread.REFERENCES,
    thread.REFS,
    starttls.EXTENSION,
    starttls.LOGINDISABLED,
    sasl.AUTH,
)


def makeRegistry(extensions: tuple[Extension, ...] = EXTENSIONS) -> Registry:
    """
    @return: the tables of a server with these extensions.
    """
    return Registry(COMMANDS, ITEMS, KEYS, mailboxes.STATUS_ITEMS, extensions)
