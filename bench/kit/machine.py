"""What the machine says: CPU time, memory, probes, and what it is."""
import json
import os
import platform
import subprocess
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")
KERNEL_THREAD = 0x00200000  # PF_KTHREAD in the flags of /proc/PID/stat
WRITERS = ("kworker", "jbd2", "flush", "kcompactd", "kswapd")
SAMPLE_SECONDS = 0.1


def stat_fields(pid):
    """Name and the fields behind it of /proc/PID/stat; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            text = file.read()
    except OSError:
        return None
    name = text[text.index("(") + 1:text.rindex(")")]
    return name, text[text.rindex(")") + 2:].split()


def process_cpu(pid):
    """Seconds of user and system time, all threads."""
    found = stat_fields(pid)
    return (int(found[1][11]) + int(found[1][12])) / TICKS if found else 0.0


def writers_cpu():
    """Seconds of the kernel threads that write back and journal, whoever they do it for."""
    total = 0.0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        found = stat_fields(pid)
        if found and int(found[1][6]) & KERNEL_THREAD and found[0].startswith(WRITERS):
            total += (int(found[1][11]) + int(found[1][12])) / TICKS
    return total


def machine_cpu():
    """Seconds that all cores were busy since the machine started."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def anonymous_bytes(pid):
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Watch:
    """CPU seconds and peak anonymous memory of a process while a with block runs."""

    def __init__(self, pid):
        self.pid, self.peak_bytes, self.cpu_s, self.writers_s = pid, 0, 0.0, 0.0
        self.over = threading.Event()

    def sample(self):
        while not self.over.wait(SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, anonymous_bytes(self.pid))

    def __enter__(self):
        self.begun, self.machine_before = time.monotonic(), machine_cpu()
        self.cpu_before, self.writers_before = process_cpu(self.pid), writers_cpu()
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.cpu_s = process_cpu(self.pid) - self.cpu_before
        # Kernel workers come and go; the sum of those alive may fall.
        self.writers_s = max(writers_cpu() - self.writers_before, 0.0)
        self.machine_s = machine_cpu() - self.machine_before
        self.seconds = time.monotonic() - self.begun
        self.over.set()
        self.thread.join()
        self.peak_bytes = max(self.peak_bytes, anonymous_bytes(self.pid))


    def others_percent(self, client_cpu_s):
        """Of a core, what neither the broker nor its client nor the kernel's writers used."""
        known = self.cpu_s + self.writers_s + client_cpu_s
        return max(100 * (self.machine_s - known) / self.seconds, 0.0)


def settle():
    """What earlier runs left dirty must not be written in the next one's time."""
    os.sync()


def drop_caches():
    """True when the page cache could be emptied."""
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("3")
        return True
    except OSError:
        return False


def probe(floor, *words):
    """One JSON line of the floor program: journal, probe, wake, prefill."""
    done = subprocess.run([floor, *map(str, words)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def read_files(folder):
    """MB/s of reading all files of a folder one after the other, caches as they are."""
    total, start = 0, time.monotonic()
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                with open(os.path.join(base, name), "rb", buffering=0) as file:
                    while chunk := file.read(1 << 20):
                        total += len(chunk)
            except FileNotFoundError:
                pass  # the broker tidies up while it runs
    return total / max(time.monotonic() - start, 1e-9) / 1e6


def first_line(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        return ((done.stdout or done.stderr).splitlines() or [""])[0].strip()
    except OSError:
        return "absent"


def describe():
    """Hardware and versions; no names of machines."""
    with open("/proc/cpuinfo") as file:
        models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) / (1 << 20)
    with open("/etc/os-release") as file:
        system = next(line.split("=")[1].strip().strip('"') for line in file
                      if line.startswith("PRETTY_NAME"))
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "kernel": platform.release().split("-")[0],
        "system": system,
        "file_system": first_line(["stat", "-f", "-c", "%T", "."]),
        "gcc": first_line(["gcc", "-dumpfullversion"]),
        "java": first_line(["java", "-version"]),
    }
