"""The private tree: interpreter, wheels, our own code and kernels, bytecode, licences and the bill of materials.

    <root>/usr/lib/<name>/bin/python3.11                 the interpreter, which finds its library by where it stands
    <root>/usr/lib/<name>/lib/python3.11/                the standard library without what nobody here opens
    <root>/usr/lib/<name>/lib/python3.11/site-packages/  wheels and our own packages
    <root>/usr/bin/<name>                                the program
    <root>/usr/share/doc/<name>/                         licences, copyright, sbom.cdx.json

Bytecode is compiled with hashes that are not checked: it depends on nothing but the source, and a start does not look at
the sources' times.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import tomllib
from pathlib import Path
from pprint import pformat
from typing import Final

from forebay_packages import elf, kernels, licences, sbom, wheels
from forebay_packages.product import EPOCH, GLIBC, PYTHON, ROOT, Architecture, Product
from forebay_packages.running import run

# of the standard library: what is for developers, for windows on a screen, or for installing packages
_UNUSED_LIBRARY: Final = (
    r"(test|idlelib|tkinter|turtledemo|lib2to3|ensurepip|pydoc_data|venv|site-packages|config-[^/]*|distutils)/",
    r"(.*/)?(test|tests|__pycache__|idle_test)/",
    r"(turtle|antigravity|this)\.py$",
    r"lib-dynload/(_test|_ctypes_test|_xxtest|xxlimited|_tkinter|nis|ossaudiodev|audioop)",
    r".*\.(exe|bat)$",
)
_SYSTEM_LIBRARIES: Final = frozenset(
    {
        *("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libresolv.so.2"),
        *("ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "libcrypt.so.1"),
        # of GCC 8 or newer, on every system that has a package manager
        *("libstdc++.so.6", "libgcc_s.so.1", "libatomic.so.1"),
        # of psycopg's own libcrypto; dpkg and rpm need it as well
        "libz.so.1",
    }
)


def lay(product: Product, architecture: Architecture, work: Path, root: Path) -> None:
    """Lays the whole tree under `root`, which is made anew. work: where interpreters and wheels stand."""
    shutil.rmtree(root, ignore_errors=True)
    interpreter = work / f"python-{architecture.debian}"
    prefix = root / product.prefix.relative_to("/")
    site = prefix / "lib" / PYTHON / "site-packages"
    _lay_interpreter(interpreter, prefix)
    site.mkdir()
    fetched = wheels.fetch(product, architecture, work / f"wheels-{product.name}-{architecture.debian}")
    for wheel in fetched:
        wheels.unpack(wheel, product, site)
    for distribution in product.distributions:
        lay_distribution(ROOT / distribution, site)
        kernels.build(ROOT / distribution, architecture, interpreter, work, site)
    _same_file_once(site / "pyarrow")
    _strip(prefix, architecture)
    _lay_program(product, root)
    compile_bytecode(product, work, root)
    licences.lay(product, interpreter, site, root)
    sbom.lay(product, architecture, interpreter, fetched, root)
    _check(prefix)
    settle(root)


def compile_bytecode(product: Product, work: Path, root: Path) -> None:
    """Whichever machine it is for, the bytecode is the same, so that amd64's interpreter compiles for all."""
    library = root / product.prefix.relative_to("/") / "lib" / PYTHON
    how = ("-q", "-f", "-j0", "--invalidation-mode", "unchecked-hash", "-s", root, "-p", "/")
    run([work / "python-amd64" / "bin" / PYTHON, "-I", "-m", "compileall", *how, library])


