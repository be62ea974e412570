"""What comes from others is fixed: packages by hashes, actions by commits, the image by its digest."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[1]
CI: Final = ROOT / ".ci"
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())
WANTED: Final[Mapping[str, list[str]]] = {
    "requirements-run.txt": PROJECT["project"]["dependencies"],
    "requirements-dev.txt": PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["dev"],
    "requirements-build.txt": PROJECT["build-system"]["requires"] + PROJECT["dependency-groups"]["build"],
    "requirements-tools.txt": PROJECT["dependency-groups"]["tools"],
}
"""The locked files, and what each is made of."""


@dataclass(frozen=True)
class Locked:
    """A package of a locked file."""

    requirement: Requirement
    hashes: frozenset[str]

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        (specifier,) = self.requirement.specifier
        assert specifier.operator == "=="
        return specifier.version

    def is_for(self, environment: Mapping[str, str]) -> bool:
        return self.requirement.marker is None or self.requirement.marker.evaluate(environment)


def packages(file: str) -> list[Locked]:
    """What ``file`` has. A line that is neither a comment nor a package is an error, as are options and addresses."""
    text = re.sub(r"^#.*\n", "", (CI / file).read_text(), flags=re.MULTILINE)
    return [_package(line.split(" --hash=")) for line in text.replace(" \\\n    ", " ").splitlines()]


def _package(parts: list[str]) -> Locked:
    requirement, *hashes = parts
    return Locked(Requirement(requirement), frozenset(hashes))


def environments() -> Iterator[Mapping[str, str]]:
    """Each Python on each platform that the locked files are for."""
    here = {name: str(value) for name, value in default_environment().items()}
    for minor in (11, 12, 13, 14):
        python = {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.2"}
        for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")):
            yield here | python | {"sys_platform": system, "platform_machine": machine}


@pytest.mark.parametrize("file", WANTED)
def test_every_package_has_one_version_and_its_hashes_and_no_address(file: str) -> None:
    locked = packages(file)
    assert locked
    for package in locked:
        assert package.version
        assert package.requirement.url is None
        assert package.hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in package.hashes), package.name
    assert "/" not in (CI / file).read_text(), "no address, and no folder of the machine that made it"


@pytest.mark.parametrize("file", WANTED)
def test_every_requirement_is_locked_once_for_each_python(file: str) -> None:
    locked = packages(file)
    for environment in environments():
        for text in WANTED[file]:
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate(environment):
                continue
            name = canonicalize_name(requirement.name)
            (chosen,) = [package for package in locked if package.name == name and package.is_for(environment)]
            assert requirement.specifier.contains(chosen.version), f"{text}: run make lock"


@pytest.mark.parametrize("file", ["requirements-run.txt", "requirements-build.txt"])
def test_what_the_image_gets_is_what_the_tests_ran_with(file: str) -> None:
    tested = {(package.name, package.version): package.hashes for package in packages("requirements-dev.txt")}
    for package in packages(file):
        assert tested[package.name, package.version] == package.hashes


def test_the_build_needs_what_is_locked_for_it() -> None:
    assert PROJECT["dependency-groups"]["build"] == PROJECT["build-system"]["requires"]


# --- the workflows

WORKFLOWS: Final = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def jobs(workflow: Path) -> dict[str, dict[str, Any]]:
    made: dict[str, dict[str, Any]] = yaml.safe_load(workflow.read_text())["jobs"]
    return made


def test_every_action_is_fixed_by_its_commit_and_says_its_version() -> None:
    uses = [line for file in WORKFLOWS for line in file.read_text().splitlines() if "uses:" in line]
    assert len(uses) > 5
    fixed = [re.fullmatch(r" +(?:- )?uses: ([\w./-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)", line) for line in uses]
    assert [line for line, match in zip(uses, fixed, strict=True) if match is None] == []
    commits = {(match[1], match[2]) for match in fixed if match is not None}
    assert len(commits) == len(dict(commits)), "one action, one commit"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_a_job_may_do_only_what_it_names_and_keeps_no_credentials(workflow: Path) -> None:
    assert yaml.safe_load(workflow.read_text())["permissions"] == {}
    for name, job in jobs(workflow).items():
        assert "permissions" in job, name
        assert "timeout-minutes" in job, name
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), f"{name}: the shell would run what a branch or a tag is called"
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name


def test_nothing_of_a_checkout_runs_in_a_job_that_may_write() -> None:
    for workflow in WORKFLOWS:
        for name, job in jobs(workflow).items():
            if "write" in job["permissions"].values():
                assert not any("checkout" in step.get("uses", "") for step in job["steps"]), f"{workflow.name}: {name}"


def test_a_release_is_built_once_and_published_from_the_guarded_environment() -> None:
    release = jobs(ROOT / ".github" / "workflows" / "release.yml")
    publishing = [name for name, job in release.items() if "pypi-publish" in str(job)]
    assert publishing == ["publish"]
    assert release["publish"]["environment"]["name"] == "pypi"
    assert release["publish"]["permissions"] == {"id-token": "write"}
    assert [name for name, job in release.items() if "make package" in str(job)] == ["build"]
    assert all("build" in job["needs"] for name, job in release.items() if name != "build")


# --- the image

DOCKER: Final = ROOT / "examples" / "docker"


def instructions() -> list[list[str]]:
    """Those of the Dockerfile, as words."""
    text = re.sub(r"^#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    return [line.split() for line in text.replace("\\\n", " ").splitlines() if line]


def test_the_image_begins_with_a_digest() -> None:
    stages: set[str] = set()
    for word, image, *rest in instructions():
        if word == "FROM":
            assert image in stages or re.fullmatch(r"[\w.:/-]+@sha256:[0-9a-f]{64}", image)
            stages |= set(rest[1:])
    assert stages


def test_the_image_installs_by_hashes_what_it_does_not_build() -> None:
    commands = [
        command
        for word, *rest in instructions()
        if word == "RUN"
        for command in " ".join(rest).split(" && ")
        if re.match(r"(python3? -m )?pip .*\b(install|wheel)\b", command.strip())
    ]
    assert len(commands) == 4
    for command in commands:
        offline = "--no-index" in command or "--no-build-isolation" in command
        assert "--no-deps" in command, command
        assert offline or {"--require-hashes", "--only-binary"} <= set(command.split()), command


def test_the_image_runs_as_an_ordinary_user_who_can_write_only_state() -> None:
    last = [words for words in instructions() if words[0] in ("FROM", "USER")][-1]
    assert last == ["USER", "bettensor"]
    for service in yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_what_the_image_copies_is_there_and_let_through() -> None:
    let_through = {line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    assert all((ROOT / name).exists() for name in let_through)
    copied = {name for word, *names in instructions() if word == "COPY" for name in names[:-1]}
    assert {name for name in copied if name.startswith(".ci/")} <= let_through


# --- make audit

FAKE: Final = """#!/bin/sh
case "$*" in
    *cyclonedx_py*)
        echo '{"bomFormat": "CycloneDX"}' > build/sbom.json ;;
    *"--strict"*"--vulnerability-service $CLEAN "*)
        exit 0 ;;
    *"--vulnerability-service $FOUND --output "*)
        echo "h11 0.0.1 PYSEC-1" > build/audit.txt; exit 1 ;;
    *)
        echo "cannot connect" >&2; exit 1 ;;
