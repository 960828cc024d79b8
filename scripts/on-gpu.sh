#!/bin/sh
# sh scripts/on-gpu.sh FOLDER [PART…]
#
# For an unpacked archive of `npm run pack` on a machine with a GPU: builds, runs the tests that have something to do on a
# device, and measures variants of the suite cuda, each with a time limit of its own. FOLDER gets a log of each part, and
# cuda.json. PARTs are build, tests, tiny (the suite in small) and names of variants; build and tests when none is named.
# These two take no more than ten minutes together, and so do three variants.
set -u
[ $# -gt 0 ] || { echo "usage: sh scripts/on-gpu.sh FOLDER [PART...]" >&2; exit 2; }
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit 1
shift
[ $# -gt 0 ] || set -- build tests
cd "$(dirname "$0")/.." || exit 1
PATH="$PWD/node/bin:$PATH"
failed=0

part() {
  name=$1 limit=$2
  shift 2
  timeout -k 10 "$limit" "$@" > "$out/$name.log" 2>&1
  code=$?
  tail -n 12 "$out/$name.log"
  echo "== $name: exit status $code (124: took more than $limit s), all of it in $out/$name.log"
  [ $code -eq 0 ] || failed=1
}

for each; do
  case $each in
    build) part build 280 sh build.sh ;;
    tests)
      part tests 280 node scripts/test.mjs on_device torch/cuda torch/graphed_step torch/profiler optim/capturable \
        data/loader bench/cuda distributed/single_rank
      ;;
    tiny) part tiny 240 node dist/bench/main.js cuda --tiny ;;
    *) part "$each" 180 node dist/bench/main.js cuda --save --only "$each" ;;
  esac
  if [ -f bench/results/cuda.json ]; then cp bench/results/cuda.json "$out"; fi
done
exit $failed
