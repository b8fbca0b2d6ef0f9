"""Commands and options of virsh, virt-admin, virt-install and their like. What they print is no interface."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from virtcompat import helptext
from virtcompat.errors import Absent, BadData
from virtcompat.helptext import Option
from virtcompat.labs.visit import Ran, Visit
from virtcompat.model import Change, Finding, Tier
from virtcompat.store import invocations
from virtcompat.store.invocations import Invocation
from virtcompat.surfaces import RecordedSurface

Facts = dict[str, str]
#: As wide as no help text is: nothing wraps.
ENVIRONMENT = {"COLUMNS": "1000"}
#: Programs without commands that come with libvirt.
TOOLS = ("virt-host-validate", "virt-pki-query-dn", "virt-pki-validate", "virt-qemu-run", "virt-xml-validate")
#: What virt-install's own tests use, and no one else.
OWN_TESTS = re.compile(r"--(__)?test-")
VIRTINST = ("virt-clone", "virt-install", "virt-xml")
#: virsh reads a line to its end before it does anything, and no command is called this: nothing is ever done.
NOWHERE = "virt-compat-nowhere"
END = "virt-compat-end-"
#: More data than any command has options.
MANY = " ".join(f"datum{number}" for number in range(1, 65))
REMEDY = "try it by hand in the lab"


def virsh(visit: Visit) -> Facts:
    return _shell(visit, "virsh")


def virt_admin(visit: Visit) -> Facts:
    return _shell(visit, "virt-admin")


def _shell(visit: Visit, program: str) -> Facts:
    """A program with commands.

    ``virsh/option/--connect = value``; ``virsh/command/define/option/--file = string, required``;
    ``virsh/command/define/positional = file``: the arguments that may stand without their option's name.
    """
    names = helptext.commands(visit.run(program, "help", env=ENVIRONMENT).out)
    said = visit.run(program, "-q", "; ".join(f"echo @@@; help {name}" for name in names), env=ENVIRONMENT)
    texts = said.out.split("@@@")[1:]
    if not names or len(texts) != len(names):
        raise BadData(program, f"help for {len(texts)} of {len(names)} commands: {said.err.strip()[-200:]}", REMEDY)
    try:
        options = {name: helptext.options(text) for name, text in zip(names, texts, strict=True)}
    except ValueError as error:
        raise BadData(program, f"a help text that is not understood: {error}", REMEDY) from error
    facts = _options(visit, program)
    for name, positional in _positional(visit, program, options).items():
        path = f"{program}/command/{name}"
        facts[path] = "command"
        facts |= {f"{path}/option/--{option.name}": _traits(option) for option in options[name]}
        if positional:
            facts[f"{path}/positional"] = " ".join(positional)
    return facts


def _options(visit: Visit, program: str) -> Facts:
    """The options that a program's own help names, each spelling by itself."""
    said = visit.run(program, "--help", env=ENVIRONMENT)
    found = helptext.spellings(said.out.split("commands (non interactive mode)")[0])
    if not found:
        raise BadData(program, f"no options in its help: {said.err.strip()[-200:]}", REMEDY)
    return {f"{program}/option/{name}": kind for name, kind in found.items()}


def _traits(option: Option) -> str:
    return ", ".join([option.kind, *["required"] * option.required, *["repeated"] * option.repeated])


