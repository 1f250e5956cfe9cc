#!/usr/bin/env bash
# 06_verify.sh - after the reboot: is everything as the scripts left it, and does the loop keep its deadlines?
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

USAGE='usage: 06_verify.sh [--bundle PATH] [--dry-run] [--undo]
Check power mode, clocks, kernel, isolated CPU and unit, then run edgekin doctor; with --bundle, 30 s of edgekin bench
at 1 kHz on the isolated CPU, which needs pybullet for the simulated arm. Changes nothing. Exit status 1 where something
is not as it should be, 3 where the loop missed more than one deadline in a thousand.
  EDGEKIN_VENV   the environment of 02_packages.sh    [/opt/edgekin/venv]'

BUNDLE=

check() { # NAME REMEDY COMMAND...: does the command hold?
  local name=$1 remedy=$2
  shift 2
  if "$@"; then
    note ok "$name" yes
  else
    note miss "$name" no "$remedy"
  fi
}

best_mode_is_set() { [[ $(current_mode) == "$(best_mode)" ]]; }
kernel_is_realtime() { [[ $(cat "$ROOT/sys/kernel/realtime" 2>/dev/null) == 1 ]]; }
cpu_is_isolated() { [[ $(cat "$ROOT/sys/devices/system/cpu/isolated" 2>/dev/null) == "$(last_cpu)" ]]; }
unit_is_active() { systemctl is-active --quiet edgekin.service; }

begin "$USAGE" "$@"
case ${#REST[@]}:${REST[0]:-} in
  0:) ;;
  2:--bundle) BUNDLE=${REST[1]} ;;
  *) usage_error "unknown arguments ${REST[*]}" ;;
esac
need_jetson
if ((UNDO)); then
  finish
  exit 0
fi
check "power mode without limits" "Run 03_clocks.sh" best_mode_is_set
check "CPU, GPU and memory clocks locked" "Run 03_clocks.sh as root, and this script, too" clocks_locked
check "real-time kernel running" "Run 04_realtime.sh and reboot" kernel_is_realtime
check "last CPU isolated" "Run 04_realtime.sh and reboot" cpu_is_isolated
if [[ -e $ROOT/etc/systemd/system/edgekin.service ]]; then
  check "edgekin.service active" "See journalctl -u edgekin" unit_is_active
fi
run "$ROOT$VENV/bin/edgekin" doctor
if [[ -n $BUNDLE ]]; then
  run "$ROOT$VENV/bin/edgekin" bench "$ROOT$BUNDLE" --hz 1000 --seconds 30 --cpu "$(last_cpu)" --max-miss-rate 0.001
fi
changes=0 # nothing was changed
finish
