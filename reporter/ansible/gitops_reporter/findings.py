"""What a check run found on each host, and which hosts may be reported. Knows none of Ansible's classes."""

from __future__ import annotations

from dataclasses import dataclass, field

from .changes import changes_of, diff_of

# prepare or tell, but compare nothing with the host
NO_COMPARISON = {
    "add_host", "assert", "debug", "fail", "gather_facts", "group_by", "include_role", "include_tasks", "include_vars",
    "meta", "package_facts", "pause", "service_facts", "set_fact", "set_stats", "setup",
}  # fmt: skip
# say "changed" each time, though all they change is Ansible's own memory
MEMORY_ONLY = {"add_host", "group_by"}
# act, but hold no state that could differ from Git: that check mode skips them hides no drift
NO_STATE = {
    "async_status", "command", "expect", "fetch", "pause", "raw", "reboot", "script", "shell", "tempfile", "uri", "wait_for",
    "wait_for_connection", "win_command", "win_reboot", "win_shell", "win_uri", "win_wait_for",
}  # fmt: skip
# are skipped in check mode before they run
NEVER_CHECKS = {"assemble", "unarchive"}


@dataclass(frozen=True)
class Task:
    """The task of one result, its templates filled in. `action` is the short name of its module."""

    uuid: str
    name: str
    action: str
    args: dict
    is_loop: bool = False
    is_handler: bool = False
    delegate_to: str | None = None


@dataclass
class Host:
    """The facts of one host; only ever added to."""

    files: dict[str, list[str]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    failures: list[tuple[str, bool]] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    unrun: list[str] = field(default_factory=list)
    changed_loop: str | None = None
    left_early: bool = False
    compared: int = 0


class Findings:
    """Takes in the events of a run, gives out the JSON that update-gitops-status.sh reads.

    A host may be called in sync only if every task that its plays have for it was looked at; whatever speaks against that is
    a problem of the host. `allow_ignored` accepts failures that the playbook ignored or rescued, `allow_unchecked` modules
    that cannot look in check mode.
    """

    def __init__(self, with_diff: bool = False, allow_ignored: bool = False, allow_unchecked: bool = False):
        self.with_diff = with_diff
        self.allow_ignored = allow_ignored
        self.allow_unchecked = allow_unchecked
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.hosts: dict[str, Host] = {}

    def host(self, name: str) -> Host:
        return self.hosts.setdefault(name, Host())

    def ok(self, name: str, task: Task, outcome: dict, item: bool = False) -> None:
        """A task went through, or (`item`) one round of its loop."""
        host = self.host(name)
        if task.action not in NO_COMPARISON:
            host.compared += 1
        if not outcome.get("changed") or task.action in MEMORY_ONLY:
            return
        if item:
            host.changed_loop = task.uuid
        elif task.is_loop and host.changed_loop == task.uuid:
            return
        changes = changes_of(task.action, task.args, outcome, self.with_diff)
        # a handler that touches no file (a restart, say) only follows from a change that has been told already
        if not changes and not task.is_handler:
            changes = [(f"task: {task.name}", diff_of(outcome) if self.with_diff else "")]
        where = f"{task.delegate_to}:" if task.delegate_to and task.delegate_to != name else ""
        for file, diff in changes:
            diffs = host.files.setdefault(where + file, [])
            if diff and diff not in diffs:
                diffs.append(diff)

    def fail(self, name: str, task: Task, outcome: dict, ignored: bool = False) -> None:
        """A task failed; `ignored` by the playbook's own word."""
        self.host(name).failures.append((f"failed: {task.name}: {reason_of(outcome)}", ignored))

    def skip(self, name: str, task: Task, outcome: dict) -> None:
        """A task was skipped: by its own condition, which is the playbook's word, or for want of check mode, which is not looking."""
        if any(key in outcome for key in ("skip_reason", "skipped_reason", "results")):
            return
        # no_log hides the reason; but what a module was given once it ran shows that no condition kept it from running
        if "censored" in outcome and task.action not in NEVER_CHECKS and "_ansible_check_mode" not in task.args:
            return
        tasks = self.host(name).unrun if task.action in NO_STATE else self.host(name).unchecked
        if task.name not in tasks:
            tasks.append(task.name)

    def lose(self, name: str, why: str) -> None:
        """The host was not looked at in full."""
        if why not in self.host(name).lost:
            self.host(name).lost.append(why)

    def leave(self, name: str) -> None:
        """A play ended early for the host: on purpose (end_host), or with others that failed. Only the exit code tells which."""
        self.host(name).left_early = True

    def to_json(self, finished: bool, counts: dict[str, dict]) -> dict:
        """The result so far. `counts` is Ansible's own summary of each host, the second witness."""
        notes = list(self.notes)
        hosts = {}
        for name, host in sorted(self.hosts.items()):
            problems, remarks = self._judge(host, counts.get(name, {}))
            notes += [f"{name}: {remark}" for remark in remarks]
            hosts[name] = {
                "files": [file_of(file, diffs) for file, diffs in sorted(host.files.items())],
                "problems": problems,
                "left_early": host.left_early,
                "compared": host.compared,
            }
        return {"finished": finished, "problems": self.problems, "notes": notes, "hosts": hosts}

    def _judge(self, host: Host, counts: dict) -> tuple[list[str], list[str]]:
        problems, remarks = list(host.lost), []
        failed, rescued = counts.get("failures", 0), counts.get("rescued", 0)
        for failure, ignored in host.failures:
            if not ignored and (failed or not rescued):
                problems.append(failure)
            elif self.allow_ignored:
                remarks.append(f"{failure} (ignored or rescued by the playbook)")
            else:
                problems.append(f"{failure} (ignored or rescued by the playbook; --allow-ignored accepts that)")
        for task in host.unchecked:
            if self.allow_unchecked:
                remarks.append(f"not looked at, its module cannot in check mode: {task}")
            else:
                problems.append(f"not looked at, its module cannot in check mode: {task} (--allow-unchecked accepts that)")
        if (failed or counts.get("unreachable")) and not problems:
            problems.append("Ansible counts a failure")
        if host.unrun:
            remarks.append(f"not run in check mode: {', '.join(host.unrun)}")
        return problems, remarks


def file_of(name: str, diffs: list[str]) -> dict:
    return {"name": name, "diff": "".join(diffs)} if diffs else {"name": name}


def reason_of(outcome: dict) -> str:
    """One line that says why a result is bad."""
    for result in [*outcome.get("results", []), outcome]:
        if isinstance(result, dict) and (result.get("failed") or result is outcome):
            text = next((str(result[key]) for key in ("msg", "reason", "stderr", "censored") if result.get(key)), "no reason given")
            return " ".join(text.split())[:500]
    return "no reason given"
