"""Names and diffs of Ansible's results. Needs no Ansible: `python3 -m unittest discover -s test/reporter`."""

import json
import random
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "reporter/ansible"))

from gitops_reporter.changes import changes_of, unified  # noqa: E402

RECORDED = json.loads((ROOT / "test/fixtures/reporter/ansible/results.json").read_text())


def names(action, args, result):
    return [name for name, _ in changes_of(action, args, {"changed": True, **result}, with_diff=False)]


def diff(result):
    [(_, text)] = changes_of("copy", {"dest": "/etc/motd"}, result, with_diff=True)
    return text


def applied(text, before):
    """What patch(1) would make of it."""
    lines, result, position = before.splitlines(True), [], 0
    for line in text.splitlines(True)[2:]:
        if line.startswith("@@"):
            start, length = map(int, line.split()[1][1:].split(","))
            start = start - 1 if length else start
            result += lines[position:start]
            position = start
        elif line.startswith("\\"):
            result[-1] = result[-1].removesuffix("\n") if added else result[-1]
        else:
            added = line[0] in "+ "
            if line[0] in " -":
                assert lines[position].rstrip("\n") == line[1:].rstrip("\n"), (lines[position], line)
                position += 1
            if added:
                result.append(line[1:])
    return "".join(result + lines[position:])


class Names(unittest.TestCase):
    def test_every_recorded_result_has_the_names_it_should(self):
        for number, row in enumerate(RECORDED):
            with self.subTest(number=number, action=row["action"], args=row["args"]):
                self.assertEqual(names(row["action"].rpartition(".")[2], row["args"], row["result"]), row["names"])

    def test_a_file_copied_into_a_folder_goes_under_its_own_name(self):
        self.assertEqual(names("template", {"src": "a/motd.j2", "dest": "/etc/"}, {"diff": []}), ["/etc/motd.j2"])

    def test_the_path_that_the_module_resolved_comes_before_what_the_task_said(self):
        self.assertEqual(names("copy", {"dest": "/etc"}, {"dest": "/etc/motd"}), ["/etc/motd"])
        self.assertEqual(names("copy", {"dest": "/etc"}, {"diff": [{"before_header": "/etc/motd"}]}), ["/etc/motd"])

    def test_one_result_may_change_several_files(self):
        entries = [{"before_header": "/etc/a", "before": "1", "after": "2"}, {"before_header": "/etc/b", "before": "1", "after": "2"}]
        self.assertEqual(names("apt_repository", {}, {"diff": entries}), ["/etc/a", "/etc/b"])

    def test_content_and_attributes_of_one_file_are_one_name(self):
        entries = [{"before_header": "/etc/a (content)"}, {"before_header": "/etc/a (file attributes)"}]
        self.assertEqual(names("lineinfile", {"path": "/etc/a"}, {"diff": entries}), ["/etc/a"])

    def test_a_new_file_is_named_by_the_side_that_exists(self):
        entry = {"before_header": "/dev/null", "after_header": "/etc/apt/sources.list.d/x.list"}
        self.assertEqual(names("apt_repository", {}, {"diff": entry}), ["/etc/apt/sources.list.d/x.list"])

    def test_the_path_argument_of_a_module_that_manages_no_files_is_no_file(self):
        self.assertEqual(names("iam_role", {"path": "/service/"}, {}), [])

    def test_blanks_quotes_and_letters_of_any_script_stay(self):
        self.assertEqual(names("copy", {"dest": "/etc/a \"b\" 'c' żółć 日本"}, {}), ["/etc/a \"b\" 'c' żółć 日本"])

    def test_paths_are_tidied(self):
        self.assertEqual(names("copy", {"dest": "//etc//./x/../motd"}, {}), ["/etc/motd"])


class Diffs(unittest.TestCase):
    def test_a_diff_leads_from_one_text_to_the_other(self):
        pick = random.Random(5)
        for round_ in range(400):
            before = [f"{pick.randrange(6)}\n" for _ in range(pick.randrange(40))]
            after = list(before)
            for _ in range(pick.randrange(6)):
                at = pick.randrange(len(after) + 1)
                after[at : at + pick.randrange(3)] = [f"{pick.randrange(9)}\n" for _ in range(pick.randrange(3))]
            old, new = "".join(before), "".join(after)
            if round_ % 3 == 0:
                new = new.removesuffix("\n")
            text = "".join(unified(old, new))
            self.assertEqual(applied(text, old) if text else old, new)

    def test_what_is_equal_is_not_shown(self):
        self.assertEqual(diff({"diff": {"before": "a\n", "after": "a\n"}}), "")

    def test_a_changed_line_is_shown_with_its_neighbours(self):
        before = "".join(f"{n}\n" for n in range(20))
        self.assertEqual(
            diff({"diff": {"before": before, "after": before.replace("10\n", "ten\n")}}),
            "--- before\n+++ after\n@@ -8,7 +8,7 @@\n 7\n 8\n 9\n-10\n+ten\n 11\n 12\n 13\n",
        )

    def test_a_changed_mode_is_shown(self):
        text = diff({"diff": {"before": {"path": "/etc/motd", "mode": "0644"}, "after": {"path": "/etc/motd", "mode": "0600"}}})
        self.assertIn('-  "mode": "0644"', text)
        self.assertIn('+  "mode": "0600"', text)

    def test_a_binary_or_huge_file_says_so(self):
        self.assertEqual(diff({"diff": {"dst_binary": 1}}), "no diff: the file on the server is binary\n")
        self.assertEqual(diff({"diff": {"src_larger": 104448}}), "no diff: the file in Git is larger than 104448 bytes\n")

    def test_no_log_has_no_diff(self):
        self.assertEqual(diff({"censored": "the output has been hidden", "changed": True}), "")

    def test_ten_megabytes_are_cut_at_a_line_and_say_so(self):
        lines = [f"line {n} żółć" for n in range(600_000)]
        for after in ("\n".join(reversed(lines)), "\n".join(lines[:300_000] + ["new"] + lines[300_000:])):
            text = diff({"diff": {"before": "\n".join(lines), "after": after}})
            self.assertLessEqual(len(text.encode()), 16 * 1024)
        text = diff({"diff": {"before": "", "after": "\n".join(lines)}})
        self.assertLessEqual(len(text.encode()), 16 * 1024)
        self.assertRegex(text.splitlines()[-2], r"^\+line \d+ żółć$")
        self.assertRegex(text, r"\[cut: \d{7,8} more bytes\]\n$")

    def test_one_line_of_ten_megabytes_is_cut_at_a_character(self):
        text = diff({"diff": {"before": "", "after": "ż" * 5_000_000}})
        self.assertLessEqual(len(text.encode()), 16 * 1024)
        self.assertRegex(text, r"\[cut: \d+ more bytes\]\n$")
