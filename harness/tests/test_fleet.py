"""Runs on many machines: shards and their parts, and a real dask scheduler with workers that come and go."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner
from conftest import _standing
from distributed import Client
from virtcompat import renderers
from virtcompat.cli import fleet as command
from virtcompat.cli import group
from virtcompat.engine import columns, crew, desk, dispatch, fleet, parts, static, units, verdicts
from virtcompat.engine import run as engine
from virtcompat.engine.parts import Share
from virtcompat.errors import BadData, LabError, NotAsked, UsageError, VirtCompatError
from virtcompat.model import Column, Matrix, NotHere, Outcome, Tier
from virtcompat.store import parts as store
from virtcompat.store import paths

#: Two kinds, one of them with findings; recorded surfaces have cells without a driver.
DOCUMENTS = engine.Selection(
    drivers=("test",), kinds=("domain",), cases=("disk-*",), releases=("debian-12", "debian-13")
)
RECORDS = engine.Selection(kinds=("machine-types", "rpc"), releases=("debian-11", "debian-12", "debian-13"))
Shards = Callable[..., list[Path]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Golden records alone: a cache directory without labs, and no releases but those of the tool."""
    monkeypatch.setenv("VIRT_COMPAT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VIRT_COMPAT_CONFIG", str(tmp_path / "config"))


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    """Judge a selection in this many shards; their part files."""

    def judged(selection: engine.Selection, of: int, suffix: str = "jsonl.zst") -> list[Path]:
        files = [tmp_path / f"part-{n}-of-{of}.{suffix}" for n in range(1, of + 1)]
        for number, file in enumerate(files, 1):
            parts.write(file, *parts.judge(Share(number, of), selection))
        return files

    return judged


def every_format(matrix: Matrix) -> dict[str, str]:
    return {n: r.render(verdicts.publishable(matrix)) for n, r in renderers.every().items()}


# Units and shards


def test_the_plan_has_every_case_once_and_is_always_the_same() -> None:
    selection = engine.Selection(drivers=("test",))
    found, documents = columns.find(()), engine.own_documents(selection)
    planned = list(units.plan(found, selection, documents, size=5))
    assert planned == list(units.plan(found, selection, documents, size=5))
    assert [unit.number for unit in planned] == list(range(len(planned)))
    cases = [(cell, d.case) for unit in planned for d in unit.documents for cell in unit.cells]
    assert len(cases) == len(set(cases)) == sum(unit.cases for unit in planned)
    assert set(cases) == {(k, d.case) for k in engine.keys(found, selection) for d in documents if d.kind == k.kind}


def test_units_grow_until_starting_the_drivers_pays() -> None:
    selection = engine.Selection(drivers=("test",), kinds=("domain",))
    found, documents = columns.find(()), engine.own_documents(selection)
    first, *_ = units.plan(found, selection, documents)
    assert len(first.documents) >= units.LEAST
    assert first.cases * units.JUDGE == pytest.approx(units.SECONDS, rel=0.5)


def test_cells_go_where_both_releases_can_be_asked() -> None:
    selection = engine.Selection(drivers=("test",), kinds=("network",))
    found, documents = columns.find(()), engine.own_documents(selection)
    sets = [frozenset(f"debian-{n}" for n in numbers) for numbers in ((11, 12, 13), (11, 13, 14), (12, 14))]
    apart = list(units.plan(found, selection, documents, sets))
    places = [next(s for s in sets if {unit.cells[0].old, unit.cells[0].new} <= s) for unit in apart]
    assert all({cell.old, cell.new} <= place for unit, place in zip(apart, places, strict=True) for cell in unit.cells)
    assert set(places) == set(sets)
    together = units.plan(found, selection, documents)
    assert {c for unit in apart for c in unit.cells} == {c for unit in together for c in unit.cells}


