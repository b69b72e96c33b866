"""
Thunderbird against C{twistd mailstack}: one session of a person with mail, and another client
beside it.
"""

from __future__ import annotations

import imaplib
import smtplib
import ssl
import time
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.harness import ALICE, PASSWORD, Server, looseTLS, needs
from tests.interop.thunderbird import Thunderbird

BODY = "Gr\u00fc\u00dfe, \u65e5\u672c\u8a9e"


class ThunderbirdTests(SynchronousTestCase):
    """
    What a person does in Thunderbird is done on the server, and the other way round.
    """

    def setUp(self) -> None:
        """A server with an account that has mail, and Thunderbird with it."""
        needs("thunderbird", "xvfb-run")
        self.server = Server()
        self.addCleanup(self.server.close)
        self.server.start()
        self.server.addAccounts(ALICE)
        for number in range(5):
            self.deliver(f"m{number}")
        self.program = Thunderbird()
        self.addCleanup(self.program.close)
        port = self.server.ports["imaps"]
        certificate = ssl.get_server_certificate(("127.0.0.1", port))
        self.program.addAccount("localhost", port, ALICE, PASSWORD, certificate)

    def deliver(self, subject: str) -> None:
        """Mail from outside."""
        with smtplib.SMTP("127.0.0.1", self.server.ports["smtp"], timeout=30) as client:
            text = (
                f"From: Bob <bob@elsewhere.test>\r\nTo: {ALICE}\r\nSubject: {subject}\r\n"
                f"Message-ID: <{subject}@elsewhere.test>\r\nMIME-Version: 1.0\r\n"
                "Content-Type: text/plain; charset=utf-8\r\n\r\n"
                f"{BODY} {subject}\r\n"
            )
            client.sendmail("bob@elsewhere.test", [ALICE], text.encode(), ["BODY=8BITMIME"])

    def imap(self, mailbox: str = "INBOX") -> imaplib.IMAP4:
        """Another client, with a mailbox selected."""
        client = imaplib.IMAP4_SSL(
            "127.0.0.1", self.server.ports["imaps"], ssl_context=looseTLS(), timeout=30
        )
        client.login(ALICE, PASSWORD)
        self.assertEqual(client.select(mailbox)[0], "OK")
        return client

    def eventually(self, what: str, test: Callable[[], bool]) -> None:
        """Thunderbird does some things a little later."""
        deadline = time.monotonic() + 30
        while not test():
            self.assertLess(time.monotonic(), deadline, f"waited in vain: {what}")
            time.sleep(0.1)

    def found(self, mailbox: str, *criteria: str) -> int:
        """How many messages another client finds."""
        client = self.imap(mailbox)
        count = len(client.search(None, *criteria)[1][0].split())
        client.logout()
        return count

    def test_session(self) -> None:
        """
        The mailboxes and what they are for; headers and text; flags, tags, moves and deletions in
        both directions; mail that arrives meanwhile.
        """
        run = self.program.run
        subjects = run(
            """
const inbox = find("INBOX");
await until("the messages", async () => {
  await update(inbox);
  return messages(inbox).length == 5;
});
return messages(inbox).map(each => each.mime2DecodedSubject).sort();
"""
        )
        self.assertEqual(subjects, ["m0", "m1", "m2", "m3", "m4"])
        # SPECIAL-USE: each mailbox is what it is for.
        uses = run(
            """
const flags = Ci.nsMsgFolderFlags;
return await until("the special mailboxes", () => {
  const wanted = [flags.SentMail, flags.Drafts, flags.Trash, flags.Junk, flags.Archive];
  const found = wanted.map(each => server.rootFolder.getFolderWithFlags(each)?.name);
  return found.every(each => each) ? found : null;
});
"""
        )
        self.assertEqual(uses, ["Sent", "Drafts", "Trash", "Junk", "Archive"])
        # The text, as it was sent.
        text = run(
            """
const header = one(find("INBOX"), "m0");
const uri = header.folder.getUriForMsg(header);
const service = MailServices.messageServiceFromURI(uri);
return await new Promise((resolve, reject) => service.streamMessage(uri, {
  data: "",
  onStartRequest() {},
  onDataAvailable(request, stream, offset, count) {
    const reader = Cc["@mozilla.org/scriptableinputstream;1"]
      .createInstance(Ci.nsIScriptableInputStream);
    reader.init(stream);
    this.data += reader.readBytes(count);
  },
  onStopRequest(request, status) { status ? reject(status) : resolve(this.data); },
  QueryInterface: ChromeUtils.generateQI(["nsIStreamListener"]),
}, null, null, false, "", false));
"""
        )
        self.assertIn(f"{BODY} m0", text.encode("latin-1").decode())
        # What a person does there is done here.
        run(
            """
const inbox = find("INBOX");
inbox.markMessagesRead([one(inbox, "m0")], true);
inbox.markMessagesFlagged([one(inbox, "m1")], true);
inbox.addKeywordsToMessages([one(inbox, "m2")], "$label1");
"""
        )
        self.eventually("\\Seen", lambda: self.found("INBOX", "SEEN", "SUBJECT", "m0") == 1)
        self.eventually("\\Flagged", lambda: self.found("INBOX", "FLAGGED", "SUBJECT", "m1") == 1)
        self.eventually("a tag", lambda: self.found("INBOX", "KEYWORD", "$label1") == 1)
        run(
            """
server.rootFolder.createSubfolder("Entw\\u00fcrfe 2", null);
const made = await until("the new mailbox", () => find("Entw\\u00fcrfe 2"));
const inbox = find("INBOX");
MailServices.copy.copyMessages(inbox, [one(inbox, "m3")], made, true, null, null, true);
await until("the move", () => messages(made).length == 1 && !one(inbox, "m3"));
inbox.deleteMessages([one(inbox, "m4")], null, false, true, null, true);
await until("the deletion", () => !one(inbox, "m4"));
"""
        )
        self.eventually("the move", lambda: self.found('"Entw&APw-rfe 2"', "SUBJECT", "m3") == 1)
        self.eventually("the deletion", lambda: self.found("Trash", "SUBJECT", "m4") == 1)
        self.assertEqual(self.found("INBOX", "ALL"), 3)
        # And what happens here is seen there, without being asked for (IDLE).
        self.deliver("late")
        other = self.imap()
        other.store("1", "+FLAGS", r"(\Answered)")
        other.store("2", "+FLAGS", r"(\Deleted)")
        other.expunge()
        other.logout()
        subjects = run(
            """
const inbox = find("INBOX");
await until("what happened", () =>
  one(inbox, "late") && !one(inbox, "m1") && one(inbox, "m0").flags & Ci.nsMsgMessageFlags.Replied);
return messages(inbox).map(each => each.mime2DecodedSubject).sort();
"""
        )
        self.assertEqual(subjects, ["late", "m0", "m2"])
        self.assertNotIn("Traceback", self.server.output())
