"""The dissector probe: runs libvirt's Wireshark plugin over messages that are made up on the way, and tells what it read.

It is fed to the lab's own Python (3.9 or newer, standard library only) and speaks JSON lines, see lab_probe.py.
Nothing imports it. The plugin's calls of Wireshark and of XDR are answered here: every read of a value gives what is
decided beforehand and is written down. So the plugin says by itself what a message is made of, without a packet.

``open``  -> ``opened``
``run``   library (base64), anchor (a symbol and its address in the file), slots {import: [addresses]}, fields
          [[address of the variable, address of the description]], messages [[program, procedure, type, status]]
          -> ``accepted`` with ``messages``: one {"events", "limits", "cases"} each, ``absent`` where it does not load

An event is [what, detail, …]: ["read", XDR type, limit], ["add", what Wireshark is given, field], ["type", field],
["text", format, argument, number], ["enter"], ["leave"]. limits: index of the event that read an array's length -> the
longest that is taken. cases: index of the event that read a union's or an enumeration's value -> value -> what follows.
"""

import base64
import ctypes
import json
import mmap
import os
import sys

WIDTHS = {"int": 4, "u_int": 4, "bool": 4, "enum": 4, "short": 2, "u_short": 2, "char": 1, "u_char": 1}
WIDTHS.update({"hyper": 8, "u_hyper": 8, "float": 4, "double": 8})
CHOICES = range(64)  # values of unions and enumerations that are tried
MOST = 0xFFFFFFFF
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_size_t, *[ctypes.c_size_t] * 7)


