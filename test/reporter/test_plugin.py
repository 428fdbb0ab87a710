"""The callback plugin inside Ansible's own classes: run by the Python that runs ansible-playbook."""

import importlib.util
import os
import sys
import unittest
from pathlib import Path

PLUGIN = Path(__file__).resolve().parents[2] / "reporter/ansible/callback_plugins/gitops_findings.py"


def load():
    spec = importlib.util.spec_from_file_location("gitops_findings", PLUGIN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CallbackModule()


class Plugin(unittest.TestCase):
    def setUp(self):
        os.environ["GITOPS_FINDINGS"] = "/nonexistent/findings.json"
        self.addCleanup(os.environ.pop, "GITOPS_FINDINGS", None)

    def test_it_does_nothing_when_nobody_asks(self):
        del os.environ["GITOPS_FINDINGS"]
        self.assertTrue(load().disabled)

    def test_an_event_that_it_does_not_understand_spoils_the_whole_run(self):
        plugin = load()
        for event in ("v2_runner_on_ok", "v2_runner_item_on_ok", "v2_runner_on_failed", "v2_runner_on_skipped", "v2_playbook_on_stats"):
            with self.assertRaises(Exception):
                getattr(plugin, event)(object())
            self.assertIn(f"the plugin failed in {event}", plugin.findings.problems[-1])

    def test_it_needs_no_entry_in_the_list_of_enabled_plugins(self):
        self.assertFalse(load().CALLBACK_NEEDS_ENABLED)


if __name__ == "__main__":
    sys.exit(unittest.main())
