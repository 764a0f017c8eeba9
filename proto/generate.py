"""Generates forebay_wire/v1 from the .proto files; `--check` fails when the committed code is not what they say."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
TARGET = ROOT / "forebay_wire" / "v1"


def generate(target: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        protos = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "forebay" / "v1").glob("*.proto"))
        bin_folder = Path(sys.executable).parent
        arguments = ["protoc", f"-I{ROOT}"]
        arguments += [
            f"--plugin=protoc-gen-{name}={bin_folder / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")
        ]
        arguments += [f"--{plugin}_out={scratch}" for plugin in ("python", "grpc_python", "mypy", "mypy_grpc")]
        if protoc.main([*arguments, *protos]) != 0:
            raise SystemExit("protoc failed: see its message above")
        target.mkdir(parents=True, exist_ok=True)
        for old in target.glob("*_pb2*"):
            old.unlink()
        for made in sorted((Path(scratch) / "forebay" / "v1").iterdir()):
            # protoc knows only the proto package; the Python package has a name of its own
            text = re.sub(r"\bforebay\.v1(?= import|\.\w+_pb2)", "forebay_wire.v1", made.read_text("utf-8"))
            text = text.replace("from forebay.v1 ", "from forebay_wire.v1 ")
            (target / made.name).write_text(text, "utf-8")
        (target / "__init__.py").write_text('"""Generated from proto/forebay/v1 by proto/generate.py."""\n', "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 when they differ")
    if not parser.parse_args().check:
        generate(TARGET)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        generate(fresh)
        names = {path.name for path in fresh.iterdir()} | {path.name for path in TARGET.iterdir() if path.is_file()}
        differing = [
            name
            for name in sorted(names)
            if not (fresh / name).exists()
            or not (TARGET / name).exists()
            or (fresh / name).read_bytes() != (TARGET / name).read_bytes()
        ]
    if differing:
        print(f"generated code is stale: {', '.join(differing)}; run `make proto`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
