#!/bin/sh
# Before the files go: stop what runs, but only when the package goes for good (.deb "remove", .rpm 0), not at an upgrade.
set -e
name=@NAME@

[ "$1" = remove ] || [ "$1" = 0 ] || exit 0
if [ -d /run/systemd/system ]; then
  systemctl --quiet disable --now @UNITS@ || true
  for unit in $(systemctl list-units --plain --no-legend "$name@*.service" | cut -d' ' -f1); do
    systemctl --quiet disable --now "$unit" || true
  done
fi
