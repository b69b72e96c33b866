"""
C{mailstack queue}.
"""

from __future__ import annotations

import json
import time
from typing import Any

from click.testing import CliRunner

from tests.cli.support import ALICE, CommandTestCase, Look
from twisted_mailstack.cli.main import main
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import Outcome, QueuedMessage, QueuedRecipient

TEXT = b"Subject: one\r\nFrom: <alice@example.test>\r\n\r\nthe text\r\n"
HOUR = 3600


class QueueTestCase(CommandTestCase):
    """
    A store with a queue.
    """

    def setUp(self) -> None:
        """Nothing waits yet."""
        super().setUp()
        self.add(ALICE)
        self.look = Look(self.data)
        self.addCleanup(self.look.close)
        self.now = int(time.time())

    def put(
        self, queueId: str, sender: str | None, *recipients: str, age: int = 0, **settings: Any
    ) -> None:
        """
        Something waits.
        """
        store, run = self.look.store, self.look.run
        writer = store.newContent()
        writer.write(TEXT)
        staged = run(writer.finish())
        arrived = self.now - age
        queued = QueuedMessage(
            queueId,
            None if sender is None else Address.parse(sender),
            settings.pop("parameters", {}),
            b"Received: by us\r\n",
            arrived,
            arrived + 5 * 24 * HOUR,
            tuple(
                QueuedRecipient(
                    number,
                    Address.parse(each),
                    {},
                    Address.parse(each).domain,
                    settings.get("nextAttempt", arrived),
                    arrived + 4 * HOUR,
                )
                for number, each in enumerate(recipients)
            ),
            origin=ALICE,
        )
        run(store.spool.accept(staged, (), arrived, queued))
        staged.discard()

    def records(self, *filters: str) -> list[dict[str, Any]]:
        """
        @return: what C{list --json} says.
        """
        said = self.mailstack("queue", "list", "--json", *filters)
        return [json.loads(line) for line in said.splitlines()]

    def ids(self, *filters: str) -> list[str]:
        """
        @return: the queue ids that it lists.
        """
        return [each["queueId"] for each in self.records(*filters)]


