#!/usr/bin/env bash
# 04_realtime.sh - NVIDIA's real-time kernel, a CPU for the loop alone, and the limits that the loop asks for.
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

USAGE='usage: 04_realtime.sh [--dry-run] [--undo] [--no-kernel] [--no-isolation]
Install the real-time kernel from NVIDIA'"'"'s own repository, make it the default of /boot/extlinux/extlinux.conf, keep
the last CPU free for the loop, and let the group edgekin use real-time priorities and lock memory. Needs a reboot.
Tested by others: the kernel alone leaves spikes above 100 us under load; with an isolated CPU below 20 us.
  --no-kernel      keep the kernel
  --no-isolation   keep the kernel'"'"'s command line
--undo restores extlinux.conf and removes what was installed.'

BOOT=/boot/extlinux/extlinux.conf
# The board's own packages come from here, and its real-time kernel from the same server.
BOARD_LIST=/etc/apt/sources.list.d/nvidia-l4t-apt-source.list
SOURCE_LIST=/etc/apt/sources.list.d/edgekin-rt-kernel.list
LIMITS=/etc/security/limits.d/90-edgekin.conf
KERNEL=1
ISOLATION=1

# Jetson Linux Developer Guide, "Installing Real-Time Kernel", r36.4 and r39.2; r35.4 has no out-of-tree modules.
kernel_packages() {
  case $(l4t) in
    35.*) echo nvidia-l4t-rt-kernel nvidia-l4t-rt-kernel-headers nvidia-l4t-display-rt-kernel ;;
    36.*) echo nvidia-l4t-rt-kernel nvidia-l4t-rt-kernel-headers nvidia-l4t-rt-kernel-oot-modules \
      nvidia-l4t-display-rt-kernel ;;
    *) echo nvidia-l4t-rt-kernel nvidia-l4t-rt-kernel-headers nvidia-l4t-rt-kernel-oot-modules \
      nvidia-l4t-display-rt-kernel nvidia-l4t-rt-kernel-nvgpu ;;
  esac
}

install_kernel() {
  local release server packages
  release=$(l4t)
  server=$(sed -n 's#^deb \(\S*/jetson\)/common .*#\1#p' "$ROOT$BOARD_LIST" 2>/dev/null | head -n 1)
  [[ $server ]] || die "$BOARD_LIST names no server of NVIDIA's packages (expected: deb SERVER/jetson/common RELEASE main)" \
    "Restore it from the Jetson Linux image, or leave the kernel as it is with --no-kernel"
  put_file "$SOURCE_LIST" <<<"deb $server/rt-kernel r${release%.*} main"
  read -ra packages <<<"$(kernel_packages)"
  apt_install packages-rt-kernel "${packages[@]}"
}

# Print extlinux.conf as it should be: the default label, and our words in every APPEND line, each once.
wanted_boot() {
  local cpu words=
  cpu=$(last_cpu)
  if ((ISOLATION)); then
    words=" isolcpus=managed_irq,domain,$cpu nohz_full=$cpu rcu_nocbs=$cpu irqaffinity=$(other_cpus "$cpu")"
  fi
  sed -E -e "$( ((KERNEL)) && echo 's/^DEFAULT .*/DEFAULT real-time/')" \
    -e "$( ((ISOLATION)) && echo "/^[[:space:]]*APPEND /{s/ (isolcpus|nohz_full|rcu_nocbs|irqaffinity)=[^ ]*//g;s/\$/$words/}")" \
    "$ROOT$BOOT"
}

edit_boot() {
  [[ -f $ROOT$BOOT ]] || die "no $BOOT" "Set the kernel's command line in your boot loader by hand, or use --no-kernel --no-isolation"
  if ((KERNEL)) && ! grep -q '^LABEL real-time' "$ROOT$BOOT"; then
    ((DRY_RUN)) || die "$BOOT has no label real-time after installing the kernel" \
      "Add one by hand (Jetson Linux Developer Guide, Installing Real-Time Kernel) and run this again"
    say would "find the label real-time in $BOOT, which the kernel's package adds"
  fi
  put_file "$BOOT" < <(wanted_boot)
  if ! ((DRY_RUN)); then
    cp "$ROOT$BOOT" "$ROOT$STATE/extlinux.conf.after"
  fi
}

set_limits() {
  if getent group edgekin >/dev/null; then
    say ok "group edgekin"
  else
    remember group edgekin
    run groupadd --system edgekin
  fi
  put_file "$LIMITS" <<'LIMITS'
# The loop asks for SCHED_FIFO 40, below the 50 of a controller; 49 is the most it may have.
@edgekin - rtprio 49
@edgekin - memlock 262144
LIMITS
}

undo_boot() {
  [[ -f $ROOT$STATE/extlinux.conf.after ]] || return 0
  if ! cmp -s "$ROOT$BOOT" "$ROOT$STATE/extlinux.conf.after"; then
    die "$BOOT was changed since" "Compare it with $STATE/extlinux.conf.before, then remove $STATE/extlinux.conf.after"
  fi
  run cp -p "$ROOT$STATE/extlinux.conf.before" "$ROOT$BOOT"
  forget extlinux.conf.before extlinux.conf.after
}

undo() {
  undo_boot
  apt_undo packages-rt-kernel
  remove_file "$SOURCE_LIST"
  remove_file "$LIMITS"
  if remembered group >/dev/null; then
    run groupdel edgekin
    forget group
  fi
}

begin "$USAGE" "$@"
for argument in "${REST[@]}"; do
  case $argument in
    --no-kernel) KERNEL=0 ;;
    --no-isolation) ISOLATION=0 ;;
    *) usage_error "unknown argument $argument" ;;
  esac
done
need_jetson
need_root
if ((UNDO)); then
  undo
else
  if ((KERNEL || ISOLATION)) && [[ -f $ROOT$BOOT ]]; then
    remember_file extlinux.conf.before "$BOOT"
  fi
  if ((KERNEL)); then
    install_kernel
  fi
  if ((KERNEL || ISOLATION)); then
    edit_boot
  fi
  set_limits
  if ((changes)); then
    say next "reboot, add users to the group (usermod -aG edgekin NAME), and run 01_check.sh"
  fi
fi
finish
