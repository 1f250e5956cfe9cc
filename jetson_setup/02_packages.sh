#!/usr/bin/env bash
# 02_packages.sh - compiler, CUDA toolkit parts, TensorRT and a Python environment with edgekin in it.
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

USAGE='usage: 02_packages.sh [--dry-run] [--undo] [--no-nvidia]
Install what is missing by apt, then make the environment and install edgekin into it.
  --no-nvidia         no CUDA toolkit and no TensorRT: the native engine alone
  EDGEKIN_VENV        the environment                              [/opt/edgekin/venv]
  EDGEKIN_PYTHON      the Python to make it with, 3.10 or later    [python3]
  EDGEKIN_SOURCE      what pip installs: a wheel or a checkout     [the checkout of this script]
--undo removes the environment and the packages that were not there before.'

PYTHON=${EDGEKIN_PYTHON:-python3}
SOURCE=${EDGEKIN_SOURCE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
NVIDIA=1

install_packages() {
  local version
  version=$(cuda_packages_version "$(l4t)")
  apt_install packages build-essential python3-dev python3-venv
  if ((NVIDIA)); then
    # PyCUDA is built from source: it needs nvcc, the runtime's headers, and cuRAND's.
    apt_install packages-nvidia tensorrt python3-libnvinfer "cuda-nvcc-$version" "cuda-cudart-dev-$version" \
      "libcurand-dev-$version"
  fi
}

check_python() {
  local version
  version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || version=none
  case $version in
    3.1[0-9]) ;;
    *) die "$PYTHON is Python $version, edgekin needs 3.10 (JetPack 5 has 3.8)" \
      "Give another with EDGEKIN_PYTHON=/path/to/python3.10; its environment has no TensorRT, which JetPack 5 has for 3.8 only" ;;
  esac
}

make_environment() {
  local site=(--system-site-packages)
  if [[ $PYTHON != python3 ]]; then
    site=() # the bindings of apt are for the system's Python alone
    say warn "TensorRT is not visible in an environment of $PYTHON: native engine only"
  fi
  if [[ -x $ROOT$VENV/bin/python ]]; then
    say ok "environment $VENV"
  else
    remember environment "$VENV"
    run "$PYTHON" -m venv "${site[@]}" "$ROOT$VENV"
  fi
  if [[ -x $ROOT$VENV/bin/edgekin ]]; then
    say ok "$VENV/bin/edgekin"
  else
    run "$ROOT$VENV/bin/python" -m pip install "$SOURCE"
  fi
}

undo() {
  local folder
  if folder=$(remembered environment); then
    run rm -rf "$ROOT$folder"
    forget environment
  fi
  apt_undo packages-nvidia
  apt_undo packages
}

begin "$USAGE" "$@"
for argument in "${REST[@]}"; do
  case $argument in
    --no-nvidia) NVIDIA=0 ;;
    *) usage_error "unknown argument $argument" ;;
  esac
done
need_jetson
need_root
if ((UNDO)); then
  undo
else
  check_python
  install_packages
  make_environment
fi
finish