def _positional(visit: Visit, program: str, options: Mapping[str, Sequence[Option]]) -> dict[str, list[str]]:
    """The options of each command that data without a name go to, in order, as its parser says.

    A help text does not tell: older ones take a datum for every option with a value. So each command is given
    more data than it takes; where fewer are taken than it has such options, each of these is given twice over.
    """
    taken: dict[str, int | None] = {}
    for name, answer in _each(visit, program, {name: f"{name} {MANY}" for name in options}).items():
        refused = re.search(r"unexpected data '?datum(\d+)\b", answer)
        if not refused and NOWHERE not in answer:
            raise BadData(program, f"does not say what it does with data of {name}: {answer.strip()[-200:]}", REMEDY)
        taken[name] = int(refused[1]) - 1 if refused else None
    found = {name: [o.name for o in options[name] if o.kind != "flag"] for name in options}
    unclear = {name: len(found[name]) for name in found if taken[name] != len(found[name])}
    lines = {
        f"{name} {option}": f"{name} {' '.join(MANY.split()[: taken[name]])} --{option} again"
        for name in unclear
        for option in found[name]
    }
    filled = {line for line, answer in _each(visit, program, lines).items() if "already seen" in answer}
    for name in unclear:
        repeated = [f"{o.name}..." for o in options[name] if o.repeated and taken[name] is None]
        found[name] = [option for option in found[name] if f"{name} {option}" in filled] + repeated
        if taken[name] not in (None, len(found[name])):
            raise BadData(program, f"{name} takes {taken[name]} data, for {' '.join(found[name])}", REMEDY)
    return found


def _each(visit: Visit, program: str, lines: Mapping[str, str]) -> dict[str, str]:
    """What a program says to each line, which it reads and does not carry out. A bad word ends each answer."""
    text = "".join(f"{line}; {NOWHERE}\n{END}{number}\n" for number, line in enumerate(lines.values()))
    said = visit.run(program, "-q", stdin=text, env=ENVIRONMENT)
    answers = re.split(rf"^.*{END}(?:\d+).*\n", said.err, flags=re.MULTILINE)[:-1]
    if len(answers) != len(lines):
        raise BadData(program, f"{len(answers)} answers to {len(lines)} lines: {said.err.strip()[-200:]}", REMEDY)
    return dict(zip(lines, answers, strict=True))


def tools(visit: Visit) -> Facts:
    """The options of the small programs that are installed; not every release has every one."""
    facts: Facts = {}
    for program in TOOLS:
        try:
            facts |= _options(visit, program)
        except Absent:
            continue
    if not facts:
        raise Absent(f"{visit.release}: none of {', '.join(TOOLS)}", "install libvirt-clients in the lab")
    return facts


def virt_install(visit: Visit) -> Facts:
    """virt-install, virt-xml and virt-clone, and their sample command lines.

    ``virt-install/option/--disk = value, repeated`` and ``virt-install/option/--disk/source.dir = part``; hidden is
    what is taken and no help text shows.
    """
    lines = [line for line in invocations.every() if line.argv[0] in VIRTINST]
    ran = visit.ask("virtinst_probe.py", {"op": "run", "lines": [line.argv for line in lines]})["runs"]
    outcomes = [_outcome(Ran(one["code"], one["out"], one["err"])) for one in ran]
    facts = {_path(line): outcome for line, outcome in zip(lines, outcomes, strict=True)}
    return facts | _virtinst(visit)


def _virtinst(visit: Visit) -> Facts:
    said = visit.ask("virtinst_probe.py", {"op": "options", "programs": VIRTINST})
    kinds = {None: "value", 0: "flag", "?": "optional value", "*": "values", "+": "values"}
    facts: Facts = {}
    for program, options in said["programs"].items():
        for option in options:
            kind = "number" if option["type"] == "int" else kinds.get(option["arity"], f"{option['arity']} values")
            marks = {"required": option["required"], "repeated": option["append"], "hidden": option["hidden"]}
            value = ", ".join([kind, *(mark for mark, given in marks.items() if given)])
            facts |= {f"{program}/option/{name}": value for name in option["names"] if not OWN_TESTS.match(name)}
    # Two spellings of one option have the same parts, which are known by one of them.
    for option in said["programs"]["virt-install"]:
        parts = {part: hidden for name in option["names"] for part, hidden in said["suboptions"].get(name, {}).items()}
        for name in option["names"]:
            for part, hidden in parts.items() if name.startswith("--") else ():
                path = f"virt-install/option/{name}/{part.replace('[0-9]*', 'N')}"
                facts[path] = "part, hidden" if hidden else "part"
    if not any(path.startswith("virt-install/option/--disk/") for path in facts):
        raise BadData("virt-install", "says no parts of --disk", REMEDY)
    return facts


