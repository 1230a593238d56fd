"""JSON-RPC 2.0 and byte streams over a WebSocket, as both ends of a plugin's connection speak them."""

import asyncio
import contextlib
import itertools
import json
import struct

import websocket
from websocket import Closed

LARGEST_TEXT = 16 << 20
LARGEST_DATA = 64 << 10
HEAD = struct.Struct("!BI")  # of a stream's frame: kind, number
DATA, CREDIT, END, ABORT = 1, 2, 3, 4
WINDOW = 4 * LARGEST_DATA  # bytes of a stream that may be on their way to us

# The numbers of Linux, wherever the host runs.
EACCES, EEXIST, EINVAL, EPROTONOSUPPORT, ECONNRESET = 13, 17, 22, 93, 104
NAMES = {EACCES: "EACCES", EEXIST: "EEXIST", EINVAL: "EINVAL", EPROTONOSUPPORT: "EPROTONOSUPPORT", ECONNRESET: "ECONNRESET"}


class CallError(Exception):
    """An error as it stands on the wire. A host hands it on to its client as it is."""

    def __init__(self, code, message, data=None):
        super().__init__(message)
        self.code, self.message, self.data = code, message, data

    @classmethod
    def because(cls, number, text):
        """Error -32001, with which calls fail that were understood."""
        data = {"error": number, "errname": NAMES[number], "reason": "[%s] %s" % (NAMES[number], text), "trace": None, "extra": None}
        return cls(-32001, "Method call error", data)

    def wire(self):
        error = {"code": self.code, "message": self.message}
        return error if self.data is None else {**error, "data": self.data}


class Aborted(Exception):
    """A byte stream ended before all of it had come."""


