"""The host's end of a WebSocket: RFC 6455 over asyncio streams, without extensions."""

import asyncio
import base64
import hashlib
import struct
import time

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

# Reasons to close, as RFC 6455 numbers them.
GOING_AWAY, PROTOCOL_ERROR, NOT_UTF8, POLICY, TOO_BIG = 1001, 1002, 1007, 1008, 1009

SILENCE = 20  # seconds without a byte from the peer before it is pinged, and once more before it is given up
STALLED = 20  # seconds that the peer may leave what we write unread
FAREWELL = 5  # seconds for the peer to close its end


class Closed(Exception):
    """The connection is over, or has to be: code is for the close frame, None if there is nobody left to read it."""

    def __init__(self, text, code=None):
        super().__init__(text)
        self.code = code


async def accept(reader, writer, path):
    """Answers the peer's request for a WebSocket at path. Raises Closed if it asks for anything else."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as err:
        raise Closed("no HTTP request") from err
    request, *lines = head.split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    refusal = _refusal(request, headers, path)
    if refusal:
        writer.write(("HTTP/1.1 %s\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % refusal).encode())
        raise Closed("refused a request: " + refusal)
    digest = hashlib.sha1((headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + base64.b64encode(digest) + b"\r\n\r\n"
    )
    return WebSocket(reader, writer)


def _refusal(request, headers, path):
    method, _, rest = request.partition(" ")
    target, _, version = rest.partition(" ")
    if target.partition("?")[0] != path:
        return "404 Not Found"
    if method != "GET" or version != "HTTP/1.1":
        return "400 Bad Request"
    connection = [option.strip() for option in headers.get("connection", "").lower().split(",")]
    if headers.get("upgrade", "").lower() != "websocket" or "upgrade" not in connection:
        return "426 Upgrade Required"
    if headers.get("sec-websocket-version") != "13":
        return "426 Upgrade Required"
    if len(headers.get("sec-websocket-key", "")) != 24:
        return "400 Bad Request"
    return ""


class WebSocket:
    """An open WebSocket. One task calls receive, and close at its end; any task may send."""

    def __init__(self, reader, writer):
        self.limits = {TEXT: 0, BINARY: 0}  # the longest message of each kind that is taken, in bytes
        self._reader, self._writer = reader, writer
        self._writing = asyncio.Lock()
        self._heard = time.monotonic()
        self._watch = asyncio.ensure_future(self._keep_alive())

    async def receive(self):
        """The next message: TEXT or BINARY, and its bytes. Raises Closed; code tells what to give to close."""
        message, kind = bytearray(), None
        while True:
            final, opcode, payload = await self._receive_frame(kind, len(message))
            if opcode == PING:
                await self._send(PONG, payload)
            elif opcode == CLOSE:
                code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else None
                raise Closed("the peer closed the connection: %s %s" % (code, payload[2:].decode(errors="replace")), code)
            elif opcode != PONG:
                kind = kind or opcode
                message += payload
                if final:
                    return kind, bytes(message)

    async def _receive_frame(self, kind, so_far):
        """One frame, unmasked. kind is that of the message begun before, of which so_far bytes have come."""
        first, second = await self._read(2)
        final, opcode, length = first & 0x80, first & 0x0F, second & 0x7F
        if first & 0x70 or not second & 0x80:
            raise Closed("frame with reserved bits, or not masked", PROTOCOL_ERROR)
        if length == 126:
            (length,) = struct.unpack("!H", await self._read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self._read(8))
        if opcode in (CLOSE, PING, PONG):
            if not final or length > 125:
                raise Closed("control frame in parts", PROTOCOL_ERROR)
        elif opcode not in (CONTINUATION, TEXT, BINARY) or (opcode == CONTINUATION) != (kind is not None):
            raise Closed("frame out of turn", PROTOCOL_ERROR)
        elif so_far + length > self.limits[kind or opcode]:
            raise Closed("message too long", TOO_BIG)
        mask = await self._read(4)
        return final, opcode, _unmask(await self._read(length), mask)

    async def _read(self, count):
        parts = []
        while count:
            try:
                part = await self._reader.read(count)
            except OSError as err:
                raise Closed("the connection was lost") from err
            if not part:
                raise Closed("the connection was lost")
            self._heard = time.monotonic()
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    async def send_text(self, payload):
        await self._send(TEXT, payload)

    async def send_binary(self, payload):
        await self._send(BINARY, payload)

    async def _send(self, opcode, payload):
        """Sends a frame. Raises Closed when there is no connection, or nobody reads at its other end."""
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", 0x80 | opcode, size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", 0x80 | opcode, 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 127, size)
        async with self._writing:
            if self._writer.is_closing():
                raise Closed("the connection was lost")
            try:
                self._writer.write(head + payload)
                await asyncio.wait_for(self._writer.drain(), STALLED)
            except (OSError, asyncio.TimeoutError) as err:
                self.cut()
                raise Closed("the peer does not read") from err

    async def close(self, code=GOING_AWAY, reason=""):
        """Takes leave of the peer: a close frame, and some time to read it. Called by the task that has called receive."""
        self._watch.cancel()
        try:
            await self._send(CLOSE, struct.pack("!H", code) + reason.encode()[:123])
            await asyncio.wait_for(self._discard(), FAREWELL)
        except (Closed, OSError, asyncio.TimeoutError):
            pass  # it has gone already, or will not go by itself
        self.cut()

    async def _discard(self):
        # To close a Unix socket with unread bytes in it would take the close frame from the peer.
        while await self._reader.read(1 << 16):
            pass

    def cut(self):
        """Ends the connection without a word, as a failing network would. receive raises Closed."""
        self._watch.cancel()
        self._writer.transport.abort()

    async def _keep_alive(self):
        pinged = False
        while True:
            silent = time.monotonic() - self._heard
            if silent < SILENCE:
                pinged = False
                await asyncio.sleep(SILENCE - silent)
            elif pinged:
                return self.cut()
            else:
                pinged = True
                try:
                    await self._send(PING, b"")
                except Closed:
                    return  # as receive will find by itself
                await asyncio.sleep(SILENCE)


def _unmask(payload, mask):
    # As one large number: byte by byte would take seconds for the longest messages.
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
