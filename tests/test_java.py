"""Java programs: tests/java/Client.java against the stock client, its newest release and the last one before 4.0.

The jars come by mvn from its registry (or its cache); without a JDK, mvn or that registry the tests are skipped.
"""

import os
import pathlib
import shutil
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).parent / "java/Client.java"
RELEASES = ["4.3.1", "3.9.1"]
DOWNLOAD_SECONDS, RUN_SECONDS = 300, 240
POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>tests</groupId><artifactId>java</artifactId><version>1</version><dependencies><dependency>
<groupId>org.apache.kafka</groupId><artifactId>kafka-clients</artifactId><version>%s</version>
</dependency></dependencies></project>
"""


def run(command, folder, seconds):
    return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", timeout=seconds)


def download(release, folder):
    """Its jars into folder/jars; else why not."""
    (folder / "pom.xml").write_text(POM % release)
    command = ["mvn", "-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=jars"]
    try:
        ran = run(command, folder, DOWNLOAD_SECONDS)
    except subprocess.TimeoutExpired:
        return "the Maven registry does not answer"
    errors = [line for line in ran.stdout.splitlines() if "ERROR" in line]
    return None if ran.returncode == 0 else f"mvn cannot get kafka-clients {release}: {(errors or ['?'])[0]}"


@pytest.fixture(scope="module", params=RELEASES)
def client(request, tmp_path_factory):
    """A command that runs the program with one release of the client."""
    missing = [name for name in ("java", "javac", "mvn") if not shutil.which(name)]
    if missing:
        pytest.skip(f"no {', '.join(missing)} on this machine")
    folder = tmp_path_factory.mktemp("java")
    why = download(request.param, folder)
    if why:
        pytest.skip(why)
    ran = run(["javac", "-nowarn", "-d", "classes", "-cp", "jars/*", str(SOURCE)], folder, RUN_SECONDS)
    assert ran.returncode == 0, ran.stdout
    return ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-cp", os.pathsep.join([f"{folder}/classes", f"{folder}/jars/*"]), "Client"]


@pytest.mark.parametrize("verb", ["produce", "group", "transaction", "admin"])
def test_a_java_program_finds_what_it_expects(client, verb, server, tmp_path):
    ran = run([*client, verb, server.kafka], tmp_path, RUN_SECONDS)
    assert ran.returncode == 0 and ran.stdout.endswith("done\n"), ran.stdout
