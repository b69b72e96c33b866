"""
Checkers and what they ask that isn't ours: OpenLDAP's slapd on loopback, and the system's PAM with
a service of the test's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.auth.checkers.support import ALICE, NOBODY, OneThread
from tests.interop.harness import ROOT, environment, freePorts, needs
from twisted_mailstack.auth.checkers.ldap import LDAPSettings, LDAPSource
from twisted_mailstack.auth.checkers.source import SourceServices
from twisted_mailstack.model.address import Address

BASE = "dc=example,dc=test"
SLAPD = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile {place}/certificate.pem
TLSCertificateKeyFile {place}/key.pem
database mdb
suffix "dc=example,dc=test"
rootdn "cn=root,dc=example,dc=test"
rootpw "root secret"
directory {place}/data
access to attrs=userPassword by anonymous auth by * none
access to * by anonymous auth by * none
"""
ENTRIES = """\
dn: dc=example,dc=test
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: uid=alice,dc=example,dc=test
objectClass: inetOrgPerson
cn: Alice
sn: A
uid: alice
mail: alice@example.test
userPassword: secret

dn: uid=a\\2Cb,dc=example,dc=test
objectClass: inetOrgPerson
cn: Comma
sn: C
uid: a,b
mail: a,b@example.test
userPassword: secret
"""


def needsModule(name: str) -> None:
    """
    As L{needs}, of a Python module.
    """
    try:
        __import__(name)
    except ImportError:
        if os.environ.get("MAILSTACK_INTEROP") == "require":
            raise
        raise SkipTest(f"not installed: {name}") from None