esac
"""


@pytest.mark.parametrize(
    ("clean", "found", "code", "said"),
    [
        ("pypi", "", 0, "pypi knows no vulnerability"),
        ("osv", "", 0, "pypi has not answered: cannot connect\nosv knows no vulnerability"),
        ("", "pypi", 1, "h11 0.0.1 PYSEC-1\nmake audit: pypi knows these vulnerabilities"),
        ("osv", "pypi", 1, "h11 0.0.1 PYSEC-1"),
        ("", "osv", 1, "pypi has not answered: cannot connect\nh11 0.0.1 PYSEC-1"),
        ("", "", 1, "make audit: nothing was audited, because neither pypi.org nor api.osv.dev has answered"),
    ],
)
def test_an_audit_that_was_not_made_is_no_clean_one(
    clean: str, found: str, code: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(CI / "audit", tmp_path / ".ci")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "audit.txt").write_text("of an earlier run\n")
    python = tmp_path / "python"
    python.write_text(FAKE)
    python.chmod(0o755)
    done = subprocess.run(
        [tmp_path / ".ci" / "audit", python],
        env={"PATH": os.environ["PATH"], "CLEAN": clean or "none", "FOUND": found or "none"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert said in done.stdout
    assert "of an earlier run" not in done.stdout
    assert done.returncode == code
    assert (tmp_path / "build" / "sbom.json").exists()
