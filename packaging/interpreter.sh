#!/usr/bin/env bash
# Builds the packages' own CPython, and the libraries that its modules need, from Debian's sources against an old glibc:
#   interpreter.sh ARCH FOLDER      ARCH is amd64 or arm64; what comes out stands in FOLDER/python-ARCH
# The compiler is zig's clang, which brings the headers and symbol versions of every glibc: no old system is needed, and
# arm64 is built on amd64. The libraries are linked into the modules, so that nothing but glibc is taken from the OS.
# Sources are fetched by apt and checked against sources.sha256; of Debian's patches those are applied that mend CPython,
# not those that lay it out for Debian. What was built is not built again: remove the folder to do so.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
arch=$1
folder=$(mkdir -p "$2" && cd "$2" && pwd)
jobs=${JOBS:-$(nproc)}
zig=${ZIG:-$here/../.venv-packages/bin/python -m ziglang}

glibc=2.28
case $arch in
  amd64) machine=x86_64 openssl_target=linux-x86_64 ;;
  arm64) machine=aarch64 openssl_target=linux-aarch64 ;;
  *) echo "interpreter: $arch is neither amd64 nor arm64" >&2; exit 2 ;;
esac
target=$machine-linux-gnu.$glibc
out=$folder/python-$arch
stamp=$(cat "$0" "$here/sources.sha256" | sha256sum | cut -d' ' -f1)
[[ -e $out/stamp && $(<"$out/stamp") == "$stamp" ]] && exit 0

say() { printf 'interpreter: %s: %s\n' "$arch" "$*"; }
work=$folder/work-$arch
libraries=$work/libraries
rm -rf "$work" "$out"
mkdir -p "$work/bin" "$libraries/lib" "$libraries/include"

# the same bytes wherever it is built: no folder's name, no moment. OpenSSL and CPython keep what their compiler was called
# with: it is called by its name, and knows by itself what names a folder
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1700000000} ZERO_AR_DATE=1 LC_ALL=C TZ=UTC
flags="-O3 -g0 -fPIC -fno-sanitize=undefined -fstack-protector-strong -Wno-date-time -Wno-implicit-function-declaration"
for tool in cc c++; do
  printf '#!/bin/sh\nexec %s %s -target %s -ffile-prefix-map=%s=/build "$@"\n' "$zig" "$tool" "$target" "$work" >"$work/bin/$tool"
done
for tool in ar ranlib; do printf '#!/bin/sh\nexec %s %s "$@"\n' "$zig" "$tool" >"$work/bin/$tool"; done
chmod 755 "$work/bin/"*
export PATH=$work/bin:$PATH CC=cc CXX=c++ AR=ar RANLIB=ranlib CFLAGS=$flags

"$here/sources.sh" "$folder/sources"
unpack() {
  mkdir -p "$work/$1"
  tar -C "$work/$1" --strip-components=1 -xf "$(compgen -G "$folder/sources/$2")"
  cd "$work/$1"
}
quietly() { "$@" >>"$work/log" 2>&1 || { tail -30 "$work/log" >&2; say "failed: $*"; exit 1; }; }

say "zlib, bzip2, xz, libffi"
unpack zlib 'zlib_*.orig.tar.*'
CHOST=$machine-linux-gnu quietly ./configure --static --prefix="$libraries"
quietly make -j"$jobs" libz.a
cp libz.a "$libraries/lib/"; cp zlib.h zconf.h "$libraries/include/"
unpack bzip2 'bzip2_*.orig.tar.*'
quietly make -j"$jobs" libbz2.a CC="$CC" AR="$AR" RANLIB="$RANLIB" CFLAGS="$flags -D_FILE_OFFSET_BITS=64"
cp libbz2.a "$libraries/lib/"; cp bzlib.h "$libraries/include/"
for library in xz-utils libffi; do
  unpack "$library" "${library}_*.orig.tar.*"
  options=()
  [[ $library == xz-utils ]] && options=(--disable-xz --disable-xzdec --disable-lzmadec --disable-lzmainfo --disable-scripts --disable-doc --disable-nls)
  quietly ./configure --host="$machine-linux-gnu" --build=x86_64-linux-gnu --prefix="$libraries" --libdir="$libraries/lib" \
    --disable-shared --enable-static --with-pic --disable-dependency-tracking --disable-docs "${options[@]}"
  quietly make -j"$jobs"
  quietly make install
