"""``lab``: make, add, list, remove, try."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import click

from virtcompat.engine import labs as engine
from virtcompat.errors import UsageError


@click.group()
def lab() -> None:
    """Labs: where a release's real binaries run.

    \b
    Example:
      virt-compat lab create debian-12
    """


@lab.command()
@click.argument("names", nargs=-1)
@click.option("--mirror", default="", help="Fetch from this Debian mirror instead of the one apt is configured for.")
@click.option("--refresh", is_flag=True, help="Build again though the lab stands (to follow the mirror).")
def create(names: tuple[str, ...], mirror: str, refresh: bool) -> int:
    """Build labs from packages, about 20 s each; without NAMES those of the releases that come with the tool.

    \b
    Examples:
      virt-compat lab create
      virt-compat lab create debian-12-xen
      virt-compat lab create debian-12-all --mirror http://mirror.example.org/debian
    """
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(_create, name, mirror, refresh) for name in names or engine.shipped()]
        for each in waiting:
            click.echo(each.result(), err=True)
    return 0


def _create(name: str, mirror: str, refresh: bool) -> str:
    return engine.create(name, mirror, refresh=refresh, progress=lambda words: click.echo(words, err=True))


@lab.command()
@click.argument("name")
@click.option("--root", type=click.Path(exists=True, file_okay=False, resolve_path=True), help="An existing root.")
@click.option("--command", "prefix", help="A command prefix, such as 'BUILD/run' of a libvirt build tree.")
@click.option("--python", help="With --command and --ssh: the interpreter that has the libvirt binding.")
@click.option("--host", is_flag=True, help="This machine's own libvirt.")
@click.option("--container", metavar="IMAGE", help="A container image (podman or docker).")
@click.option("--ssh", metavar="HOST", help="Another host: ssh's own words, options before it, a prefix behind it.")
def add(
    name: str,
    root: str | None,
    prefix: str | None,
    python: str | None,
    host: bool,
    container: str | None,
    ssh: str | None,
) -> int:
    """Add a release of your own called NAME; it is a column of the matrix like any other.

    \b
    Examples:
      virt-compat lab add libvirt-git --command ~/libvirt/build/run
      virt-compat lab add old-host --root /mnt/old-host
      virt-compat lab add far --ssh 'root@far.example.org'
      virt-compat lab add far-root --ssh '-F ./ssh.conf far sudo chroot /srv/old'
    """
    if python and not (prefix or ssh):
        raise UsageError("--python goes with --command and --ssh", "leave it out")
    ways = {
        "root": {"path": root}, "command": {"prefix": prefix, "python": prefix and python},
        "host": {} if host else None, "container": {"image": container}, "ssh": {"host": ssh, "python": ssh and python},
    }  # fmt: skip
    given = {k: {o: v for o, v in w.items() if v} for k, w in ways.items() if w is not None}
    chosen = {k: w for k, w in given.items() if w or k == "host"}
    if len(chosen) != 1:
        raise UsageError("say how the lab is entered, in one way", "--root, --command, --host, --container or --ssh")
    click.echo(engine.add(name, *next(iter(chosen.items()))))
    return 0


@lab.command("list")
def list_labs() -> int:
    """List every release with its lab.

    \b
    Example:
      virt-compat lab list
    """
    for line in engine.listing():
        click.echo(line)
    return 0


@lab.command()
@click.argument("names", nargs=-1, required=True)
def remove(names: tuple[str, ...]) -> int:
    """Remove labs, or releases of your own. Their answers stay in the cache.

    \b
    Example:
      virt-compat lab remove debian-12-all
    """
    for name in names:
        for line in engine.remove(name):
            click.echo(line)
    return 0


COMMANDS = (lab,)
