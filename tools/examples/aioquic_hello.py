"""A device by QUIC that shares no line with Hushwire: aioquic, and PROTOCOL.md.

    aioquic_hello.py HOST PORT INVITE

Enrols with the invite, sends itself a cell on a lane of its own and asks for the time. Then it breaks, one connection each,
the rules of QUIC that no client of ours can be made to break: a bidirectional stream, and a ninth lane. Prints a line for each thing that went as the protocol says, and ends with a traceback otherwise.
"""

import asyncio
import base64
import hashlib
import ssl
import struct
import sys

from aioquic import tls
from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HEADER_BYTES = 64
TRANSPORT_QUIC = 2
PATIENCE_S = 10

# aioquic has no exporter: its master secret is derived where the application's traffic secrets are (RFC 8446 §7.1).
derive_secret = tls.KeySchedule.derive_secret


def derive_and_keep(schedule, label):
    if label == b"c ap traffic":
        schedule.exporter_master_secret = derive_secret(schedule, b"exp master")
    return derive_secret(schedule, label)


tls.KeySchedule.derive_secret = derive_and_keep


def export(schedule, label, length):
    """RFC 8446 §7.5, with an empty context."""

    def expand(secret, label, size):
        return tls.hkdf_expand_label(
            algorithm=schedule.algorithm,
            secret=secret,
            label=label,
            hash_value=schedule.hash_empty_value,
            length=size,
        )

    secret = expand(schedule.exporter_master_secret, label, schedule.algorithm.digest_size)
    return expand(secret, b"exporter", length)


def pack(value):
    """As much of MessagePack as a device says."""
    if isinstance(value, int):
        return bytes([value]) if value < 128 else b"\xce" + struct.pack(">I", value)
    if isinstance(value, str):
        data = value.encode()
        return (bytes([0xA0 | len(data)]) if len(data) < 32 else bytes([0xD9, len(data)])) + data
    if isinstance(value, bytes):
        return bytes([0xC4, len(value)]) + value
    assert isinstance(value, dict)
    return bytes([0x80 | len(value)]) + b"".join(pack(k) + pack(v) for k, v in value.items())


def unpack(data):
    """As much of MessagePack as a relay says: the value and what stands behind it."""
    kind, data = data[0], data[1:]
    if kind < 0x80:
        return kind, data
    if kind < 0xA0:
        return (unpack_map if kind < 0x90 else unpack_array)(kind & 0x0F, data)
    if kind < 0xC0:
        return data[: kind & 0x1F].decode(), data[kind & 0x1F :]
    if kind in (0xC2, 0xC3):
        return kind == 0xC3, data
    if kind in (0xC4, 0xD9):
        value, rest = data[1 : 1 + data[0]], data[1 + data[0] :]
        return (bytes(value) if kind == 0xC4 else value.decode()), rest
    if kind in (0xCC, 0xCD, 0xCE, 0xCF):
        size = 1 << (kind - 0xCC)
        return int.from_bytes(data[:size], "big"), data[size:]
    if kind == 0xDE:
        return unpack_map(int.from_bytes(data[:2], "big"), data[2:])
    if kind == 0xDC:
        return unpack_array(int.from_bytes(data[:2], "big"), data[2:])
    raise ValueError(f"type {kind:#x}")


def unpack_map(size, data):
    values = {}
    for _ in range(size):
        key, data = unpack(data)
        values[key], data = unpack(data)
    return values, data


def unpack_array(size, data):
    values = []
    for _ in range(size):
        value, data = unpack(data)
        values.append(value)
    return values, data


def cell_of(kind, cell_class, lane, counter, peer, body):
    header = struct.pack("<BBHIQ32s16s", kind, cell_class, 0, lane, counter, peer, bytes(16))
    return (header + body).ljust(256 << cell_class, b"\0")


class Invite:
    """PROTOCOL.md §1.1."""

    def __init__(self, text):
        prefix, kind, code = text.split(":", 2)
        assert (prefix, kind) == ("hushwire", "invite")
        data = base64.b32decode(code.upper() + "=" * (-len(code) % 8))
        assert data[0] == 1, "version"
        self.pin, self.relay_id, self.secret = data[1:33], data[33:65], data[65:81]


