"""The recipes of docs/ci.md as they stand there: their lines, variables and credentials files, on a real registry.

Only names differ: of the registry, of the forge, and of folders that a test place has elsewhere.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import subprocess

import pytest
from stage.ci_servers import github_commands, gitlab_sections
from stage.git_server import GitServer
from stage.places import container
from stage.recipes import DOCUMENTS, document, recipes, script

PAGE = "ci.md"
DOCKERFILE = "FROM busybox\nARG VERSION=0\nCOPY hello /\n"
WITH_RUN = DOCKERFILE + "RUN cat /hello >/said\n"


@pytest.fixture
def app(context):
    context.write("hello", "hello\n")
    return context.dockerfile(DOCKERFILE)


@pytest.fixture
def place(program, bases, app):
    """What a container runtime gives a job, with the application at /context."""
    with contextlib.ExitStack() as stack:

        def make(**options):
            return stack.enter_context(container(program, app.folder, mirror=bases, **options))

        yield make


def credentials(registry):
    word = base64.b64encode(f"{registry.user}:{registry.password}".encode()).decode()
    return json.dumps({"auths": {registry.address: {"auth": word}}})


def config_of(registry, name):
    words = ["skopeo", "inspect", "--tls-verify=false", "--config", f"--creds={registry.user}:{registry.password}"]
    done = subprocess.run([*words, f"docker://{registry.address}/{name}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def shell(text, environment, cwd):
    done = subprocess.run(["bash", "-c", text], env=environment, cwd=cwd, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def runner(trimaran, program, **more):
    """What GitHub sets for a step."""
    temp = trimaran.home / "runner"
    temp.mkdir(exist_ok=True)
    path = f"{program.parent}:{trimaran.environment['PATH']}"
    github = {"GITHUB_ACTIONS": "true", "CI": "true", "RUNNER_TEMP": str(temp), "GITHUB_ACTOR": "me"}
    github |= {"GITHUB_REPOSITORY": "me/app", "GITHUB_SHA": "0123abcd"}
    return {**trimaran.environment, **github, "PATH": path, **more}


def test_github_with_dockers_actions(trimaran, program, docker_cli, token_registry, bases, app, tmp_path):
    """Docker's client logs in without a daemon over TLS alone."""
    workflow = document(PAGE, ".github/workflows/image.yml")
    job = workflow["jobs"]["image"]
    installed = next(step["run"] for step in job["steps"] if "run" in step)
    assert installed == "pip install trimaran && trimaran plugin install"
    environment = {**runner(trimaran, program, **job["env"]), **docker_cli.with_our_plugin(trimaran)}
    environment["SSL_CERT_FILE"] = str(token_registry.ca)
    environment["PATH"] = f"{docker_cli.program.parent}:{environment['PATH']}"
    temp = trimaran.home / "runner"
    (temp / "password").write_text(token_registry.password)
    (temp / "token").write_text("a token")
    with GitServer(tmp_path / "repositories").serving() as forge:
        repository = forge.repository("app")
        repository.write("Dockerfile", WITH_RUN)
        repository.write("hello", "hello from git\n")
        environment["GITHUB_SHA"] = repository.commit()
        lines = recipes(PAGE)["actions on github.com"]
        lines = lines.replace("https://github.com/me/app.git", forge.url("app"))
        lines = lines.replace("--username me ghcr.io", f"--username {token_registry.user} ghcr.io")
        lines = "docker buildx >/dev/null\n" + lines  # whether there is one at all
        done = shell(script(lines.replace("ghcr.io", token_registry.address)), environment, app.folder)
    assert "Login Succeeded" in done.stdout
    assert "Name:   trimaran" in done.stdout
    version = next(line for line in done.stdout.splitlines() if line.startswith("trimaran 0"))
    assert tuple(map(int, version.split()[1].split("."))) >= (0, 13, 0), "what the actions ask before they pass a flag"
    for flag in ("--attest type=provenance", "--provenance=mode=min", "--cache-from type=gha", "--cache-to type=gha"):
        assert done.stderr.count(f"WARNING: {flag}") == 1, flag
    assert {name for name, _ in github_commands(done.stderr)} == {"group", "endgroup"}
    labels = config_of(token_registry, "me/app:v1")["config"]["Labels"]
    assert labels == {"org.opencontainers.image.source": "https://github.com/me/app"}
    metadata = json.loads((temp / "metadata.json").read_text())
    assert metadata["image.name"] == f"{token_registry.address}/me/app:v2"
    assert (temp / "iidfile").read_text().startswith("sha256:")
    assert (app.folder / "release/hello").read_text() == "hello\n"
    assert token_registry.address not in (trimaran.docker_config / "config.json").read_text(), "logged out again"


