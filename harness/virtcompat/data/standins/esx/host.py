"""The host behind the stand-in: managed objects, their properties, and what each method of the API does to them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

Method = Callable[["Host", Element], "list[str]"]
VIM = "{urn:vim25}"
#: What ``a``, or what it extends, may be asked for as.
KINDS_OF = {"ManagedEntity": ("Folder", "Datacenter", "ComputeResource", "HostSystem", "VirtualMachine", "Datastore")}
MACHINE_ROOM = "ha-host"
PASSWORD = "standin"  # noqa: S105 - no secret: auth.conf has it too
#: Method -> (power states it is for, the one it leaves behind).
POWER = {
    "PowerOnVM_Task": (("poweredOff", "suspended"), "poweredOn"),
    "PowerOffVM_Task": (("poweredOn",), "poweredOff"),
    "SuspendVM_Task": (("poweredOn",), "suspended"),
    "ShutdownGuest": (("poweredOn",), "poweredOff"),
    "RebootGuest": (("poweredOn",), "poweredOn"),
}
#: Where the caller may say how this host is to differ: ``<host assigns="yes"><object …>…</object></host>``.
OTHERWISE = Path("/run/virt-compat/host.xml")


class Fault(Exception):
    """What the API answers in place of a value; ``kind`` is the fault's type."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind
        self.words = words


def local(tag: str) -> str:
    return tag.rpartition("}")[2]


def text(call: Element, path: str) -> str:
    """The text below a call at ``a/b``, empty where there is none."""
    return (call.findtext("/".join(VIM + step for step in path.split("/"))) or "").strip()


def every(call: Element, path: str) -> list[Element]:
    return call.findall("/".join(VIM + step for step in path.split("/")))


def written(node: Element, tag: str, kind: str = "") -> str:
    """A value as the API writes it: without white space between elements, the items of an array with their types."""
    kind = node.get("is") or kind
    attributes = f' xsi:type="{kind}"' if kind else ""
    attributes += f" type={quoteattr(node.get('type', ''))}" if node.get("type") else ""
    items = kind.startswith("ArrayOf")
    inner = "".join(written(child, child.tag, child.tag if items else "") for child in node)
    return f"<{tag}{attributes}>{inner or escape((node.text or '').strip())}</{tag}>"


def reference(kind: str, name: str, tag: str = "returnval") -> str:
    return f'<{tag} type="{kind}">{escape(name)}</{tag}>'


def uuid(text: str) -> str:
    """The UUID of a .vmx file as the API writes it."""
    plain = re.sub(r"[^0-9a-f]", "", text.lower())
    return "-".join(plain[a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))


def parse(source: str) -> Element:
    return ElementTree.fromstring(source)  # noqa: S314 - written here


#: Method of the API -> what does it.
METHODS: dict[str, Method] = {}


def method(name: str) -> Callable[[Method], Method]:
    """Mark what does a method of the API."""

    def mark(function: Method) -> Method:
        METHODS[name] = function
        return function

    return mark


