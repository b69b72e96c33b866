# -*- test-case-name: tests.test_tap -*-
"""
``twistd mailstack``: the command line of the server.
"""

from __future__ import annotations

import gc
from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from twisted_mailstack.config import OFF, SERVICES, Configuration, ConfigurationProblem, load


class Options(usage.Options):
    """
    See ``twistd mailstack --help``.

    @ivar configuration: what the options and the file say, once they are parsed.
    """

    synopsis = "[options]"
    longdesc = "A mail server: SMTP, POP3 and IMAP4 over one store of accounts."
    optParameters = (
        ["config", "c", None, "configuration file (TOML)"],
        ["data", "d", None, "where everything is kept [default: mailstack-data]"],
        ["workers", "w", None, "processes that serve clients; 0: the only one [default: 0]"],
    )
    configuration: Configuration

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = {}

    def opt_listen(self, value: str) -> None:
        """NAME=ENDPOINT: where a service listens, like smtp=tcp:25 or pop3=off; for each one."""
        name, equals, endpoint = value.partition("=")
        if not equals or not endpoint:
            raise usage.UsageError(
                f"--listen {value}: NAME=ENDPOINT is wanted, like smtp=tcp:25, or smtp={OFF}"
            )
        if name in self["listen"]:
            raise usage.UsageError(f"--listen {name} is given twice")
        self["listen"][name] = endpoint

    opt_l = opt_listen

    def postOptions(self) -> None:
        """
        @raise usage.UsageError: if the configuration can't be used.
        """
        try:
            self.configuration = load(
                self["config"],
                data=self["data"],
                listen=dict(self["listen"]),
                workers=self._workers(),
            )
        except ConfigurationProblem as problem:
            raise usage.UsageError(str(problem)) from None
        if not self.configuration.endpoints():
            raise usage.UsageError(f"nothing is to listen: {', '.join(SERVICES)} are all off")

    def _workers(self) -> int | None:
        text = self["workers"]
        if text is not None and not (text.isascii() and text.isdigit()):
            raise usage.UsageError(f"--workers {text}: a number of processes is wanted")
        return None if text is None else int(text)


def makeService(options: Options) -> IService:
    """
    @return: the server.
    """
    from twisted.internet import reactor

    from twisted_mailstack.service import MailService, announce
    from twisted_mailstack.workers.pool import WorkerPool

    # What is loaded by now stays: a full collection need not look at it again, 16 ms each time in
    # which nobody is served.
    gc.collect()
    gc.freeze()
    # Where nobody sees the terminal, nothing secret is shown.
    parent: Any = getattr(options, "parent", None)
    attended = bool(parent and parent.get("nodaemon"))
    kind = WorkerPool if options.configuration.workers else MailService
    return kind(options.configuration, reactor, announce if attended else None)