class ListTests(QueueTestCase):
    """
    C{list}, C{show} and C{stats}.
    """

    def test_empty(self) -> None:
        """Nothing waits."""
        self.assertEqual(self.mailstack("queue", "list"), "0 messages.\n")
        self.assertEqual(self.mailstack("queue", "list", "--json"), "")
        self.assertIn("messages     0 (0 held)\n", self.mailstack("queue", "stats"))

    def test_noData(self) -> None:
        """Without a data directory it says so, and makes none."""
        said = self.command("--data", self.data / "other", "queue", "list", status=1)
        self.assertIn("there is no mail in", said)
        self.assertFalse((self.data / "other").exists())

    def test_list(self) -> None:
        """The oldest first; whom it waits for, when it is tried again, and what was said."""
        self.put("A1", ALICE, "bob@b.test", "carol@c.test")
        self.put("A2", None, "dave@d.test")
        self.look.run(
            self.look.store.spool.settle(
                [Outcome(1, 1, False, "mx.c.test said: 450 4.2.1 later", self.now + HOUR, 3)]
            )
        )
        said = self.mailstack("queue", "list")
        first, *rest = said.splitlines()
        self.assertRegex(
            first,
            rf"\AA1  \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d  {17 + len(TEXT)} octets  <{ALICE}>\Z",
        )
        self.assertEqual(rest[0], "    <bob@b.test>  next attempt now, 0 so far")
        self.assertRegex(rest[1], r"\A    <carol@c\.test>  next attempt \d{4}-.*, 3 so far\Z")
        self.assertEqual(rest[2].strip(), "mx.c.test said: 450 4.2.1 later")
        self.assertRegex(rest[3], r"\AA2 .*  <>\Z")
        self.assertEqual(rest[-1], "2 messages.")

    def test_postponed(self) -> None:
        """Where a destination can't be reached, that is why its mail waits."""
        self.put("A1", ALICE, "bob@b.test")
        self.look.run(
            self.look.store.spool.postpone("b.test", self.now + HOUR, 2, "451 4.4.1 it is down")
        )
        said = self.mailstack("queue", "list")
        self.assertNotIn("next attempt now", said)
        self.assertIn("\n        451 4.4.1 it is down\n", said)
        self.assertRegex(
            self.mailstack("queue", "stats"),
            r"(?m)^unreachable: b\.test, 2 failures, next attempt \d{4}.*: 451 4\.4\.1 it is down$",
        )

    def test_filters(self) -> None:
        """All that is given must hold."""
        self.put("A1", ALICE, "bob@b.test", "carol@c.test", age=5 * HOUR)
        self.put("A2", "zoe@example.test", "Bob@b.test")
        self.put("A3", None, "x@xn--bcher-kva.test", age=HOUR)
        self.put("A4", ALICE, '"quoted one"@b.test', "žofie@d.test")
        self.mailstack("queue", "hold", "A4")
        for filters, wanted in (
            ((), ["A1", "A2", "A3", "A4"]),
            (("A2",), ["A2"]),
            (("A3", "A1"), ["A1", "A3"]),
            (("A9",), []),
            (("--sender", ALICE), ["A1", "A4"]),
            (("--sender", "<alice@EXAMPLE.test>"), ["A1", "A4"]),
            (("--sender", "example.test"), ["A1", "A2", "A4"]),
            (("--sender", "<>"), ["A3"]),
            (("--recipient", "BOB@b.test"), ["A1", "A2"]),
            (("--recipient", '"quoted one"@b.test'), ["A4"]),
            (("--recipient", "Žofie@d.test"), ["A4"]),
            (("--domain", "b.test"), ["A1", "A2", "A4"]),
            (("--domain", "C.TEST"), ["A1"]),
            (("--domain", "bücher.test"), ["A3"]),
            (("--older", "30m"), ["A1", "A3"]),
            (("--older", "4h"), ["A1"]),
            (("--older", "2d"), []),
            (("--older", "60"), ["A1", "A3"]),
            (("--held",), ["A4"]),
            (("--not-held",), ["A1", "A2", "A3"]),
            (("--sender", ALICE, "--domain", "b.test", "--older", "1h"), ["A1"]),
            (("A1", "A2", "--sender", "<>"), []),
        ):
            self.assertEqual(self.ids(*filters), wanted, filters)
        self.assertIn("1 message.\n", self.mailstack("queue", "list", "A2"))

    def test_badFilters(self) -> None:
        """What can't be meant is an error, not a filter that nothing passes."""
        for filters in (
            ("--sender", "alice@"),
            ("--sender", "no domain"),
            ("--sender", ""),
            ("--recipient", "b.test"),
            ("--domain", "bob@b.test"),
            ("--older", "1w"),
            ("--older", "-5"),
        ):
            self.mailstack("queue", "list", *filters, status=2)

    def test_delivered(self) -> None:
        """Recipients that have their copy are no longer there."""
        self.put("A1", ALICE, "bob@b.test", "carol@c.test")
        self.look.run(self.look.store.spool.settle([Outcome(1, 0, True)]))
        (record,) = self.records()
        self.assertEqual([each["address"] for each in record["recipients"]], ["carol@c.test"])
        self.assertEqual(self.ids("--domain", "b.test"), [])

    def test_json(self) -> None:
        """For programs, everything that is known."""
        self.put("A1", ALICE, '"a b"@b.test', age=60)
        (record,) = self.records()
        self.assertEqual(
            record,
            {
                "queueId": "A1",
                "reversePath": ALICE,
                "origin": ALICE,
                "octets": 17 + len(TEXT),
                "arrived": self.now - 60,
                "expires": self.now - 60 + 5 * 24 * HOUR,
                "priority": 0,
                "held": False,
                "recipients": [
                    {
                        "address": '"a b"@b.test',
                        "destination": "b.test",
                        "attempts": 0,
                        "nextAttempt": self.now - 60,
                        "lastReply": "",
                    }
                ],
            },
        )

    def test_pages(self) -> None:
        """However many there are, each is listed once, in order."""
        wanted = [f"A{number:04}" for number in range(1201)]
        for queueId in wanted:
            self.put(queueId, ALICE, "bob@b.test", "carol@c.test")
        self.assertEqual(self.ids(), wanted)
        self.assertEqual(self.mailstack("queue", "hold", "--all"), "1201 messages held.\n")
        self.assertEqual(self.ids("--held"), wanted)
        said = self.mailstack("queue", "delete", "--all", "--yes")
        self.assertEqual(said, "1201 messages deleted.\n")
        self.assertEqual(self.ids(), [])

    def test_show(self) -> None:
        """What is known of one message, and the message octet by octet, or its header."""
        self.put("A1", ALICE, "bob@b.test", parameters={"BODY": "8BITMIME", "SMTPUTF8": None})
        said = self.mailstack("queue", "show", "A1")
        known, _, message = said.partition("\n\n")
        self.assertIn(f"From:        <{ALICE}>\n", known)
        self.assertIn("Parameters:  BODY=8BITMIME SMTPUTF8\n", known)
        self.assertIn("Held:        no\n", known)
        self.assertIn("To:          <bob@b.test> by b.test, 0 attempts\n", known)
        whole = (b"Received: by us\r\n" + TEXT).decode().replace("\r\n", "\n")
        self.assertEqual(message.replace("\r\n", "\n"), whole)
        said = self.mailstack("queue", "show", "A1", "--header")
        self.assertIn("Subject: one", said)
        self.assertNotIn("the text", said)

    def test_showNone(self) -> None:
        """One that isn't there."""
        self.assertIn("no message A1 is waiting", self.mailstack("queue", "show", "A1", status=1))

    def test_stats(self) -> None:
        """The queue in numbers, for people and for programs; the busiest destinations first."""
        self.put("A1", ALICE, "bob@b.test", "carol@c.test", "x@c.test", age=60)
        self.put("A2", ALICE, "bob@b.test")
        self.mailstack("queue", "hold", "A2")
        spool, run = self.look.store.spool, self.look.run
        run(spool.settle([Outcome(1, 2, False, "450 4.2.1 later", self.now + HOUR, 1)]))
        run(spool.postpone("b.test", self.now + HOUR, 1, "451 4.4.1 down"))
        octets = 2 * (17 + len(TEXT))
        said = self.mailstack("queue", "stats").splitlines()
        self.assertEqual(said[0], "messages     2 (1 held)")
        self.assertEqual(said[1], f"octets       {octets}")
        self.assertEqual(said[2], "recipients   4 (1 deferred)")
        self.assertRegex(said[3], r"\Aoldest       \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\Z")
        self.assertEqual([line.split() for line in said[4:6]], [["2", "b.test"], ["2", "c.test"]])
        self.assertTrue(said[6].startswith("unreachable: b.test, 1 failure"), said[6])
        record = json.loads(self.mailstack("queue", "stats", "--json"))
        self.assertEqual(record["messages"], 2)
        self.assertEqual(record["held"], 1)
        self.assertEqual(record["octets"], octets)
        self.assertEqual(record["recipients"], {"b.test": 2, "c.test": 2})
        self.assertEqual(record["deferred"], 1)
        self.assertEqual(record["oldest"], self.now - 60)
        (state,) = record["unreachable"]
        self.assertEqual((state["name"], state["failures"]), ("b.test", 1))


