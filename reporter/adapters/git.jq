# `git diff --name-status`: both names of what was renamed. Names come as Git quotes them: "caf\303\251" is café.
include "evidence";
def utf8:
  reduce .[] as $byte ({points: [], left: 0};
    if $byte < 128 then .points += [$byte]
    elif $byte >= 192 then
      (if $byte >= 240 then 3 elif $byte >= 224 then 2 else 1 end) as $left
      | .points += [$byte % pow(2; 6 - $left)] | .left = $left
    else .points[-1] = .points[-1] * 64 + $byte % 64 end)
  | .points | implode;
def bytes: explode[] | if . < 128 then . elif . < 2048 then 192 + (. / 64 | floor), 128 + . % 64
  elif . < 65536 then 224 + (. / 4096 | floor), 128 + (. / 64 | floor) % 64, 128 + . % 64
  else 240 + (. / 262144 | floor), 128 + (. / 4096 | floor) % 64, 128 + (. / 64 | floor) % 64, 128 + . % 64 end;
def unquoted:
  if startswith("\"") then
    [.[1:-1] | match("\\\\([0-7]{3}|.)|[^\\\\]+"; "g")
     | .string as $text | .captures[0].string as $escape
     | if $escape == null then $text | bytes
       elif ($escape | length) == 3 then $escape | explode | map(. - 48) | .[0] * 64 + .[1] * 8 + .[2]
       else {n: 10, t: 9, r: 13, a: 7, b: 8, f: 12, v: 11}[$escape] // ($escape | explode[0]) end] | utf8
  else . end;

believed([0, 1])
| [split("\n")[] | select(. != "")
   | split("\t") as [$status, $first, $second]
   | if ($status | test("^([ADMTUXB]|[RC][0-9]*)$") | not) or $first == null then
       error("this is no line of git diff --name-status: \(.[0:80] | @json)")
     else . end
   | ($first, $second // empty) | {name: unquoted, diff: "\($status)\n"}]
