"""Golden records: what each release answered, byte for byte, with the exact package versions it was asked under.

    golden/<release>/PROVENANCE.toml          versions, packages, how recorded, digest of every file
    golden/<release>/<kind>/<driver>.jsonl    one line a case: input digest, status, error, form -> file or error
    golden/<release>/<kind>/<driver>/<case>.<form>.xml    the texts; a form equal to an earlier one has no file of its own
    golden/<release>/capabilities/…           answers without an input

Frozen: only :class:`Recorder` writes, and it refuses where ``CI`` is set, and where another one writes the same release.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from virtcompat.errors import BadData, UsageError, VirtCompatError
from virtcompat.model import Answer, Form, Question
from virtcompat.store import paths, tables

#: Where golden/ keeps who is recording what. Such a file stays: one that is removed could be locked twice.
LOCKS = ".locks"
FORMS = ("secure", "inactive", "migratable", "disk", "argv")
SUFFIX = {"argv": "args"}


def folder() -> Path:
    return paths.data_root() / "golden"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Under what a release was recorded. packages: every package of the lab, by flavour ("" is the plain lab)."""

    release: str
    products: Mapping[str, str]
    packages: Mapping[str, Mapping[str, str]]
    probe: str
    recorded: str


def provenance(release: str) -> Provenance | None:
    """The provenance of a release's golden records, None where it has none."""
    return _provenance(folder() / release / "PROVENANCE.toml")


def forget() -> None:
    """Read anew what is asked next: records were written."""
    _provenance.cache_clear()
    _lines.cache_clear()


@cache
def _provenance(file: Path) -> Provenance | None:
    if not file.is_file():
        return None
    table = tables.read(file)
    keys = {"release": str, "products": dict, "packages": dict, "probe": str, "recorded": str, "files": dict}
    tables.check_keys(file, table, keys, tuple(keys))
    packages = {"" if f == "plain" else f: dict(p) for f, p in table["packages"].items()}
    return Provenance(table["release"], table["products"], packages, table["probe"], table["recorded"])


def answer(question: Question) -> Answer | None:
    """The golden answer of a release to a fixture, None where none was recorded or the fixture has changed since."""
    if question.op != "define" or not question.recorded:
        return None
    line = _index(question.release, question.kind, question.driver).get(question.recorded)
    if line is None or line["input"] != question.digest():
        return None
    base = folder() / question.release / question.kind / question.driver
    forms = {}
    for form, where in line.get("forms", {}).items():
        forms[form] = Form(error=where["error"]) if isinstance(where, dict) else Form(_text(base / where))
    return Answer(
        status=line["status"],
        forms=forms,
        code=line.get("code", 0),
        domain=line.get("domain", 0),
        message=line.get("message", ""),
        name=line.get("name", ""),
        uuid=line.get("uuid", ""),
    )


def cases(release: str, kind: str, driver: str) -> frozenset[str]:
    """The cases of which this release has a golden answer."""
    return frozenset(_index(release, kind, driver))


def statuses(release: str, kind: str, driver: str) -> list[str]:
    """The status of every golden answer of a driver: accepted, refused …"""
    return [str(line["status"]) for line in _index(release, kind, driver).values()]


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8")
    except OSError as error:
        raise BadData(file, "golden file named by its index is missing", "git checkout golden/") from error


def _index(release: str, kind: str, driver: str) -> Mapping[str, tables.Table]:
    return _lines(folder() / release / kind / f"{driver}.jsonl")


@cache
def _lines(file: Path) -> Mapping[str, tables.Table]:
    if not file.is_file():
        return {}
    found = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            found[record["case"]] = record
        except (ValueError, KeyError) as error:
            raise BadData(file, "not a golden record", "git checkout golden/", number) from error
    return found


def files_of(release: str) -> Iterator[Path]:
    """Every recorded file of a release but its provenance."""
    for file in sorted((folder() / release).rglob("*")):
        if file.is_file() and file.name != "PROVENANCE.toml":
            yield file


