"""Files that are put in place whole: what is cut off leaves the old one."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def put(file: Path, text: str) -> None:
    """Write a file beside its place, behind links, and rename it; its directory is there. OSError where it cannot be."""
    target = file.resolve()
    aside = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
