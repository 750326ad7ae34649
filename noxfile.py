"""Every task of this repository; `nox -l` lists them. Packages are found in packages/*."""

from __future__ import annotations

import functools
import graphlib
import itertools
import os
import platform
import shutil
import tomllib
import zipfile
from collections.abc import Iterable
from email.parser import BytesParser
from pathlib import Path

import nox
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests"]

ROOT = Path(__file__).parent
DIST = ROOT / "dist"

# What a leaf may bring along; checked against the metadata of the built wheels.
LEAF_REQUIREMENTS = {"solq-maskcodec": {"numpy"}, "solq-ops": {"torch"}}
# The package that a benchmark suite measures; a suite is benchmarks/<name>.py.
SUITES = {
    "ops": "solq-ops",
    "maskcodec": "solq-maskcodec",
    "model": "solq-model",
    "train": "solq-train",
    "data": "solq-train",
    "samples": "solq-train",
    "scaling": "solq-train",
}
# One use of each installed package: enough to show that its wheel holds what the package needs.
SMOKE = {
    "solq-maskcodec": """
import numpy
codec = solq_maskcodec.DCTMaskCodec()
masks = numpy.zeros((1, 128, 128), dtype=bool)
masks[:, 32:96, 32:96] = True
assert (codec.decode(codec.encode(masks)) == masks).mean() > 0.99
# Where compiling fails, a wheel without the kernel is built: good for a user, not for a release.
assert solq_maskcodec.backend().implementation == "compiled", solq_maskcodec.backend()
""",
    "solq-ops": """
import torch
# Where compiling fails, a wheel without kernels is built: good for a user, not for a release.
assert solq_ops.backend().cpu.implementation == "compiled", solq_ops.backend()
ones = torch.ones
output = solq_ops.ms_deform_attn(
    ones(1, 4, 1, 8), torch.tensor([[2, 2]]), torch.tensor([0]), ones(1, 3, 1, 1, 1, 2) / 2,
    ones(1, 3, 1, 1, 1),
)
assert output.shape == (1, 3, 8) and (output == 1).all()
""",
    "solq-model": """
import torch
model = solq_model.build_model(solq_model.presets.tiny()).eval()
with torch.no_grad():
    predictions = model([torch.zeros(3, 64, 96)])
assert predictions.boxes.isfinite().all()
""",
}


PYTEST_CONFIG = ("--config-file", "pyproject.toml", "--rootdir", ".")
# Versions of torch that one binary of solq-ops has to run with: the first with the stable ABI that
# it needs, and the newest at hand.
TORCH_VERSIONS = {"oldest": "torch==2.10.*", "newest": "torch"}
# NumPy as solq-maskcodec has to run with it.
NUMPY_VERSIONS = {"oldest": "numpy==1.26.*", "newest": "numpy"}
# What solq-maskcodec is measured beside; the published path needs the first.
CODEC_PEERS = (
    "opencv-python-headless",
    "torch-dct==0.1.6",
    "ultrafast-pycocotools==0.1.14",
    "rlemasklib==0.8.1",
    "hotcoco==1.3.0",
    "faster-coco-eval==1.8.0",
)
# What solq-model is measured beside: the published code, and Deformable DETR.
PUBLISHED_SOLQ = ("https://github.com/megvii-research/SOLQ", "97f537c")
MODEL_PEERS = ("transformers==5.23.0",)
# Extras that mypy does without (pyproject.toml): they bring a hundred packages along.
UNTYPED_EXTRAS = {"mlflow", "wandb"}
LARGEST_CODEC_WHEEL = 500_000  # bytes
# The switch of a package's build for the sanitizers, and the tests of what it compiles.
SANITIZED = {
    "solq-ops": ("SOLQ_OPS_SANITIZE", "packages/solq-ops/tests/test_kernels.py"),
    "solq-maskcodec": (
        "SOLQ_MASKCODEC_SANITIZE",
        "packages/solq-maskcodec/tests/image/test_boxed_rle.py",
    ),
}


@functools.cache
def projects() -> dict[str, dict]:
    """The [project] table of each package in packages/*, siblings before those that need them."""
    found = {}
    for path in sorted(ROOT.glob("packages/*/pyproject.toml")):
        found[path.parent.name] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    graph = {
        name: requirement_names(project["dependencies"]) & set(found)
        for name, project in found.items()
    }
    return {name: found[name] for name in graphlib.TopologicalSorter(graph).static_order()}


