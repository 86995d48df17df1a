#!/bin/sh
# The same run at several temperatures, then side by side:
#   examples/batch_temperatures.sh 0.3 0.5 0.7
# MAX_SAMPLES (100) and SEED (42) come from the environment; other flags of cje run from CJE_RUN.
# A temperature that cannot be run, for want of replies and of a model, is passed over and named at
# the end.
set -u
trap 'exit 130' INT
[ $# -gt 0 ] || set -- 0.3 0.5 0.7
missing=
for temperature in "$@"; do
    # shellcheck disable=SC2086
    cje run --temperature "$temperature" --max-samples "${MAX_SAMPLES:-100}" \
        --seed "${SEED:-42}" ${CJE_RUN:-} || missing="$missing $temperature"
done
dvc exp show --only-changed --no-pager --drop '.*/'
[ -z "$missing" ] || {
    echo "error: not run, for the reasons above: temperature$missing" >&2
    exit 1
}