class Link:
    """A connection with the plugin. One task receives: first, then serve. Any task may call."""

    def __init__(self, ws, limit):
        self._ws = ws
        self._calls = {}  # futures of the calls that wait for a reply, by id
        self._ids = itertools.count(1)
        self._streams = {}  # streams that we read, by number
        self._opened = 0  # the last number we gave to a stream; ours are the even ones
        self._closed = False
        self._limit(limit)

    def _limit(self, text):
        self._ws.limits = {websocket.TEXT: text, websocket.BINARY: LARGEST_DATA + HEAD.size}

    def cut(self):
        """Ends the connection without a word."""
        self._ws.cut()

    # ---- receiving

    async def first(self, method):
        """The id and parameters of the first frame, which has to be a request of that method."""
        kind, payload = await self._ws.receive()
        try:
            message = _parse(payload) if kind == websocket.TEXT else None
        except ValueError:
            message = None
        if not isinstance(message, dict) or message.get("method") != method or not _is_id(message.get("id")):
            raise Closed("the first frame is no " + method, websocket.POLICY)
        self._limit(LARGEST_TEXT)
        return message["id"], message.get("params")

    async def serve(self, heard, notified):
        """Receives until the connection is lost, then raises Closed. heard is called for each frame, then notified with method
        and parameters if it is a notification."""
        while True:
            kind, payload = await self._ws.receive()
            heard()
            if kind == websocket.BINARY:
                self._stream_frame(payload)
                continue
            try:
                message = _parse(payload)
            except ValueError:
                await self.fail(None, CallError(-32700, "not JSON"))
                continue
            await self._take(message, notified)

    async def _take(self, message, notified):
        if not isinstance(message, dict):
            await self.fail(None, CallError(-32600, "a frame holds one object; batches are not supported"))
        elif "method" in message and "id" in message:
            # Beside its registration the plugin asks nothing of a host.
            await self.fail(message["id"], CallError(-32601, "Method does not exist"))
        elif "method" in message:
            notified(message["method"], message.get("params"))
        else:
            self._reply(message)

    def _reply(self, message):
        waiting = self._calls.pop(message.get("id"), None) if _is_id(message.get("id")) else None
        if waiting is None or waiting.done():
            return  # nobody waits for it any more
        error = message.get("error")
        if isinstance(error, dict):
            waiting.set_exception(CallError(error.get("code"), error.get("message"), error.get("data")))
        else:
            waiting.set_result(message.get("result"))

    def _stream_frame(self, payload):
        if len(payload) < HEAD.size:
            raise Closed("frame of a stream is too short", websocket.PROTOCOL_ERROR)
        kind, number = HEAD.unpack_from(payload)
        stream = self._streams.get(number)
        if stream is not None:
            stream.take(kind, payload[HEAD.size:])
        elif number % 2 or not 0 < number <= self._opened:
            raise Closed("frame of a stream that nobody opened", websocket.PROTOCOL_ERROR)
        # else it has ended, and the frame was on its way

    # ---- sending

    async def answer(self, to, result):
        await self._send({"id": to, "result": result})

    async def fail(self, to, error):
        await self._send({"id": to, "error": error.wire()})

    async def call(self, method, params):
        """The result of a method. Raises CallError, with the errno ECONNRESET if the outcome will never be known."""
        return await (await self._start(method, params))

    async def read_call(self, method, params, write):
        """A call whose answer comes through a byte stream: write gets the pieces, and may block. Raises CallError or Aborted."""
        self._opened += 2
        number, stream = self._opened, _Input()
        self._streams[number] = stream
        try:
            reply = await self._start(method, {**params, "output": number})
            # An error is the end of the stream too.
            reply.add_done_callback(lambda r: None if r.cancelled() or r.exception() is None else stream.give_up(str(r.exception())))
            more = WINDOW
            while more:
                stream.credit += more
                await self._ws.send_binary(HEAD.pack(CREDIT, number) + struct.pack("!I", more))
                piece = await stream.next()
                await asyncio.get_running_loop().run_in_executor(None, write, piece)
                more = len(piece)
            return await reply
        except Aborted:
            await reply  # an error says more about what happened
            raise
        except Closed:
            return await reply  # fails as soon as the task that receives has noticed
        finally:
            del self._streams[number]
            if not stream.ended:  # nobody takes the rest
                with contextlib.suppress(Closed):
                    await self._ws.send_binary(HEAD.pack(ABORT, number))

    async def _start(self, method, params):
        number, waiting = next(self._ids), asyncio.get_running_loop().create_future()
        if self._closed:
            _lose(waiting)
            return waiting
        self._calls[number] = waiting
        with contextlib.suppress(Closed):  # close will see to this call with the others
            await self._send({"id": number, "method": method, "params": params})
        return waiting

    async def _send(self, message):
        await self._ws.send_text(json.dumps({"jsonrpc": "2.0", **message}).encode())

    async def close(self, code, reason):
        """Closes the connection, called by the task that receives. Calls that are under way fail, streams are aborted."""
        self._closed = True
        for waiting in self._calls.values():
            _lose(waiting)
        for stream in self._streams.values():
            stream.give_up("the connection was lost")
        await self._ws.close(code, reason)


class _Input:
    """A stream that the plugin writes and we read."""

    def __init__(self):
        self.ended = False
        self.credit = 0  # bytes that the plugin may still send
        self._pieces = asyncio.Queue()  # bytes; b"" is the end; an exception ends it too

    def take(self, kind, payload):
        if kind == DATA:
            if not 0 < len(payload) <= self.credit:
                raise Closed("data beyond the credit of a stream", websocket.PROTOCOL_ERROR)
            self.credit -= len(payload)
            self._pieces.put_nowait(payload)
        elif kind == END:
            self.ended = True
            self._pieces.put_nowait(b"")
        elif kind == ABORT:
            self.give_up(payload.decode(errors="replace"))

    def give_up(self, reason):
        self.ended = True
        self._pieces.put_nowait(Aborted(reason))

    async def next(self):
        piece = await self._pieces.get()
        if isinstance(piece, Aborted):
            raise piece
        return piece


def _lose(waiting):
    if not waiting.done():
        waiting.set_exception(CallError.because(ECONNRESET, "outcome unknown: the connection with the plugin was lost"))


def _parse(payload):
    try:
        return json.loads(payload.decode())
    except UnicodeDecodeError as err:
        raise Closed("text that is not UTF-8", websocket.NOT_UTF8) from err


def _is_id(value):
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)
