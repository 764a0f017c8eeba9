"""The packages as they lie in build/packages/out: what they need, what they weigh, what is in them. After `make packages`."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import subprocess
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from forebay_packages import elf
from forebay_packages.product import AGENT, GLIBC, PRODUCTS, PYTHON, ROOT, Product
from forebay_packages.running import TOOLS

OUT = ROOT / "build" / "packages" / "out"
MACHINES = {"amd64": "Advanced Micro Devices X86-64", "arm64": "AArch64"}
BUILT = sorted(path.name.rpartition("_")[2].removesuffix(".deb") for path in OUT.glob("forebay-agent_*.deb"))


_IMPORT = """
import importlib, pkgutil, sys
count = 0
for name in sys.argv[1:]:
    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            count += 1
print(count)
"""


@pytest.fixture(scope="module", params=[f"{name} {arch}" for arch in BUILT for name in sorted(PRODUCTS)])
def unpacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Product, str, Path]:
    """A .deb, unpacked."""
    name, arch = request.param.split()
    (package,) = OUT.glob(f"{name}_*_{arch}.deb")
    folder = tmp_path_factory.mktemp("unpacked")
    subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    return PRODUCTS[name], arch, folder


@pytest.fixture
def running(unpacked: tuple[Product, str, Path], tmp_path: Path) -> list[str | Path]:
    """What runs the package's own interpreter on this machine: arm64's under qemu-user, with Debian's arm64 libc. That lacks
    zlib, which every system has: it is the one that was built for the interpreter."""
    product, arch, folder = unpacked
    interpreter = folder / str(product.prefix)[1:] / "bin" / PYTHON
    if arch == "amd64":
        return [interpreter]
    library = ROOT / "build/packages" / f"work-{arch}" / "libraries/lib/libz.a"
    whole = ("-Wl,-soname,libz.so.1", "-Wl,--whole-archive", library, "-Wl,--no-whole-archive")
    compiler = (TOOLS / "python", "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.28", "-shared", "-fPIC")
    subprocess.run([*compiler, *whole, "-o", tmp_path / "libz.so.1"], check=True)
    # what this process's own agent chose for Arrow, on another processor, is not the package's
    environment = ("-E", f"LD_LIBRARY_PATH={tmp_path}", "-U", "ARROW_DEFAULT_MEMORY_POOL")
    return ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu", *environment, interpreter]


def test_every_compiled_file_runs_on_the_promised_glibc(unpacked: tuple[Product, str, Path]) -> None:
    _, arch, folder = unpacked
    files = list(elf.compiled_files(folder))
    assert len(files) > 40
    newest: dict[str, tuple[int, ...]] = {}
    for file in files:
        for kind, version in elf.needs(file).versions.items():
            newest[kind] = max(newest.get(kind, ()), version)
    print(f"{arch}: {len(files)} compiled files; newest symbols {newest}")
    assert newest["GLIBC"] <= GLIBC
    assert newest["GLIBCXX"] <= (3, 4, 25)  # GCC 8
    assert newest["CXXABI"] <= (1, 3, 11)


def test_every_compiled_file_is_of_its_architecture(unpacked: tuple[Product, str, Path]) -> None:
    _, arch, folder = unpacked
    for file in elf.compiled_files(folder):
        said = subprocess.run(["readelf", "-h", file], capture_output=True, text=True, check=True).stdout
        assert MACHINES[arch] in said, file


def test_the_agent_takes_at_most_200_mb(unpacked: tuple[Product, str, Path]) -> None:
    product, arch, folder = unpacked
    said = subprocess.run(["du", "-s", "--block-size=1000", folder], capture_output=True, text=True, check=True).stdout
    megabytes = int(said.split()[0]) / 1000
    print(f"{product.name} {arch}: installed {megabytes:.1f} MB")
    if product is AGENT:
        assert megabytes <= 200


def test_everything_of_ours_can_be_imported_from_what_is_left(
    unpacked: tuple[Product, str, Path], running: list[str | Path]
) -> None:
    """Nothing that is needed was left out of wheels and standard library; for arm64 under qemu-user."""
    product, _, _ = unpacked
    names = ["forebay_wire", product.name.replace("-", "_")]
    done = subprocess.run(
        [*running, "-I", "-c", _IMPORT, *names], capture_output=True, text=True, check=False, timeout=800
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) > 150
    assert done.stderr == ""


def test_the_agent_connects_and_looks_at_a_table(
    unpacked: tuple[Product, str, Path], running: list[str | Path], tmp_path: Path
) -> None:
    product, _, _ = unpacked
    if product is not AGENT:
        pytest.skip("the agent's")
    with closing(sqlite3.connect(tmp_path / "civil.db")) as database:
        database.execute("CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT)")
    (tmp_path / "sources.d").mkdir()
    (tmp_path / "agent.toml").write_text('[agent]\nstate = "state"\n')
    (tmp_path / "sources.d/civil.toml").write_text(
        f'kind = "sqlite"\npath = "{tmp_path}/civil.db"\n\n[[table]]\nname = "person"\nmode = "snapshot"\n'
    )
    command = "import sys; from forebay_agent.cli import main; sys.exit(main())"
    done = subprocess.run(
        [*running, "-I", "-c", command, "--config", tmp_path, "check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 4, done.stdout + done.stderr  # nothing but that it is not enrolled
    assert f"connected to file {tmp_path}/civil.db" in done.stdout
    assert done.stdout.count("error ") == 1


def test_the_bill_of_materials_names_every_locked_package_with_its_hash(unpacked: tuple[Product, str, Path]) -> None:
    product, _, folder = unpacked
    bill = json.loads((folder / "usr/share/doc" / product.name / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    named = {component["name"].replace("_", "-"): component for component in bill["components"]}
    lock = product.lock.read_text()
    locked = re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE)
    assert len(locked) > 10
    for name in locked:
        (digest,) = (hashed["content"] for hashed in named[name.replace("_", "-")]["hashes"])
        assert f"sha256:{digest}" in lock, name
    for name in ("python3.11", "openssl", "sqlite3"):
        assert name in named
    references = {component["bom-ref"] for component in bill["components"]}
    assert set(bill["dependencies"][0]["dependsOn"]) == references


def test_the_licence_of_every_package_is_there(unpacked: tuple[Product, str, Path]) -> None:
    product, _, folder = unpacked
    about = folder / "usr/share/doc" / product.name
    assert "Apache License" in (about / "LICENSE").read_text()
    held = {path.name.rpartition("-")[0].replace("_", "-").lower() for path in (about / "licences").iterdir()}
    for name in ("pyarrow", "grpcio", "protobuf", "cryptography", "zstandard"):
        assert name in held
    assert (about / "licences" / "interpreter" / "cpython").exists()


def test_nothing_of_the_machine_that_built_it_is_inside(unpacked: tuple[Product, str, Path]) -> None:
    product, _, folder = unpacked
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            content = file.read_bytes()
            assert str(ROOT).encode() not in content, file
            assert b"build/packages/work-" not in content, file  # where an interpreter is built that was kept since
    assert (folder / str(product.prefix)[1:] / "bin" / PYTHON).stat().st_mode & 0o777 == 0o755


def test_the_bytecode_is_there_and_does_not_look_at_times(unpacked: tuple[Product, str, Path]) -> None:
    product, _, folder = unpacked
    library = folder / str(product.prefix)[1:] / "lib" / PYTHON
    compiled = list(library.rglob("*.pyc"))
    assert len(compiled) > 500
    for file in compiled:
        flags = int.from_bytes(file.read_bytes()[4:8], "little")
        assert flags == 0b01, file  # by hash, not checked


@pytest.mark.skipif("amd64" not in BUILT, reason="no packages were built: make packages")
def test_the_locked_sources_are_fetched_from_nothing(tmp_path: Path) -> None:
    subprocess.run([ROOT / "packaging" / "sources.sh", tmp_path / "sources"], check=True)


@pytest.mark.skipif("amd64" not in BUILT, reason="no packages were built: make packages")
def test_the_bundle_is_what_its_sums_say(tmp_path: Path) -> None:
    (bundle,) = OUT.glob("forebay-*-amd64.tar")
    with tarfile.open(bundle) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    sums = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert {file.name for file in folder.iterdir()} - {"SHA256SUMS", "SHA256SUMS.asc"} == set(sums)
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert len([name for name in sums if name.endswith((".deb", ".rpm"))]) == 4
    assert (folder / "install.sh").stat().st_mode & 0o111
