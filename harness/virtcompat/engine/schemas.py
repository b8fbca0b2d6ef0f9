"""The RELAX NG schemas of each release, taken from its own lab, compiled once."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from lxml import etree

from virtcompat.documents import NotWellFormed, parse
from virtcompat.engine.columns import Columns
from virtcompat.labs.prober import read_files
from virtcompat.model import Answer, NotHere, Question
from virtcompat.store import paths
from virtcompat.surfaces import every


@dataclass(slots=True)
class Schemas:
    """Validators by (release, kind); the files are kept in the cache directory by the lab's fingerprint."""

    columns: Columns
    compiled: dict[tuple[str, str], etree.RelaxNG | NotHere] = field(default_factory=dict)

    def validate(self, question: Question) -> Answer | NotHere:
        """``accepted``, or ``refused`` with the first thing that libxml2 objects to."""
        key = (question.release, question.kind)
        if key not in self.compiled:
            self.compiled[key] = self._compile(*key)
        schema = self.compiled[key]
        if isinstance(schema, NotHere):
            return schema
        try:
            root = parse(question.text)
        except NotWellFormed as error:
            return Answer("refused", message=str(error))
        if schema.validate(root):
            return Answer("accepted")
        return Answer("refused", message=str(schema.error_log[0].message))

    def _compile(self, release: str, kind: str) -> etree.RelaxNG | NotHere:
        folder = self._folder(release)
        if isinstance(folder, NotHere):
            return folder
        file = folder / every()[kind].schema
        if not file.exists():
            return NotHere(f"{release} has no schema {file.name}", "install the package with libvirt's schemas")
        return etree.RelaxNG(etree.parse(file))

    def _folder(self, release: str) -> Path | NotHere:
        lab = self.columns.lab(release, "")
        if isinstance(lab, NotHere):
            return lab
        folder = paths.cache_dir() / "schemas" / lab.fingerprint()[:16]
        if folder.is_dir():
            return folder
        folder.parent.mkdir(exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=folder.parent))
        for path, text in read_files(lab, lab.schemas).items():
            (aside / Path(path).name).write_text(text, encoding="utf-8")
        if not any(aside.iterdir()):
            aside.rmdir()
            return NotHere(f"{release} has no schemas", "install the package with libvirt's schemas")
        try:
            aside.rename(folder)
        except OSError:
            shutil.rmtree(aside)  # another run was first
        return folder
