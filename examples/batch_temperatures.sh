#!/bin/sh
# The same run at several temperatures, then side by side:
#   examples/batch_temperatures.sh 0.3 0.5 0.7
# MAX_SAMPLES (100) and SEED (42) come from the environment; other flags of cje run from CJE_RUN.
set -eu
[ $# -gt 0 ] || set -- 0.3 0.5 0.7
for temperature in "$@"; do
    # shellcheck disable=SC2086
    cje run --temperature "$temperature" --max-samples "${MAX_SAMPLES:-100}" \
        --seed "${SEED:-42}" ${CJE_RUN:-}
done
dvc exp show --only-changed --no-pager
