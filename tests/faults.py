"""A proxy before an S3 server that makes the faults of networks and servers, on loopback.

    with FaultyProxy(s3.endpoint_url) as proxy:
        proxy.fail("music/clips/*.mp3", "reset", times=2)  # the first two GETs of each; without `times`, every one
        …                                                  # with proxy.endpoint_url in place of s3.endpoint_url
        assert proxy.requests["music/clips/one.mp3"] == 3
        proxy.heal()

Of these, only GETs of objects meet faults and are counted, by `bucket/key` (path style). Everything else passes as
it is, the Host header included: it is part of what a client signs. A bad line, where any request may fail, is
`fail_often`.
"""

from __future__ import annotations

import contextlib
import fnmatch
import http.client
import random
import socket
import struct
import threading
import urllib.parse
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self, get_args

LOOPBACK = "127.0.0.1"

Fault = Literal[
    "reset",  # the connection is reset instead of an answer
    "reset_midway",  # … in the middle of the body
    "500",
    "503",  # S3's SlowDown
    "truncate",  # the connection ends in the middle of the body
    "drip",  # of the body comes a byte every `drip_seconds`
    "hang",  # no answer
    "lost",  # what is asked for is done, and the connection is reset instead of an answer
]
FAULTS: tuple[Fault, ...] = tuple(fault for fault in get_args(Fault) if fault != "lost")
_STRAYS: tuple[Fault, ...] = ("reset", "503", "500", "truncate", "reset_midway", "lost")

_ERRORS = {
    "500": ("InternalError", "We encountered an internal error. Please try again."),
    "503": ("SlowDown", "Please reduce your request rate."),
}
_SILENT_SECONDS = 30.0  # a connection that nothing came from or goes to for so long is closed
_MOST_CONNECTIONS = 64
_CHUNK_BYTES = 65_536


@dataclass
class _Rule:
    pattern: str
    fault: Fault
    times: int | None
    met: Counter[str] = field(default_factory=Counter)


class FaultyProxy:
    """The proxy; it stops, and ends what it holds open, when its `with` block ends.

    Attributes
    ----------
    endpoint_url : what clients are given.
    requests : how often each object was asked for.
    sent : bytes of each object's body that were passed on; what lies in the kernel's buffers counts as sent.
    connections : how many were made.
    strays : how many faults :meth:`fail_often` has made.
    """

    def __init__(self, upstream: str, drip_seconds: float = 1.0) -> None:
        self._upstream = urllib.parse.urlsplit(upstream).netloc
        self._drip_seconds = drip_seconds
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server: _Server | None = None
        self.endpoint_url = ""
        self.requests: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.connections = 0
        self.strays = 0
        self._share, self._chance = 0.0, random.Random()

    def fail(self, pattern: str, fault: Fault, times: int | None = None) -> None:
        """Let the first `times` GETs (all, if None) of every object that matches meet a fault.

        Parameters
        ----------
        pattern : of `bucket/key`, as of file names.
        fault : one of FAULTS; of several rules, the first that still applies decides.
        times : how often.
        """
        with self._lock:
            self._rules.append(_Rule(pattern, fault, times))

    def fail_often(self, share: float, seed: int) -> None:
        """Let this share of all requests, whatever they ask for, meet a fault; `lost`: done, but not answered."""
        with self._lock:
            self._share, self._chance = share, random.Random(seed)

    def heal(self) -> None:
        """Make no faults any more."""
        with self._lock:
            self._rules.clear()
            self._share = 0.0

    def _strays(self) -> Fault | None:
        """Return the fault that any request meets by chance."""
        with self._lock:
            if self._chance.random() >= self._share:
                return None
            self.strays += 1
            return self._chance.choice(_STRAYS)

    def _meets(self, key: str) -> Fault | None:
        """Count a request, and return the fault that it meets."""
        with self._lock:
            self.requests[key] += 1
            for rule in self._rules:
                if fnmatch.fnmatchcase(key, rule.pattern) and (rule.times is None or rule.met[key] < rule.times):
                    rule.met[key] += 1
                    return rule.fault
        return None

    def __enter__(self) -> Self:
        self._server = _Server((LOOPBACK, 0), self)
        self.endpoint_url = f"http://{LOOPBACK}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client may hold its connections open longer than we are here
    request_queue_size = _MOST_CONNECTIONS

    def __init__(self, address: tuple[str, int], proxy: FaultyProxy) -> None:
        super().__init__(address, _Handler)
        self.proxy = proxy
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._free.acquire()
        self.proxy.connections += 1
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def shutdown_request(self, request: Any) -> None:
        self.close_request(request)  # the shutdown before it would say good-bye even where a reset is wanted

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that leave midway are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _SILENT_SECONDS
    server: _Server

    def _pass(self) -> None:
        proxy = self.server.proxy
        key = urllib.parse.unquote(self.path.partition("?")[0]).strip("/")
        of_object = self.command == "GET" and "/" in key
        fault = (proxy._meets(key) if of_object else None) or proxy._strays()
        if fault == "reset":
            self._reset()
        elif fault == "hang":
            proxy._closing.wait(_SILENT_SECONDS)
            self.close_connection = True
        elif fault in _ERRORS:
            self._answer_error(fault)
        else:
            self._forward(key if of_object else None, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass

    def _forward(self, key: str | None, fault: Fault | None) -> None:
        upstream = http.client.HTTPConnection(self.server.proxy._upstream, timeout=_SILENT_SECONDS)
        with contextlib.closing(upstream):
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):  # they are between two neighbours
                    upstream.putheader(name, value)
            upstream.endheaders()
            left = int(self.headers.get("Content-Length", 0))
            while left:
                sent = self.rfile.read(min(left, _CHUNK_BYTES))
                if not sent:
                    raise ConnectionError("the client left")
                upstream.send(sent)
                left -= len(sent)
            self._answer(upstream.getresponse(), key, fault)

    def _answer(self, answer: http.client.HTTPResponse, key: str | None, fault: Fault | None) -> None:
        if fault == "lost":
            answer.read()
            self._reset()
            return
        has_body = self.command != "HEAD" and answer.status not in (204, 304)
        whole = answer.read() if has_body and answer.length is None else None  # it came in parts of any length
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "keep-alive", "transfer-encoding"):
                self.send_header(name, value)
        if whole is not None:
            self.send_header("Content-Length", str(len(whole)))
        self.end_headers()
        if whole is not None:
            self.wfile.write(whole)
        elif has_body and fault == "drip":
            self._drip(answer, key)
        elif has_body:
            midway = fault in ("truncate", "reset_midway")
            self._send(answer, key, (answer.length or 0) // (2 if midway else 1))
            if fault == "reset_midway":
                self._reset()
            self.close_connection |= midway

    def _send(self, answer: http.client.HTTPResponse, key: str | None, left: int) -> None:
        while left and (chunk := answer.read(min(left, _CHUNK_BYTES))):
            self.wfile.write(chunk)
            left -= len(chunk)
            if key is not None:
                self.server.proxy.sent[key] += len(chunk)

    def _drip(self, answer: http.client.HTTPResponse, key: str | None) -> None:
        while answer.length and not self.server.proxy._closing.wait(self.server.proxy._drip_seconds):
            self._send(answer, key, 1)
        self.close_connection = True

    def _answer_error(self, fault: Fault) -> None:
        code, message = _ERRORS[fault]
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()
        self.send_response_only(int(fault))
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        """Let the connection end with RST instead of FIN; what was sent and not yet received is lost."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on stderr."""