def requirement_names(requirements: Iterable[str]) -> set[str]:
    """The names of the packages that are required without an extra."""
    parsed = map(Requirement, requirements)
    return {
        canonicalize_name(requirement.name)
        for requirement in parsed
        if not (requirement.marker and "extra" in str(requirement.marker))
    }


def with_siblings(name: str) -> list[str]:
    """The package and every sibling that it needs, directly or not, in order of installation."""
    needed = {name}
    for candidate in reversed(projects()):
        if candidate in needed:
            needed |= requirement_names(projects()[candidate]["dependencies"])
    return [candidate for candidate in projects() if candidate in needed]


def editable(names: Iterable[str]) -> list[str]:
    """Arguments that install the packages from their folders.

    Editable, because uv keeps what it built from a folder and would not notice a changed source.
    """
    return [argument for name in names for argument in ("--editable", f"packages/{name}")]


def install(session: nox.Session, *arguments: str) -> None:
    """Install into the session."""
    session.install(*arguments, env=build_environment())


def build_environment() -> dict[str, str]:
    """solq-ops without CUDA kernels where there is no device for them: compiling takes minutes.

    The wheels always have them where nvcc is found.
    """
    has_device = shutil.which("nvidia-smi") is not None
    return {} if has_device else {"SOLQ_OPS_CUDA": "OFF"}


def group(pyproject: Path, name: str) -> list[str]:
    """The requirements of a dependency group."""
    return list(nox.project.dependency_groups(nox.project.load_toml(pyproject), name))


def test_group(name: str) -> list[str]:
    """What the tests of a package need beside it."""
    return group(ROOT / "packages" / name / "pyproject.toml", "test")


def tool_group(name: str) -> list[str]:
    """What a shared tool needs."""
    return group(ROOT / "pyproject.toml", name)


@nox.session(reuse_venv=True)
def demo(session: nox.Session) -> None:
    """Train, evaluate and predict on the embedded data; `-- --quick` is the short form."""
    install(session, *editable(projects()))
    session.run("solq", "demo", *session.posargs)


