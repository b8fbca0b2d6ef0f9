"""Questions put to the probes of labs: grouped by set-up, several labs side by side, every answer handed on as it comes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from virtcompat import documents
from virtcompat.errors import LabError
from virtcompat.labs import Lab, stages
from virtcompat.labs.session import OpenFailed, Reply, Session, Start
from virtcompat.model import Answer, NotHere, Question, Setup

Store = Callable[[Question, Answer], None]
LOAD_BATCH = 200
WORKERS = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with where it goes."""

    question: Question
    lab: Lab
    setup: Setup


@dataclass(slots=True)
class Prober:
    """Sessions by (lab, set-up), kept open between batches. Close it, or leave its ``with`` block."""

    sessions: dict[tuple[str, str], Session] = field(default_factory=dict)
    stopped: bool = False
    #: A sandbox dies with the thread that started it, so the threads live as long as the sessions do.
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(WORKERS))

    def __enter__(self) -> Prober:
        return self

    def __exit__(self, *_: object) -> None:
        for session in self.sessions.values():
            session.close()
        self.pool.shutdown()

    def ask(self, batch: Iterable[Asked], store: Store) -> None:
        """Ask everything, ``WORKERS`` groups at a time; ``store`` is called from their threads, once an answer."""
        groups: dict[tuple[str, str, bool], list[Asked]] = {}
        for asked in batch:
            key = (asked.lab.fingerprint(), asked.setup.uri, asked.question.op == "load")
            groups.setdefault(key, []).append(asked)
        futures = [self.pool.submit(self._group, group, store) for group in groups.values()]
        try:
            for future in futures:
                future.result()
        except BaseException:
            # Ctrl-C, or a lab that failed: each thread ends after the answer it waits for, which is kept.
            self.stopped = True
            self.pool.shutdown(wait=True, cancel_futures=True)
            raise

    def _group(self, group: Sequence[Asked], store: Store) -> None:
        if group[0].question.op == "load":
            for part in _without_clashes(group):
                if not self.stopped:
                    self._load(part, store)
        else:
            self._define(group, store)

    def _define(self, group: Sequence[Asked], store: Store) -> None:
        lab, setup = group[0].lab, group[0].setup
        key = (lab.fingerprint(), setup.uri)
        if key not in self.sessions:
            self.sessions[key] = Session(starting(lab, setup, {}))
        session = self.sessions[key]
        requests = [requested(a, "define") for a in group]  # native is a define with another form
        for at, reply in _replies(session, requests):
            store(group[at].question, Answer.from_dict(reply))
            if self.stopped:
                return

    def _load(self, group: Sequence[Asked], store: Store) -> None:
        """Start the driver on a directory that holds these files; where that kills it, halve until one is to blame."""
        lab, setup = group[0].lab, group[0].setup
        files = {path: text for asked in group for path, text in _files(asked).items()}
        session = Session(starting(lab, setup, files))
        try:
            replies = list(session.ask([requested(a, "dump") for a in group]))
        except OpenFailed as error:
            replies = []
            answer: Answer | None
            if said := starts(lab, setup):
                # It does not open without these files either: that says nothing about them.
                answer = Answer("no-connection", message=said)
            elif len(group) == 1:
                answer = Answer("refused" if error.reply else "crashed", message=error.said)
            else:
                answer = None  # one of several is to blame
            if answer:
                for asked in group:
                    store(asked.question, answer)
                return
        finally:
            session.close()
        if not replies:
            for half in (group[: len(group) // 2], group[len(group) // 2 :]):
                self._load(half, store)
        for at, reply in replies:
            store(group[at].question, Answer.from_dict(reply))


def _replies(session: Session, requests: Sequence[Reply]) -> Iterator[tuple[int, Reply]]:
    """The session's replies; where its connection cannot even be opened, that is every question's answer."""
    try:
        yield from session.ask(requests)
    except OpenFailed as error:
        status = "refused" if error.reply else "crashed"
        for at in range(len(requests)):
            yield at, {"status": "no-connection", "message": f"{status} at open: {error.said}"}


def starting(lab: Lab, setup: Setup, files: Mapping[str, str]) -> Start:
    root = setup.root.replace("{workdir}", lab.workdir)
    opening = {
        "uri": setup.uri.replace("{workdir}", lab.workdir),
        "root": root,
        "files": {**setup.files, **files},
        "daemon": setup.daemon,
    }
    command = stages.command(lab, setup.stage, daemon=setup.daemon)
    if isinstance(command, NotHere):
        raise LabError(f"{lab.release}: {command.reason}", command.remedy)
    # libvirtd is another process: a limit on the probe's own memory does not reach it.
    return Start(command, opening, setup.time_limit)


def requested(asked: Asked, op: str) -> Reply:
    question, context = asked.question, dict(asked.question.context)
    native = question.op == "native"
    forms = [f for f in asked.setup.forms if (f == "argv") == native and (question.full or f != "disk")]
    disk = asked.setup.disk.replace("{domain}", context.get("domain_name", ""))
    request: Reply = {"op": op, "kind": question.kind, "forms": forms, "context": context, "disk": disk}
    if op == "dump":
        return {**request, "name": question.uuid if "{uuid}" in asked.setup.disk else question.name}
    return {**request, "xml": question.text}


def _files(asked: Asked) -> dict[str, str]:
    """The configuration files that a question to load stands for, its context's included."""
    question, context = asked.question, dict(asked.question.context)
    place = asked.setup.disk.replace("{name}", question.name).replace("{uuid}", question.uuid)
    files = {place.replace("{domain}", context.get("domain_name", "")): question.text}
    if "domain_xml" in context:
        files[f"etc/qemu/{context['domain_name']}.xml"] = context["domain_xml"]
    return files


def _without_clashes(group: Sequence[Asked]) -> Iterator[list[Asked]]:
    """Split into batches in which every file, name and UUID is there once, and every bridge and place of a pool."""
    waiting = list(group)
    while waiting:
        taken: set[str] = set()
        batch: list[Asked] = []
        later: list[Asked] = []
        for asked in waiting:
            own = {asked.question.name, asked.question.uuid or asked.question.name}
            own |= set(re.findall(r"<bridge name=['\"]([^'\"]+)", asked.question.text))
            own |= _places(asked.question) if asked.question.kind == "storagepool" else set()
            if len(batch) >= LOAD_BATCH or own & taken:
                later.append(asked)
            else:
                taken |= own
                batch.append(asked)
        yield batch
        waiting = later


def _places(question: Question) -> set[str]:
    """What a pool has its volumes from and where it has them: of two pools that share one of these a driver keeps the first."""
    try:
        root = documents.parse(question.text)
    except documents.NotWellFormed:
        return set()
    found = {f"{tag} {each.text or ''}" for tag in ("source/name", "target/path") for each in root.iterfind(tag)}
    for tag in ("device", "dir", "host", "adapter"):
        found |= {f"{tag} {sorted(each.items())}" for each in root.iterfind(f"source/{tag}")}
    return found


def facts(lab: Lab, setup: Setup, what: str) -> Reply:
    """What a driver answers without an input: ``capabilities``, ``domcapabilities`` or ``objects``."""
    session = Session(starting(lab, setup, {}))
    try:
        return next(reply for _, reply in session.ask([{"op": "facts", "what": what}]))
    finally:
        session.close()


def read_files(lab: Lab, pattern: str) -> dict[str, str]:
    """The lab's text files that match a pattern, by path. LabError where the probe cannot read them."""
    session = Session(Start(lab.command(daemon=False), {"uri": None, "root": lab.workdir, "files": {}}))
    try:
        reply = next(reply for _, reply in session.ask([{"op": "read", "pattern": pattern}]))
    finally:
        session.close()
    if reply["status"] != "accepted":
        raise LabError(f"{lab.release}: {pattern} could not be read: {reply.get('message')}", "virt-compat doctor")
    return dict(reply["texts"])


def starts(lab: Lab, setup: Setup) -> str:
    """Empty where a driver opens in a lab, else why it does not."""
    session = Session(starting(lab, setup, {}))
    try:
        next(iter(session.ask([{"op": "identify"}])))
    except LabError as error:
        return error.message
    finally:
        session.close()
    return ""
