"""
L{SMTPClient<twisted_mailstack.smtp.client.SMTPClient>} as a program, for tests with real servers::

    echo '[{"options": {...}, "messages": [{"from": ..., "to": [...], "file": ...}]}]' |
        python -m tests.interop.mailclient

For each connection it prints what it was offered and the results, or why there was none.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.internet.task import react

from twisted_mailstack.errors import MailError
from twisted_mailstack.smtp.client import SMTPClient
from twisted_mailstack.smtp.clientsession import ClientTimeouts


async def send(reactor: Any, given: dict[str, Any]) -> dict[str, Any]:
    """
    One connection.
    """
    options = given["options"]
    if "trust" in options:
        with open(options.pop("trust"), "rb") as file:
            options["trustRoot"] = trustRootFromCertificates([Certificate.loadPEM(file.read())])
    results = []
    try:
        client = SMTPClient(
            reactor,
            options.pop("host", ""),
            options.pop("port", None),
            timeouts=ClientTimeouts(greeting=10, command=10, dataBlock=10, dataTermination=10),
            **options,
        )
        async with client:
            offered = sorted(client.offered)
            secure = client.session is not None and client.session.stream.info.secure
            for message in given["messages"]:
                with open(message["file"], "rb") as file:
                    found = await client.send(
                        message["from"], message["to"], file, message.get("parameters", {})
                    )
                results.append([each._replace(remote="").line for each in found])
            usable = client.usable
    except MailError as error:
        return {"error": type(error).__name__, "code": error.smtpCode, "text": error.text}
    return {"offered": offered, "secure": secure, "results": results, "usable": usable}


async def main(reactor: Any) -> None:
    """See the module."""
    print(json.dumps([await send(reactor, each) for each in json.load(sys.stdin)]))


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
