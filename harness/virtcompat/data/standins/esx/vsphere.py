"""A stand-in for an ESX host: as much of the vSphere API as libvirt's esx driver uses, over plain HTTP.

    python3 vsphere.py COMMAND...

makes 127.0.0.1 an address that names resolve to, starts to serve it and becomes COMMAND. The host and what it has are in
``inventory.xml``, which the caller may change before the first call (``host.OTHERWISE``); its one datastore is the directory
:data:`DATASTORE`: the .vmx files that lie there when the first client logs in are registered machines. What was asked is
written down, a line a call. Everything answered depends on what was asked before and on nothing else. Not as ESX does it:
any disk image that is named is there, a directory that is written to is made, every task is done at once.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import networks  # type: ignore[import-not-found]  # noqa: F401 - what it does is methods of the host
from host import Fault, Host, local  # type: ignore[import-not-found]

ADDRESS = ("127.0.0.1", 8989)
#: Some address beside the loopback's: without one libvirt before 12 resolves no name at all (AI_ADDRCONFIG).
ELSEWHERE = "192.0.2.1"
DATASTORE = Path("/run/virt-compat/datastore1")
TRANSCRIPT = Path("/run/virt-compat/transcript")
LOCK = Lock()
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
ENVELOPE = (
    f'<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="{SOAP}" '
    'xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
    "<soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>"
)


@cache
def the_host() -> Host:
    """The host, read at the first call: what the caller wanted otherwise is written down by then."""
    return Host(Path(__file__).parent / "inventory.xml", DATASTORE)


def write_down(*words: str) -> None:
    with TRANSCRIPT.open("a", encoding="utf-8") as file:
        file.write("\x1f".join(words).replace("\n", "\\n") + "\n")


class Client(BaseHTTPRequestHandler):
    """One client's connection. POST is the API, GET and PUT are files of the datastore."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Answer one call of the API."""
        envelope = ElementTree.fromstring(self._body())  # noqa: S314 - libvirt wrote it
        call = envelope[0][0]
        name = local(call.tag)
        with LOCK:
            host = the_host()
            write_down(name, *host.words(call))
            try:
                values = host.answer(name, call)
                body = f'<{name}Response xmlns="urn:vim25">{"".join(values)}</{name}Response>'
                status = 200
            except Fault as fault:
                words = f"<faultcode>ServerFaultCode</faultcode><faultstring>{escape(fault.words)}</faultstring>"
                body = f'<soapenv:Fault>{words}<detail><{fault.kind} xmlns="urn:vim25"/></detail></soapenv:Fault>'
                status = 500
        self._reply(status, ENVELOPE.format(body=body).encode())

    def do_GET(self) -> None:
        """Give a file of the datastore."""
        file = self._file()
        write_down("GET", self.path)
        data = file.read_bytes() if file and file.is_file() else None
        self._reply(404 if data is None else 200, data or b"")

    def do_PUT(self) -> None:
        """Take a file into the datastore."""
        data, file = self._body(), self._file()
        write_down("PUT", self.path)
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        self._reply(201 if file else 404, b"")

    def _file(self) -> Path | None:
        """The file of ``/folder/PATH?dcPath=…&dsName=…``; None outside of the datastore."""
        path = unquote(urlsplit(self.path).path)
        inside = path.startswith("/folder/") and ".." not in path.split("/")
        return DATASTORE / path[len("/folder/") :] if inside else None

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _reply(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/xml; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        """Print nothing: what was asked is in the transcript."""


def add_address(address: str) -> None:
    """Give the loopback device a second address (SIOCSIFADDR); needs CAP_NET_ADMIN in a network namespace of its own."""
    with socket.socket() as any_socket:
        request = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(address))
        fcntl.ioctl(any_socket, 0x8916, request)


def main() -> None:
    add_address(ELSEWHERE)
    DATASTORE.mkdir(parents=True, exist_ok=True)
    server = ThreadingHTTPServer(ADDRESS, Client)
    if os.fork():
        os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - the probe; the sandbox ends with it
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    server.serve_forever()


main()