class Host:
    """The managed objects by identifier, each an element whose children are its properties."""

    def __init__(self, inventory: Path, datastore: Path) -> None:
        """Read the inventory.

        A host that ``assigns`` gives each machine that brings no instance UUID (vc.uuid) one of its own and writes that into
        the machine's file; any other takes the BIOS UUID for it.
        """
        tree = ElementTree.parse(inventory).getroot()  # noqa: S314 - the file beside this one
        self.service, self.session = self._part(tree, "service"), self._part(tree, "session")
        self.machine, self.task = (
            ElementTree.tostring(self._part(tree, part), "unicode") for part in ("machine", "task")
        )
        self.objects = {node.get("id", ""): node for node in tree.iter("object")}
        self.assigns = False
        if OTHERWISE.is_file():
            changes = ElementTree.parse(OTHERWISE).getroot()  # noqa: S314 - of the caller
            self.objects.update((node.get("id", ""), node) for node in changes.iter("object"))
            self.assigns = changes.get("assigns") == "yes"
        self.datastore = datastore
        self.numbers = {"task": 0, "filter": 0}
        self.watched = ""

    @staticmethod
    def _part(tree: Element, name: str) -> Element:
        found = tree.find(name)
        assert found is not None
        return found

    # What is asked, in words that are the same each time.

    def words(self, call: Element) -> Iterator[str]:
        """What of a call tells it from others: types and properties, names; no passwords."""
        name = local(call.tag)
        if name in ("RetrieveProperties", "CreateFilter"):
            for spec in call.iter(VIM + "propSet"):
                wanted = ",".join((p.text or "").strip() for p in spec.findall(VIM + "pathSet"))
                start = next(call.iter(VIM + "obj")).get("type", "")
                kind = text(spec, "type")
                yield f"{kind} {wanted}".strip() + (f" from {start}" if start != kind else "")
            return
        for child in call:
            word = local(child.tag)
            if word == "_this":
                yield child.get("type", "")
            elif len(child):
                yield f"{word}={','.join(sorted({local(c.tag) for c in child.iter() if c is not child}))}"
            elif word in ("userName", "searchSpec") or not (child.text or "").strip():
                yield word
            elif word != "password":
                yield f"{word}={child.get('type') or (child.text or '').strip()}"

    # Properties.

    def answer(self, name: str, call: Element) -> list[str]:
        """The return values of a method, each written out."""
        if name in POWER:
            return self._power(name, call)
        known = METHODS.get(name)
        if known is None:
            raise Fault("NotImplemented", f"the stand-in does not know {name}")
        if not self.session.get("open") and name not in ("RetrieveServiceContent", "Login", "RetrieveProperties"):
            raise Fault("NotAuthenticated", "The session is not authenticated.")
        return known(self, call)

    def found(self, name: str) -> Element:
        if name not in self.objects:
            raise Fault("ManagedObjectNotFound", f"The object {name} has already been deleted or does not exist")
        return self.objects[name]

    def this(self, call: Element) -> Element:
        return self.found(text(call, "_this"))

    def put(self, node: Element, source: str) -> None:
        """Put a property in place of an older one."""
        new = parse(source)
        for old in node.findall(new.tag):
            node.remove(old)
        node.append(new)

    def _referred(self, node: Element, name: str) -> Iterator[Element]:
        """The objects that a property refers to."""
        value = node.find(name)
        for one in [] if value is None else [*value] or [value]:
            identifier = (one.text or "").strip()
            if identifier in self.objects:
                yield self.objects[identifier]

    def _reached(self, start: Element, specs: list[Element]) -> Iterator[Element]:
        """An object and those that a select set leads to from it."""
        named = {text(spec, "name"): spec for spec in specs if text(spec, "path")}
        seen: set[str] = set()
        waiting = [(start, list(named.values()))]
        while waiting:
            node, ways = waiting.pop(0)
            if node.get("id", "") in seen:
                continue
            seen.add(node.get("id", ""))
            yield node
            for way in ways:
                kind = text(way, "type")
                if node.get("type") == kind or node.get("type") in KINDS_OF.get(kind, ()):
                    inner = [named[text(n, "name")] for n in every(way, "selectSet") if text(n, "name") in named]
                    waiting += [(target, inner) for target in self._referred(node, text(way, "path"))]

    @method("RetrieveProperties")
    def retrieve_properties(self, call: Element) -> list[str]:
        values = []
        for spec in every(call, "specSet"):
            wanted = {
                text(p, "type"): [(e.text or "").strip() for e in every(p, "pathSet")] for p in every(spec, "propSet")
            }
            for start in every(spec, "objectSet"):
                for node in self._reached(self.found(text(start, "obj")), every(start, "selectSet")):
                    if node.get("type", "") in wanted:
                        values.append(self._content(node, wanted[node.get("type", "")]))
        return values

    def _content(self, node: Element, names: list[str]) -> str:
        kind, identifier = node.get("type", ""), node.get("id", "")
        found = [(name, node.find(name)) for name in names]
        if kind == "SessionManager" and self.session.get("open"):
            session = parse(ElementTree.tostring(self.session, "unicode"))
            session.set("is", "UserSession")
            found = [("currentSession", session)]
        properties = "".join(
            f"<propSet><name>{name}</name>{written(value, 'val')}</propSet>"
            for name, value in found
            if value is not None
        )
        return f"<returnval>{reference(kind, identifier, 'obj')}{properties}</returnval>"

    # Sessions.

    @method("RetrieveServiceContent")
    def retrieve_service_content(self, call: Element) -> list[str]:
        return [written(self.service, "returnval")]

    @method("Login")
    def login(self, call: Element) -> list[str]:
        if (text(call, "userName"), text(call, "password")) != (self.session.findtext("userName"), PASSWORD):
            raise Fault("InvalidLoginFault", "Cannot complete login due to an incorrect user name or password.")
        if not self.session.get("open"):
            self.session.set("open", "yes")
            for file in sorted(self.datastore.rglob("*.vmx")):
                self._register(file)
        return [written(self.session, "returnval")]

    @method("Logout")
    def logout(self, call: Element) -> list[str]:
        del self.session.attrib["open"]
        return []

    # Machines.

    def _register(self, file: Path) -> str:
        """Make a managed object of a .vmx file; its identifier."""
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            raise Fault("NotFound", "The object or item referred to could not be found.") from error
        pairs = (re.match(r'\s*(\S+)\s*=\s*"(.*)"', line) for line in lines)
        vmx = {pair[1].lower(): pair[2] for pair in pairs if pair}
        bios = vmx.get("uuid.bios", "")
        if self.assigns and "vc.uuid" not in vmx:
            vmx["vc.uuid"] = "52" + bios[2:]
            file.write_text("\n".join([*lines, f'vc.uuid = "{vmx["vc.uuid"]}"', ""]), encoding="utf-8")
        # The same each time, whatever else is on this host.
        identifier = str(zlib.crc32(str(file.relative_to(self.datastore)).encode()) % 100000 + 1)
        fields = {
            "name": vmx.get("displayname", file.stem),
            "uuid": uuid(bios),
            "instance": uuid(vmx.get("vc.uuid", bios)),
            "path": f"[datastore1] {file.relative_to(self.datastore)}",
            "memory": vmx.get("memsize", "32"),
            "processors": vmx.get("numvcpus", "1"),
        }
        node = parse(self.machine.format(**{key: escape(value) for key, value in fields.items()}))
        node.set("id", identifier)
        self.objects[identifier] = node
        self._list_machines()
        return identifier

    def _list_machines(self) -> None:
        machines = [node.get("id", "") for node in self.objects.values() if node.get("type") == "VirtualMachine"]
        items = "".join(reference("VirtualMachine", name, "ManagedObjectReference") for name in machines)
        self.put(self.objects[MACHINE_ROOM], f'<vm is="ArrayOfManagedObjectReference">{items}</vm>')

    @method("FindByUuid")
    def find_by_uuid(self, call: Element) -> list[str]:
        which = "config.instanceUuid" if text(call, "instanceUuid") == "true" else "config.uuid"
        for identifier, node in self.objects.items():
            if node.findtext(which) == text(call, "uuid"):
                return [reference("VirtualMachine", identifier)]
        return []

    @method("RegisterVM_Task")
    def register_vm_task(self, call: Element) -> list[str]:
        match = re.fullmatch(r"\[datastore1\] (.+)", text(call, "path"))
        if not match:
            return self._task("RegisterVM", error="InvalidDatastorePath")
        identifier = self._register(self.datastore / match[1])
        return self._task(
            "RegisterVM", f'<result xsi:type="ManagedObjectReference" type="VirtualMachine">{identifier}</result>'
        )

    @method("UnregisterVM")
    def unregister_vm(self, call: Element) -> list[str]:
        del self.objects[self.this(call).get("id", "")]
        self._list_machines()
        return []

    def _power(self, name: str, call: Element) -> list[str]:
        node, (before, after) = self.this(call), POWER[name]
        now = node.findtext("runtime.powerState")
        if now not in before:
            if name.endswith("_Task"):
                return self._task(name, error="InvalidPowerState")
            raise Fault("InvalidPowerStateFault", "The attempted operation cannot be performed in the current state.")
        self.put(node, f'<runtime.powerState is="VirtualMachinePowerState">{after}</runtime.powerState>')
        return self._task(name) if name.endswith("_Task") else []

    @method("ReconfigVM_Task")
    def reconfig_vm_task(self, call: Element) -> list[str]:
        """Change what libvirt changes: memory, processors, shares."""
        node = self.this(call)
        for path, name, kind in (
            ("spec/memoryMB", "config.hardware.memoryMB", "xsd:int"),
            ("spec/numCPUs", "config.hardware.numCPU", "xsd:int"),
            ("spec/memoryAllocation/limit", "config.memoryAllocation.limit", "xsd:long"),
            ("spec/memoryAllocation/reservation", "config.memoryAllocation.reservation", "xsd:long"),
            ("spec/cpuAllocation/limit", "config.cpuAllocation.limit", "xsd:long"),
            ("spec/cpuAllocation/reservation", "config.cpuAllocation.reservation", "xsd:long"),
        ):
            if text(call, path):
                self.put(node, f'<{name} is="{kind}">{escape(text(call, path))}</{name}>')
        return self._task("ReconfigVM")

    # Tasks, all done at once.

    def _task(self, name: str, outcome: str = "", error: str = "") -> list[str]:
        self.numbers["task"] += 1
        key = f"haTask-{self.numbers['task']}"
        if error:
            outcome = f'<error><fault is="{error}"/><localizedMessage>{error}</localizedMessage></error>'
        source = self.task.format(key=key, name=name, state="error" if error else "success", outcome=outcome)
        node = parse(source.replace("xsi:type=", "is="))
        node.set("id", key)
        self.objects[key] = node
        return [reference("Task", key)]

    @method("CreateFilter")
    def create_filter(self, call: Element) -> list[str]:
        self.watched = text(call, "spec/objectSet/obj")
        self.numbers["filter"] += 1
        return [reference("PropertyFilter", f"filter-{self.numbers['filter']}")]

    @method("WaitForUpdates")
    def wait_for_updates(self, call: Element) -> list[str]:
        state = self.found(self.watched).findtext("info.state")
        change = f'<name>info.state</name><op>assign</op><val xsi:type="TaskInfoState">{state}</val>'
        update = f"<kind>enter</kind>{reference('Task', self.watched, 'obj')}<changeSet>{change}</changeSet>"
        watcher = reference("PropertyFilter", f"filter-{self.numbers['filter']}", "filter")
        return [
            f"<returnval><version>1</version><filterSet>{watcher}<objectSet>{update}</objectSet></filterSet></returnval>"
        ]

    @method("DestroyPropertyFilter")
    def destroy_property_filter(self, call: Element) -> list[str]:
        return []

    # The datastore. Any disk that is asked for by its name is there.

    @method("SearchDatastore_Task")
    def search_datastore_task(self, call: Element) -> list[str]:
        names = [(e.text or "").strip() for e in every(call, "searchSpec/matchPattern")]
        disks = "".join(self._disk(name) for name in names if name.endswith(".vmdk"))
        folder = escape(text(call, "datastorePath"))
        store = reference("Datastore", "datastore-1", "datastore")
        inner = f"{store}<folderPath>{folder}</folderPath>{disks}"
        return self._task("SearchDatastore", f'<result is="HostDatastoreBrowserSearchResults">{inner}</result>')

    @staticmethod
    def _disk(name: str) -> str:
        size = "<fileSize>1048576</fileSize><capacityKb>1024</capacityKb>"
        kind = "<controllerType>VirtualLsiLogicController</controllerType>"
        return f'<file is="VmDiskFileInfo"><path>{escape(name)}</path>{size}{kind}</file>'

    @method("QueryVirtualDiskUuid")
    def query_virtual_disk_uuid(self, call: Element) -> list[str]:
        return ["<returnval>60 00 C2 9f 00 00 00 01-80 00 00 00 00 00 00 01</returnval>"]
