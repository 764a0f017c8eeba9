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
  -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root)
apt-get -qq "${options[@]}" update
wanted=()
while read -r name version; do # of the .dsc files that are locked; their names leave a version's epoch out
  offered=$(apt-cache -q "${options[@]}" showsrc --only-source "$name" | sed -n 's/^Version: //p' | sort -u)
  found=$(sed -E 's/^([0-9]+:)?(.*)/\2 &/' <<<"$offered" | awk -v version="$version" '$1 == version { print $2; exit }')
  if [[ -z $found ]]; then
    echo "sources.sh: the mirrors have no source of $name $version, but: ${offered//$'\n'/, }" >&2
    echo "  remedy: a mirror that still has it, or that of snapshot.debian.org; or lock the newer one in sources.sha256" >&2
    exit 1
  fi
  wanted+=("$name=$found")
done < <(sed -n 's/.*  \(.*\)_\(.*\)\.dsc$/\1 \2/p' "$here/sources.sha256")
apt-get -qq "${options[@]}" source --download-only "${wanted[@]}"
sha256sum --quiet -c "$here/sources.sha256"
