#!/usr/bin/env python3
"""A host for zferry-plugin, written from docs/host-protocol.md with nothing but Python's standard library.

It listens for the plugin, starts it if told to, calls one method, follows the job if it is one, and lets the plugin end:

    pyhost.py --plugin zferry-plugin --data-dir DIR replication.run_onetime '{"direction": "PUSH", …}'
"""

import argparse
import asyncio
import getpass
import json
import os
import signal
import subprocess
import sys
import tempfile
import uuid

from host import Host
from link import Aborted, CallError

DRAIN = 10  # seconds that the plugin has for stopping its jobs
MARGIN = 5  # seconds that it may take longer


def main():
    args = arguments()
    with tempfile.TemporaryDirectory(prefix="pyhost-") as folder:
        args.socket = os.path.abspath(args.socket or os.path.join(folder, "plugin.sock"))
        args.token_file = os.path.abspath(args.token_file or os.path.join(folder, "plugin-token"))
        try:
            return asyncio.run(Session(args).run())
        except Failure as err:
            print("error: %s" % err, file=sys.stderr)
            return 1
        except asyncio.CancelledError:
            return 130


def arguments():
    parser = argparse.ArgumentParser(description="Calls a method of zferry-plugin, as its host.")
    parser.add_argument("--plugin", metavar="PROGRAM", help="zferry-plugin, to start it (default: wait for one that somebody else starts)")
    parser.add_argument("--data-dir", metavar="DIR", help="folder of the plugin's state, with --plugin")
    parser.add_argument("--zfs", metavar="PROGRAM", help="zfs command for the plugin, with --plugin")
    parser.add_argument("--socket", metavar="PATH", help="Unix socket to listen on (default: in a temporary folder)")
    parser.add_argument("--token-file", metavar="FILE", help="where to leave the registration token (default: in a temporary folder)")
    trouble = parser.add_mutually_exclusive_group()
    trouble.add_argument("--drop-once", action="store_true", help="cut the connection in the middle of the job")
    trouble.add_argument("--restart-once", action="store_true", help="forget everything in the middle of the job, as a restarted host has")
    parser.add_argument("method", metavar="METHOD")
    parser.add_argument("params", metavar="JSON", nargs="*", type=json.loads, help="an argument of the method")
    args = parser.parse_args()
    if args.plugin and not args.data_dir:
        parser.error("--plugin needs --data-dir")
    return args


class Failure(Exception):
    """Why there is no result. It goes to the user as it is."""


