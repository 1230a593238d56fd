"""The host of one plugin: its registration, its jobs, and what follows when either end is restarted."""

import asyncio
import contextlib
import hmac
import os
import secrets
import socket
import tempfile

import websocket
from link import EACCES, EEXIST, EINVAL, EPROTONOSUPPORT, CallError, Link
from websocket import Closed

PATH = "/plugin/v1"
PROTOCOL = 1
PATIENCE = 10  # seconds for a connection to register
LARGEST_REGISTRATION = 1 << 20
FINAL = ("SUCCESS", "FAILED", "ABORTED")


class Host:
    """Listens for the plugin and keeps what it tells.

    told is called with a line about what happened to the connection, changed with a job that has changed. Both must not block.
    """

    def __init__(self, socket_path, token_file, told, changed):
        self._socket_path, self._token_file = socket_path, token_file
        self._told, self._changed = told, changed
        self._server = None
        self._asking = set()  # tasks that fetch the table of jobs
        self._forget()

    def _forget(self):
        """What a host knows when it has just been started."""
        self.jobs = {}
        self.methods = {}  # as registered, by name
        self._link = None
        self._process = None  # pid and start time of the plugin
        self._secret = None
        self._secret_before = None  # taken as well while the plugin may not have got the newer one
        self._news = asyncio.Event()
        self._renew_token()

    def _renew_token(self):
        """A token is good for one registration, so that there is a new one in the file after each: the plugin may be restarted."""
        self._token = secrets.token_urlsafe(32)
        # The plugin may read at any moment, so that the file changes all at once.
        handle, name = tempfile.mkstemp(dir=os.path.dirname(self._token_file) or ".")  # of mode 0600
        with os.fdopen(handle, "w") as file:
            file.write(self._token)
        os.replace(name, self._token_file)

    # ---- its life

    async def listen(self):
        self._unlink()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self._socket_path)
        os.chmod(self._socket_path, 0o600)  # before anyone can connect
        self._server = await asyncio.start_unix_server(self._connected, sock=listener)

    def close(self):
        self._server.close()
        self._unlink()
        self.cut()

    def _unlink(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._socket_path)

    def cut(self):
        """Ends the connection without a word, if there is one."""
        if self._link is not None:
            self._link.cut()

    async def restart(self):
        """Does what happens when a host is killed and started again."""
        self.close()
        self._forget()
        await self.listen()

    # ---- connections

    async def _connected(self, reader, writer):
        try:
            link = Link(await asyncio.wait_for(websocket.accept(reader, writer, PATH), PATIENCE), LARGEST_REGISTRATION)
        except (Closed, asyncio.TimeoutError) as err:
            self._told("no plugin: %s" % err)
            writer.close()
            return
        code, reason = websocket.GOING_AWAY, ""
        try:
            await asyncio.wait_for(self._admit(link), PATIENCE)
            await link.serve(lambda: self._heard(link), self._notified)
        except Closed as err:
            code, reason = err.code or code, str(err)
        except asyncio.TimeoutError:
            code, reason = websocket.POLICY, "not registered in time"
        finally:
            if self._link is link:
                self._link = None
            self._told("connection ended: " + reason)
            await link.close(code, reason)

    async def _admit(self, link):
        """Answers the registration. Raises Closed if it is refused."""
        to, params = await link.first("plugin.register")
        try:
            used = self._check(params)
        except CallError as err:
            await link.fail(to, err)
            raise Closed("registration refused: " + err.data["reason"], websocket.POLICY) from err
        self.cut()  # the one before, if the plugin has noticed its end earlier than we have
        self._secret, self._secret_before = secrets.token_urlsafe(32), params["secret"] if used == "secret" else None
        if used == "token":
            self._renew_token()
        self._process = params["pid"], params["started"]
        self.methods = {method["name"]: method for method in params["methods"]}
        await link.answer(to, {
            "reconnect_secret": self._secret,
            "jobs": {"first": 0, "step": 1},  # we have no jobs of our own, and no other plugin
            "host": {"name": "pyhost", "version": "1"},
        })
        self._link = link
        self._told("plugin %s registered with its %s" % (params["name"], used))
        self._ring()
        # What was on its way when the last connection was lost comes with the table.
        task = asyncio.ensure_future(self._fetch_jobs(link))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def _check(self, params):
        """What the registration proves itself by: token or secret. Raises CallError to refuse it."""
        if not isinstance(params, dict):
            raise CallError.because(EINVAL, "the parameters are no object")
        if params.get("protocol") != PROTOCOL:
            raise CallError.because(EPROTONOSUPPORT, "the version of the protocol is not supported, but %d is" % PROTOCOL)
        if _same(params.get("token"), self._token):
            used = "token"
        elif _same(params.get("secret"), self._secret) or _same(params.get("secret"), self._secret_before):
            used = "secret"
        else:
            raise CallError.because(EACCES, "token or secret is wrong or was used before")
        types = {"name": str, "version": str, "pid": int, "started": str, "methods": list, "events": list, "jobs": dict}
        for name, kind in types.items():
            if not isinstance(params.get(name), kind):
                raise CallError.because(EINVAL, "%s is missing or not of its type" % name)
        if not all(isinstance(method, dict) and isinstance(method.get("name"), str) for method in params["methods"]):
            raise CallError.because(EINVAL, "a method has no name")
        if self._link is not None and self._process != (params["pid"], params["started"]):
            raise CallError.because(EEXIST, "another process of this plugin is registered")
        return used

    def _heard(self, link):
        if self._link is link:
            self._secret_before = None  # the plugin has our reply

    # ---- jobs

    async def _fetch_jobs(self, link):
        try:
            table = await link.call("plugin.jobs.list", {})
        except CallError as err:
            self._told("no table of jobs: %s" % (err.data or {}).get("reason", err))
            return
        for entry in table["jobs"]:
            self._learn(entry["job"])

    def _notified(self, method, params):
        # Beside jobs a real host passes on events to the clients that may have them, and writes plugin.log to its own log.
        if method == "plugin.job":
            self._learn(params["job"])

    def _learn(self, job):
        """Takes a state of a job, unless a newer one has come another way."""
        known = self.jobs.get(job["id"])
        if known is not None and known["rev"] >= job["rev"]:
            return
        self.jobs[job["id"]] = job
        if known is not None or job["state"] not in FINAL:  # else it is history
            self._changed(job)
        self._ring()

    # ---- waiting

    def _ring(self):
        self._news.set()
        self._news = asyncio.Event()

    async def plugin(self):
        """The connection with the plugin, as soon as there is one."""
        while self._link is None:
            await self._news.wait()
        return self._link

    async def finished(self, number):
        """The job in its final state. That connections come and go meanwhile makes no difference."""
        while number not in self.jobs or self.jobs[number]["state"] not in FINAL:
            await self._news.wait()
        return self.jobs[number]


def _same(given, wanted):
    if not isinstance(given, str) or wanted is None:
        return False
    return hmac.compare_digest(given.encode(), wanted.encode())
