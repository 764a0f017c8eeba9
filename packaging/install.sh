#!/bin/sh
# Installs Forebay from this folder, without any network.
#   install.sh agent | collector | both      checks SHA256SUMS (and its signature, where gpg knows the key), then installs
set -eu
cd "$(dirname "$0")"
what=${1:-}
case $what in
  agent) names=forebay-agent ;;
  collector) names=forebay-collector ;;
  both) names="forebay-agent forebay-collector" ;;
  *) echo "usage: install.sh agent|collector|both" >&2; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || { echo "install.sh: run it as root" >&2; exit 2; }

sha256sum --quiet -c SHA256SUMS || { echo "install.sh: a file is damaged: copy the bundle anew" >&2; exit 1; }
if [ -e SHA256SUMS.asc ]; then
  if command -v gpg >/dev/null 2>&1; then
    gpg --verify SHA256SUMS.asc SHA256SUMS 2>&1 || { echo "install.sh: the signature is not good, or its key is not known here" >&2; exit 1; }
  else
    echo "install.sh: there is no gpg here: the signature was not checked, only the sums" >&2
  fi
else
  echo "install.sh: the bundle is not signed; the sums are right" >&2
fi

for name in $names; do
  if command -v dpkg >/dev/null 2>&1; then
    dpkg -i "$name"_*.deb
  elif command -v rpm >/dev/null 2>&1; then
    rpm -U --replacepkgs "$name"-*.rpm
  else
    echo "install.sh: there is neither dpkg nor rpm here" >&2
    exit 1
  fi
done
case $what in agent | both) echo "next: forebay-agent setup" ;; esac
case $what in collector | both) echo "next: forebay-collector init --address HOST:7443" ;; esac
