# -*- test-case-name: tests.delivery.steps.test_greylisting -*-
"""
C{greylisting} (RFC 6647): mail between two addresses that comes from a network the first time is
put off for some minutes. A server tries again, and then, and from then on, its mail is taken; much
of what sends to stolen addresses doesn't.

What is known is kept in the store's memory, so it holds over restarts and for all processes: three
addresses, of which a client counts as its network (a /24, or an IPv6 /64: large senders try again
from a neighbour). No address can be read out of it: keys are hashes. Networks from which several
different messages passed are not put off any more. What isn't used is forgotten.

Exempt are clients on this machine, of exempt networks, who is logged in, and exempt recipients.
Addresses that nobody has are refused, not put off. With the null reverse-path the end of the text
is put off and not RCPT: others ask so whether an address exists, with mail of their own to send.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256

from twisted_mailstack.delivery.policy import PolicyStep
from twisted_mailstack.delivery.step import (
    Exemptions,
    Network,
    StepProblem,
    StepRecord,
    StepServices,
    clientNetwork,
    needMemory,
)
from twisted_mailstack.errors import MailError, SyntaxProblem
from twisted_mailstack.interfaces import IStagedContent
from twisted_mailstack.model.address import Address, foldLocalPart, parseDomain
from twisted_mailstack.model.records import Envelope, Recipient

#: What is remembered of a triplet that passed; before, it is when it first came.
_PASSED = 0
#: What is remembered of known networks is renewed after so many seconds, not with each message.
_RENEW = 86400
#: Keys of which it is known that they were renewed.
_MOST_RENEWED = 50_000


@dataclass(frozen=True, kw_only=True)
class GreylistingSettings:
    """
    @ivar enabled: whether anything is put off.
    @ivar delay: seconds; who comes again earlier is put off again.
    @ivar window: seconds in which one has to come again.
    @ivar kept: seconds that what passed is known without being used.
    @ivar networkPasses: after so many different ones passed, their network isn't put off any more;
        0: each is.
    @ivar exemptClients: networks that are not put off.
    @ivar exemptRecipients: addresses or domains whose mail isn't.
    """

    enabled: bool = False
    delay: int = 300
    window: int = 2 * 86400
    kept: int = 36 * 86400
    networkPasses: int = 5
    exemptClients: tuple[Network, ...] = ()
    exemptRecipients: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.delay < self.window:
            raise StepProblem("the delay must be shorter than the window, and above 0")


class Greylisting(PolicyStep):
    """
    See the module.
    """

    def __init__(self, settings: GreylistingSettings, services: StepServices) -> None:
        """
        @raise StepProblem: if an exempt recipient is neither an address nor a domain.
        """
        self._settings = settings
        self._resolver = services.resolver
        self._memory = needMemory(services)
        self._now = services.now
        self._exemptions = Exemptions(settings.exemptClients)
        self._recipients = frozenset(map(_recipient, settings.exemptRecipients))
        self._renewed: dict[str, int] = {}

    async def recipient(self, envelope: Envelope, recipient: Recipient) -> None:
        """See L{IPolicyStep}."""
        if envelope.reversePath is not None:
            await self._check(envelope, [recipient])

    async def message(
        self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
    ) -> bytes:
        """See L{IPolicyStep}."""
        if envelope.reversePath is None:
            await self._check(envelope, recipients)
        return b""

    async def _check(self, envelope: Envelope, recipients: Collection[Recipient]) -> None:
        client = self._exemptions.client(envelope.connection.peer)
        if client is None or envelope.authenticated is not None:
            return
        network = clientNetwork(client)
        wanted = [each.address for each in recipients if await self._isWanted(each.address)]
        if wanted:
            await self._pass(network, [_key(network, envelope.reversePath, to) for to in wanted])

    async def _isWanted(self, address: Address) -> bool:
        folded = foldLocalPart(address.localPart), address.domain
        if folded in self._recipients or ("", address.domain) in self._recipients:
            return False
        try:
            await self._resolver.resolve(address)
        except MailError:
            # Who is asked next says so.
            return False
        return True

    async def _pass(self, network: str, keys: Sequence[str]) -> None:
        settings, now = self._settings, int(self._now())
        networkKey = f"greynet:{network}"
        known = await self._memory.recall([networkKey, *keys])
        passes = settings.networkPasses
        if passes and known.get(networkKey, 0) >= passes:
            await self._renew([networkKey], now)
            return
        fresh = [key for key in keys if key not in known]
        if fresh:
            until = now + settings.window
            known = {**known, **await self._memory.introduce([(key, now, until) for key in fresh])}
        soonest = max(known[key] + settings.delay - now for key in keys)
        if soonest > 0:
            # RFC 6647 §5
            raise MailError(
                f"Greylisted: try again in {soonest} seconds", smtpCode=451, enhancedStatus="4.7.1"
            )
        passed = [key for key in keys if known[key] != _PASSED]
        if passed:
            until = now + settings.kept
            await self._memory.remember([(key, _PASSED, until) for key in passed])
            await self._memory.add([(networkKey, 1, until)])
        await self._renew([key for key in keys if key not in passed], now)

    async def _renew(self, keys: Sequence[str], now: int) -> None:
        # Adding nothing makes it last.
        due = [key for key in keys if now - self._renewed.get(key, 0) >= _RENEW]
        if due:
            for key in due:
                self._renewed.pop(key, None)
                self._renewed[key] = now
            while len(self._renewed) > _MOST_RENEWED:
                del self._renewed[next(iter(self._renewed))]
            await self._memory.add([(key, 0, now + self._settings.kept) for key in due])


def _recipient(text: str) -> tuple[str, str]:
    try:
        if "@" not in text:
            return "", parseDomain(text)
        address = Address.parse(text)
        return foldLocalPart(address.localPart), address.domain
    except SyntaxProblem as problem:
        raise StepProblem(f"{text!r}: {problem.text}") from None


def _key(network: str, reversePath: Address | None, recipient: Address) -> str:
    text = f"{network} {str(reversePath or '').casefold()} {str(recipient).casefold()}"
    return f"grey:{sha256(text.encode()).hexdigest()[:32]}"


def _make(settings: GreylistingSettings, services: StepServices) -> Greylisting | None:
    return Greylisting(settings, services) if settings.enabled else None


STEP = StepRecord(name="greylisting", settings=GreylistingSettings, make=_make)