def damaged(release: str) -> list[str]:
    """What differs between the files of a release and the digests in its provenance: edited, missing, unknown."""
    base = folder() / release
    table = tables.read(base / "PROVENANCE.toml")["files"]
    there = {str(f.relative_to(base)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files_of(release)}
    edited = [f"{name}: edited" for name in table.keys() & there.keys() if table[name] != there[name]]
    gone = [f"{name}: missing" for name in table.keys() - there.keys()]
    return sorted(edited + gone + [f"{name}: not in the provenance" for name in there.keys() - table.keys()])


def _lock(release: str) -> int:
    """The descriptor that holds a release for one recorder until it is closed, at the latest when its process is gone."""
    file = folder() / LOCKS / release
    file.parent.mkdir(parents=True, exist_ok=True)
    held = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        who = os.pread(held, 20, 0).decode().strip()
        os.close(held)
        what = f"process {who}" if who else "it"
        raise VirtCompatError(
            f"another recording of {release} runs",
            f"wait until {what} has ended: each would undo what the other records",
        ) from None
    os.truncate(held, 0)
    os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
    return held


@dataclass(slots=True, weakref_slot=True)
class Recorder:
    """Writes one release's records aside and puts them in place whole. One at a time: VirtCompatError for a second."""

    release: str
    keep: bool = False  # go on from what is recorded, and replace only what is written anew
    aside: Path = field(init=False)
    lines: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    #: Lets the release go.
    let_go: Callable[[], object] = field(init=False)

    def __post_init__(self) -> None:
        if os.environ.get("CI"):
            raise UsageError("record refuses to run where CI is set", "record on a workstation and commit the data")
        # Whoever fails or forgets to finish lets it go as well.
        self.let_go = weakref.finalize(self, os.close, _lock(self.release))
        # What another recorder has written meanwhile.
        forget()
        self.aside = folder() / f".recording-{self.release}"
        shutil.rmtree(self.aside, ignore_errors=True)
        if self.keep:
            shutil.copytree(folder() / self.release, self.aside)
        else:
            self.aside.mkdir(parents=True)

    def add(self, question: Question, given: Answer) -> None:
        """Record one answer; texts that equal an earlier form's are named, not written again."""
        base = self.aside / question.kind / question.driver
        base.mkdir(parents=True, exist_ok=True)
        where: dict[str, object] = {}
        written: dict[str, str] = {}
        for form in sorted(given.forms, key=FORMS.index):
            if given.forms[form].error:
                where[form] = {"error": given.forms[form].error}
                continue
            text = given.forms[form].text
            if text not in written:
                written[text] = f"{question.recorded}.{form}.{SUFFIX.get(form, 'xml')}"
                (base / written[text]).write_bytes(text.encode("utf-8"))
            where[form] = written[text]
        record: dict[str, object] = {"case": question.recorded, "input": question.digest(), "status": given.status}
        # How a death sounds differs from time to time; that it died is the fact.
        message = given.message if given.status not in ("crashed", "hung", "garbled") else ""
        optional = {"code": given.code, "domain": given.domain, "message": message, "forms": where}
        optional |= {"name": given.name, "uuid": given.uuid}
        record |= {key: value for key, value in optional.items() if value}
        self.lines.setdefault((question.kind, question.driver), []).append(json.dumps(record, ensure_ascii=False))

    def drop(self, path: str) -> None:
        """Leave out what was recorded below this folder."""
        shutil.rmtree(self.aside / path, ignore_errors=True)

    def drop_driver(self, driver: str) -> None:
        """Leave out the documents that were recorded of this driver."""
        for index in self.aside.glob(f"*/{driver}.jsonl"):
            index.unlink()
            shutil.rmtree(index.with_suffix(""), ignore_errors=True)

    def keep_driver(self, driver: str) -> None:
        """Take over the documents that were recorded of this driver before."""
        for index in (folder() / self.release).glob(f"*/{driver}.jsonl"):
            place = self.aside / index.parent.name
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy2(index, place)
            if index.with_suffix("").is_dir():
                shutil.copytree(index.with_suffix(""), place / driver, dirs_exist_ok=True)

    def keep_surface(self, surface: str) -> None:
        """Take over what was recorded of a surface before."""
        if (folder() / self.release / surface).is_dir():
            shutil.copytree(folder() / self.release / surface, self.aside / surface, dirs_exist_ok=True)

    def add_text(self, path: str, text: str) -> None:
        file = self.aside / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def finish(self, found: Provenance) -> Path:
        """Write indexes and provenance and swap the folder in."""
        for (kind, driver), lines in self.lines.items():
            (self.aside / kind / f"{driver}.jsonl").write_text("\n".join(sorted(lines)) + "\n", encoding="utf-8")
        digests = {
            str(f.relative_to(self.aside)): hashlib.sha256(f.read_bytes()).hexdigest()
            for f in sorted(self.aside.rglob("*"))
            if f.is_file() and f.name != "PROVENANCE.toml"
        }
        (self.aside / "PROVENANCE.toml").write_text(_provenance_text(found, digests), encoding="utf-8")
        target = folder() / self.release
        old = target.with_name(f".replaced-{self.release}")
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        self.aside.rename(target)
        shutil.rmtree(old, ignore_errors=True)
        forget()
        self.let_go()
        return target


def _provenance_text(found: Provenance, digests: Mapping[str, str]) -> str:
    def table(name: str, pairs: Mapping[str, str]) -> list[str]:
        return [f"[{name}]", *(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in sorted(pairs.items())), ""]

    lines = ["# Written by 'virt-compat record'; never edited by hand.", f"release = {json.dumps(found.release)}"]
    lines += [f"probe = {json.dumps(found.probe)}", f"recorded = {json.dumps(found.recorded)}", ""]
    lines += table("products", found.products)
    for flavour, packages in sorted(found.packages.items()):
        lines += table(f"packages.{flavour or 'plain'}", packages)
    return "\n".join(lines + table("files", digests))
