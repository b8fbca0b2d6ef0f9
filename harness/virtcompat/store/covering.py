"""Covering corpora as golden data: the documents, and what each driver of the release answered to them.

    golden/<release>/covering/<kind>.jsonl.xz    one line about the corpus, then one a document, in the order they were made

The documents are part of it: with the packages that a grammar came in, the grammar may vanish. A text that a release writes in several
forms is there once. The bytes follow from the content and the version of liblzma, so the content decides whether a file has changed.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from virtcompat.errors import BadData
from virtcompat.model import Answer, Form
from virtcompat.store import golden

FOLDER = "covering"
SUFFIX = ".jsonl.xz"
#: How a death sounds differs from time to time; that it died is the fact.
DEATHS = ("crashed", "hung", "garbled")
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 26}]
REMEDY = "git checkout golden/, or record it again"
Context = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a corpus.

    text: as it was made of the grammar. given: as drivers got it, with name, UUID and whatever a release would draw at random
    pinned. what: the definition of the grammar that it is there for. flavour: the lab that it was given in.
    """

    case: str
    text: str
    given: str
    what: str = ""
    flavour: str = ""
    answers: Mapping[str, Answer] | None = None

    def answer(self, driver: str) -> Answer | None:
        return (self.answers or {}).get(driver)


@dataclass(frozen=True, slots=True)
class About:
    """What the first line of a file says of the corpus, so that nobody has to read it all.

    statuses: driver -> status -> how many documents were answered so. deaths: (driver, case, definition, status) of every
    document that killed or hung the release. size: of the file, in bytes.
    """

    release: str
    kind: str
    branches: int
    taken: int
    documents: int
    statuses: Mapping[str, Mapping[str, int]]
    deaths: tuple[tuple[str, str, str, str], ...]
    size: int = 0


@dataclass(frozen=True, slots=True)
class Corpus:
    """The covering corpus of a release's grammar of one kind. branches: that it has; taken: by these documents.

    contexts: driver -> what an object belonged to that it was given.
    """

    release: str
    kind: str
    branches: int
    taken: int
    contexts: Mapping[str, Context]
    documents: Sequence[Document]

    @property
    def drivers(self) -> tuple[str, ...]:
        return tuple(self.contexts)

    def about(self) -> About:
        statuses: dict[str, Counter[str]] = {driver: Counter() for driver in self.drivers}
        deaths = []
        for document in self.documents:
            for driver, answer in sorted((document.answers or {}).items()):
                statuses[driver][answer.status] += 1
                if answer.status in DEATHS:
                    deaths.append((driver, document.case, document.what, answer.status))
        number = len(self.documents)
        told = {driver: dict(sorted(counts.items())) for driver, counts in statuses.items()}
        return About(self.release, self.kind, self.branches, self.taken, number, told, tuple(deaths))


def file_of(release: str, kind: str) -> Path:
    return golden.folder() / release / FOLDER / f"{kind}{SUFFIX}"


def kinds(release: str) -> list[str]:
    """The kinds of which a release's corpus is recorded."""
    return sorted(f.name.removesuffix(SUFFIX) for f in (golden.folder() / release / FOLDER).glob(f"*{SUFFIX}"))


