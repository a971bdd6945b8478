"""What the Makefile built under BUILD/test and BUILD/fuzz: MODULE_NAME from src/MODULE/NAME_test.c or _fuzz.c."""

import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def built_programs(folder, kind):
    """Those that still have a source: an old build folder may hold more. kind is test or fuzz."""
    def source(name):
        module, file = name.split("_", 1)
        return os.path.join(ROOT, "src", module, f"{file}_{kind}.c")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [os.path.join(folder, name) for name in names if "_" in name and os.path.exists(source(name))]