@nox.session
@nox.parametrize("package", [nox.param(name, id=name) for name in (*projects(), "together")])
def tests(session: nox.Session, package: str) -> None:
    """Each package's tests with only what it declares, then the tests of all together."""
    if package == "together":
        folder = ROOT / "tests"
        installed = list(projects())
        requirements = {line for name in installed for line in test_group(name)}
    else:
        folder = ROOT / "packages" / package / "tests"
        installed = with_siblings(package)
        requirements = set(test_group(package))
    install(session, *editable(installed), *sorted(requirements))
    session.run("pytest", *PYTEST_CONFIG, str(folder.relative_to(ROOT)), *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting and the direction of imports; `-- --fix` mends what can be mended."""
    session.install(*tool_group("lint"))
    fix = "--fix" in session.posargs
    session.run("ruff", "check", *(["--fix"] if fix else []))
    session.run("ruff", "format", *([] if fix else ["--check"]))
    session.run("clang-format", "-i", *([] if fix else ["--dry-run", "--Werror"]), *cpp_sources())
    sources = [str(ROOT / "packages" / name / "src") for name in projects()]
    session.run("lint-imports", env={"PYTHONPATH": os.pathsep.join(sources)})


def cpp_sources() -> list[str]:
    """Every C++ and CUDA file of the packages."""
    endings = {".h", ".cpp", ".cuh", ".cu"}
    folders = [folder for name in ("csrc", "tests") for folder in ROOT.glob(f"packages/*/{name}")]
    found = [path for folder in folders for path in folder.rglob("*") if path.suffix in endings]
    return [str(path.relative_to(ROOT)) for path in sorted(found)]


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict, on the sources of every package."""
    extras = [
        requirement
        for project in projects().values()
        for extra, requirements in project.get("optional-dependencies", {}).items()
        if extra not in UNTYPED_EXTRAS
        for requirement in requirements
    ]
    install(session, *editable(projects()), *tool_group("types"), *extras)
    session.run("mypy", *[f"packages/{name}/src" for name in projects()])


@nox.session
def build(session: nox.Session) -> None:
    """Every package as sdist and wheel in dist/."""
    installer = "uv" if session.venv_backend == "uv" else "pip"
    session.install("build[uv]" if installer == "uv" else "build")
    shutil.rmtree(DIST, ignore_errors=True)
    for name in projects():
        arguments = ("--installer", installer, "--outdir", str(DIST), f"packages/{name}")
        session.run("python", "-m", "build", *arguments)


@nox.session(requires=["build"])
def wheels(session: nox.Session) -> None:
    """Build all packages, install them from the built files, import them and use each once."""
    built = {canonicalize_name(wheel.name.split("-")[0]): wheel for wheel in DIST.glob("*.whl")}
    for name, allowed in LEAF_REQUIREMENTS.items():
        required = wheel_requirements(built[name])
        if required != allowed:
            session.error(f"{built[name].name} requires {sorted(required)}, not {sorted(allowed)}")
    session.install(*map(str, built.values()))
    for name, project in projects().items():
        session.log(f"{built[name].name}: import and use")
        session.run("python", "-P", "-c", smoke_script(name, project["version"]), silent=True)
    if "solq-train" in built:
        session.run("solq", "--help", silent=True)


@nox.session(requires=["build"])
@nox.parametrize("torch", [nox.param(torch, id=name) for name, torch in TORCH_VERSIONS.items()])
def abi(session: nox.Session, torch: str) -> None:
    """The one built wheel of solq-ops passes its tests with the oldest and the newest torch."""
    wheel = next(DIST.glob("solq_ops-*.whl"))
    session.install(torch, str(wheel), *test_group("solq-ops"))
    session.run("python", "-P", "-c", smoke_script("solq-ops", projects()["solq-ops"]["version"]))
    session.run("python", "-P", "-m", "solq_ops")
    tests = "packages/solq-ops/tests"
    # These compile the sources, and say nothing about the wheel.
    other = f"--ignore={tests}/test_cuda_kernels.py"
    session.run("pytest", *PYTEST_CONFIG, tests, other, *session.posargs)


@nox.session(requires=["build"])
@nox.parametrize("numpy", [nox.param(numpy, id=name) for name, numpy in NUMPY_VERSIONS.items()])
def alone(session: nox.Session, numpy: str) -> None:
    """The built wheel of solq-maskcodec beside the oldest and the newest NumPy and nothing else."""
    wheel = next(DIST.glob("solq_maskcodec-*.whl"))
    if (size := wheel.stat().st_size) > LARGEST_CODEC_WHEEL:
        session.error(f"{wheel.name} has {size} bytes, {LARGEST_CODEC_WHEEL} at most")
    session.install(numpy, str(wheel), "pytest>=8")
    test_alone(session, "compiled")


@nox.session
def without_kernel(session: nox.Session) -> None:
    """solq-maskcodec as it is built where there is no compiler, beside NumPy and nothing else."""
    folder = editable(["solq-maskcodec"])
    session.install(*folder, "--config-settings=wheel.cmake=false", "pytest>=8")
    test_alone(session, "numpy")


def test_alone(session: nox.Session, implementation: str) -> None:
    """The tests of solq-maskcodec that need nothing but NumPy."""
    tests = "packages/solq-maskcodec/tests/test_alone.py"
    environment = {"SOLQ_MASKCODEC_EXPECTED": implementation}
    session.run("pytest", *PYTEST_CONFIG, "--noconftest", tests, env=environment)


@nox.session
@nox.parametrize("package", [nox.param(name, id=name) for name in SANITIZED])
def sanitize(session: nox.Session, package: str) -> None:
    """The tests of compiled code under the address and undefined-behaviour sanitizers."""
    option, tests = SANITIZED[package]
    session.install(*test_group(package))
    session.install(
        *editable([package]),
        f"--config-settings=cmake.define.{option}=ON",
        "--config-settings=cmake.build-type=RelWithDebInfo",
        env={"SOLQ_OPS_CUDA": "OFF"},
    )
    compiler = os.environ.get("CXX", "c++")
    # The sanitizer has to be there first, and looks for libstdc++ to see exceptions pass.
    names = ("libasan.so", "libstdc++.so")
    asked = [(compiler, f"-print-file-name={name}") for name in names]
    found = [str(session.run(*command, external=True, silent=True)).strip() for command in asked]
    environment = {
        # Python is not built with the sanitizers, and never frees all of its own.
        "LD_PRELOAD": " ".join(found),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        # Many examples, others each time.
        "HYPOTHESIS_PROFILE": "fuzz",
    }
    # Uncaptured, or what the sanitizer says when it stops the process would be lost.
    session.run("pytest", *PYTEST_CONFIG, "-s", tests, *session.posargs, env=environment)


def wheel_requirements(wheel: Path) -> set[str]:
    """The names that a built wheel requires, by its own metadata."""
    with zipfile.ZipFile(wheel) as archive:
        path = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = BytesParser().parsebytes(archive.read(path))
    return requirement_names(metadata.get_all("Requires-Dist", []))


def smoke_script(name: str, version: str) -> str:
    """A program that fails unless the installed wheel of this version imports and works."""
    module = name.replace("-", "_")
    return f"""
import importlib.resources
import {module}
assert {module}.__version__ == {version!r}, {module}.__version__
assert "site-packages" in {module}.__file__, {module}.__file__
assert importlib.resources.files({module}).joinpath("py.typed").is_file()
{SMOKE.get(name, "")}"""


@nox.session(reuse_venv=True)
def bench(session: nox.Session) -> None:
    """Benchmarks, results in benchmarks/results/; `-- ops train` chooses among the suites.

    `--peers` installs what the suites compare themselves with; SOLQ_PUBLISHED names a checkout of
    the published code where it cannot be cloned. What else begins with a dash goes
    to the suites; such results are partial, and stay out of benchmarks/results/.
    """
    chosen = list(itertools.takewhile(lambda word: not word.startswith("-"), session.posargs))
    options = session.posargs[len(chosen) :]
    with_peers = "--peers" in options
    options = [option for option in options if option != "--peers"]
    present = [suite for suite in SUITES if (ROOT / "benchmarks" / f"{suite}.py").exists()]
    if unknown := set(chosen) - set(present):
        session.error(f"no suite {sorted(unknown)}; there are {present}")
    install(session, *editable(projects()))
    session.run("python", "-m", "solq_ops")
    suites = chosen or present
    if with_peers and "ops" in suites:  # source only, compiled against the torch that is installed
        session.install("setuptools>=77", "packaging>=24.2", "wheel", "ninja")
        peer = ("--no-deps", "--no-build-isolation", "torch-ms-deform-attn==0.1.1")
        session.install(*peer, env={"FORCE_CPU": "1"})
    if with_peers and {"maskcodec", "train"} & set(suites):
        session.install(*CODEC_PEERS)
    environment = {}
    if with_peers and "model" in suites:
        session.install(*MODEL_PEERS)
    if with_peers and {"model", "train"} & set(suites):
        environment["SOLQ_PUBLISHED"] = str(published_solq(session))
    machine = f"{platform.system()}-{platform.machine()}-{os.cpu_count()}cpu".lower()
    for suite in suites:
        package = SUITES[suite]
        version = projects()[package]["version"]
        folder = ROOT / "benchmarks" / "results" / f"{package}-{version}"
        if options:
            folder = Path(session.create_tmp())
        output = str(folder / f"{suite}--{machine}--cpu.json")
        command = ("python", f"benchmarks/{suite}.py", "--output", output, *options)
        session.run(*command, env=environment)


def published_solq(session: nox.Session) -> Path:
    """A checkout of the published SOLQ: that of SOLQ_PUBLISHED, or one of the session's own."""
    if given := os.environ.get("SOLQ_PUBLISHED"):
        return Path(given).resolve()
    url, revision = PUBLISHED_SOLQ
    checkout = session.cache_dir / "published-solq"
    if not checkout.exists():
        session.run("git", "clone", "--quiet", url, str(checkout), external=True)
    session.run("git", "-C", str(checkout), "checkout", "--quiet", revision, external=True)
    return checkout.resolve()


@nox.session(reuse_venv=True)
def dev(session: nox.Session) -> None:
    """One .venv with all packages editable, what their tests need, and the tools."""
    requirements = {line for name in projects() for line in test_group(name)}
    requirements |= {*tool_group("lint"), *tool_group("types")}
    arguments = [*editable(projects()), *sorted(requirements)]
    python = str(ROOT / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    if session.venv_backend == "uv":
        session.run("uv", "venv", "--allow-existing", ".venv")
        command = ("uv", "pip", "install", "--python", python, *arguments)
        session.run(*command, env=build_environment())
    else:
        session.run("python", "-m", "venv", ".venv")
        command = (python, "-m", "pip", "install", *arguments)
        session.run(*command, external=True, env=build_environment())
