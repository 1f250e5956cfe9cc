# shellcheck shell=bash
# lib.sh - what the numbered scripts share. Sourced, never run.
#
# EDGEKIN_ROOT is put before every path of the system, so that the tests run the scripts against recorded states; on a
# Jetson it is empty. Programs (nvpmodel, apt-get ...) come from PATH.
set -euo pipefail

ROOT=${EDGEKIN_ROOT:-}
# What was before a change; --undo reads it.
STATE=/var/lib/edgekin/setup
# shellcheck disable=SC2034  # the scripts read it
VENV=${EDGEKIN_VENV:-/opt/edgekin/venv}
DRY_RUN=0
UNDO=0
changes=0
failures=0

say() { # WORD TEXT...: one line of the report; paths as the system has them
  local word=$1 text
  shift
  text="$*"
  printf '%-6s %s\n' "$word" "${text//"${ROOT:-/no/such/prefix}"/}"
}

die() { # MESSAGE REMEDY
  printf '%s: %s. %s\n' "$(basename "$0")" "$1" "$2" >&2
  exit 1
}

# shellcheck disable=SC2034  # UNDO: the scripts read it
# begin USAGE ARGUMENTS...: read the flags that all scripts share; what is left is in REST
begin() {
  local usage=$1
  shift
  REST=()
  while (($#)); do
    case $1 in
      --dry-run) DRY_RUN=1 ;;
      --undo) UNDO=1 ;;
      -h | --help)
        printf '%s\n' "$usage"
        exit 0
        ;;
      *) REST+=("$1") ;;
    esac
    shift
  done
}

usage_error() {
  printf '%s: %s; see --help\n' "$(basename "$0")" "$1" >&2
  exit 2
}

need_root() {
  ((DRY_RUN)) || [[ -n $ROOT ]] || (($(id -u) == 0)) || die "this changes the system, and you are not root" \
    "Run it with sudo, or look first with --dry-run"
}

need_jetson() {
  [[ -f $ROOT/etc/nv_tegra_release ]] || die "no /etc/nv_tegra_release: this is not a Jetson with NVIDIA's Jetson Linux" \
    "Run it on the Jetson"
}

finish() {
  if ((failures)); then
    say fail "$failures of the above"
    exit 1
  fi
  if ((DRY_RUN)); then
    say plan "$changes changes; nothing was changed"
  else
    say 'done' "$changes changes"
  fi
}

# --- changes ----------------------------------------------------------------------------------------------------------

quoted() {
  local text
  text=$(printf '%q ' "$@")
  printf '%s' "${text% }"
}

run() { # COMMAND...: a change
  changes=$((changes + 1))
  if ((DRY_RUN)); then
    say would "run: $(quoted "$@")"
  else
    say run "$(quoted "$@")"
    "$@"
  fi
}

put_file() { # PATH [MODE]: write what comes on stdin, unless the file holds that already
  local path=$ROOT$1 mode=${2:-644} content temporary
  content=$(cat)
  if [[ -f $path && $(cat "$path") == "$content" ]]; then
    say ok "$1"
    return
  fi
  changes=$((changes + 1))
  if ((DRY_RUN)); then
    say would "write $1:"
    printf '%s\n' "$content" | sed 's/^/         | /'
    return
  fi
  say write "$1"
  mkdir -p "$(dirname "$path")"
  temporary=$(mktemp "$path.XXXXXX")
  printf '%s\n' "$content" >"$temporary"
  chmod "$mode" "$temporary"
  mv "$temporary" "$path"
}

remove_file() { # PATH: a change, where the file is there
  [[ -e $ROOT$1 ]] || return 0
  run rm -f "$ROOT$1"
}

# What was before: a name and a text. Kept from the first change on, so that a second run does not forget it.
remember() { # NAME TEXT
  local path=$ROOT$STATE/$1
  [[ -f $path ]] && return
  if ((DRY_RUN)); then
    say would "remember $1: $(head -n 1 <<<"$2")"
    return
  fi
  mkdir -p "$(dirname "$path")"
  printf '%s\n' "$2" >"$path"
}

remember_file() { # NAME PATH: the same with a copy of a file
  [[ -f $ROOT$STATE/$1 ]] && return
  if ((DRY_RUN)); then
    say would "keep a copy of $2"
    return
  fi
  mkdir -p "$ROOT$STATE"
  cp -p "$ROOT$2" "$ROOT$STATE/$1"
}

remembered() { # NAME: print the text; false where there is none
  [[ -f $ROOT$STATE/$1 ]] && cat "$ROOT$STATE/$1"
}

forget() { # NAME...
  ((DRY_RUN)) && return
  local name
  for name in "$@"; do
    rm -f "$ROOT$STATE/$name"
  done
  rmdir -p --ignore-fail-on-non-empty "$ROOT$STATE" 2>/dev/null || true
}

# --- checks -----------------------------------------------------------------------------------------------------------

note() { # ok|warn|miss NAME TEXT [REMEDY]
  say "$1" "$2: $3${4:+. $4}"
  if [[ $1 == miss ]]; then
    failures=$((failures + 1))
  fi
}

# --- what this Jetson is ----------------------------------------------------------------------------------------------

device_tree() { # NAME: its strings, one a line
  tr '\0' '\n' <"$ROOT/proc/device-tree/$1" 2>/dev/null || true
}

# "36.4.3" of "# R36 (release), REVISION: 4.3, GCID: ..."
l4t() {
  sed -n '1s/^# R\([0-9]*\) (release), REVISION: \([0-9.]*\).*/\1.\2/p' "$ROOT/etc/nv_tegra_release"
}

