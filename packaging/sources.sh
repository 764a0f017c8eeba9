#!/usr/bin/env bash
# Fetches the sources that interpreter.sh builds, as Debian has them, into FOLDER, and checks them against sources.sha256.
#   sources.sh FOLDER
# Only apt is used, on the mirrors that this machine knows, with lists of its own: nothing of the machine is changed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$folder"
sha256sum --quiet -c "$here/sources.sha256" >/dev/null 2>&1 && exit 0

mkdir -p apt/parts apt/lists/partial
for file in /etc/apt/sources.list.d/*.sources; do
  [[ -e $file ]] && sed 's/^Types:.*/Types: deb-src/' "$file" >"apt/parts/$(basename "$file")"
done
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [[ -e $file ]] && sed -n 's/^deb /deb-src /p' "$file" >"apt/parts/$(basename "$file")"
done
options=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$folder/apt/parts" -o "Dir::State::lists=$folder/apt/lists"
  -o APT::Sandbox::User=root)
apt-get -qq "${options[@]}" update
# name=version, from the names of the .dsc files that are locked
apt-get -qq "${options[@]}" source --download-only \
  $(sed -n 's/.*  \(.*\)_\(.*\)\.dsc$/\1=\2/p' "$here/sources.sha256")
sha256sum --quiet -c "$here/sources.sha256"
