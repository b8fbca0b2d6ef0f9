"""The fault filter: a program that stands between a probe and its caller and makes the pair look like a release with a fault.

It is started in place of the probe's bootstrap, with its rules as a JSON argument and the bootstrap's command after it.
It hands on the probe's source, its questions and its answers, line by line, and changes those that a rule is about. The
probe does not know of it, and neither does who asks. Standard library, Python 3.9 and newer. Nothing imports it.

A rule: ``way`` (``question`` or ``answer``: what is changed), where it applies, and what it does.
  where  probe (name of the program in probes/), op, kind (lists of words), uri (pattern of what was opened),
         asked, unasked (patterns that the question's text has, or has not), answered, unanswered (of the answer's)
  does   edits ([pattern, replacement], of the forms named in ``forms``, of every one where none is named), transform (a
         name in TRANSFORMS), records (of every record in the answer whose field ``key`` matches ``match``, or that stands
         under a name that matches ``named``: ``set`` its fields), say (fields that the answer has in place of its own), die (a signal's number)
The text of a question is its document, the files that it brings, of what is looked up the file that was brought under
its name; else the whole question.
Patterns are Python's, ``.`` matches a newline, ``^`` and ``$`` a line's ends.
"""

import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading

FLAGS = re.DOTALL | re.MULTILINE
TAG = re.compile(r"<([\w:.-]+)((?:\s+[\w:.-]+=(?:'[^']*'|\"[^\"]*\"))+)(\s*/?)>")
ATTRIBUTE = re.compile(r"\s+([\w:.-]+=(?:'[^']*'|\"[^\"]*\"))")


def reversed_attributes(text):
    def turned(found):
        return "<%s %s%s>" % (found.group(1), " ".join(ATTRIBUTE.findall(found.group(2))[::-1]), found.group(3))

    return TAG.sub(turned, text)


def opened_elements(text):
    """Empty elements with an end tag of their own."""
    return re.sub(r"<([\w:.-]+)((?:\s+[\w:.-]+=(?:'[^']*'|\"[^\"]*\"))*)\s*/>", r"<\1\2></\1>", text)


def unindented(text):
    """Elements on one line: white space between tags alone is gone, that of a text is not."""
    return re.sub(r">\s*\n\s*<", "><", text)


def double_quoted(text):
    def quoted(found):
        return re.sub(r"='([^'\"]*)'", r'="\1"', found.group(0))

    return TAG.sub(quoted, text)


def reversed_devices(text):
    """The kinds of devices the other way round; those of a kind stay in their order, which has a meaning."""

    def turned(found):
        lines, groups, depth = found.group(2).split("\n"), [], None
        for line in lines:
            indent = len(line) - len(line.lstrip())
            name = re.match(r"\s*<([\w:.-]+)", line)
            if depth is None and name:
                depth = indent
            if name and indent == depth and not line.lstrip().startswith("</"):
                if not groups or groups[-1][0] != name.group(1):
                    groups.append((name.group(1), []))
            if not groups:
                groups.append(("", []))
            groups[-1][1].append(line)
        return found.group(1) + "\n".join("\n".join(group) for _, group in groups[::-1]) + found.group(3)

    return re.sub(r"(<devices>\n)(.*?)(\n\s*</devices>)", turned, text, flags=re.DOTALL)


TRANSFORMS = {
    "reversed-attributes": reversed_attributes,
    "opened-elements": opened_elements,
    "unindented": unindented,
    "double-quoted": double_quoted,
    "reversed-devices": reversed_devices,
}


def text_of(question, files):
    """What a question is about: a document, files, the file of what is looked up by name; else all of it."""
    if "xml" in question:
        return question["xml"]
    if question.get("files"):
        return "\n".join(question["files"].values())
    if question.get("op") == "dump":
        name = "/%s.xml" % question.get("name")
        return "\n".join(text for path, text in files.items() if path.endswith(name))
    return json.dumps(question)


def merged(value, how, name=""):
    """A value of any shape in which every record that is meant has other fields too."""
    if isinstance(value, list):
        return [merged(each, how) for each in value]
    if not isinstance(value, dict):
        return value
    found = {key: merged(each, how, key) for key, each in value.items()}
    field = found.get(how["key"]) if "key" in how else None
    if isinstance(field, str) and re.search(how["match"], field, FLAGS) or "named" in how and re.search(how["named"], name):
        found.update(how["set"])
    return found