@cache
def digest(file: Path, _changed: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def digest_of(release: str, kind: str) -> str:
    """Digest of a recorded corpus, empty where there is none."""
    file = file_of(release, kind)
    return digest(file, file.stat().st_mtime_ns) if file.is_file() else ""


def written(corpus: Corpus) -> bytes:
    """A corpus as the lines of its file, before they are compressed."""
    about = {key: value for key, value in asdict(corpus.about()).items() if key != "size"}
    lines = [_line({**about, "contexts": corpus.contexts})]
    for each in corpus.documents:
        record: dict[str, object] = {"case": each.case, "text": each.text, "given": each.given, "what": each.what}
        if each.flavour:
            record["flavour"] = each.flavour
        record["answers"] = {driver: _answer(given) for driver, given in sorted((each.answers or {}).items())}
        lines.append(_line(record))
    return b"".join(lines)


def packed(lines: bytes) -> bytes:
    return lzma.compress(lines, format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, filters=FILTERS)


def same(one: bytes, other: bytes) -> bool:
    """Whether two recordings say the same: what is refused is the fact, with its code; a release may word it otherwise each time."""
    return one == other or _unworded(one) == _unworded(other)


def _unworded(lines: bytes) -> list[object]:
    """The lines of a corpus without the words of refusals."""
    found: list[object] = []
    for line in lines.splitlines():
        record = json.loads(line)
        for answer in record.get("answers", {}).values():
            answer.pop("message", None)
        found.append(record)
    return found


def lines_of(file: Path) -> bytes:
    """The lines of a file. BadData where it is damaged."""
    try:
        return lzma.decompress(file.read_bytes())
    except (lzma.LZMAError, EOFError, OSError) as error:
        raise BadData(file, f"not a whole corpus: {error}", REMEDY) from error


def about(release: str, kind: str) -> About | None:
    """What a recorded corpus says of itself, None where there is none. BadData where it is damaged."""
    file = file_of(release, kind)
    if not file.is_file():
        return None
    try:
        with lzma.open(file) as lines:
            record = json.loads(lines.readline())
        deaths = tuple((driver, case, what, status) for driver, case, what, status in record["deaths"])
        numbers = (record["branches"], record["taken"], record["documents"])
        return About(record["release"], record["kind"], *numbers, record["statuses"], deaths, file.stat().st_size)
    except (lzma.LZMAError, EOFError, OSError, ValueError, KeyError, TypeError) as error:
        raise BadData(file, f"not a corpus: {error}", REMEDY) from error


def read(release: str, kind: str) -> Corpus | None:
    """A recorded corpus, None where there is none. BadData where it is damaged."""
    file = file_of(release, kind)
    return parsed(file, lines_of(file)) if file.is_file() else None


def parsed(file: Path, lines: bytes) -> Corpus:
    """A corpus from its lines. BadData names the one that is none."""
    number = 0
    about: dict[str, Any] = {}
    documents: list[Document] = []
    try:
        for line in lines.splitlines():
            number += 1
            if number == 1:
                about = json.loads(line)
            else:
                documents.append(_document(json.loads(line)))
        contexts = {d: tuple((k, v) for k, v in pairs) for d, pairs in about["contexts"].items()}
        return Corpus(about["release"], about["kind"], about["branches"], about["taken"], contexts, documents)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise BadData(file, f"not a corpus: {error}", REMEDY, max(number, 1)) from error


def _document(record: Mapping[str, str | Mapping[str, Mapping[str, object]]]) -> Document:
    case, text, given, what = (str(record[key]) for key in ("case", "text", "given", "what"))
    own = record["answers"]
    assert not isinstance(own, str)
    return Document(case, text, given, what, str(record.get("flavour", "")), {d: _answered(a) for d, a in own.items()})


def _line(record: Mapping[str, object]) -> bytes:
    # splitlines() parts at more characters than LF: they are escaped, as everything beyond ASCII.
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def _answer(given: Answer) -> dict[str, object]:
    """An answer without what can be left out. forms: form -> index in ``texts``, or the error."""
    record: dict[str, object] = {"status": given.status}
    if given.status not in DEATHS:
        record |= {"code": given.code, "domain": given.domain, "message": given.message}
    texts = list(dict.fromkeys(f.text for f in given.forms.values() if not f.error))
    record |= {"name": given.name, "uuid": given.uuid, "texts": texts}
    record["forms"] = {n: f.error or texts.index(f.text) for n, f in sorted(given.forms.items())}
    return {key: value for key, value in record.items() if value}


def _answered(record: Mapping[str, object]) -> Answer:
    texts, named = record.get("texts", []), record.get("forms", {})
    assert isinstance(texts, list)
    assert isinstance(named, dict)
    forms = {n: Form(texts[at]) if isinstance(at, int) else Form(error=at) for n, at in named.items()}
    return Answer(
        str(record["status"]), forms, int(str(record.get("code", 0))), int(str(record.get("domain", 0))),
        str(record.get("message", "")), str(record.get("name", "")), str(record.get("uuid", "")),
    )  # fmt: skip
