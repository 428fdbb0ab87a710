# input: json
# [{"name": "…", "diff": "…"}] itself, from a checker that can write it.
include "evidence";
the_only_value