def end(number):
    """End by a signal, without a core; what the probe started keeps the limits that it was given."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


class Rule:
    """One rule, its patterns compiled."""

    def __init__(self, table):
        self.table = table
        self.patterns = {k: re.compile(table[k], FLAGS) for k in ("uri", "asked", "unasked", "answered", "unanswered") if k in table}
        self.edits = [(re.compile(find, FLAGS), replace) for find, replace in table.get("edits", [])]

    def about(self, question, uri, files):
        """Whether the rule is about a question; files: what the probe was opened on."""
        # A probe that is opened on files is given documents of every kind.
        known = [key for key in ("op", "kind") if key in self.table and not (key == "kind" and question.get("op") == "open")]
        if any(question.get(key) not in self.table[key] for key in known):
            return False
        text = text_of(question, files)
        return self.found("uri", uri) and self.found("asked", text) and not self.found("unasked", text, False)

    def found(self, key, text, otherwise=True):
        return bool(self.patterns[key].search(text)) if key in self.patterns else otherwise

    def edited(self, text):
        for pattern, replacement in self.edits:
            text = pattern.sub(replacement, text)
        name = self.table.get("transform")
        return TRANSFORMS[name](text) if name else text

    def leaves(self, value):
        """A value of any shape with every text in it edited."""
        if isinstance(value, str):
            return self.edited(value)
        if isinstance(value, list):
            return [self.leaves(each) for each in value]
        if isinstance(value, dict):
            return {key: self.leaves(each) for key, each in value.items()}
        return value

    def asked(self, question):
        """A question as a parser with the fault would read it."""
        changed = dict(question)
        if "xml" in changed:
            changed["xml"] = self.edited(changed["xml"])
        elif "files" in changed:
            changed["files"] = {path: self.edited(text) for path, text in (changed["files"] or {}).items()}
        else:
            changed = self.leaves(changed)
        return changed

    def answered(self, answer):
        """An answer as a release with the fault would give it."""
        texts = "\n".join(each.get("text", "") for each in (answer.get("forms") or {}).values()) or json.dumps(answer)
        if not self.found("answered", texts) or self.found("unanswered", texts, False):
            return answer
        if "die" in self.table:
            end(self.table["die"])
        if "say" in self.table:
            kept = {key: answer[key] for key in ("id", "rss") if key in answer}
            return dict(self.table["say"], **kept)
        if "records" in self.table:
            return merged(answer, self.table["records"])
        if "forms" not in answer:
            return dict(self.leaves(answer), id=answer.get("id"))
        wanted = self.table.get("forms")
        forms = {
            name: dict(form, text=self.edited(form["text"])) if "text" in form and (not wanted or name in wanted) else form
            for name, form in answer["forms"].items()
        }
        return dict(answer, forms=forms)


class Filter:
    """The two ways of one probe's talk."""

    def __init__(self, config, command):
        self.config = config
        self.rules = []
        self.questions = {}
        self.uri = ""
        self.files = {}
        self.lock = threading.Lock()
        self.probe = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)

    def take_source(self):
        """Hand the probe its own source on; its digest says which program it is, and so which rules are about it."""
        length = sys.stdin.buffer.readline()
        source = b""
        while len(source.decode("utf-8", "ignore")) < int(length):
            source += sys.stdin.buffer.read(int(length) - len(source.decode("utf-8", "ignore")))
        self.probe.stdin.write(length + source)
        self.probe.stdin.flush()
        name = self.config["probes"].get(hashlib.sha256(source).hexdigest(), "")
        self.rules = [Rule(table) for table in self.config["rules"] if table.get("probe", "libvirt_probe") == name]

    def tell(self):
        """Leave a mark where whoever started it can see that the fault took effect."""
        if self.config.get("mark"):
            with open(self.config["mark"], "a") as file:
                file.write("1")

    def ask(self):
        for line in sys.stdin.buffer:
            if self.rules:
                line = self.changed_question(line)
            try:
                self.probe.stdin.write(line)
                self.probe.stdin.flush()
            except OSError:
                break  # the probe is gone: its end is told by the other way
        try:
            self.probe.stdin.close()
        except OSError:
            pass

    def changed_question(self, line):
        question = json.loads(line)
        if question.get("op") == "open":
            self.uri = question.get("uri") or ""
            self.files = question.get("files") or {}
        with self.lock:
            self.questions[question.get("id")] = question
        changed = question
        for rule in self.rules:
            if rule.table["way"] == "question" and rule.about(changed, self.uri, self.files):
                changed = rule.asked(changed)
        if changed == question:
            return line
        self.tell()
        return json.dumps(changed).encode() + b"\n"

    def answer(self):
        for line in self.probe.stdout:
            if self.rules:
                line = self.changed_answer(line)
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()

    def changed_answer(self, line):
        try:
            answer = json.loads(line)
        except ValueError:
            return line
        with self.lock:
            question = self.questions.pop(answer.get("id"), {})
        changed = answer
        for rule in self.rules:
            if rule.table["way"] == "answer" and rule.about(question, self.uri, self.files):
                if "die" in rule.table:
                    self.tell()
                changed = rule.answered(changed)
        if changed == answer:
            return line
        self.tell()
        return json.dumps(changed).encode() + b"\n"


def main():
    one = Filter(json.loads(sys.argv[1]), sys.argv[2:])
    one.take_source()
    threading.Thread(target=one.ask, daemon=True).start()
    one.answer()
    code = one.probe.wait()
    if code < 0:
        end(-code)
    os._exit(code)


main()