def settle(root: Path) -> None:
    """One time and plain modes for every file, so that nothing of this machine is in the package."""
    for path in sorted(root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def _lay_interpreter(interpreter: Path, prefix: Path) -> None:
    program = prefix / "bin" / PYTHON
    program.parent.mkdir(parents=True)
    shutil.copyfile(interpreter / "bin" / PYTHON, program)
    program.chmod(0o755)
    library = interpreter / "lib" / PYTHON
    for file in sorted(library.rglob("*")):
        path = str(file.relative_to(library))
        if file.is_dir() or any(re.match(pattern, path) for pattern in _UNUSED_LIBRARY):
            continue
        target = prefix / "lib" / PYTHON / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        if file.name.startswith("_sysconfigdata"):
            target.write_text(_laid_out_anew(file), "utf-8")


def _laid_out_anew(settings: Path) -> str:
    """How CPython wrapped the settings of its build depends on the length of folders' names that are in them no more."""
    return f"build_time_vars = {pformat(runpy.run_path(str(settings))['build_time_vars'], width=120)}\n"


def lay_distribution(folder: Path, site: Path) -> None:
    """Our own code, and the metadata that `importlib.metadata` reads the version from."""
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    package = folder / str(project["name"]).replace("-", "_")
    for file in sorted(package.rglob("*")):
        path = file.relative_to(folder)
        if file.is_dir() or "__pycache__" in path.parts or file.suffix in {".so", ".c", ".pyi", ".pyx", ".pxd"}:
            continue
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, site / path)
    about = site / f"{package.name}-{project['version']}.dist-info"
    about.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}"]
    lines += [f"Summary: {project['description']}", f"License: {project['license']}"]
    lines += [f"Requires-Dist: {wanted}" for wanted in project["dependencies"]]
    (about / "METADATA").write_text("\n".join(lines) + "\n", "utf-8")


def _same_file_once(folder: Path) -> None:
    """pyarrow's wheel holds some libraries three times, as wheels know no links."""
    kept: dict[bytes, Path] = {}
    for file in sorted(folder.glob("*.so*"), key=lambda path: (len(path.name), path.name)):
        content = file.read_bytes()
        if content in kept:
            file.unlink()
            file.symlink_to(kept[content].name)
        else:
            kept[content] = file


def _strip(prefix: Path, architecture: Architecture) -> None:
    """Symbols that only a debugger reads."""
    tool = "strip" if architecture.debian == "amd64" else f"{architecture.machine}-linux-gnu-strip"
    for file in elf.compiled_files(prefix):
        # auditwheel's renamed libraries do not survive it
        if ".libs/" not in str(file):
            run([tool, "--strip-unneeded", file])


def _lay_program(product: Product, root: Path) -> None:
    program = root / "usr" / "bin" / product.name
    program.parent.mkdir(parents=True)
    package = product.name.replace("-", "_")
    # -I: neither the environment nor the working folder can put other code in the way
    program.write_text(
        f"#!{product.prefix}/bin/{PYTHON} -I\nimport sys\n\nfrom {package}.cli import main\n\nsys.exit(main())\n",
        "utf-8",
    )
    program.chmod(0o755)


def _check(prefix: Path) -> None:
    """Refuses a tree that would not start on the oldest system that is promised."""
    own = {file.name for file in prefix.rglob("*.so*")}
    for file in elf.compiled_files(prefix):
        wanted = elf.needs(file)
        if wanted.versions.get("GLIBC", (0,)) > GLIBC:
            raise SystemExit(f"packages: {file} needs glibc {wanted.versions['GLIBC']}")
        if missing := wanted.libraries - _SYSTEM_LIBRARIES - own:
            raise SystemExit(f"packages: {file} needs {', '.join(sorted(missing))}")


def installed_bytes(root: Path) -> int:
    """What the tree takes on a disk, in blocks of 4 KiB as `du` counts it."""
    return sum(
        -(-path.lstat().st_size // 4096) * 4096 for path in root.rglob("*") if path.is_file() or path.is_symlink()
    )


def sizes(root: Path) -> str:
    """The largest parts, as JSON, for whoever wants to make it smaller."""
    site = next(root.glob(f"usr/lib/*/lib/{PYTHON}/site-packages"))
    parts = {entry.name: installed_bytes(entry) for entry in site.iterdir() if entry.is_dir()}
    largest = sorted(parts.items(), key=lambda part: -part[1])[:12]
    return json.dumps({name: round(size / (1 << 20), 1) for name, size in largest})
