#!/bin/sh
# Before the files of a new version come: what runs is stopped, so that no process ever has code of two versions. postinst
# starts it again. For .deb ("upgrade") and .rpm (2).
set -e
name=@NAME@

[ "$1" = upgrade ] || [ "$1" = 2 ] || exit 0
if [ -d /run/systemd/system ]; then
  running=$(systemctl list-units --plain --no-legend --state=active,activating "$name.service" "$name@*.service" | cut -d' ' -f1)
  if [ -n "$running" ]; then
    mkdir -p "/run/$name.upgrade"
    for unit in $running; do
      : >"/run/$name.upgrade/$unit"
      systemctl stop "$unit"
    done
  fi
fi
