#!/bin/bash
# Runs every fuzz target of the repository for FUZZTIME (60s) each, one after the other, and fails when one of them found something.
# FUZZ=PATTERN chooses targets by name. A finding lies in the package's testdata/fuzz afterwards, where the unit tests run it again.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

targets=()
while read -r package; do
  listed=$(go test -tags goolm -list "${FUZZ:-.}" "$package") || { echo "$listed" >&2; exit 1; }
  for target in $(grep '^Fuzz' <<<"$listed"); do targets+=("$package $target"); done
done < <(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -r -n1 dirname | sort -u)
if [ ${#targets[@]} = 0 ]; then echo "fuzz: no target has a name like '${FUZZ:-}'" >&2; exit 1; fi

echo "fuzz: ${#targets[@]} targets, ${FUZZTIME:=60s} each"
findings=() n=0
for t in "${targets[@]}"; do
  read -r package target <<<"$t"
  n=$((n + 1))
  printf '[%d/%d] %s %s\n' $n ${#targets[@]} "$package" "$target"
  go test -tags goolm -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" "$package" || findings+=("$t")
done
if [ ${#findings[@]} != 0 ]; then
  echo "fuzz: ${#findings[@]} of ${#targets[@]} targets found something:"
  printf '  %s\n' "${findings[@]}"
  exit 1
fi
echo "fuzz: ${#targets[@]} targets, no finding"
