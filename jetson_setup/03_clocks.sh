#!/usr/bin/env bash
# 03_clocks.sh - the power mode without limits, and CPU, GPU and memory clocks held at the top, now and after a reboot.
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

USAGE='usage: 03_clocks.sh [--dry-run] [--undo] [--mode ID]
Set the power mode by nvpmodel and lock the clocks by jetson_clocks. What was before is kept under
/var/lib/edgekin/setup, and --undo restores it.
  --mode ID   of nvpmodel.conf    [MAXN_SUPER, else MAXN, else the most watts]'

UNIT=/etc/systemd/system/edgekin-clocks.service
MODE=

set_mode() {
  local now
  now=$(current_mode)
  [[ -n $now ]] || die "nvpmodel -q does not say the power mode" "Install nvidia-l4t-nvpmodel"
  remember power_mode "$now"
  # Some modes need a reboot; nvpmodel then asks whether to do it now.
  run nvpmodel -m "$MODE" <<<no
  if ! ((DRY_RUN)) && [[ $(current_mode) != "$MODE" ]]; then
    die "power mode $MODE $(mode_name "$MODE") needs a reboot" \
      "Run nvpmodel -m $MODE, answer yes, and run this script again"
  fi
}

lock() {
  if [[ $(current_mode) == "$MODE" ]]; then
    say ok "power mode $MODE $(mode_name "$MODE")"
    if clocks_locked; then
      say ok "clocks are locked"
    else
      run jetson_clocks
    fi
  else
    set_mode
    run jetson_clocks # locked or not: the old mode's top is not the new one's
  fi
  put_file "$UNIT" <<'UNIT'
[Unit]
Description=Hold the clocks at the top for edgekin
After=nvpmodel.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/jetson_clocks

[Install]
WantedBy=multi-user.target
UNIT
  if [[ -e $ROOT/etc/systemd/system/multi-user.target.wants/edgekin-clocks.service ]]; then
    say ok "edgekin-clocks.service is enabled"
  else
    run systemctl enable edgekin-clocks.service
  fi
}

# jetson_clocks writes the clocks of now, as they are before anything is locked.
store_clocks() {
  local path=$ROOT$STATE/jetson_clocks.conf
  if [[ -f $path ]] || clocks_locked; then
    return
  fi
  if ! ((DRY_RUN)); then
    mkdir -p "$ROOT$STATE"
  fi
  run jetson_clocks --store "$path"
}

undo() {
  local mode
  if [[ -e $ROOT$UNIT ]]; then
    run systemctl disable edgekin-clocks.service
    remove_file "$UNIT"
  fi
  if mode=$(remembered power_mode) && [[ $(current_mode) != "$mode" ]]; then
    run nvpmodel -m "$mode" <<<no
  fi
  if [[ -f $ROOT$STATE/jetson_clocks.conf ]]; then
    run jetson_clocks --restore "$ROOT$STATE/jetson_clocks.conf"
  fi
  forget power_mode jetson_clocks.conf
}

begin "$USAGE" "$@"
while ((${#REST[@]})); do
  case ${REST[0]} in
    --mode)
      ((${#REST[@]} > 1)) || usage_error "--mode needs an ID"
      MODE=${REST[1]}
      REST=("${REST[@]:2}")
      ;;
    *) usage_error "unknown argument ${REST[0]}" ;;
  esac
done
need_jetson
need_root
MODE=${MODE:-$(best_mode)}
[[ -n $(mode_name "$MODE") ]] || die "power mode '$MODE' is not in /etc/nvpmodel.conf" \
  "Choose one of: $(power_modes | tr '\n' ';')"
if ((UNDO)); then
  undo
else
  store_clocks
  lock
fi
finish
