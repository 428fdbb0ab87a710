# One name a line, as any script can print it.
include "evidence";
believed([0]) | [split("\n")[] | rtrimstr("\r") | select(. != "") | {name: .}]