class ChangeTests(QueueTestCase):
    """
    C{retry}, C{hold}, C{release} and C{delete}.
    """

    def due(self, domain: str) -> list[str]:
        """
        @return: what whoever runs the queue would take out now.
        """
        found = self.look.run(self.look.store.spool.due(domain, int(time.time()), 10))
        return [each.queueId for each in found]

    def test_which(self) -> None:
        """Without a filter nothing is changed, unless all of it is meant."""
        self.put("A1", ALICE, "bob@b.test")
        for command in ("retry", "hold", "release", "delete"):
            said = self.mailstack("queue", command, status=2)
            self.assertIn("--all", said)
        self.assertEqual(self.ids("--not-held"), ["A1"])

    def test_retry(self) -> None:
        """What would be tried in an hour is tried now, and its destination too."""
        self.put("A1", ALICE, "bob@b.test", nextAttempt=self.now + HOUR)
        self.put("A2", ALICE, "carol@c.test", nextAttempt=self.now + HOUR)
        spool, run = self.look.store.spool, self.look.run
        for domain in ("b.test", "c.test"):
            run(spool.postpone(domain, self.now + HOUR, 3, "451 4.4.1 down"))
        said = self.mailstack("queue", "retry", "--domain", "b.test")
        self.assertEqual(said, "1 message to be tried now.\n")
        self.assertEqual(self.due("b.test"), ["A1"])
        self.assertEqual(self.due("c.test"), [])
        states = {each.name: each.retryAt for each in run(spool.destinations())}
        self.assertEqual(states, {"b.test": 0, "c.test": self.now + HOUR})

    def test_retryHeld(self) -> None:
        """What is held stays so, and isn't counted."""
        self.put("A1", ALICE, "bob@b.test")
        self.put("A2", ALICE, "bob@b.test")
        self.mailstack("queue", "hold", "A1")
        said = self.mailstack("queue", "retry", "--all")
        self.assertEqual(said, "1 message to be tried now.\n")
        self.assertEqual(self.due("b.test"), ["A2"])
        self.assertIn("release", self.mailstack("queue", "retry", "--held", status=2))

    def test_hold(self) -> None:
        """Held ones aren't due until they are released; each counts when it changes."""
        self.put("A1", ALICE, "bob@b.test")
        self.put("A2", ALICE, "bob@b.test")
        self.assertEqual(self.mailstack("queue", "hold", "A1"), "1 message held.\n")
        self.assertIn("  HELD\n", self.mailstack("queue", "list", "A1"))
        self.assertEqual(self.due("b.test"), ["A2"])
        self.assertEqual(self.mailstack("queue", "hold", "--all"), "1 message held.\n")
        self.assertEqual(self.due("b.test"), [])
        self.assertEqual(self.mailstack("queue", "release", "--held"), "2 messages released.\n")
        self.assertEqual(self.due("b.test"), ["A1", "A2"])
        self.assertEqual(self.mailstack("queue", "release", "--all"), "0 messages released.\n")

    def test_delete(self) -> None:
        """It asks first; what is deleted is gone, and its octets with it."""
        self.put("A1", ALICE, "bob@b.test", "carol@c.test")
        self.put("A2", "zoe@example.test", "bob@b.test")
        for answer in ("n\n", ""):
            arguments = ["--data", str(self.data), "queue", "delete", "--sender", ALICE]
            refused = CliRunner().invoke(main, arguments, input=answer)
            self.assertEqual(refused.exit_code, 1)
            self.assertIn("Nobody is told", refused.output)
        self.assertEqual(self.ids(), ["A1", "A2"])
        said = self.mailstack("queue", "delete", "--sender", ALICE, stdin="y\n")
        self.assertIn("1 message deleted.\n", said)
        self.assertEqual(self.ids(), ["A2"])
        said = self.mailstack("queue", "delete", "A1", "A2", "A3", "--yes")
        self.assertEqual(said, "1 message deleted.\n")
        self.assertEqual(self.mailstack("check"), "No damage found.\n")
        self.assertEqual(self.mailstack("queue", "delete", "A1", "--yes"), "0 messages deleted.\n")
