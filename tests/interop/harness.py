"""
Starts the real server, C{twistd mailstack}, in a process of its own, for tests with real clients.

Everything is on loopback and in a temporary directory. Where a client isn't installed a test is
skipped with its name, unless C{MAILSTACK_INTEROP=require} is set, as the CI script does: then it
fails.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SkipTest

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("smtp", "submission", "submissions", "pop3", "pop3s", "imap", "imaps")
DOMAIN = "example.test"
ALICE = f"alice@{DOMAIN}"
BOB = f"bob@{DOMAIN}"
PASSWORD = "correct horse"


def needs(*programs: str) -> None:
    """
    Skip the test where a program is missing, or fail it if nothing may be left out.
    """
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        text = f"not installed: {', '.join(missing)}"
        if os.environ.get("MAILSTACK_INTEROP") == "require":
            raise AssertionError(text)
        raise SkipTest(text)


def freePorts(count: int) -> list[int]:
    """
    @return: TCP ports that nobody listens on just now.
    """
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def looseTLS() -> ssl.SSLContext:
    """
    @return: a client's context that takes the self-signed certificate.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def environment() -> dict[str, str]:
    """
    @return: an environment in which this checkout is importable.
    """
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), env.get("PYTHONPATH"))))
    return env


class Server:
    """
    One running server.

    @ivar ports: by the service's name.
    @cvar program: what the process runs.
    """

    program = "from twisted.scripts.twistd import run; run()"

    def __init__(
        self,
        *arguments: str,
        config: str | None = None,
        twistd: Sequence[str] = (),
        data: Path | None = None,
    ) -> None:
        """
        @param arguments: for C{mailstack}; C{twistd}: for twistd itself.
        @param config: the text of a configuration file.
        @param data: a data directory that others use too.
        """
        self.work = Path(tempfile.mkdtemp(prefix="mailstack-test-"))
        self.data = data or self.work / "data"
        self.twistd = list(twistd)
        self.log = self.work / "log"
        self.ports = dict(zip(NAMES, freePorts(len(NAMES)), strict=True))
        self.arguments = list(arguments)
        if config is not None:
            path = self.work / "mailstack.toml"
            path.write_text(config)
            self.arguments += ["--config", str(path)]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """
        Start it and wait until every port answers.
        """
        command = [
            *(sys.executable, "-c", self.program),
            *("-n", "--pidfile=", *self.twistd, "mailstack", "--data", str(self.data)),
        ]
        for name, port in self.ports.items():
            command += ["--listen", f"{name}=tcp:{port}:interface=127.0.0.1"]
        command += self.arguments
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.work,
                env=environment(),
            )
        deadline = time.monotonic() + 30
        for port in self.ports.values():
            while True:
                if self.process.poll() is not None:
                    raise AssertionError(f"the server ended:\n{self.output()}")
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise AssertionError(f"port {port} is dead:\n{self.output()}") from None
                    time.sleep(0.05)

    def output(self) -> str:
        """
        @return: the end of what the server printed.
        """
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    def stop(self, how: int = signal.SIGTERM) -> int:
        """
        @return: the exit status.
        """
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not stop within 20 s:\n{self.output()}") from None

    def close(self) -> None:
        """
        Stop it if it runs, and remove what it left.
        """
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.work, ignore_errors=True)

    def tool(self, *arguments: str, stdin: str = "", status: int | None = 0) -> str:
        """
        Run the C{mailstack} command on this server's data.

        @param status: the exit status that is expected; C{None} for any.
        @return: what it printed.
        """
        done = subprocess.run(
            [sys.executable, "-m", "twisted_mailstack.cli", "--data", str(self.data), *arguments],
            input=stdin.encode(),
            capture_output=True,
            timeout=60,
            cwd=self.work,
            env=environment(),
        )
        if status is not None and done.returncode != status:
            raise AssertionError(
                f"mailstack {' '.join(arguments)}: status {done.returncode}\n"
                + (done.stdout + done.stderr).decode(errors="replace")
            )
        return (done.stdout + done.stderr).decode(errors="replace")

    def addAccounts(self, *addresses: str) -> None:
        """
        Make accounts with L{PASSWORD}.
        """
        for address in addresses:
            self.tool("user", "add", address, stdin=PASSWORD + "\n")


def run(
    command: Sequence[str], *, stdin: bytes = b"", status: int | None = 0, timeout: float = 120
) -> bytes:
    """
    Run a client.

    @return: what it printed, both streams.
    """
    # trial's workers have the modules of our Python there, which another's can't load.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(command),
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        env=env,
    )
    if status is not None and done.returncode != status:
        raise AssertionError(
            f"{' '.join(command)}: status {done.returncode}\n{done.stdout.decode(errors='replace')}"
        )
    return done.stdout
