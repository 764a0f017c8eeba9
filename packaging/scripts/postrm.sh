#!/bin/sh
# After the files are gone. Removal keeps configuration, certificates and everything that was not handed over yet; only
# `apt-get purge` (`dpkg --purge`) takes them away, with the user. An .rpm knows no purge: the guide `upgrade` says what to remove.
set -e
name=@NAME@

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || true
fi
if [ "$1" = purge ]; then
  rm -rf "/etc/$name" "/var/lib/$name" "/etc/systemd/system/$name.service.d"
  # when systemd ran the timers last
  rm -f "/var/lib/systemd/timers/stamp-$name-"*.timer
  if getent passwd "$name" >/dev/null; then
    userdel "$name" || true
  fi
  if getent group "$name" >/dev/null; then
    groupdel "$name" || true
  fi
fi
