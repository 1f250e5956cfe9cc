#!/usr/bin/env bash
# 05_service.sh - a systemd unit that runs the loop beside the arm: edgekin watch, with a watchdog.
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

USAGE='usage: 05_service.sh --bundle PATH --ring PATH [options] [--dry-run] [--undo]
Write and start /etc/systemd/system/edgekin.service. The robot driver publishes joint angles and silhouettes into the
ring (edgekin.runtime.ring.RingWriter); verdicts go to the journal. An alarm outlives a restart; to acknowledge it, remove
/var/lib/edgekin-watch/latch.json and restart the unit.
  --bundle PATH     what edgekin compile wrote
  --ring PATH       the ring of the robot driver, in /dev/shm
  --hz RATE         of the loop                        [1000]
  --cpu N           for the loop alone                 [the last one]
  --user NAME       who runs it                        [who called sudo, or root]
  EDGEKIN_VENV      the environment of 02_packages.sh  [/opt/edgekin/venv]
--undo stops and removes the unit.'

UNIT=/etc/systemd/system/edgekin.service
BUNDLE='' RING='' HZ=1000 CPU='' SERVICE_USER=${SUDO_USER:-root}

read_options() {
  while (($#)); do
    case $1 in
      --bundle | --ring | --hz | --cpu | --user) (($# > 1)) || usage_error "$1 needs a value" ;;
      *) usage_error "unknown argument $1" ;;
    esac
    case $1 in
      --bundle) BUNDLE=$2 ;;
      --ring) RING=$2 ;;
      --hz) HZ=$2 ;;
      --cpu) CPU=$2 ;;
      --user) SERVICE_USER=$2 ;;
    esac
    shift 2
  done
}

# A path in a unit: absolute, and nothing that systemd would take for more than a path.
check_path() { # OPTION PATH
  [[ -n $2 ]] || usage_error "$1 is missing"
  [[ $2 == /* && $2 != *[^A-Za-z0-9_./+-]* ]] || die "$1 is '$2', expected an absolute path of letters, digits and _./+-" \
    "Choose or link such a path"
}

unit() {
  cat <<UNIT
[Unit]
Description=edgekin watches the body of the arm
After=nvpmodel.service edgekin-clocks.service
StartLimitIntervalSec=60
StartLimitBurst=5

[Service]
Type=notify
User=$SERVICE_USER
ExecStart=$VENV/bin/edgekin watch $BUNDLE --ring $RING --hz $HZ --cpu $CPU --latch /var/lib/edgekin-watch/latch.json
StateDirectory=edgekin-watch
Restart=on-failure
RestartSec=1
# Pinged while the loop turns. Frames that do not come are the verdict unknown, no reason to start again.
WatchdogSec=2
# What the loop asks for: SCHED_FIFO 40 and memory that is never paged out.
LimitRTPRIO=49
LimitMEMLOCK=infinity
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
UNIT
}

install_unit() {
  check_path --bundle "$BUNDLE"
  check_path --ring "$RING"
  [[ $RING != /tmp/* ]] || die "--ring is $RING, and the unit has a /tmp of its own" "Publish in /dev/shm"
  [[ -f $ROOT$BUNDLE/manifest.json ]] || die "$BUNDLE is no bundle" "Copy one there: edgekin compile writes it"
  [[ -x $ROOT$VENV/bin/edgekin ]] || ((DRY_RUN)) || die "no $VENV/bin/edgekin" "Run 02_packages.sh, or set EDGEKIN_VENV"
  local before=$changes
  put_file "$UNIT" < <(unit)
  if ((changes > before)); then
    run systemctl daemon-reload
  fi
  if [[ -e $ROOT/etc/systemd/system/multi-user.target.wants/edgekin.service ]]; then
    say ok "edgekin.service is enabled"
    if ((changes > before)); then
      run systemctl restart edgekin.service
    fi
  else
    run systemctl enable --now edgekin.service
  fi
}

undo() {
  [[ -e $ROOT$UNIT ]] || return 0
  run systemctl disable --now edgekin.service
  remove_file "$UNIT"
  run systemctl daemon-reload
}

begin "$USAGE" "$@"
read_options "${REST[@]}"
need_jetson
need_root
CPU=${CPU:-$(last_cpu)}
[[ $CPU == [0-9] || $CPU == [0-9][0-9] ]] || die "--cpu is '$CPU', expected a number" "Correct it"
[[ $HZ =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "--hz is '$HZ', expected a number" "Correct it"
[[ $SERVICE_USER =~ ^[a-z_][a-z0-9_-]*$ ]] || die "--user is '$SERVICE_USER', expected a user name" "Correct it"
if ((UNDO)); then
  undo
else
  install_unit
fi
finish