def test_what_the_workflow_asks_for_is_what_the_actions_run():
    job = document(PAGE, ".github/workflows/image.yml")["jobs"]["image"]
    build = next(step["with"] for step in job["steps"] if step.get("uses", "").startswith("docker/build-push-action"))
    lines = re.sub(r"\s*\\\n\s*", " ", recipes(PAGE)["actions on github.com"]).splitlines()
    line = next(line for line in lines if ":v1" in line)
    flags = {"platforms": "platform", "tags": "tag", "cache-from": "cache-from", "cache-to": "cache-to"}
    for name, flag in flags.items():
        assert f"--{flag} {build[name]} " in line
    assert line.endswith(f"--push {build['context']}")


def test_github_without_docker(trimaran, program, basic_registry, bases, app):
    (step,) = document(PAGE, "steps without docker")
    environment = runner(trimaran, program, TOKEN=basic_registry.password, GITHUB_ACTOR=basic_registry.user)
    shell(script(step["run"].replace("ghcr.io", basic_registry.address)), environment, app.folder)
    config_of(basic_registry, "me/app:0123abcd")


def gitlab(registry):
    """What GitLab sets for a job."""
    return {
        "GITLAB_CI": "true",
        "CI": "true",
        "CI_REGISTRY": registry.address,
        "CI_REGISTRY_USER": registry.user,
        "CI_REGISTRY_PASSWORD": registry.password,
        "CI_REGISTRY_IMAGE": f"{registry.address}/group/app",
        "CI_PROJECT_DIR": "/context",
        "CI_COMMIT_SHORT_SHA": "0123abcd",
        "CI_COMMIT_TAG": "v1",
        "HOME": "/root",
    }


