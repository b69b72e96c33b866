# -*- test-case-name: tests.cli.test_userimport -*-
"""
``mailstack user import``: the users of another server, from the files in which it has them:
Dovecot's passwd-file, and the text form of Postfix's virtual maps (postconf(5),
virtual_mailbox_maps and virtual_alias_maps; virtual(5)).

It can be repeated: what is there stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from unicodedata import normalize

import click

from twisted_mailstack.auth.names import parseAddress
from twisted_mailstack.auth.passwordfile import Entry, parsePasswordFile
from twisted_mailstack.auth.schemes import OURS, makeSecrets, parseSecret
from twisted_mailstack.cli.aliases import setAlias
from twisted_mailstack.cli.context import DOMAIN, Context, passContext, progress
from twisted_mailstack.errors import MailError, SyntaxProblem
from twisted_mailstack.model.address import Address, parseDomain
from twisted_mailstack.model.records import PASSWORD, AccountPolicy

#:   *:storage=1G:messages=1000, of Dovecot's quota_rule for all mailboxes.
_RULE = re.compile(
    r"\*(?::(?P<unit>storage|bytes)=(?P<size>\d+)(?P<factor>[bkMGT]?))?"
    r"(?::messages=(?P<messages>\d+))?\Z"
)
#: storage is in KiB if nothing else is said, bytes in octets.
_FACTORS = {"b": 1, "k": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


class UserImport:
    """
    One run.

    @ivar made: accounts and aliases that were made; C{kept}: that were there already; C{failed}:
        lines that couldn't be used.
    """

    def __init__(
        self,
        context: Context,
        domain: str | None,
        passwords: bool,
        tell: Callable[[int, str], None],
    ) -> None:
        """
        @param domain: of names without C{@}.
        @param passwords: put those of the file in the place of others, too.
        @param tell: told of lines that can't be used: their number, and why.
        """
        self.made = self.kept = self.failed = 0
        self._context = context
        self._directory = context.open(make=True).directory
        self._domain = domain
        self._passwords = passwords
        self._tell = tell

    def fail(self, number: int, text: str) -> None:
        """
        A line can't be used.
        """
        self.failed += 1
        self._tell(number, text)

    def dovecot(self, octets: bytes) -> None:
        """
        A passwd-file.
        """
        entries, bad = parsePasswordFile(octets, self._domain)
        for line in bad:
            self.fail(*line)
        with progress("Importing", len(entries)) as show:
            for count, entry in enumerate(entries.values(), 1):
                try:
                    self._account(entry)
                except (MailError, click.ClickException) as problem:
                    self.fail(entry.number, str(problem))
                show(count)

    def _account(self, entry: Entry) -> None:
        run, directory = self._context.run, self._directory
        # Before anything is made: a restriction that isn't understood is none that may be dropped.
        networks = entry.networks
        octets, messages = _quota(entry)
        secrets = self._secrets(entry)
        record = run(directory.findAccount(entry.address))
        if record is not None:
            self.kept += 1
            found = run(directory.findCredentials(record.accountId))
            hasOne = any(each.kind == PASSWORD for each in found)
            if secrets and (self._passwords or not hasOne):
                run(directory.setPassword(entry.address, secrets))
            return
        self._makeDomain(entry.address.domain)
        run(directory.addAccount(entry.address, secrets))
        if entry.isLocked:
            run(directory.setEnabled(entry.address, False))
        if networks:
            run(directory.setPolicy(entry.address, AccountPolicy(networks=networks)))
        if octets is not None or messages is not None:
            run(directory.setQuota(entry.address, octets, messages))
        self.made += 1

    def _secrets(self, entry: Entry) -> dict[str, str] | None:
        if entry.secret is None:
            return None
        scheme, text = parseSecret(entry.secret)
        if scheme != "plain":
            return {scheme: text}
        # Nobody here chose that it is kept so.
        configuration = self._context.configuration
        return makeSecrets(
            text.encode("utf-8"),
            (OURS, *(each.lower() for each in configuration.scram)),
            str(entry.address),
            configuration.scramIterations,
        )

    def _makeDomain(self, domain: str) -> None:
        if self._context.run(self._directory.findDomain(domain)) is None:
            self._context.run(self._directory.addDomain(domain))

    def mailboxes(self, octets: bytes) -> None:
        """
        The keys of virtual_mailbox_maps: accounts, which have no password yet.
        """
        for number, key, _ in self._lines(octets):
            try:
                if key.startswith("@"):
                    raise SyntaxProblem(
                        "whose mailbox a domain's other mail goes to isn't said: use mailstack"
                        f" alias set '*{key}'"
                    )
                address = self._address(key)
                if self._context.run(self._directory.findAccount(address)) is not None:
                    self.kept += 1
                    continue
                self._makeDomain(address.domain)
                self._context.run(self._directory.addAccount(address, None))
                self.made += 1
            except (MailError, click.ClickException) as problem:
                self.fail(number, str(problem))

    def aliases(self, octets: bytes) -> None:
        """
        virtual_alias_maps: aliases, and domains.
        """
        for number, key, value in self._lines(octets):
            try:
                if "@" not in key and "." in key and self._isDomain(key):
                    # virtual(5): "domain.tld anything" says that there is one.
                    self._makeDomain(parseDomain(key))
                    continue
                self._alias(self._address(key), value)
            except (MailError, click.ClickException) as problem:
                self.fail(number, str(problem))

    def _isDomain(self, text: str) -> bool:
        try:
            return bool(parseDomain(text))
        except SyntaxProblem:
            return False

    def _alias(self, address: Address, value: str) -> None:
        run, directory = self._context.run, self._directory
        targets = tuple(self._address(each) for each in re.split(r"[\s,]+", value) if each)
        if not targets:
            raise SyntaxProblem(f"{address} goes to nobody")
        found = run(directory.findAlias(address))
        isAccount = run(directory.findAccount(address)) is not None
        if isAccount and targets == (address,):
            # virtual(5): it is only kept from the domain's catch-all, as accounts here are.
            self.kept += 1
        elif isAccount:
            raise SyntaxProblem(f"{address} is an account: let a filter of it pass its mail on")
        elif found is not None:
            self.kept += 1
        else:
            self._makeDomain(address.domain)
            setAlias(self._context, address, targets)
            self.made += 1

    def _address(self, text: str) -> Address:
        # virtual(5): @domain is for all of it; here that is *@domain.
        if text.startswith("@"):
            text = "*" + text
        address = parseAddress(text.encode("utf-8"), self._domain)
        if address is None:
            hint = "" if "@" in text or self._domain else ": it has no domain (--domain)"
            raise SyntaxProblem(f"{text[:80]!r} is no address{hint}")
        return address

    def _lines(self, octets: bytes) -> Iterator[tuple[int, str, str]]:
        # postmap(1): "A logical line starts with non-whitespace text. A line that starts with
        # whitespace continues a logical line." Empty lines and comments don't end one.
        logical: list[tuple[int, str]] = []
        for number, line in enumerate(octets.split(b"\n"), 1):
            try:
                text = normalize("NFC", line.decode("utf-8")).rstrip()
            except UnicodeDecodeError:
                self.fail(number, "it is not UTF-8")
                continue
            if not text or text.lstrip().startswith("#"):
                continue
            if text[0].isspace() and logical:
                start, before = logical[-1]
                logical[-1] = start, f"{before} {text.lstrip()}"
            else:
                logical.append((number, text.lstrip()))
        for number, text in logical:
            key, *rest = text.split(None, 1)
            if not rest:
                self.fail(number, "there is nothing behind its first word")
            else:
                yield number, key, rest[0]


def _quota(entry: Entry) -> tuple[int | None, int | None]:
    rule = entry.extra.get("userdb_quota_rule")
    if rule is None:
        return None, None
    match = _RULE.match(rule)
    if match is None:
        raise SyntaxProblem(f"userdb_quota_rule={rule[:80]} isn't understood")
    octets = None
    if match["size"]:
        factor = match["factor"] or ("k" if match["unit"] == "storage" else "b")
        octets = int(match["size"]) * _FACTORS[factor] or None
    return octets, int(match["messages"] or 0) or None


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--from",
    "kind",
    type=click.Choice(["dovecot", "postfix-mailboxes", "postfix-aliases"]),
    required=True,
    help="What the file is: Dovecot's passwd-file, or the text of Postfix's virtual_mailbox_maps"
    " or virtual_alias_maps.",
)
@click.option("--domain", type=DOMAIN, help="Of names without @.")
@click.option(
    "--passwords",
    is_flag=True,
    help="Put the file's passwords in the place of those that accounts have.",
)
@passContext
def importUsers(
    context: Context, file: Path, kind: str, domain: str | None, passwords: bool
) -> None:
    """Make the accounts and aliases that another server has in a file, and their domains. Can be
    repeated: what is there stays."""
    run = UserImport(
        context,
        domain or context.configuration.defaultDomain or None,
        passwords,
        lambda number, text: click.echo(f"{file}:{number}: {text}", err=True),
    )
    octets = file.read_bytes()
    if kind == "dovecot":
        run.dovecot(octets)
    elif kind == "postfix-mailboxes":
        run.mailboxes(octets)
    else:
        run.aliases(octets)
    what = "alias" if kind == "postfix-aliases" else "account"
    plural = "" if run.made == 1 else "es" if what == "alias" else "s"
    click.echo(f"Made {run.made} {what}{plural}; {run.kept} were there already.")
    if run.failed:
        raise click.ClickException(
            f"{run.failed} line{'s' if run.failed > 1 else ''} couldn't be used"
        )
