"""Where things are: the data folders (option, else the checkout, else the wheel) and the user's directories."""

from __future__ import annotations

import os
from pathlib import Path

import virtcompat
from virtcompat.errors import UsageError

PACKAGE = Path(virtcompat.__file__).parent
FOLDERS = ("fixtures", "golden", "suites", "reports")


def data_root() -> Path:
    """The directory that holds fixtures/, golden/ and suites/.

    ``VIRT_COMPAT_DATA`` names it, else it is the checkout this package runs from, else the wheel's own copy.
    """
    named = os.environ.get("VIRT_COMPAT_DATA")
    if named:
        if not (Path(named) / "fixtures").is_dir():
            raise UsageError(f"VIRT_COMPAT_DATA={named}: no folder fixtures/ there", "name a virt-compat checkout")
        return Path(named)
    checkout = PACKAGE.parent.parent
    return checkout if (checkout / "fixtures").is_dir() else PACKAGE / "_data"


def cache_dir() -> Path:
    """Labs and answers live here; removing it costs time and nothing else."""
    named = os.environ.get("VIRT_COMPAT_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = Path(named) if named else base / "virt-compat"
    path.mkdir(parents=True, exist_ok=True)
    return path


def config_dir() -> Path:
    """The user's own releases (``lab add``) live here."""
    named = os.environ.get("VIRT_COMPAT_CONFIG")
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path(named) if named else base / "virt-compat"
