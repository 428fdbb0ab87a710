# input: json
# `terraform show -json PLAN` or `tofu show -json PLAN`: the addresses that the plan would change. The diff names the attributes,
# never their values, which may be secret.
include "evidence";

def changed_keys: [(.before // {}), (.after // {}), (.after_unknown // {}) | objects | keys[]] | unique;
def attributes:
  . as $change
  | changed_keys[]
  | . as $key
  | select($change.before[$key]? != $change.after[$key]? or ($change.after_unknown[$key]? // false) != false)
  | "  \($key)\n";
def action: if . == ["delete", "create"] or . == ["create", "delete"] then "replace" else .[0] end;

the_only_value as $plan
| if ($plan | type) != "object" or ($plan.format_version | type) != "string" or ($plan | has("configuration") | not) then
    error("this is no plan in JSON: `terraform plan -out=PLAN && terraform show -json PLAN` makes one")
  elif $plan.errored == true then error("the plan was not finished: terraform plan failed")
  elif $plan.complete == false then error("the plan is not complete: it leaves changes for later")
  else
    (($plan.resource_changes // []) | map({name: .address, change}))
    + (($plan.output_changes // {}) | to_entries | map({name: "output.\(.key)", change: .value}))
    | map(select(.change.actions | . != ["no-op"] and . != ["read"])
        | {name, diff: "\(.change.actions | action)\n\([.change | attributes] | add // "")"})
    | if . == [] and $plan.applyable == true then
        error("the plan would change something, but neither a resource nor an output: is it a plan with -refresh-only?")
      else . end
  end