@pytest.mark.parametrize("of", [1, 3])
@pytest.mark.parametrize("selection", [DOCUMENTS, RECORDS], ids=["documents", "records"])
def test_merged_shards_are_the_local_run_byte_for_byte(shards: Shards, selection: engine.Selection, of: int) -> None:
    merged = parts.merge(list(reversed(shards(selection, of)))).matrix
    local = engine.run(selection)
    assert every_format(merged) == every_format(local)
    assert any(cell.verdicts for cell in merged.cells)
    judged = sum(sum(cell.counts.values()) for cell in merged.cells)
    assert merged.judged + merged.remembered == judged > 100


def test_a_shard_more_than_there_are_units_is_a_part_all_the_same(shards: Shards) -> None:
    selection = replace(RECORDS, kinds=("rpc",))
    files = shards(selection, 8)
    assert [store.read(file).header["units"] for file in files] == [[1, 6]] * 6 + [[0, 6]] * 2
    assert every_format(parts.merge(files).matrix) == every_format(engine.run(selection))


def test_nothing_selected_is_no_part() -> None:
    with pytest.raises(NotAsked) as error:
        parts.judge(Share(1, 2), replace(DOCUMENTS, cases=("no-such-case",)))
    assert error.value.exit_code == 3


def test_a_missing_shard_is_named(shards: Shards) -> None:
    files = shards(RECORDS, 3)
    with pytest.raises(NotAsked, match="1 of 3 shards missing: 2/3") as error:
        parts.merge([files[0], files[2]])
    assert error.value.exit_code == 3


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.zst"])
def test_a_part_that_is_cut_off_anywhere_is_refused(shards: Shards, suffix: str) -> None:
    (file,) = shards(replace(RECORDS, kinds=("rpc",)), 1, suffix)
    whole = file.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 40, len(whole) - 2):
        file.write_bytes(whole[:length])
        with pytest.raises(BadData):
            parts.merge([file])
    lines = whole.splitlines(keepends=True)
    if suffix == "jsonl":
        file.write_bytes(b"".join(lines[:-1]))  # whole lines, but no end
        with pytest.raises(BadData, match=f"{file}:{len(lines) - 1}: cut off"):
            parts.merge([file])
    file.write_bytes(whole)
    parts.merge([file])


def test_a_part_is_read_whatever_it_is_called(shards: Shards, tmp_path: Path) -> None:
    (packed,) = shards(replace(RECORDS, kinds=("rpc",)), 1, "jsonl.zst")
    (plain,) = shards(replace(RECORDS, kinds=("rpc",)), 1, "jsonl")
    whole = parts.merge([packed]).matrix
    assert packed.read_bytes().startswith(store.ZSTD)
    for part, name in ((packed, "plainname"), (packed, "part.jsonl"), (plain, "part.zst")):
        renamed = tmp_path / name
        renamed.write_bytes(part.read_bytes())
        assert parts.merge([renamed]).matrix.cells == whole.cells


def test_an_altered_part_is_refused(shards: Shards) -> None:
    (file,) = shards(replace(RECORDS, kinds=("rpc",)), 1, "jsonl")
    whole = file.read_text()
    file.write_text(whole.replace('"compatible":', '"compatible":1', 1))
    with pytest.raises(BadData, match="altered"):
        parts.merge([file])
    file.write_text(whole + whole)
    with pytest.raises(BadData, match="lines after the end"):
        parts.merge([file])


def test_parts_of_another_run_are_refused(shards: Shards, tmp_path: Path) -> None:
    ours = shards(RECORDS, 2)
    other = tmp_path / "other.jsonl"
    for selection, what in (
        (replace(RECORDS, gate=Tier.RISK), "selection"),
        (replace(RECORDS, kinds=("rpc",)), "selection"),
    ):
        parts.write(other, *parts.judge(Share(2, 2), selection))
        with pytest.raises(BadData, match=f"judged with other {what}"):
            parts.merge([ours[0], other])
    parts.write(other, *parts.judge(Share(2, 3), RECORDS))
    with pytest.raises(BadData, match="a shard of 3"):
        parts.merge([ours[0], other])


