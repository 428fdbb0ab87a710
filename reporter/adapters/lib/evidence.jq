# For formats in which no output means "nothing differs": silence counts only with an exit code that means success.
def believed($good):
  if $exit_code == null and . == "" then
    error("the output is empty, and nothing says that the checker succeeded: run it as `report --from … -- COMMAND`, or give its --exit-code")
  elif $exit_code != null and ($good | index($exit_code)) == null then
    error("the checker failed with exit code \($exit_code)")
  else . end;

# For JSON: the checker's one value.
def the_only_value:
  if ($exit_code // 0) != 0 then error("the checker failed with exit code \($exit_code)")
  elif length != 1 then error("the output has \(length) JSON values, not one")
  else .[0] end;
