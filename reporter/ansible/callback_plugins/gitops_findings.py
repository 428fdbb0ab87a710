"""An Ansible callback plugin: writes what a check run found, per host, into the JSON file that GITOPS_FINDINGS names.

update-gitops-status.sh puts this folder on ANSIBLE_CALLBACK_PLUGINS, reads the file and sends the reports. The plugin prints
nothing and runs beside any output plugin; without GITOPS_FINDINGS it does nothing. It works with ansible-core 2.14 and newer.

    {"finished": true,              not true, or no file at all: the run was cut short and nothing in it may be trusted
     "problems": ["…"],             why no host may be trusted
     "notes": ["…"],                what a person should know, though it changes nothing
     "hosts": {"web1": {
         "files": [{"name": "/etc/motd", "diff": "…"}],
         "problems": ["…"],         why this host may not be reported
         "left_early": false,       true: some play ended early for it, harmless only if the whole run succeeded
         "compared": 12}}}          tasks that compared something with the host
"""

from __future__ import annotations

import functools
import json
import os
import sys

from ansible import context
from ansible.playbook.handler import Handler
from ansible.plugins.callback import CallbackBase

# not in this folder: every module here would be taken for a plugin
sys.path.append(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
from gitops_reporter.findings import Findings, Task, reason_of  # noqa: E402

DOCUMENTATION = """
    name: gitops_findings
    type: aggregate
    short_description: writes the findings of a check run to a file
    description:
      - Collects, per host, the files that a run in check mode would change, and whatever makes that answer doubtful.
      - Part of gitops-status-server, whose update-gitops-status.sh starts it.
    options: {}
"""


def guarded(method):
    """Ansible warns when a callback raises, and goes on: the event that is lost then could have been a drift."""

    @functools.wraps(method)
    def guard(self, *args, **kwargs):
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.findings.problems.append(f"the plugin failed in {method.__name__}: {type(error).__name__}: {error}")
            raise

    return guard


class CallbackModule(CallbackBase):
    """Passes Ansible's events on to Findings, and keeps watch that no host misses a play."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "gitops_findings"
    # loaded as soon as it is found, so that the user's own list of enabled plugins stays as it is
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.path = os.environ.get("GITOPS_FINDINGS")
        self.disabled = not self.path
        self.findings = Findings(
            with_diff=is_set("GITOPS_WITH_DIFF"),
            allow_ignored=is_set("GITOPS_ALLOW_IGNORED"),
            allow_unchecked=is_set("GITOPS_ALLOW_UNCHECKED"),
        )
        self.playbook = None
        self.playbooks_done = 0
        self.plays = []
        # id of a play that began → its hosts that have not begun with it
        self.waiting = {}

    @guarded
    def v2_playbook_on_start(self, playbook):
        self.playbook = playbook
        for option in ("start_at_task", "step"):
            if context.CLIARGS.get(option):
                self.findings.problems.append(f"--{option.replace('_', '-')} leaves tasks out")

    @guarded
    def v2_playbook_on_play_start(self, play):
        self.plays.append(play)
        for host in hosts_of(play):
            self.findings.host(host)
        # with `serial` a play begins anew for each batch
        self.waiting.setdefault(play._uuid, set(hosts_of(play, whole=True))).difference_update(hosts_of(play))

    @guarded
    def v2_playbook_on_no_hosts_matched(self):
        self.findings.notes.append(f"no host matched the play {self.plays[-1].get_name()}")

    @guarded
    def v2_playbook_on_no_hosts_remaining(self):
        # any_errors_fatal: nothing else is heard of the hosts that were doing well
        for host in hosts_of(self.plays[-1]):
            self.findings.leave(host)

    @guarded
    def v2_runner_on_ok(self, result):
        self.findings.ok(*facts_of(result))

    @guarded
    def v2_runner_item_on_ok(self, result):
        self.findings.ok(*facts_of(result), item=True)

    @guarded
    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.findings.fail(*facts_of(result), ignored=bool(ignore_errors))

    @guarded
    def v2_runner_on_unreachable(self, result):
        host, _, outcome = facts_of(result)
        self.findings.lose(host, f"unreachable: {reason_of(outcome)}")

    @guarded
    def v2_runner_on_skipped(self, result):
        self.findings.skip(*facts_of(result))

    @guarded
    def v2_runner_item_on_skipped(self, result):
        self.findings.skip(*facts_of(result))

    @guarded
    def v2_playbook_on_stats(self, stats):
        for play in self.plays:
            for host in play._removed_hosts:
                self.findings.leave(host)
        for play in self.playbook.get_plays():
            begun = play._uuid in self.waiting
            for host in self.waiting[play._uuid] if begun else hosts_of(play, whole=True):
                self.findings.lose(host, f"never came to the play {play.get_name()}, after an earlier failure")
        self.playbooks_done += 1
        finished = self.playbooks_done == len(context.CLIARGS["args"])
        counts = {host: stats.summarize(host) for host in stats.processed}
        with open(self.path, "w", encoding="utf-8", errors="replace") as file:
            json.dump(self.findings.to_json(finished, counts), file, ensure_ascii=False)


def is_set(name):
    return os.environ.get(name) == "1"


def hosts_of(play, whole=False):
    """The names of a play's hosts: of the batch that is running, or of the whole play."""
    if any("{{" in pattern for pattern in play.hosts):
        raise ValueError(f"cannot tell the hosts of the play {play.get_name()}, which never began")
    inventory = play.get_variable_manager()._inventory
    return [host.get_name() for host in inventory.get_hosts(play.hosts, ignore_restrictions=whole)]


def facts_of(result):
    """Host, task and outcome of a result. The public names are those of ansible-core 2.19 and newer."""
    host = getattr(result, "host", None) or result._host
    task = getattr(result, "task", None) or result._task
    outcome = result.result if hasattr(result, "result") else result._result
    return (
        host.get_name(),
        Task(
            uuid=task._uuid,
            name=task.get_name(),
            action=task.action.rpartition(".")[2],
            args=task.args,
            is_loop=task.loop is not None or task.loop_with is not None,
            is_handler=isinstance(task, Handler),
            delegate_to=task.delegate_to,
        ),
        outcome,
    )
