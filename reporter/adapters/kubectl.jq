# `kubectl diff -f …`: one unified diff for each object, named as kubectl names its file: GROUP.VERSION.KIND.NAMESPACE.NAME.
include "evidence";
believed([0, 1])
| if . == "" and $exit_code == 1 then error("kubectl failed: it says that something differs, but shows nothing")
  elif . != "" and (startswith("diff ") | not) then error("this is no output of kubectl diff: \(.[0:80] | @json)")
  else . end
| [("\n" + . | split("\ndiff "))[1:][]
   | split("\n") as $lines
   | {name: ($lines[0] | sub("^.*/"; "")), diff: ($lines[3:] | map(select(. != "")) | map(. + "\n") | add // "")}]
