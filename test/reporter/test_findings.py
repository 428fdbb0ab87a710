"""Which hosts may be reported, by what happened on them. Needs no Ansible."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "reporter/ansible"))

from gitops_reporter.findings import Findings, Task  # noqa: E402

COPY = Task(uuid="1", name="Copy the motd", action="copy", args={"dest": "/etc/motd"})
PACKAGE = Task(uuid="2", name="Install rsyslog", action="apt", args={"name": "rsyslog"})
RESTART = Task(uuid="3", name="Restart rsyslog", action="service", args={"name": "rsyslog"}, is_handler=True)
CHANGED = {"changed": True, "diff": {"before": "a\n", "after": "b\n"}}
FINE = {"ok": 1}


def host(findings, counts=FINE):
    return findings.to_json(True, {"web1": counts})["hosts"]["web1"]


def names(findings):
    return [file["name"] for file in host(findings)["files"]]


class Drift(unittest.TestCase):
    def test_a_host_without_changes_has_no_files(self):
        findings = Findings()
        findings.ok("web1", COPY, {"changed": False})
        self.assertEqual(host(findings), {"files": [], "problems": [], "left_early": False, "compared": 1})

    def test_a_change_that_is_no_file_is_named_after_its_task(self):
        findings = Findings()
        findings.ok("web1", PACKAGE, {"changed": True})
        self.assertEqual(names(findings), ["task: Install rsyslog"])

    def test_a_handler_that_touches_no_file_is_no_drift_of_its_own(self):
        findings = Findings()
        findings.ok("web1", COPY, CHANGED)
        findings.ok("web1", RESTART, {"changed": True})
        self.assertEqual(names(findings), ["/etc/motd"])

    def test_two_tasks_that_change_one_file_are_one_name_with_both_diffs(self):
        findings = Findings(with_diff=True)
        findings.ok("web1", COPY, CHANGED)
        findings.ok("web1", COPY, {"changed": True, "diff": {"before": {"mode": "1"}, "after": {"mode": "2"}}})
        [file] = host(findings)["files"]
        self.assertIn("-a\n+b\n", file["diff"])
        self.assertIn('+  "mode": "2"', file["diff"])

    def test_without_the_option_there_are_no_diffs(self):
        findings = Findings()
        findings.ok("web1", COPY, CHANGED)
        self.assertEqual(host(findings)["files"], [{"name": "/etc/motd"}])

    def test_a_loop_names_the_files_of_its_changed_rounds_only(self):
        findings = Findings()
        rounds = [Task(uuid="9", name="Copy", action="copy", args={"dest": f"/etc/{n}"}, is_loop=True) for n in range(3)]
        for number, task in enumerate(rounds):
            findings.ok("web1", task, {"changed": number != 1}, item=True)
        findings.ok("web1", rounds[2], {"changed": True, "results": []})
        self.assertEqual(names(findings), ["/etc/0", "/etc/2"])

    def test_a_loop_that_changed_without_saying_in_which_round_is_not_lost(self):
        findings = Findings()
        findings.ok("web1", Task(uuid="9", name="Packages", action="apt", args={}, is_loop=True), {"changed": True})
        self.assertEqual(names(findings), ["task: Packages"])

    def test_a_file_on_the_machine_that_a_task_is_delegated_to_is_told_apart(self):
        findings = Findings()
        findings.ok("web1", Task(uuid="1", name="Copy", action="copy", args={"dest": "/etc/lb"}, delegate_to="lb1"), CHANGED)
        self.assertEqual(names(findings), ["lb1:/etc/lb"])

    def test_5000_changed_files_are_5000_names(self):
        findings = Findings(with_diff=True)
        for number in range(5000):
            findings.ok("web1", Task(uuid="1", name="Copy", action="copy", args={"dest": f"/etc/{number}"}), CHANGED)
        self.assertEqual(len(names(findings)), 5000)


class Doubt(unittest.TestCase):
    def test_a_failed_task_is_named_with_its_reason(self):
        findings = Findings()
        findings.fail("web1", COPY, {"msg": "No space\n left"})
        self.assertEqual(host(findings, {"failures": 1})["problems"], ["failed: Copy the motd: No space left"])

    def test_the_reason_of_a_failed_loop_is_that_of_its_failed_round(self):
        findings = Findings()
        results = [{"msg": "fine"}, {"failed": True, "msg": "No such user"}]
        findings.fail("web1", COPY, {"msg": "One or more items failed", "results": results})
        self.assertEqual(host(findings, {"failures": 1})["problems"], ["failed: Copy the motd: No such user"])

    def test_an_ignored_failure_leaves_a_file_unseen(self):
        findings = Findings()
        findings.fail("web1", COPY, {"msg": "denied"}, ignored=True)
        self.assertRegex(host(findings)["problems"][0], "^failed: Copy the motd: denied .*--allow-ignored")

    def test_a_rescued_failure_too(self):
        findings = Findings()
        findings.fail("web1", COPY, {"msg": "denied"})
        self.assertRegex(host(findings, {"rescued": 1})["problems"][0], "--allow-ignored")

    def test_both_may_be_accepted_and_are_noted_then(self):
        findings = Findings(allow_ignored=True)
        findings.fail("web1", COPY, {"msg": "denied"}, ignored=True)
        findings.fail("web1", PACKAGE, {"msg": "no network"})
        result = findings.to_json(True, {"web1": {"rescued": 1}})
        self.assertEqual(result["hosts"]["web1"]["problems"], [])
        self.assertEqual(len(result["notes"]), 2)

    def test_a_failure_that_is_neither_is_never_accepted(self):
        findings = Findings(allow_ignored=True)
        findings.fail("web1", COPY, {"msg": "denied"})
        self.assertEqual(host(findings, {"failures": 1, "rescued": 1})["problems"], ["failed: Copy the motd: denied"])

    def test_a_failure_that_only_ansible_counts_is_believed(self):
        findings = Findings()
        findings.ok("web1", COPY, {"changed": False})
        self.assertEqual(host(findings, {"failures": 1})["problems"], ["Ansible counts a failure"])

    def test_a_module_without_check_mode_leaves_a_file_unseen(self):
        findings = Findings()
        findings.skip("web1", Task("1", "Assemble", "assemble", {}), {"msg": "check mode is not supported for this task."})
        self.assertRegex(host(findings)["problems"][0], "cannot in check mode: Assemble .*--allow-unchecked")

    def test_that_may_be_accepted_and_is_noted_then(self):
        findings = Findings(allow_unchecked=True)
        findings.skip("web1", Task("1", "Assemble", "assemble", {}), {"msg": "check mode is not supported for this task."})
        self.assertEqual(host(findings)["problems"], [])
        self.assertEqual(len(findings.to_json(True, {})["notes"]), 1)

    def test_a_command_holds_no_state_and_is_only_noted(self):
        findings = Findings()
        findings.skip("web1", Task("1", "Reload", "command", {}), {"msg": "Command would have run if not in check mode"})
        self.assertEqual(host(findings)["problems"], [])
        self.assertEqual(findings.to_json(True, {})["notes"], ["web1: not run in check mode: Reload"])

    def test_what_the_playbook_skips_by_a_condition_is_its_own_word(self):
        findings = Findings()
        findings.ok("web1", COPY, {"changed": False})
        findings.skip("web1", PACKAGE, {"skip_reason": "Conditional result was False"})
        self.assertEqual(host(findings)["problems"], [])

    def test_no_log_hides_neither_a_condition_nor_a_module_without_check_mode(self):
        hidden = {"censored": "the output has been hidden"}
        findings = Findings()
        findings.ok("web1", COPY, {"changed": False})
        findings.skip("web1", COPY, hidden)
        self.assertEqual(host(findings)["problems"], [])
        findings.skip("web1", Task("1", "Unpack", "unarchive", {}), hidden)
        findings.skip("web1", Task("2", "Theirs", "theirs", {"_ansible_check_mode": True}), hidden)
        self.assertEqual(len(host(findings)["problems"]), 2)

    def test_facts_and_messages_compare_nothing(self):
        findings = Findings()
        for action in ("setup", "debug", "set_fact", "assert"):
            findings.ok("web1", Task("1", action, action, {}), {"changed": False})
        self.assertEqual(host(findings)["compared"], 0)
