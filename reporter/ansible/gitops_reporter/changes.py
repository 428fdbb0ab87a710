"""What one changed task result changes: names and diffs. Knows Ansible's result format, but none of its classes."""

from __future__ import annotations

import difflib
import json
import posixpath
import re

MAX_DIFF_BYTES = 16 * 1024
# beyond this many differing lines comparing line by line costs too much, and the report cuts the diff anyway
MAX_COMPARED_LINES = 2000
CONTEXT_LINES = 3

# actions whose argument `path` (or an older name of it) is a file, for results that say nothing themselves (no_log)
FILE_ACTIONS = {
    "acl", "authorized_key", "blockinfile", "file", "ini_file", "known_hosts", "lineinfile", "replace", "win_file",
    "win_lineinfile", "xattr", "xml",
}  # fmt: skip

# "/etc/motd (content)", "/etc/motd (file attributes)"
HEADER_NOTE = re.compile(r" \((content|file attributes)\)$")
# unarchive of a zip: ">fcst...... dir/a.txt"
ITEMIZED = re.compile(r"^[<>.ch][fdLDS]\S{6,10} (?P<name>.+)$")


def changes_of(action: str, args: dict, outcome: dict, with_diff: bool) -> list[tuple[str, str]]:
    """The changed files as (name, diff), in the order of the result; the diff is "" when there is none. [] if it is no file."""
    target = target_of(action, args, outcome)
    if action == "unarchive" and target:
        members = members_of(target, outcome)
        if members:
            return members
    changes: dict[str, list] = {}
    for entry in entries_of(outcome):
        name = name_in(entry) or target
        if name:
            changes.setdefault(name, []).append(entry)
    if target and not changes:
        changes[target] = []
    return [(clean(name), render(entries) if with_diff else "") for name, entries in changes.items()]


def diff_of(outcome: dict) -> str:
    """The whole diff of a result as one text."""
    return render(entries_of(outcome))


def target_of(action: str, args: dict, outcome: dict) -> str | None:
    """The file that a task is about: as the module resolved it, else as the task asked for it."""
    for key in ("dest", "path"):
        if is_name(outcome.get(key)):
            return outcome[key]
    if is_name(args.get("dest")):
        dest, source = args["dest"], args.get("src")
        # into a folder the file goes under its own name
        if dest.endswith("/") and is_name(source) and action in ("copy", "template", "win_copy", "win_template"):
            return dest + posixpath.basename(source)
        return dest
    if action in FILE_ACTIONS:
        return next((args[key] for key in ("path", "destfile", "name") if is_name(args.get(key))), None)
    return None


def name_in(entry: dict) -> str | None:
    """The file that one part of a diff names itself."""
    for side in ("before", "after"):
        value = entry.get(side)
        if isinstance(value, dict) and is_path(value.get("path")):
            return value["path"]
    header = entry.get("before_header")
    # only next to /dev/null is the other side the target too; elsewhere it is where the content came from
    if header == "/dev/null":
        header = entry.get("after_header")
    if not isinstance(header, str):
        return None
    header = HEADER_NOTE.sub("", header)
    return header if is_path(header) else None


def members_of(folder: str, outcome: dict) -> list[tuple[str, str]]:
    lines = [line for entry in entries_of(outcome) for line in str(entry.get("prepared", "")).splitlines()]
    matches = [ITEMIZED.match(line) for line in lines]
    return [(clean(posixpath.join(folder, match["name"])), match.string + "\n") for match in matches if match]


def entries_of(outcome: dict) -> list[dict]:
    diff = outcome.get("diff") or []
    return [entry for entry in (diff if isinstance(diff, list) else [diff]) if isinstance(entry, dict)]


def is_name(value) -> bool:
    return isinstance(value, str) and value != ""


def is_path(value) -> bool:
    return isinstance(value, str) and value.startswith(("/", "~"))


def clean(name: str) -> str:
    """`/etc//x/../motd` is `/etc/motd`; the slash that marks a folder stays."""
    if not name.startswith("/"):
        return str(name)
    return posixpath.normpath("/" + name.lstrip("/")) + ("/" if name.endswith("/") and name.strip("/") else "")


def render(entries: list[dict]) -> str:
    return cut("".join(part for entry in entries for part in parts_of(entry)))


def parts_of(entry: dict):
    if "prepared" in entry:
        yield ending_line(str(entry["prepared"]))
    for side, which in (("dst", "the file on the server"), ("src", "the file in Git")):
        if f"{side}_binary" in entry:
            yield f"no diff: {which} is binary\n"
        if f"{side}_larger" in entry:
            yield f"no diff: {which} is larger than {entry[f'{side}_larger']} bytes\n"
    if "before" in entry and "after" in entry:
        yield from unified(text_of(entry["before"]), text_of(entry["after"]))


def text_of(value) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str) + "\n"


def unified(before: str, after: str):
    """A unified diff in time that grows with the size of the change, not of the files."""
    old, new = lines_of(before), lines_of(after)
    same = 0
    while same < min(len(old), len(new)) and old[same] == new[same]:
        same += 1
    end = 0
    while end < min(len(old), len(new)) - same and old[-1 - end] == new[-1 - end]:
        end += 1
    skipped = max(0, same - CONTEXT_LINES)
    kept = max(0, end - CONTEXT_LINES)
    old, new = old[skipped : len(old) - kept], new[skipped : len(new) - kept]
    if old == new:
        return
    yield "--- before\n+++ after\n"
    if len(old) + len(new) > MAX_COMPARED_LINES:
        yield f"@@ -{skipped + 1},{len(old)} +{skipped + 1},{len(new)} @@\n"
        yield from (f"-{line}" for line in old)
        yield from (f"+{line}" for line in new)
        return
    for group in difflib.SequenceMatcher(None, old, new).get_grouped_opcodes(CONTEXT_LINES):
        _, old_from, _, new_from, _ = group[0]
        _, _, old_to, _, new_to = group[-1]
        yield f"@@ -{span(skipped + old_from, old_to - old_from)} +{span(skipped + new_from, new_to - new_from)} @@\n"
        for kind, old_from, old_to, new_from, new_to in group:
            if kind == "equal":
                yield from (f" {line}" for line in old[old_from:old_to])
                continue
            yield from (f"-{line}" for line in old[old_from:old_to])
            yield from (f"+{line}" for line in new[new_from:new_to])


def span(start: int, length: int) -> str:
    # as diff(1) counts: an empty span stands at the line before it
    return f"{start if length == 0 else start + 1},{length}"


def lines_of(text: str) -> list[str]:
    lines = text.split("\n")
    last = lines.pop()
    lines = [line + "\n" for line in lines]
    return lines + [last + "\n\\ No newline at end of file\n"] if last else lines


def ending_line(text: str) -> str:
    return text if text.endswith("\n") or not text else text + "\n"


def cut(diff: str) -> str:
    """At most MAX_DIFF_BYTES of UTF-8, by whole lines, with the same last line that the service would write."""
    data = diff.encode("utf-8", "replace")
    if len(data) <= MAX_DIFF_BYTES:
        return data.decode()
    room = MAX_DIFF_BYTES - 64
    end = data.rfind(b"\n", 0, room) + 1
    newline = ""
    if end == 0:
        end, newline = len(data[:room].decode("utf-8", "ignore").encode()), "\n"
    return f"{data[:end].decode()}{newline}[cut: {len(data) - end} more bytes]\n"
