"""
The clients of the library, which log in and leave again, as a program for tests with real servers::

    echo '[{"protocol": "imap", "mechanism": "PLAIN", "credentials": ["PasswordCredentials", ...],
            "options": {"host": ..., "port": ..., "tls": ...}, "trust": file}]' |
        python -m tests.interop.loginclient

For each of them it prints what came of it: nothing, or the name of an error and its text.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.ssl import Certificate, PrivateCertificate, trustRootFromCertificates
from twisted.internet.task import react

from twisted_mailstack.errors import MailError
from twisted_mailstack.imap.client import IMAPClient
from twisted_mailstack.pop3.client import POP3Client
from twisted_mailstack.sasl import credentials
from twisted_mailstack.sasl.registry import CLIENT_MECHANISMS
from twisted_mailstack.smtp.client import SMTPClient

CLIENTS: dict[str, Any] = {"imap": IMAPClient, "pop3": POP3Client, "submission": SMTPClient}


def make(reactor: Any, given: dict[str, Any]) -> Any:
    """
    @return: a client.
    """
    options = given["options"]
    kind, *values = given["credentials"]
    options["credentials"] = getattr(credentials, kind)(
        *(each.encode() if isinstance(each, str) else each for each in values)
    )
    if given.get("mechanism"):
        options["mechanisms"] = [
            each for each in CLIENT_MECHANISMS if each.name.decode() == given["mechanism"]
        ]
    if given.get("trust"):
        trusted = Certificate.loadPEM(Path(given["trust"]).read_bytes())
        options["trustRoot"] = trustRootFromCertificates([trusted])
    if given.get("certificate"):
        pem = Path(given["certificate"]).read_bytes()
        options["certificate"] = PrivateCertificate.loadPEM(pem)
    return CLIENTS[given["protocol"]](reactor, **options)


async def attempt(client: Any) -> list[str]:
    """
    Log in and leave.
    """
    try:
        async with client:
            return []
    except MailError as error:
        return [type(error).__name__, error.text]


async def main(reactor: Any) -> None:
    """See the module. Some at a time: servers let wait who is wrong."""
    turns = DeferredSemaphore(8)
    clients = [make(reactor, given) for given in json.load(sys.stdin)]
    running = [
        turns.run(lambda client: Deferred.fromCoroutine(attempt(client)), each) for each in clients
    ]
    print(json.dumps([await each for each in running]))


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
