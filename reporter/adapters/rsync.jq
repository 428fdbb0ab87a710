# `rsync --dry-run --itemize-changes SOURCE TARGET`: every line that changes, creates or (with --delete) removes something.
include "evidence";
def chatter: test("^$|^(sending|receiving|building) |^sent \\d|^total size is |^created directory |^\\(DRY RUN\\)|^delta-transmission ");
believed([0])
| [split("\n")[] | select(chatter | not)
   | (capture("^(?<flags>[<>ch.][fdLDS][^ ]{9}|\\*deleting  ) (?<name>.+)$")
      // error("this is no line of rsync --itemize-changes: \(.[0:80] | @json)"))
   | {name: (if .flags[1:2] == "L" then .name | sub(" -> .*$"; "") elif .flags[0:1] == "h" then .name | sub(" => .*$"; "") else .name end),
      diff: "\(.flags | rtrimstr(" ") | rtrimstr(" "))\n"}]