@pytest.mark.parametrize("name", ["documents", "golden records", "releases", "tool", "change ledger"])
def test_parts_judged_with_other_inputs_are_refused(shards: Shards, tmp_path: Path, name: str) -> None:
    ours = shards(RECORDS, 2)
    header, found = parts.judge(Share(2, 2), RECORDS)
    inputs = header["inputs"]
    assert isinstance(inputs, dict)
    inputs[name] = "another"
    parts.write(tmp_path / "other.jsonl", header, found)
    with pytest.raises(BadData, match=f"judged with other {name} than"):
        parts.merge([ours[0], tmp_path / "other.jsonl"])
    if name in ("tool", "change ledger"):  # all agree, but they are not this tool's
        header["shard"] = [1, 1]
        parts.write(tmp_path / "alone.jsonl", header, found)
        with pytest.raises(BadData, match="another version"):
            parts.merge([tmp_path / "alone.jsonl"])


def test_inputs_change_with_what_the_result_follows_from() -> None:
    found, documents = columns.find(("debian-12", "debian-13")), engine.own_documents(DOCUMENTS)
    before = units.inputs(found, DOCUMENTS, documents)

    def changed(**other: object) -> set[str]:
        given = {"found": found, "selection": DOCUMENTS, "documents": documents} | other
        now = units.inputs(**given)  # type: ignore[arg-type]
        return {name for name in before if before[name] != now[name]}

    assert changed() == set()
    assert changed(documents=[replace(documents[0], text="<domain/>"), *documents[1:]]) == {"documents"}
    assert changed(documents=documents[1:]) == {"documents"}
    assert changed(selection=replace(DOCUMENTS, gate=Tier.RISK)) == {"selection"}
    assert changed(found=columns.find(("debian-12",))) == {"releases", "golden records"}
    labs = {**found.labs, ("debian-12", ""): crew.FarLab("debian-12", "a digest")}
    assert changed(found=columns.Columns(found.columns, labs, found.notes)) == {"releases"}


def test_the_same_shard_twice_is_one_unless_it_found_something_else(shards: Shards, tmp_path: Path) -> None:
    files = shards(RECORDS, 2)
    header, found = parts.judge(Share(2, 2), RECORDS)
    assert found.cost.remembered  # judged again it costs something else, and finds the same
    again = tmp_path / "again.jsonl"
    parts.write(again, header, found)
    assert every_format(parts.merge([*files, again]).matrix) == every_format(engine.run(RECORDS))
    key = next(key for key, tally in found.tallies.items() if tally.counts)
    found.tallies[key].counts[Outcome.COMPATIBLE] += 1
    parts.write(again, header, found)
    with pytest.raises(BadData, match="found something else"):
        parts.merge([*files, again])


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "1/0", "a/b", "1/3/5", "-1/3", " 1/3"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(UsageError):
        Share.parsed(text)


def test_other_files_are_no_parts(tmp_path: Path) -> None:
    file = tmp_path / "part.jsonl"
    header = {"schema": store.SCHEMA, "shard": [1, 1]}
    for body in (b"", b"[]\n", b"{}\n", b"\xff\xfe", json.dumps(header).encode() + b"\n", zstandard.compress(b"{}\n")):
        for name in ("part.jsonl", "part.jsonl.zst"):
            (tmp_path / name).write_bytes(body)
            with pytest.raises(BadData):
                parts.merge([tmp_path / name])
    store.write(file, {"shard": [1, 1]}, [], {})
    with pytest.raises(BadData, match="first line"):
        parts.merge([file])


