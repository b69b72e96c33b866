"""
Debian's Thunderbird in a window that nobody sees (Xvfb), driven by Marionette, the protocol by
which Gecko's own tests drive it: each call runs JavaScript in the program, with its mail engine.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.interop.harness import freePorts

#: Seconds for the program to start, and for each script; C{until} gives up before, with its reason.
PATIENCE = 60
_PREFERENCES: dict[str, Any] = {
    "app.donation.eoy.version.viewed": 999,
    "app.update.enabled": False,
    "browser.safebrowsing.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "mail.accounthub.enabled": False,
    "mail.provider.suppress_dialog_on_startup": True,
    "mail.rights.version": 1,
    "mail.server.default.check_new_mail": False,
    "mail.shell.checkDefaultClient": False,
    "mail.spotlight.firstRunDone": True,
    "mail.winsearch.firstRunDone": True,
    "mailnews.start_page.enabled": False,
    "marionette.log.level": "Warn",
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    # Loopback is all the network there is.
    "network.manage-offline-status": False,
    "network.proxy.type": 0,
    "offline.autoDetect": False,
    "toolkit.telemetry.enabled": False,
}
_PRELUDE = """
const [...args] = arguments;
const done = args.pop();
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const { setTimeout } = ChromeUtils.importESModule("resource://gre/modules/Timer.sys.mjs");
const server = MailServices.accounts.allServers.find(each => each.type == "imap");
const pause = ms => new Promise(resolve => setTimeout(resolve, ms));
const listener = resolve => ({
  OnStartRunningUrl() {},
  OnStopRunningUrl(url, status) { resolve(status); },
  QueryInterface: ChromeUtils.generateQI(["nsIUrlListener"]),
});
const find = path => path.split("/").reduce(
  (folder, name) => folder?.getChildNamed(name) ?? null, server.rootFolder);
// Its listener hears nothing where the folder was being updated already, as at the start.
const update = folder => Promise.race([pause(5000), new Promise(resolve =>
  folder.QueryInterface(Ci.nsIMsgImapMailFolder)
    .updateFolderWithListener(null, listener(resolve)))]);
const messages = folder => [...folder.messages];
const one = (folder, subject) => messages(folder).find(each => each.mime2DecodedSubject == subject);
const until = async (what, test) => {
  const deadline = Date.now() + 40000;
  while (Date.now() < deadline) {
    const found = await test();
    if (found) return found;
    await pause(100);
  }
  throw new Error("waited in vain for " + what);
};
(async () => {
"""
_POSTLUDE = """
})().then(value => done({ value: value ?? null }), error => done({ error: String(error) }));
"""


class Thunderbird:
    """
    A running program with a profile of its own.
    """

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="mailstack-thunderbird-"))
        (port,) = freePorts(1)
        lines = [
            f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
            for name, value in {**_PREFERENCES, "marionette.port": port}.items()
        ]
        profile = self.home / "profile"
        profile.mkdir()
        (profile / "user.js").write_text("".join(lines))
        self.log = self.home / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *("xvfb-run", "-a", "thunderbird", "--no-remote", "--profile", str(profile)),
                    *("--marionette", "--remote-allow-system-access"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # The server of the screen and the program end together.
                start_new_session=True,
                env={**os.environ, "HOME": str(self.home), "MOZ_CRASHREPORTER_DISABLE": "1"},
            )
        self._buffer = b""
        self._number = 0
        try:
            self._socket = self._connect(port)
            self._receive()
            self._call("WebDriver:NewSession")
            self._call("WebDriver:SetTimeouts", script=1000 * PATIENCE)
            self._call("Marionette:SetContext", value="chrome")
        except BaseException:
            self.close()
            raise

    def _connect(self, port: int) -> socket.socket:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port), 2 * PATIENCE)
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(
                        f"Thunderbird doesn't start:\n{self.log.read_text(errors='replace')}"
                    ) from None
                time.sleep(0.1)

    def _more(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise AssertionError(f"Thunderbird ended:\n{self.log.read_text(errors='replace')}")
        self._buffer += data

    def _receive(self) -> Any:
        # Its octets' count, a colon, and JSON.
        while b":" not in self._buffer:
            self._more()
        count, _, self._buffer = self._buffer.partition(b":")
        while len(self._buffer) < int(count):
            self._more()
        message, self._buffer = self._buffer[: int(count)], self._buffer[int(count) :]
        return json.loads(message)

    def _call(self, name: str, **parameters: Any) -> Any:
        self._number += 1
        message = json.dumps([0, self._number, name, parameters]).encode()
        self._socket.sendall(b"%d:%b" % (len(message), message))
        _, _, error, result = self._receive()
        if error is not None:
            raise AssertionError(f"{name}: {error['message']}\n{error['stacktrace']}")
        return result

    def run(self, script: str, *arguments: Any) -> Any:
        """
        Run JavaScript as the body of an async function. It has C{args}, C{MailServices}, C{server}
        (the IMAP account's), C{pause}, C{find}, C{update}, C{messages}, C{one}, C{until}.

        @return: what it returns.
        """
        found = self._call(
            "WebDriver:ExecuteAsyncScript",
            script=_PRELUDE + script + _POSTLUDE,
            args=list(arguments),
            sandbox="system",
        )["value"]
        if "error" in found:
            raise AssertionError(found["error"])
        return found["value"]

    def addAccount(self, host: str, port: int, user: str, password: str, certificate: str) -> None:
        """
        @param certificate: the server's, PEM: it is taken as if a person had said so.
        """
        body = "".join(certificate.splitlines()[1:-1])
        self.run(
            """
const [host, port, user, password, body] = args;
const certificates = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB);
Cc["@mozilla.org/security/certoverride;1"].getService(Ci.nsICertOverrideService)
  .rememberValidityOverride(host, port, {}, certificates.constructX509FromBase64(body), true);
const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
login.init("imap://" + host, null, "imap://" + host, user, password, "", "");
await Services.logins.addLoginAsync(login);
const added = MailServices.accounts.createIncomingServer(user, host, "imap");
added.port = port;
added.socketType = Ci.nsMsgSocketType.SSL;
added.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
const identity = MailServices.accounts.createIdentity();
identity.email = user;
const account = MailServices.accounts.createAccount();
account.addIdentity(identity);
account.incomingServer = added;
""",
            host,
            port,
            user,
            password,
            body,
        )

    def close(self) -> None:
        """
        End it, and remove what it left.
        """
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            # It ended by itself.
            pass
        self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)
