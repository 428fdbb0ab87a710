# [{"name": "…", "diff": "…"}] itself, from a checker that can write it.
if ($exit_code // 0) != 0 then error("the checker failed with exit code \($exit_code)") else . end
| try fromjson catch error("this is no JSON")
