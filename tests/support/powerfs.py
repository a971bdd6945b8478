"""The file system that forgets what was not synced: builds it, mounts it, makes its power fail.

powerfs/powerfs.c says what it does. Where FUSE, its library or the right to mount is missing, tests that ask for it are
skipped with the reason.
"""

import os
import subprocess

import pytest

from support.server import Lines

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "powerfs")
MOUNT_SECONDS = 10


def built(folder):
    """(program, library) built into the folder, or the test is skipped."""
    found = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], capture_output=True, text=True)
    if found.returncode or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("no FUSE here: libfuse3-dev and a usable /dev/fuse are needed")
    compiler = [os.environ.get("CC", "gcc"), "-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-Werror"]
    program, library = os.path.join(folder, "powerfs"), os.path.join(folder, "syncfs.so")
    for command in ([*compiler, "-o", program, f"{FOLDER}/powerfs.c", *found.stdout.split()],
                    [*compiler, "-shared", "-fPIC", "-o", library, f"{FOLDER}/syncfs.c"]):
        ran = subprocess.run(command, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
    return program, library


class PowerFs:
    """environment is what a server on it needs."""

    def __init__(self, tools, folder):
        program, library = tools
        self.folder = str(folder)
        self.environment = {"LD_PRELOAD": library, "ASAN_OPTIONS": "verify_asan_link_order=0"}
        self.data = os.path.join(self.folder, "data")
        os.makedirs(self.folder, exist_ok=True)
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", "--", program, self.folder],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.output, self.errors = Lines(self.process.stdout), Lines(self.process.stderr)
        if self.output.wait_for("^ready", MOUNT_SECONDS) is None:
            self.process.kill()
            pytest.skip(f"FUSE cannot be mounted here: {self.errors.text()}")

    def command(self, *words):
        with open(os.path.join(self.folder, ".powerfs"), "w", encoding="ascii") as file:
            file.write(" ".join(str(word) for word in words))

    def lose(self, seed, percent):
        """Power failure; the server must be dead by now."""
        self.command("lose", seed, percent)

    def count(self, word):
        """syncs: asked for so far; pending: held back; used: bytes."""
        with open(os.path.join(self.folder, ".powerfs"), encoding="ascii") as file:
            words = file.read().split()
        return int(words[words.index(word) + 1])

    def close(self):
        self.process.terminate()
        self.process.wait(MOUNT_SECONDS)
        self.output.thread.join()
        self.errors.thread.join()
        assert self.process.returncode == 0, f"powerfs ended with {self.process.returncode}: {self.errors.text()}"
