#!/bin/sh
# After the files are there: the user, the folders, the units. The same for .deb ("configure") and .rpm (1: first, 2: upgrade).
set -e
name=@NAME@

[ "$1" = configure ] || [ "$1" = 1 ] || [ "$1" = 2 ] || exit 0

if command -v systemd-sysusers >/dev/null 2>&1; then
  systemd-sysusers "/usr/lib/sysusers.d/$name.conf"
elif ! getent passwd "$name" >/dev/null; then
  useradd --system --user-group --home-dir "/var/lib/$name" --no-create-home --shell /usr/sbin/nologin "$name"
fi
for folder in @FOLDERS@; do
  [ -d "$folder" ] || mkdir -p "$folder"
  case $folder in
    /etc/*) chown root:"$name" "$folder" && chmod 0750 "$folder" ;;
    *) chown "$name":"$name" "$folder" && chmod 0700 "$folder" ;;
  esac
done

# where there is no systemd running (a root that is being made), the next boot does this
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  for unit in $(systemctl list-units --plain --no-legend --state=active "$name.service" "$name@*.service" | cut -d' ' -f1); do
    # an upgrade: what runs goes on with the new version
    systemctl restart "$unit" || echo "$name: $unit did not start with this version; see: journalctl -u $unit" >&2
  done
fi