class Plugin:
    """The loaded plugin and what it said while it ran."""

    def __init__(self, request, path):
        self.library = ctypes.CDLL(path, mode=os.RTLD_LAZY)
        name, address = request["anchor"]
        self.base = ctypes.cast(getattr(self.library, name), ctypes.c_void_p).value - address
        self.scratch = ctypes.create_string_buffer(1 << 20)
        self.somewhere = ctypes.addressof(self.scratch)
        self.infos = []
        for number, (variable, info) in enumerate(request["fields"]):
            ctypes.c_int32.from_address(self.base + variable).value = number
            self.infos.append(self.base + info)
        self.kept = [CALLBACK(lambda *args: 0)]
        nothing = ctypes.cast(self.kept[0], ctypes.c_void_p).value
        self.operations = (ctypes.c_void_p * 16)(*[nothing] * 16)
        self.handed = {}
        for name, addresses in request["slots"].items():
            self.patch(addresses, self.answer(name))
        getattr(self.library, name_of_handoff(request))()
        self.forget()
        self.handed["create_dissector_handle"](*[self.somewhere] * 4)
        self.dissect = self.handed["tcp_dissect_pdus"]

    def patch(self, addresses, function):
        """Let the plugin call this instead of what the linker found."""
        callback = CALLBACK(function)
        self.kept.append(callback)
        for address in addresses:
            at = self.base + address
            page = at - at % mmap.PAGESIZE
            if ctypes.CDLL(None).mprotect(ctypes.c_void_p(page), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE):
                raise OSError("the plugin's table of imports cannot be written")
            ctypes.c_void_p.from_address(at).value = ctypes.cast(callback, ctypes.c_void_p).value

    def forget(self, message=(0, 0, 0, 0), decisions=(), stop=None):
        self.events, self.message, self.decisions, self.stop = [], message, dict(decisions), stop
        self.begun = False

    def run(self, message, decisions=(), stop=None):
        """What the plugin does with a message of which these values are read, and no more after the event ``stop``."""
        self.forget(message, decisions, stop)
        self.dissect(*[self.somewhere] * 4)
        return self.events

    def note(self, *event):
        if self.begun:
            self.events.append(list(event))
        return self.somewhere

    def answer(self, name):
        """The function that stands in for an import."""
        fixed = {"tvb_captured_length": lambda *a: 1024, "xdrmem_create": self.begin}
        fixed["tvb_memdup"] = lambda *a: 0  # is handed to free()
        fixed["proto_registrar_get_nth"] = self.described
        fixed["proto_item_append_text"] = self.text
        fixed["proto_item_add_subtree"] = lambda *a: self.note("enter")
        fixed["proto_item_set_len"] = lambda *a: self.note("leave")
        fixed["create_dissector_handle"] = lambda *a: self.hand(name, a[0])
        fixed["tcp_dissect_pdus"] = lambda *a: self.hand(name, a[6])
        fixed["xdr_free"] = lambda *a: 0
        if name in fixed:
            return fixed[name]
        if name.startswith("tvb_get_"):  # ntohl, ntohil, …: by version of Wireshark
            return self.header
        if name.startswith("proto_tree_add_"):
            return lambda *a: self.add(name[15:], a)
        if name.startswith("xdr_"):
            return lambda *a: self.read(name[4:], a)
        return lambda *a: self.somewhere

    def hand(self, name, address):
        self.handed[name] = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 4)(address)
        return self.somewhere

    def header(self, _, offset, *rest):
        program, procedure, kind, status = self.message
        return {4: program, 12: procedure, 16: kind, 24: status}.get(offset & MOST, 0)

    def begin(self, xdrs, *rest):
        """The header is through: what follows is the message. The position is asked of the stream's operations."""
        self.begun = True
        ctypes.c_void_p.from_address(xdrs + 8).value = ctypes.addressof(self.operations)
        return 0

    def described(self, field, *rest):
        self.note("type", field & MOST)
        return self.infos[field & MOST]

    def text(self, _, form, argument, number, *rest):
        form = ctypes.string_at(form).decode()
        said = ctypes.string_at(argument).decode() if "%s" in form else ""
        return self.note("text", form, said, number & MOST if "%u" in form else 0)

    def add(self, what, args):
        said = ctypes.string_at(args[6]).decode() if what == "uint_format_value" else ""
        return self.note("add", what, args[1] & MOST, said)

    def read(self, kind, args):
        """Give a value: what was decided for this event, else 1 (a length, a choice, a pointer that is there)."""
        at = len(self.events)
        if self.stop is not None and at > self.stop:
            return 0
        limit = {"string": args[2], "opaque": args[2], "bytes": args[3]}.get(kind, 0) & MOST
        self.note("read", kind, limit)
        if kind == "bytes":
            ctypes.c_uint32.from_address(args[2]).value = 0
        elif kind in WIDTHS:
            value = self.decisions.get(at, 1) & ((1 << 8 * WIDTHS[kind]) - 1)
            ctypes.memmove(args[1], value.to_bytes(WIDTHS[kind], sys.byteorder), WIDTHS[kind])
        elif kind not in ("string", "opaque"):
            self.note("unknown", kind)
        return 1

    def limit(self, message, at):
        """The longest array that the plugin takes where the event ``at`` reads a length."""

        def taken(length):
            return len(self.run(message, {at: length}, at)) > at + 1

        if taken(MOST):
            return MOST
        low, high = 0, MOST
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if taken(middle) else (low, middle)
        return low

    def whole(self, message):
        """What one message is made of: its events, the limits of its arrays, the choices that it takes."""
        events = self.run(message)
        limits, cases = {}, {}
        for at, event in enumerate(events):
            following = events[at + 1] if at + 1 < len(events) else ["end", ""]
            if event[0] != "read" or following[:2] in (["add", "int"], ["add", "uint"]):
                continue
            if event[1] == "u_int" and following[:2] == ["add", "item"]:
                limits[at] = self.limit(message, at)
            elif event[1] in ("int", "u_int", "enum"):
                cases[at] = {value: self.run(message, {at: value})[at + 1 :] for value in CHOICES}
        return {"events": events, "limits": limits, "cases": cases}


def name_of_handoff(request):
    """The anchor is also the function that tells where the plugin's own work begins."""
    return request["anchor"][0]


def run(request, workdir):
    """Load the plugin from a file of our own and let it say what every message is made of."""
    path = os.path.join(workdir, "plugin-%d.so" % os.getpid())
    with open(path, "wb") as file:
        file.write(base64.b64decode(request["library"]))
    try:
        plugin = Plugin(request, path)
    except OSError as error:
        return {"status": "absent", "message": str(error).replace(path, "libvirt's Wireshark plugin")}
    finally:
        os.unlink(path)
    return {"status": "accepted", "messages": [plugin.whole(message) for message in request["messages"]]}


def main():
    """Answer until stdin ends."""
    workdir = "/tmp"
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "open":
            workdir = request["workdir"]
            reply = {"status": "opened"}
        else:
            reply = run(request, workdir)
        reply["id"] = request["id"]
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


main()
