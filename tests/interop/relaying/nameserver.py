"""
An authoritative name server for the zones of a test, on loopback, by UDP and TCP.
"""

from __future__ import annotations

import random
import socket
import socketserver
import struct
import threading
from collections.abc import Sequence
from typing import Any

from twisted.names import dns

#: Seconds that answers hold, so that a test can change its zones.
TTL = 1
#: Octets of a reply by UDP (RFC 1035 §4.2.1).
MOST = 512


class NameServer:
    """
    Knows what it was told; whatever else is asked for doesn't exist.

    @ivar port: on 127.0.0.1.
    @ivar asked: names and types, in order; C{byTCP} likewise, those that came by TCP.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.byTCP: list[tuple[str, str]] = []
        self._records: dict[str, list[Any]] = {}
        self._failing: dict[str, int] = {}
        server = self

        class Datagram(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, reply = self.request
                answer = server._answer(data, MOST)
                if answer:
                    reply.sendto(answer, self.client_address)

        class Connection(socketserver.StreamRequestHandler):
            timeout = 10

            def handle(self) -> None:
                head = self.rfile.read(2)
                if len(head) == 2:
                    answer = server._answer(self.rfile.read(struct.unpack("!H", head)[0]), 65535)
                    self.wfile.write(struct.pack("!H", len(answer)) + answer)

        class TCP(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        while True:
            streams = TCP(("127.0.0.1", 0), Connection)
            self.port = streams.server_address[1]
            try:
                datagrams = socketserver.UDPServer(("127.0.0.1", self.port), Datagram)
                break
            except OSError:
                streams.server_close()
        self._servers: Sequence[socketserver.BaseServer] = (streams, datagrams)
        for each in self._servers:
            threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """
        Answer no more.
        """
        for each in self._servers:
            each.shutdown()
            each.server_close()

    # --- zones ---------------------------------------------------------------------------------

    def host(self, name: str, *addresses: str) -> None:
        """
        A name with these addresses.
        """
        self._records[name] = [
            dns.Record_AAAA(each, TTL) if ":" in each else dns.Record_A(each, TTL)
            for each in addresses
        ]

    def mx(self, domain: str, *exchangers: tuple[int, str]) -> None:
        """
        A domain with these mail exchangers and nothing else; C{(0, "")} alone is a null MX (RFC
        7505).
        """
        self._records[domain] = [
            dns.Record_MX(preference, name or b"", TTL) for preference, name in exchangers
        ]

    def txt(self, name: str, text: str) -> None:
        """
        A name with this text and nothing else.
        """
        self._records[name] = [dns.Record_TXT(text.encode("ascii"), ttl=TTL)]

    def alias(self, name: str, target: str) -> None:
        """
        A CNAME record.
        """
        self._records[name] = [dns.Record_CNAME(target, TTL)]

    def fail(self, name: str, code: int = dns.ESERVER) -> None:
        """
        Whatever is asked of this name can't be answered (SERVFAIL).
        """
        self._failing[name] = code

    def mend(self, name: str) -> None:
        """
        It can again.
        """
        del self._failing[name]

    # --- answers -------------------------------------------------------------------------------

    def _answer(self, data: bytes, most: int) -> bytes:
        request = dns.Message()
        request.fromStr(data)
        if len(request.queries) != 1:
            return b""
        (query,) = request.queries
        name = query.name.name.decode("ascii").lower()
        kind = dns.QUERY_TYPES.get(query.type, str(query.type))
        self.asked.append((name, kind))
        if most > MOST:
            self.byTCP.append((name, kind))
        reply = dns.Message(request.id, answer=1, auth=1, recDes=request.recDes, maxSize=0)
        reply.queries = [query]
        if name in self._failing:
            reply.rCode = self._failing[name]
        else:
            self._look(reply, name, query.type)
        octets = reply.toStr()
        if len(octets) > most:
            reply.answers, reply.authority, reply.trunc = [], [], 1
            octets = reply.toStr()
        return octets

    def _look(self, reply: dns.Message, name: str, kind: int) -> None:
        while True:
            records = self._records.get(name, [])
            wanted = [each for each in records if each.TYPE in (kind, dns.CNAME)]
            reply.answers += [
                dns.RRHeader(name, each.TYPE, dns.IN, TTL, each, True) for each in wanted
            ]
            if not wanted or wanted[0].TYPE == kind:
                break
            name = wanted[0].name.name.decode("ascii").lower()
        if not wanted:
            soa = dns.Record_SOA("ns.test", "root.test", 1, 60, 60, 600, TTL, TTL)
            reply.authority = [dns.RRHeader("test", dns.SOA, dns.IN, TTL, soa, True)]
        # RFC 8020: a name exists that has one below it.
        if name not in self._records and not any(
            each.endswith("." + name) for each in self._records
        ):
            reply.rCode = dns.ENAME


def unusedPort() -> int:
    """
    @return: a port that is free on every address of this machine, and that no client is given by
        the system.
    """
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        first = int(file.read().split()[0])
    while True:
        port = random.randrange(10_000, first)
        with socket.socket() as trial:
            try:
                trial.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