jetpack() { # of an L4T release. Source: NVIDIA's Jetson Linux archive
  case $1 in
    35.4.*) echo 5.1.2 ;;
    35.*) echo 5 ;;
    36.[23]*) echo 6.0 ;;
    36.4 | 36.4.0) echo 6.1 ;;
    36.*) echo 6.2 ;;
    38.*) echo 7.0 ;;
    39.*) echo 7.2 ;;
    *) echo unknown ;;
  esac
}

cuda_packages_version() { # as in package names: 12-6
  case $1 in
    35.*) echo 11-4 ;;
    36.[23]*) echo 12-2 ;;
    36.*) echo 12-6 ;;
    *) echo 13-2 ;;
  esac
}

# The module by its part number (Jetson Linux Developer Guide, board names); as `edgekin estimate --device` calls it.
module() {
  case $(device_tree compatible) in
    *p3701-0005*) echo agx-orin-64 ;;
    *p3701-0000* | *p3701-0004*) echo agx-orin-32 ;;
    *p3767-0000*) echo orin-nx-16 ;;
    *p3767-0001*) echo orin-nx-8 ;;
    *p3767-0003* | *p3767-0005*) echo orin-nano-8 ;;
    *p3767-0004*) echo orin-nano-4 ;;
    *) echo unknown ;;
  esac
}

# --- power mode and clocks --------------------------------------------------------------------------------------------

power_modes() { # "ID NAME" a line, as nvpmodel.conf lists them
  sed -n 's/^< *POWER_MODEL ID=\([0-9]*\) NAME=\([^ ]*\) *>.*/\1 \2/p' "$ROOT/etc/nvpmodel.conf" 2>/dev/null
}

# The ID without limits: MAXN_SUPER where there is one (2 on an Orin Nano, 0 elsewhere), else MAXN.
best_mode() {
  local name
  for name in MAXN_SUPER MAXN; do
    if power_modes | sed -n "s/^\([0-9]*\) $name\$/\1/p" | grep -m 1 .; then
      return
    fi
  done
  # Modules before the super modes: the most watts.
  power_modes | sed -n 's/^\([0-9]*\) [^0-9]*\([0-9]\{1,3\}\)W.*/\2 \1/p' | sort -n | tail -n 1 | cut -d ' ' -f 2
}

mode_name() { # ID
  power_modes | sed -n "s/^$1 //p"
}

current_mode() { # ID; nothing where nvpmodel does not answer
  { nvpmodel -q 2>/dev/null || true; } | sed -n 's/^\([0-9][0-9]*\)$/\1/p' | tail -n 1
}

gpu_devfreq() { # 17000000.gpu, 17000000.ga10b in JetPack 5
  local path
  for path in "$ROOT"/sys/class/devfreq/*.gpu "$ROOT"/sys/class/devfreq/*.ga10b; do
    [[ -d $path ]] && echo "$path" && return
  done
  return 1
}

same_file_content() { # PATH PATH
  [[ -r $1 && -r $2 && $(cat "$1") == "$(cat "$2")" ]]
}

cpus_locked() {
  local folder
  for folder in "$ROOT"/sys/devices/system/cpu/cpu[0-9]*/cpufreq; do
    same_file_content "$folder/scaling_min_freq" "$folder/scaling_max_freq" || return 1
  done
}

gpu_locked() {
  local folder
  folder=$(gpu_devfreq) && same_file_content "$folder/min_freq" "$folder/max_freq"
}

# jetson_clocks holds the memory clock by a lock in debugfs, at what the power mode allows.
EMC=/sys/kernel/debug/bpmp/debug/clk/emc
emc_locked() {
  local rate top cap path
  [[ -r $ROOT$EMC/mrq_rate_locked && $(cat "$ROOT$EMC/mrq_rate_locked") == 1 ]] || return 1
  rate=$(cat "$ROOT$EMC/rate")
  top=$(cat "$ROOT$EMC/max_rate")
  for path in /sys/kernel/nvpmodel_clk_cap/emc /sys/kernel/nvpmodel_emc_cap/emc_iso_cap; do
    cap=$(cat "$ROOT$path" 2>/dev/null || echo 0)
    if ((cap > 0 && cap < top)); then
      top=$cap
    fi
  done
  ((rate >= top))
}

clocks_locked() {
  cpus_locked && gpu_locked && emc_locked
}

# --- packages ---------------------------------------------------------------------------------------------------------

installed() { # PACKAGE
  [[ $(dpkg-query -W -f '${Status}' "$1" 2>/dev/null) == "install ok installed" ]]
}

missing_packages() { # PACKAGE...: those that are not installed
  local package
  for package in "$@"; do
    installed "$package" || echo "$package"
  done
}

apt_install() { # STATE_NAME PACKAGE...: install what is missing, and remember what that was
  local name=$1 wanted
  shift
  mapfile -t wanted < <(missing_packages "$@")
  if ((${#wanted[@]} == 0)); then
    say ok "packages: $*"
    return
  fi
  remember "$name" "${wanted[*]}"
  run apt-get update
  run apt-get install -y --no-install-recommends "${wanted[@]}"
}

apt_undo() { # STATE_NAME: remove what apt_install installed
  local packages
  packages=$(remembered "$1") || return 0
  # shellcheck disable=SC2086  # a list of names
  mapfile -t packages < <(for p in $packages; do if installed "$p"; then echo "$p"; fi; done)
  if ((${#packages[@]})); then
    run apt-get remove -y "${packages[@]}"
  fi
  forget "$1"
}

# --- CPUs -------------------------------------------------------------------------------------------------------------

last_cpu() { # of those that the power mode leaves on: "0-5" -> 5
  sed 's/.*[-,]//' "$ROOT/sys/devices/system/cpu/online"
}

other_cpus() { # CPU: all others, as a kernel list; CPU is the last one
  local last=$(($1 - 1))
  if ((last == 0)); then echo 0; else echo "0-$last"; fi
}