done

say "sqlite"
unpack sqlite 'sqlite3_*.orig.tar.xz'
CC=gcc CFLAGS=-O1 quietly ./configure --disable-tcl --disable-shared --disable-readline
quietly make sqlite3.c sqlite3.h
"$CC" $flags -DSQLITE_THREADSAFE=1 -DSQLITE_ENABLE_COLUMN_METADATA -DSQLITE_ENABLE_FTS5 -DSQLITE_ENABLE_RTREE \
  -DSQLITE_ENABLE_MATH_FUNCTIONS -DSQLITE_ENABLE_DBSTAT_VTAB -DSQLITE_SECURE_DELETE -DSQLITE_MAX_VARIABLE_NUMBER=250000 \
  -DSQLITE_USE_URI -DHAVE_USLEEP=1 -c sqlite3.c -o sqlite3.o
"$AR" rcs "$libraries/lib/libsqlite3.a" sqlite3.o
cp sqlite3.h sqlite3ext.h "$libraries/include/"

say "openssl"
unpack openssl 'openssl_*.orig.tar.gz'
quietly perl Configure "$openssl_target" no-shared no-module no-tests no-engine no-dso no-comp \
  --prefix=/usr --openssldir=/etc/ssl --libdir=lib
quietly make -j"$jobs" build_libs
cp libssl.a libcrypto.a "$libraries/lib/"; cp -r include/openssl "$libraries/include/"

say "cpython"
unpack cpython 'python3.11_*.orig.tar.gz'
mkdir ../patches && tar -C ../patches -xf "$(compgen -G "$folder/sources/python3.11_*.debian.tar.xz")"
sed -n '/^ntpath-import.diff$/,$p' ../patches/debian/patches/series | while read -r patch; do
  quietly patch -p1 -i "../patches/debian/patches/$patch"
done
# nothing of this machine's headers and libraries, though its own programs run here
sed -i -e 's/^CROSS_COMPILING = .*/CROSS_COMPILING = True/' -e 's/^    def add_multiarch_paths(self):/&\n        return/' setup.py
# one of the patches needs the interpreter's inner headers, which Debian's own build gives it
sed -i '1i #ifndef Py_BUILD_CORE_BUILTIN\n#define Py_BUILD_CORE_MODULE 1\n#endif' Modules/pyexpat.c
options=()
if [[ $machine != $(uname -m) ]]; then
  "$0" amd64 "$folder"
  options=(--with-build-python="$folder/python-amd64/bin/python3.11")
fi
export CPPFLAGS="-I$libraries/include" LDFLAGS="-L$libraries/lib -s" PKG_CONFIG=false
export ZLIB_CFLAGS=" " ZLIB_LIBS="-lz" BZIP2_CFLAGS=" " BZIP2_LIBS="-lbz2" LIBLZMA_CFLAGS=" " LIBLZMA_LIBS="-llzma"
export LIBSQLITE3_CFLAGS="-I$libraries/include" LIBSQLITE3_LIBS="-lsqlite3 -lm -lpthread -ldl" LIBFFI_INCLUDEDIR="$libraries/include"
quietly ./configure --host="$machine-linux-gnu" --build=x86_64-linux-gnu --prefix=/usr/lib/forebay --disable-shared \
  --with-openssl="$libraries" --without-ensurepip --disable-test-modules --with-system-ffi \
  --enable-ipv6 ac_cv_file__dev_ptmx=yes ac_cv_file__dev_ptc=no ac_cv_broken_nice=no "${options[@]}"
quietly make -j"$jobs"
quietly make install DESTDIR="$work/installed"
mv "$work/installed/usr/lib/forebay" "$out"
sed -i "s#$folder#/build#g" "$out"/lib/python3.11/_sysconfigdata_*.py
mkdir -p "$out/licences"
for name in zlib:README bzip2:LICENSE xz-utils:COPYING libffi:LICENSE openssl:LICENSE.txt cpython:LICENSE; do
  cp "$work/${name%%:*}/${name##*:}" "$out/licences/${name%%:*}"
done
printf '%s' "$stamp" >"$out/stamp"
say "done: $out"