class SlapdTests(SynchronousTestCase):
    """
    L{LDAPSource} and slapd.
    """

    def setUp(self) -> None:
        """Start slapd with two people in it."""
        needsModule("bonsai")
        os.environ["PATH"] = os.pathsep.join((os.environ["PATH"], "/usr/sbin"))
        needs("slapd", "slapadd", "openssl")
        self.place = Path(self.mktemp()).resolve()
        (self.place / "data").mkdir(parents=True)
        config = self.place / "slapd.conf"
        config.write_text(SLAPD.format(place=self.place))
        (self.place / "password").write_text("root secret\n")
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-keyout", "key.pem", "-out", "certificate.pem", "-subj", "/CN=127.0.0.1"),
                *("-addext", "subjectAltName=IP:127.0.0.1"),
            ],
            cwd=self.place,
            check=True,
            capture_output=True,
        )
        subprocess.run(
            ["slapadd", "-f", config], input=ENTRIES.encode(), check=True, capture_output=True
        )
        self.plain, self.tls = (
            f"{scheme}://127.0.0.1:{port}"
            for scheme, port in zip(("ldap", "ldaps"), freePorts(2), strict=True)
        )
        slapd: Any = shutil.which("slapd")
        self.slapd = subprocess.Popen(
            [slapd, "-d", "0", "-f", config, "-h", f"{self.plain}/ {self.tls}/"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(self.end)
        for _ in range(100):
            if self.verify(ALICE, "secret") is not None:
                return
            time.sleep(0.1)
        self.fail("slapd doesn't answer")

    def end(self) -> None:
        """
        Stop it.
        """
        self.slapd.terminate()
        self.slapd.wait(20)

    def verify(self, address: Address, password: str, **more: Any) -> bool | None:
        """
        @return: what the source says, C{None} if it can't tell.
        """
        given: dict[str, Any] = {"url": self.plain, "dn": f"uid={{name}},{BASE}"}
        if "base" in more:
            given["dn"] = ""
        nothing: Any = None
        source = LDAPSource(
            LDAPSettings(**{**given, **more}),
            SourceServices(Clock(), time.time, nothing, lambda name, most: OneThread(), nothing),
        )
        try:
            return source._verify(address, password)
        except Exception as error:
            self.error = error
            return None

    def everything(self, **more: Any) -> None:
        """
        The right password, wrong ones, names that are none or have signs in them.
        """
        for name, password, right in (
            ("alice", "secret", True),
            ("alice", "wrong", False),
            ("nobody", "secret", False),
            ("a,b", "secret", True),
            ("*", "secret", False),
            ("alice)(uid=*", "secret", False),
            ('al"i+ce', "secret", False),
        ):
            found = self.verify(Address(name, "example.test"), password, **more)
            self.assertIs(found, right, (name, password, more))

    def test_ways(self) -> None:
        """By template or by search, in plain, with StartTLS and by ldaps."""
        authority = str(self.place / "certificate.pem")
        search = {
            "base": BASE,
            "bindDN": f"cn=root,{BASE}",
            "bindPasswordFile": str(self.place / "password"),
        }
        for how in ({}, search):
            self.everything(**how)
            self.everything(startTLS=True, caFile=authority, **how)
            self.everything(url=self.tls, caFile=authority, **how)

    def test_certificate(self) -> None:
        """A certificate that nobody vouches for is believed neither way: no answer."""
        self.assertIsNone(self.verify(ALICE, "secret", url=self.tls))
        self.assertIsNone(self.verify(ALICE, "secret", startTLS=True))

    def test_down(self) -> None:
        """A server that isn't there, or can't be searched, gives no answer."""
        (self.place / "password").write_text("wrong\n")
        self.assertIsNone(
            self.verify(
                ALICE,
                "secret",
                base=BASE,
                bindDN=f"cn=root,{BASE}",
                bindPasswordFile=str(self.place / "password"),
            )
        )
        self.end()
        self.assertIsNone(self.verify(NOBODY, "secret"))


#: Asks, in a process that sees another /etc/pam.d.
ASK = """
import sys
from twisted.internet.task import Clock
from tests.auth.checkers.support import OneThread
from twisted_mailstack.auth.checkers.pam import PAMSettings, PAMSource
from twisted_mailstack.auth.checkers.source import SourceServices
services = SourceServices(Clock(), None, None, lambda name, most: OneThread(), None)
for service in ("mailstack", "down"):
    source = PAMSource(PAMSettings(domain="example.test", service=service), services)
    for password in (b"secret", b"wrong"):
        try:
            print(service, source._verify("root", password))
        except ValueError as error:
            print(service, "?")
"""


class PAMTests(SynchronousTestCase):
    """
    L{PAMSource<twisted_mailstack.auth.checkers.pam.PAMSource>} and Linux-PAM.
    """

    def test_real(self) -> None:
        """A service whose module knows the password; one whose module can't be asked."""
        needsModule("pam")
        needs("unshare", "mount")
        place = Path(self.mktemp()).resolve()
        place.mkdir()
        check = place / "check"
        check.write_text("#!/bin/sh\n[ \"$(tr -d '\\000')\" = secret ]\n")
        check.chmod(0o755)
        (place / "mailstack").write_text(
            f"auth [success=1 default=ignore] pam_exec.so quiet expose_authtok {check}\n"
            "auth requisite pam_deny.so\n"
            "auth required pam_permit.so\n"
            "account required pam_permit.so\n"
        )
        (place / "down").write_text("auth required no_such_module.so\n")
        command = ("mount", "--bind", str(place), "/etc/pam.d")
        mine = () if os.getuid() == 0 else ("--user", "--map-root-user")
        unshare = ("unshare", "--mount", *mine, "sh", "-c")
        if subprocess.run([*unshare, " ".join(command)], capture_output=True).returncode:
            raise SkipTest("no mount namespaces here")
        found = subprocess.run(
            [*unshare, f'{" ".join(command)} && exec "$@"', "sh", sys.executable, "-c", ASK],
            capture_output=True,
            env=environment(),
            cwd=ROOT,
            text=True,
        )
        self.assertEqual(
            found.stdout.splitlines(),
            ["mailstack True", "mailstack False", "down ?", "down ?"],
            found.stderr,
        )