#: From worst to best; a program that a signal ended is below them all.
OUTCOMES = ("not understood", "fails", "ok")
#: How virsh and argparse begin when they do not understand a command line.
REFUSED = re.compile(
    r"^error: (unknown command|unexpected data|command '[^']*' (doesn't support|requires)|option --\S+ already seen|--\S+ is required)"
    r"|^[\w-]+: error: |doesn't match any known|Unknown .*options?:",
    re.MULTILINE,
)


def samples(visit: Visit) -> Facts:
    """``virsh/invocation/list-all = ok``, ``fails`` (understood and not done) or ``not understood``."""
    lines = [line for line in invocations.every() if line.argv[0] not in VIRTINST]
    return {_path(line): _outcome(visit.run(*line.argv, stdin=line.stdin)) for line in lines}


def _path(line: Invocation) -> str:
    return f"{line.argv[0]}/invocation/{line.name}"


def _outcome(ran: Ran) -> str:
    if ran.code < 0:
        return f"ended by signal {-ran.code}"
    understood = not REFUSED.search(ran.err)
    return OUTCOMES[2 if not ran.code else 1 if understood else 0]


def across(old: Mapping[str, str], new: Mapping[str, str], _back: bool) -> Iterator[Finding]:
    """What values say that single facts do not: options that ask for more or less, arguments in another order."""
    for path in sorted(old.keys() | new.keys()):
        was, now = old.get(path, ""), new.get(path, "")
        # A command or an option that comes or goes takes along what is below it.
        above = re.match(r"[^/]+/command/[^/]+(?=/)|[^/]+/option/[^/]+(?=/)", path)
        if was == now or (above and not (above[0] in old and above[0] in new)):
            continue
        if "/option/" in path:
            tier = _demands(was, now)
        elif path.endswith("/positional"):
            tier = _places(was.split(), now.split())
        elif "/invocation/" in path and was and now:
            tier = Tier.ADDITION if _rank(now) > _rank(was) else Tier.BREAK
        else:
            continue
        if tier > Tier.IDENTICAL:
            change = Change.ADDED if not was else Change.CHANGED if now else Change.REMOVED
            yield Finding(path, change, tier, was, now, "libvirt")


def _demands(was: str, now: str) -> Tier:
    """Of an option: whatever was right must be right still. What comes is an addition, unless it must be given."""
    (kind, *before), (after_kind, *after) = was.split(", "), now.split(", ")
    if not was:
        return Tier.BREAK if "required" in after else Tier.ADDITION
    if not now:
        return Tier.BREAK
    if {"required"} & ({*after} - {*before}) or {"repeated"} & ({*before} - {*after}):
        return Tier.BREAK
    if kind != after_kind and (kind, after_kind) not in WIDER:
        return Tier.BREAK
    return Tier.RISK if "hidden" in after and "hidden" not in before else Tier.ADDITION


#: Kinds of values that take all that another kind takes.
WIDER = {
    ("number", "string"),
    ("number", "value"),
    ("flag", "optional value"),
    ("value", "optional value"),
    ("value", "values"),
}


def _places(was: list[str], now: list[str]) -> Tier:
    return Tier.ADDITION if now[: len(was)] == was else Tier.BREAK


def _rank(outcome: str) -> int:
    return OUTCOMES.index(outcome) if outcome in OUTCOMES else -1


SAME, A, B = Tier.IDENTICAL, Tier.ADDITION, Tier.BREAK

SURFACE = RecordedSurface(
    name="command-line",
    summary="commands and options of virsh, virt-admin, virt-install and the smaller tools, and sample command lines",
    product="libvirt",
    parts={
        "virsh": virsh, "virt-admin": virt_admin, "tools": tools, "virt-install": virt_install, "invocations": samples,
    },
    rules=((r"/option/|/positional$", SAME, SAME, SAME), (r"/invocation/", SAME, A, A), (r"", B, A, B)),
    special=across,
)  # fmt: skip
