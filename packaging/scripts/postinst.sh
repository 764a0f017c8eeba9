#!/bin/sh
# After the files are there: the user, the folders, the units. The same for .deb ("configure") and .rpm (1: first, 2: upgrade).
set -e
name=@NAME@

case $1 in configure | abort-upgrade | 1 | 2) ;; *) exit 0 ;; esac

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
  # what preinst stopped goes on with this version
  for stopped in "/run/$name.upgrade"/*; do
    [ -e "$stopped" ] || continue
    systemctl start --no-block "${stopped##*/}" || echo "$name: see journalctl -u ${stopped##*/}" >&2
    rm -f "$stopped"
  done
  rmdir "/run/$name.upgrade" 2>/dev/null || :
fi