def in_container(place, text, environment, **options):
    environment = {**environment, "PATH": f"{place.program.parent}:{os.defpath}"}
    done = place.run("sh", "-c", text, cwd=options.get("cwd", "/"), env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_gitlab(place, app, basic_registry):
    """Twice: the second job of the pipeline, in a new container, has the cache of the first."""
    app.dockerfile(WITH_RUN)
    job = document(PAGE, ".gitlab-ci.yml")["build-image"]
    for words in ("0.", "CACHED"):
        done = in_container(place(), script(job["script"]), {**gitlab(basic_registry), **job["variables"]})
        sections = gitlab_sections(done.stderr)
        assert len(sections) > 2
        assert f" {words}" in done.stderr
    config_of(basic_registry, "group/app:0123abcd")


def test_gitlab_with_a_signed_cache(place, app, basic_registry):
    """A job without the key builds and leaves the cache alone; the third, with it, hits what the first one wrote."""
    app.dockerfile(WITH_RUN)
    job = document(PAGE, ".gitlab-ci.yml with a signed cache")["build-image"]
    given = gitlab(basic_registry)
    variables = {
        name: value.replace("$CI_REGISTRY_IMAGE", given["CI_REGISTRY_IMAGE"])
        for name, value in job["variables"].items()
    }
    key = {"CACHE_KEY": "0123456789abcdef" * 4}
    for more, cached in ((key, False), ({}, False), (key, True)):
        said = in_container(place(), script(job["script"]), {**given, **variables, **more}).stderr
        assert (" CACHED" in said) == cached
        for words in ("is not used", "is not exported to"):
            assert any(words in line and "no key in $CACHE_KEY" in line for line in said.splitlines()) == (not more)
    config_of(basic_registry, "group/app:0123abcd")


def test_gitlab_with_credentials_of_the_project(place, basic_registry):
    job = document(PAGE, ".gitlab-ci.yml with DOCKER_AUTH_CONFIG")["build-image"]
    environment = {**gitlab(basic_registry), "DOCKER_AUTH_CONFIG": credentials(basic_registry)}
    in_container(place(), script(job["script"]), environment)
    config_of(basic_registry, "group/app:v1")


@pytest.mark.parametrize("name", ["instead of kaniko", "instead of buildah"])
def test_gitlab_jobs_of_other_builders(place, app, basic_registry, name):
    app.dockerfile(WITH_RUN)
    environment = {**gitlab(basic_registry), "TRIMARAN_SANDBOX": "chroot"}
    in_container(place(), script(recipes(PAGE)[name]), environment)
    assert config_of(basic_registry, "group/app:v1")["rootfs"]["diff_ids"]


def pod(place, registry):
    """The one container of a Job: (its words, its variables), with the secret at a place this pod has."""
    (spec,) = document(PAGE, "job.yaml")["spec"]["template"]["spec"]["containers"]
    words = [word.replace("registry.example", registry.address) for word in spec["args"]]
    environment = {each["name"]: each["value"] for each in spec["env"]}
    mounts = {mount["mountPath"] for mount in spec["volumeMounts"]}
    assert {environment["DOCKER_CONFIG"], environment["TMPDIR"], words[-1]} == mounts
    folder = place.folder / "scratch/credentials"
    folder.mkdir()
    (folder / "config.json").write_text(credentials(registry))
    return words, {**environment, "DOCKER_CONFIG": "/scratch/credentials"}


def test_kubernetes_restricted(place, app, basic_registry):
    here = place(root=False)
    words, environment = pod(here, basic_registry)
    done = here.trimaran(*words[1:], env=environment)
    assert done.returncode == 0, done.stderr
    config_of(basic_registry, "me/app:v1")
    app.dockerfile(WITH_RUN)
    refused = here.trimaran(*words[1:], env=environment)
    assert refused.returncode == 1
    assert "builds without RUN work here" in refused.stderr


@pytest.mark.parametrize(
    ("sandbox", "options"),
    [("no-process-sandbox", {"root": False, "seccomp_profile": False}), ("chroot", {"root": True, "volume": True})],
)
def test_kubernetes_with_run(place, app, basic_registry, sandbox, options):
    assert f"`TRIMARAN_SANDBOX={sandbox}`" in (DOCUMENTS / PAGE).read_text()
    app.dockerfile(WITH_RUN)
    here = place(**options)
    words, environment = pod(here, basic_registry)
    done = here.trimaran(*words[1:], env={**environment, "TRIMARAN_SANDBOX": sandbox})
    assert done.returncode == 0, done.stderr
    assert len(config_of(basic_registry, "me/app:v1")["rootfs"]["diff_ids"]) > 1


def test_tekton(place, app, basic_registry):
    app.dockerfile(WITH_RUN)
    here = place(volume=True)
    task = document(PAGE, "task.yaml")["spec"]
    (step,) = task["steps"]
    values = {each["name"]: each.get("default", "") for each in task["params"]}
    values["IMAGE"] = f"{basic_registry.address}/me/app:v1"
    text = step["script"]
    for name, value in values.items():
        text = text.replace(f"$(params.{name})", str(value))
    for result in task["results"]:
        text = text.replace(f"$(results.{result['name']}.path)", f"/scratch/{result['name']}")
    assert "$(params" not in text
    (here.folder / "scratch/script").write_text(text)
    (here.folder / "scratch/credentials").mkdir()
    (here.folder / "scratch/credentials/config.json").write_text(credentials(basic_registry))
    environment = {each["name"]: each["value"] for each in step["env"]} | {"DOCKER_CONFIG": "/scratch/credentials"}
    in_container(here, "sh /scratch/script --build-arg VERSION=2", environment, cwd="/context")
    digest = (here.folder / "scratch/IMAGE_DIGEST").read_text()
    assert (here.folder / "scratch/IMAGE_URL").read_text() == values["IMAGE"]
    assert config_of(basic_registry, f"me/app@{digest}")


def test_no_job_has_the_name_of_a_keyword():
    """GitLab takes `image:` at the top for the image of all jobs."""
    keywords = {"after_script", "before_script", "cache", "default", "image", "include", "pages", "services", "stages"}
    for name in recipes(PAGE):
        if name.startswith(".gitlab-ci.yml"):
            assert not keywords & set(document(PAGE, name))