class Device(QuicConnectionProtocol):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.lanes = {}
        self.cells = asyncio.Queue()
        self.end = asyncio.get_running_loop().create_future()
        self.counters = [0] * 8

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            assert event.stream_id % 4 == 3, "unidirectional streams of the relay"
            assert not event.end_stream, "a lane is never finished"
            lane = self.lanes.setdefault(event.stream_id // 4, bytearray())
            lane += event.data
            while len(lane) >= 2 and len(lane) >= 256 << lane[1]:
                size = 256 << lane[1]
                self.cells.put_nowait((event.stream_id // 4, bytes(lane[:size])))
                del lane[:size]
        elif isinstance(event, ConnectionTerminated) and not self.end.done():
            self.end.set_result(event)

    def send(self, lane, data):
        self._quic.send_stream_data(4 * lane + 2, data)
        self.transmit()

    def count(self, lane):
        self.counters[lane] += 1
        return self.counters[lane] - 1

    def say(self, message):
        content = message if isinstance(message, bytes) else pack(message)
        body = struct.pack("<I", len(content)) + content
        cell_class = 0
        while HEADER_BYTES + len(body) > 256 << cell_class:
            cell_class += 1
        self.send(0, cell_of(3, cell_class, 0, self.count(0), bytes(32), body))

    async def receive(self):
        return await asyncio.wait_for(self.cells.get(), PATIENCE_S)

    async def hear(self):
        lane, cell = await self.receive()
        assert (lane, cell[0]) == (0, 3), "a control cell on lane 0"
        size = struct.unpack_from("<I", cell, HEADER_BYTES)[0]
        content = cell[HEADER_BYTES + 4 : HEADER_BYTES + 4 + size]
        message, rest = unpack(content)
        assert rest == b""
        return message, content

    async def introduce(self, invite, key, is_new):
        """PROTOCOL.md §4.2."""
        certificate = self._quic.tls._peer_certificate
        public = certificate.public_key()
        pin = hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        assert pin.digest() == invite.pin, "the relay's key"
        challenge, challenge_content = await self.hear()
        assert challenge["op"] == "challenge" and 1 in challenge["versions"]
        assert challenge["relay_id"] == invite.relay_id
        device = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        hello = {"op": "hello", "version": 1, "device": device, "proof": bytes(64)}
        if is_new:
            hello["token"] = invite.secret
        hello |= {"cover": "off", "software": "aioquic"}
        transcript = hashlib.sha256(challenge_content + pack(hello)).digest()
        binding = export(self._quic.tls.key_schedule, b"EXPORTER-hushwire/1", 32)
        signed = b" " * 64 + b"hushwire/1 hello\0" + transcript + bytes([TRANSPORT_QUIC]) + binding
        hello["proof"] = key.sign(signed)
        self.say(hello)
        welcome, _ = await self.hear()
        assert welcome["op"] == "welcome", welcome
        return device, welcome

    async def closed(self):
        return await asyncio.wait_for(self.end, PATIENCE_S)


async def main(host, port, invite_text):
    invite = Invite(invite_text)
    key = Ed25519PrivateKey.generate()

    def device():
        configuration = QuicConfiguration(is_client=True, alpn_protocols=["hushwire/1"])
        # The pin is compared instead.
        configuration.verify_mode = ssl.CERT_NONE
        return connect(host, int(port), configuration=configuration, create_protocol=Device)

    async with device() as first:
        me, welcome = await first.introduce(invite, key, True)
        ids = welcome["quic_ids"]
        assert len(ids) == 8 and all(len(one) == 8 for one in ids)
        print(f"welcome: shard {welcome['shard']} of {welcome['shards']}, {len(ids)} quic_ids")
        for lane in (5, 0, 7):
            for cell_class in (0, 3, 7):
                body = f"class {cell_class} on lane {lane}".encode()
                first.send(lane, cell_of(1, cell_class, lane, first.count(lane), me, body))
                came_on, cell = await first.receive()
                header = struct.unpack_from("<BBHIQ32s", cell)
                assert came_on == lane and header[:4] == (1, cell_class, 0, lane), header
                assert header[5] == me and cell[HEADER_BYTES:].startswith(body)
        print("cells: classes 0, 3 and 7 on lanes 5, 0 and 7, each on its stream")
        first.say({"op": "ping", "id": 7})
        pong, _ = await first.hear()
        assert (pong["op"], pong["id"]) == ("pong", 7)
        print("pong")

    def open_both_ways(quic):
        quic._remote_max_streams_bidi = 100
        quic.send_stream_data(quic.get_next_available_stream_id(), b"both ways")

    def open_a_ninth(quic):
        quic._remote_max_streams_uni = 100
        quic.send_stream_data(4 * 8 + 2, b"a ninth lane")

    stream_limit_error = 4
    for what, mistake in (("a bidirectional stream", open_both_ways), ("a ninth lane", open_a_ninth)):
        async with device() as one:
            await one.introduce(invite, key, False)
            mistake(one._quic)
            one.transmit()
            end = await one.closed()
            assert end.error_code == stream_limit_error, end
            print(f"{what}: closed with error {end.error_code}, {end.reason_phrase!r}")

    async with device() as last:
        _, welcome = await last.introduce(invite, key, False)
        last.say({"op": "ping", "id": 8})
        assert (await last.hear())[0]["op"] == "pong"
        print("and again: welcome")


asyncio.run(main(*sys.argv[1:]))