class Session:
    """One call through a host that lives as long as it takes."""

    def __init__(self, args):
        self._args = args
        self._host = None
        self._process = None
        self._job = None  # number of the job we follow
        self._lines = {}  # what was last printed of a job
        self._trouble = None  # task that makes the trouble we were asked for

    async def run(self):
        """The exit code. Raises Failure."""
        me, loop = asyncio.current_task(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, me.cancel)
        self._host = Host(self._args.socket, self._args.token_file, lambda line: say("host: " + line), self._progress)
        await self._host.listen()
        try:
            await self._start()
            await self._unless_it_ends(self._call())
        finally:
            await self._stop()
            self._host.close()
        return 0

    # ---- the process

    async def _start(self):
        command = ["attach", "--url", "unix://" + self._args.socket, "--token-file", self._args.token_file]
        if not self._args.plugin:
            say("waiting for: zferry-plugin %s --data-dir DIR" % " ".join(command))
            return
        command += ["--data-dir", self._args.data_dir]
        if self._args.zfs:
            command += ["--zfs", self._args.zfs]
        environment = {name: os.environ[name] for name in ("PATH", "LANG", "TZ", "HOME") if name in os.environ}
        # In a session of its own, so that Ctrl-C at our terminal is for us alone.
        try:
            self._process = await asyncio.create_subprocess_exec(
                self._args.plugin, *command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True,
            )
        except OSError as err:
            raise Failure("start the plugin: %s" % err) from err

    async def _unless_it_ends(self, work):
        """Awaits work, which would wait for ever for a plugin that has ended."""
        if self._process is None:
            return await work
        work, ended = asyncio.ensure_future(work), asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait({work, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise Failure("the plugin has ended with code %d" % ended.result())
            return work.result()
        finally:
            work.cancel()
            ended.cancel()

    async def _stop(self):
        """Lets the plugin end what it does and exit."""
        if self._args.plugin and (self._process is None or self._process.returncode is not None):
            return  # there is none
        try:
            link = await asyncio.wait_for(self._host.plugin(), MARGIN)
            drained = await asyncio.wait_for(link.call("plugin.drain", {"seconds": DRAIN, "exit": True}), DRAIN + MARGIN)
            say("host: plugin drained, interrupted jobs: %s" % (drained["interrupted"] or "none"))
        except CallError as err:
            say("host: plugin not drained: " + describe(err))
        except asyncio.TimeoutError:
            say("host: plugin not drained: no answer")
        if self._process is None:
            return
        try:
            await asyncio.wait_for(self._process.wait(), MARGIN)
        except asyncio.TimeoutError:
            say("host: plugin does not end, killing it")
            self._process.kill()
            await self._process.wait()

    # ---- the call

    async def _call(self):
        link = await self._host.plugin()
        method = self._host.methods.get(self._args.method)
        if method is None:
            raise Failure("the plugin has no method " + self._args.method)
        try:
            result = await link.call("plugin.call", {"method": self._args.method, "params": self._args.params, "caller": caller()})
            if method.get("job"):
                result = await self._follow(result, method.get("logs"))
        except CallError as err:
            raise Failure(describe(err)) from err
        say("result: " + json.dumps(result, ensure_ascii=False))

    async def _follow(self, number, logs):
        """The result of a job. Prints its log."""
        self._job = number
        job = await self._host.finished(number)
        if logs:
            await self._print_log(number)
        if (self._args.drop_once or self._args.restart_once) and self._trouble is None:
            raise Failure("job %d ended before there was a chance to disturb it" % number)
        if job["state"] != "SUCCESS":
            raise Failure("job %d: %s: %s" % (number, job["state"], (job["error"] or "").rstrip()))
        return job["result"]

    async def _print_log(self, number):
        link = await self._host.plugin()
        say("log of job %d:" % number)
        try:
            await link.read_call("plugin.jobs.log", {"id": number}, sys.stdout.buffer.write)
        except Aborted as err:
            raise Failure("log of job %d: %s" % (number, err)) from err
        finally:
            sys.stdout.buffer.flush()

    def _progress(self, job):
        """Prints how a job gets on, and makes the trouble we were asked for when it is under way."""
        percent, text = job["progress"]["percent"], job["progress"]["description"]
        line = "job %d: %s%s%s" % (job["id"], job["state"], "" if percent is None else " %d%%" % percent, " " + text if text else "")
        if self._lines.get(job["id"]) != line:
            self._lines[job["id"]] = line
            say(line)
        if job["id"] != self._job or job["state"] != "RUNNING" or not percent or self._trouble is not None:
            return
        if self._args.drop_once:
            say("host: cutting the connection")
            self._trouble = asyncio.ensure_future(self._cut())
        elif self._args.restart_once:
            say("host: starting anew")
            self._trouble = asyncio.ensure_future(self._host.restart())

    async def _cut(self):
        self._host.cut()


def caller():
    """For whom we call: the user of this program, who may do everything here. A real host puts in its client, whose roles it has
    checked."""
    user = getpass.getuser()
    return {
        "session": str(uuid.uuid4()), "credentials": {"type": "UNIX_SOCKET", "data": {"username": user}}, "user": user,
        "roles": ["FULL_ADMIN"], "full_admin": True, "origin": "pyhost", "api": "v27.0.0", "message_id": 1, "legacy_jobs": True,
    }


def describe(error):
    """An error with its reason, and a line for each field that is wrong."""
    data = error.data if isinstance(error.data, dict) else {}
    if error.code == -32602 and data.get("extra"):
        return "\n".join([error.message] + ["  %s: %s" % (field or "(whole)", text) for field, text, _ in data["extra"]])
    return data.get("reason") or error.message


def say(line):
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
