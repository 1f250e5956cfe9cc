#!/usr/bin/env bash
# 01_check.sh - what this Jetson is and what the real-time loop still lacks. Changes nothing.
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

USAGE='usage: 01_check.sh [--dry-run] [--undo]
Report JetPack, TensorRT and its Python bindings, power mode, clocks, kernel and limits. It only reads, so --dry-run
and --undo make no difference. Exit status 1 where something is missing that the loop cannot do without.'

check_release() {
  local release
  release=$(l4t)
  note ok module "$(module) ($(device_tree model))"
  case $release in
    35.[4-9]* | 36.* | 38.* | 39.*) note ok JetPack "$(jetpack "$release"), Jetson Linux $release, kernel $(uname -r)" ;;
    *) note miss JetPack "Jetson Linux '${release}'" "Flash JetPack 5.1.2, 6.x or 7.2" ;;
  esac
}

check_python() {
  local python=python3 version
  if [[ -x $ROOT$VENV/bin/python ]]; then
    python=$ROOT$VENV/bin/python
  fi
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || version=none
  case $version in
    3.1[0-9]) note ok Python "$version ($python)" ;;
    *) note miss Python "$version ($python), edgekin needs 3.10" \
      "Build or install Python 3.10 and run 02_packages.sh with EDGEKIN_PYTHON=/path/to/python3.10" ;;
  esac
  if "$python" -c 'import tensorrt' 2>/dev/null; then
    note ok "TensorRT bindings" "$("$python" -c 'import tensorrt; print(tensorrt.__version__)')"
  elif installed python3-libnvinfer; then
    note warn "TensorRT bindings" "installed by apt, but $python does not see them" \
      "Make the environment with --system-site-packages and the system's Python: 02_packages.sh"
  else
    note warn "TensorRT bindings" "not installed; the native engine runs without" "Run 02_packages.sh"
  fi
}

check_cuda() {
  if [[ -x $ROOT/usr/local/cuda/bin/nvcc ]]; then
    note ok "CUDA toolkit" /usr/local/cuda
  else
    note warn "CUDA toolkit" "no nvcc: PyCUDA cannot be built" "Run 02_packages.sh"
  fi
}

check_clocks() {
  local now best
  now=$(current_mode)
  best=$(best_mode)
  if [[ $now == "$best" ]]; then
    note ok "power mode" "$now $(mode_name "$now")"
  else
    note warn "power mode" "$now $(mode_name "$now"); without limits is $best $(mode_name "$best")" "Run 03_clocks.sh"
  fi
  if cpus_locked; then note ok "CPU clocks" locked; else note warn "CPU clocks" "not locked" "Run 03_clocks.sh"; fi
  if gpu_locked; then note ok "GPU clock" locked; else note warn "GPU clock" "not locked" "Run 03_clocks.sh"; fi
  if emc_locked; then
    note ok "memory clock (EMC)" "locked at $(cat "$ROOT$EMC/rate") Hz"
  elif [[ -r $ROOT$EMC/rate ]]; then
    note warn "memory clock (EMC)" "not locked, $(cat "$ROOT$EMC/rate") Hz" "Run 03_clocks.sh"
  else
    note warn "memory clock (EMC)" "cannot be read" "Only root may read debugfs: run this with sudo"
  fi
}

check_realtime() {
  local isolated rtprio memlock
  if [[ $(cat "$ROOT/sys/kernel/realtime" 2>/dev/null) == 1 ]]; then
    note ok "real-time kernel" running
  else
    note warn "real-time kernel" "not running" "Run 04_realtime.sh and reboot"
  fi
  isolated=$(cat "$ROOT/sys/devices/system/cpu/isolated" 2>/dev/null || true)
  if [[ -n $isolated ]]; then
    note ok "isolated CPUs" "$isolated"
  else
    note warn "isolated CPUs" none "Run 04_realtime.sh and reboot"
  fi
  rtprio=$(limit 'Max realtime priority')
  memlock=$(limit 'Max locked memory')
  if [[ $rtprio == unlimited ]] || ((rtprio >= 40)); then
    note ok "real-time priority" "up to $rtprio"
  else
    note warn "real-time priority" "up to $rtprio, the loop asks for 40" "Run 04_realtime.sh and log in again"
  fi
  if [[ $memlock == unlimited ]] || ((memlock >= 128 << 20)); then
    note ok "locked memory" "$memlock bytes"
  else
    note warn "locked memory" "$memlock bytes, the loop wants 134217728" "Run 04_realtime.sh and log in again"
  fi
}

limit() { # NAME: the soft limit of this process, proc(5)
  sed -n "s/^$1 *\([^ ]*\) .*/\1/p" "$ROOT/proc/self/limits"
}

begin "$USAGE" "$@"
((${#REST[@]} == 0)) || usage_error "unknown argument ${REST[0]}"
need_jetson
check_release
check_python
check_cuda
check_clocks
check_realtime
finish