def test_merge_prints_judges_and_says_what_is_wrong(shards: Shards, tmp_path: Path) -> None:
    files = [str(file) for file in shards(RECORDS, 2)]

    def merged(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(command.merge, arguments, standalone_mode=False)
        if isinstance(result.exception, VirtCompatError):
            return result.exception.exit_code, str(result.exception)
        return int(result.return_value), result.output

    local = engine.run(RECORDS)
    code = verdicts.exit_code(local, judged=True)
    assert merged(*files, "--format", "json") == (code, renderers.every()["json"].render(local))
    assert merged(*files, "--fail-on", "none")[0] == verdicts.exit_code(local, judged=False)
    assert merged(*files, "--fail-on", "risk")[0] == 2
    assert merged(files[0])[0] == 3
    assert merged(*files, "--reports", str(tmp_path / "reports"))[0] == code
    assert (tmp_path / "reports" / "matrix.json").read_text() == renderers.every()["json"].render(local)


def test_a_broken_case_fails_its_shard_and_the_matrix(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    def lying(*_: object) -> object:
        raise ValueError("a reader's bug")

    monkeypatch.setattr("virtcompat.engine.static.Records.of", lying)
    _, found = parts.judge(Share(1, 1), RECORDS)
    assert parts.exit_code(found) == 4
    assert "broken" in parts.sentence(found)
    (file,) = shards(RECORDS, 1)
    assert verdicts.exit_code(parts.merge([file]).matrix, judged=True) == 4


def test_matrix_judges_shards_and_merge_prints_what_one_machine_prints(tmp_path: Path) -> None:
    def tool(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(group, arguments, standalone_mode=False)
        if isinstance(result.exception, VirtCompatError):
            return result.exception.exit_code, str(result.exception)
        return int(result.return_value), result.stdout

    narrowed = [word for name in RECORDS.releases for word in ("--release", name)] + ["--surface", "rpc"]
    files = [str(tmp_path / f"{n}.jsonl") for n in (1, 2)]
    for number, file in enumerate(files, 1):
        assert tool("matrix", *narrowed, "--shard", f"{number}/2", "--part", file) == (0, "")
    assert tool("merge", *files, "--format", "json") == tool("matrix", *narrowed, "--format", "json")
    assert tool("matrix", *narrowed, "--part", "file")[0] == 2
    assert tool("matrix", *narrowed, "--shard", "3/2")[0] == 2
    assert tool("matrix", *narrowed, "--shard", "1/2", "--executor", "dask://h:1")[0] == 2


# The fleet, without one


def about(*names: str, there: tuple[str, ...] = ()) -> crew.About:
    """A worker with these columns, and labs of some of them."""
    listed = [Column(n, n[-2:], "", ((int(n[-2:]),),), golden=True, live=n in there) for n in names]
    labs = {(n, ""): f"digest of {n}" if n in there else NotHere(f"no lab {n}", "build it") for n in names}
    return crew.About(listed, labs)


def test_columns_are_those_of_one_machine_with_every_workers_labs() -> None:
    names = ("debian-11", "debian-12", "debian-13")
    one, two = about(*names, there=("debian-12", "debian-13")), about(*names, there=("debian-13",))
    found, sets = crew.assembled({"a": one, "b": two})
    assert [(c.name, c.live) for c in found.columns] == [("debian-11", False), ("debian-12", True), ("debian-13", True)]
    assert isinstance(found.labs["debian-11", ""], NotHere)
    lab = found.labs["debian-12", ""]
    assert isinstance(lab, crew.FarLab)
    assert lab.fingerprint() == "digest of debian-12"
    with pytest.raises(LabError):
        lab.command(daemon=False)
    assert sets == [frozenset(names)]


def test_workers_with_different_labs() -> None:
    names = ("debian-11", "debian-12", "debian-13")
    found, sets = crew.assembled({"a": about(*names, there=names[:2]), "b": about(*names, there=names[1:])})
    assert sets == [frozenset(names[:2]), frozenset(names[1:])]
    with pytest.raises(LabError, match="no worker has the labs of debian-13 and debian-11 together"):
        fleet._check(found, engine.Selection(drivers=("test",)), sets)
    fleet._check(found, engine.Selection(drivers=("test",), checks=("round-trip",)), sets)
    other = about(*names, there=names[:2])
    labs = {**other.labs, ("debian-12", ""): "another digest"}
    with pytest.raises(LabError, match="a and b have different labs of debian-12"):
        crew.assembled({"a": about(*names, there=names[:2]), "b": replace(other, labs=labs)})


def test_a_worker_of_another_version_or_with_other_records_is_no_use() -> None:
    records = {"debian-12": units.provenance("debian-12")}
    assert desk.Desk("n", ("debian-12",), units.tool(), records)._look().refusal == ""
    assert "version" in desk.Desk("n", ("debian-12",), "another", records)._look().refusal
    assert "debian-12" in desk.Desk("n", ("debian-12",), units.tool(), {"debian-12": "other"})._look().refusal


def test_a_desk_judges_until_its_run_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    names = RECORDS.releases
    found, offered = columns.find(names), dict[str, float]()
    (cell,) = [k for k in engine.keys(found, replace(RECORDS, kinds=("rpc",))) if (k.old, k.new) == names[:2]]
    task = crew.Task(found.columns, recorded=[(cell, b"its key")])

    class Worker:
        async def set_resources(self, **resources: float) -> None:
            offered.update(resources)

    async def run() -> None:
        here = desk.Desk("n", names, units.tool(), {})
        await here.setup(Worker())  # type: ignore[arg-type]
        assert offered == {crew.slot(units.tool()): 1.0}  # there is no lab here
        sent = crew.unpack(crew.pack(here.judge(task)))
        assert isinstance(sent, crew.Result)
        assert sent.verdicts == {b"its key": list(static.judge(cell, static.Records(found)))}
        assert sent.cost.judged == len(sent.verdicts[b"its key"]) > 0
        here.used -= desk.IDLE + 1  # the caller is gone without a word: nothing stays open
        here._rest()
        assert here.answers is None
        assert here.judge(task).verdicts == sent.verdicts
        with monkeypatch.context() as broken:
            broken.setattr(desk, "judge", lambda *_: (_ for _ in ()).throw(LabError("the lab failed", "repair it")))
            assert here.judge(task).error == ("the lab failed", "repair it")
            assert here.answers is None  # the next unit gets probes of its own
        assert here.judge(task).verdicts == sent.verdicts
        await here.teardown(Worker())  # type: ignore[arg-type]
        assert here.judge(task).error == ("the run is over", "start another")
        assert here.answers is None

    asyncio.run(run())


def test_what_cannot_be_judged_by_a_fleet_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for where in ("", "dask", "dask://", "dask://host", "tcp://host:1", "dask://host:port"):
        with pytest.raises(UsageError, match="is no executor"):
            fleet.run(where, DOCUMENTS)
    assert dispatch.address("dask+tls://h:1") == "tls://h:1"
    found, sets = crew.assembled({"a": about("debian-12", "debian-13")})
    with pytest.raises(UsageError, match="guests are not moved"):
        fleet._check(found, engine.Selection(checks=("replay",)), sets)
    monkeypatch.setattr(fleet, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'virt-compat\[distributed\]'"):
        fleet.run("dask://127.0.0.1:1", DOCUMENTS)


def test_no_scheduler_is_an_environment_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "CONNECT", 0.5)
    with pytest.raises(LabError, match="no dask scheduler answers at dask") as error:
        fleet.run("dask://127.0.0.1:1", DOCUMENTS)
    assert error.value.exit_code == 4
    assert "dask worker tcp://127.0.0.1:1" in error.value.remedy


# The fleet, with a real scheduler


@dataclass(frozen=True, slots=True)
class Cluster:
    """A scheduler on loopback; ``worker`` starts a worker process with a cache directory of its own."""

    address: str
    folder: Path

    @contextmanager
    def worker(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        cache = with_labs(self.folder / name)
        argv = ["worker", f"tcp://{self.address}", "--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        with started([*argv, "--local-directory", str(cache)], cache) as process:
            yield process


def with_labs(cache: Path) -> Path:
    cache.mkdir(exist_ok=True)
    if not (cache / "labs").exists():
        (cache / "labs").symlink_to(Path(os.environ["LABS"]))
    return cache


@contextmanager
def started(argv: list[str], cache: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "VIRT_COMPAT_CACHE": str(cache)}
    with (cache.parent / f"{cache.name}-{argv[0]}.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "dask", *argv], env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A scheduler, and this process' own cache directory with the labs of debian-12 and debian-13."""
    monkeypatch.delenv("VIRT_COMPAT_CACHE")
    for name in ("debian-12", "debian-13"):
        _standing(name)
    monkeypatch.setenv("LABS", str(paths.cache_dir() / "labs"))
    monkeypatch.setenv("VIRT_COMPAT_CACHE", str(with_labs(tmp_path / "caller")))
    file = tmp_path / "scheduler.json"
    argv = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    with started(argv, tmp_path / "caller"):
        deadline = time.monotonic() + 30
        while not file.exists() or not file.read_text().endswith("}"):
            assert time.monotonic() < deadline, (tmp_path / "caller-scheduler.log").read_text()
            time.sleep(0.1)
        yield Cluster(json.loads(file.read_text())["address"].removeprefix("tcp://"), tmp_path)
    assert not left_behind(tmp_path)


def left_behind(folder: Path) -> list[str]:
    """The command lines of processes that name this folder: probes in labs, workers."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line[:200])
    return found


def gone(folder: Path) -> bool:
    """Whether every process of a folder ends within some seconds."""
    deadline = time.monotonic() + 10
    while left_behind(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not left_behind(folder)


def forget_verdicts() -> None:
    for file in paths.cache_dir().glob("verdicts.sqlite*"):
        file.unlink()


@pytest.mark.lab
def test_a_worker_killed_in_the_middle_changes_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    where, selection = f"dask://{cluster.address}", replace(DOCUMENTS, cases=("disk-[a-k]*",))
    seen: list[int] = []
    with cluster.worker("one") as one, cluster.worker("two"):

        def progress(done: int, of: int) -> None:
            seen.append(done)
            if len(seen) == 2:
                client = Client.current()
                (address,) = [
                    a for a, w in client.scheduler_info(n_workers=-1)["workers"].items() if w["name"] == "one"
                ]
                assert client.processing([address])[address]  # it is at work
                one.send_signal(signal.SIGKILL)
                one.wait()
                assert gone(cluster.folder / "one")  # and its probes with it

        found = fleet.run(where, selection, progress=progress, size=6)
        assert found.judged == sum(sum(cell.counts.values()) for cell in found.cells)
        assert seen == sorted(seen)
        assert len(seen) > 8
        assert all(column.live for column in found.columns)
        again = fleet.run(where, selection, size=6)
    assert (again.asked, again.judged, again.remembered) == (0, 0, found.judged)
    assert every_format(again) == every_format(found)
    # Every answer behind the matrix is in the caller's own store: judged here, nothing is asked.
    forget_verdicts()
    stored = engine.run(selection)
    assert (stored.asked, stored.judged) == (0, found.judged)
    # A run that never saw the fleet: asked and judged by this machine alone.
    monkeypatch.setenv("VIRT_COMPAT_CACHE", str(with_labs(cluster.folder / "local")))
    local = engine.run(selection)
    assert local.asked
    assert every_format(found) == every_format(stored) == every_format(local)


@pytest.mark.lab
def test_a_run_cut_off_goes_on_where_it_was(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    where, selection = f"dask://{cluster.address}", replace(DOCUMENTS, cases=("disk-[a-f]*",))
    for name, seconds in (("PATIENCE", 1.0), ("LOOK", 0.5), ("CONNECT", 3.0)):
        monkeypatch.setattr(dispatch, name, seconds)
    with pytest.raises(LabError, match="has no worker"):
        fleet.run(where, selection)
    monkeypatch.setattr(dispatch, "CONNECT", 30.0)

    def interrupted(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with cluster.worker("one") as one:
        with pytest.raises(KeyboardInterrupt):
            fleet.run(where, selection, progress=interrupted, size=4)
        assert gone(cluster.folder / "one" / "labs")  # the probes end with the run, the worker stays

        def killing(done: int, of: int) -> None:
            one.kill()
            one.wait()

        with pytest.raises(LabError, match="no worker is left that can judge") as error:
            fleet.run(where, selection, progress=killing, size=8)
        assert error.value.exit_code == 4
    with cluster.worker("two"):
        found = fleet.run(where, selection, size=4)
    assert found.remembered
    assert found.judged
    assert every_format(found) == every_format(engine.run(selection))
