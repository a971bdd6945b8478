"""The commands of a documentation page: ```sh blocks and what the ```text block right below one says they print."""

import re

FENCE = re.compile(r"^```(\w*)[^\n`]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)


class Block:
    def __init__(self, line, commands, prints):
        self.line, self.commands, self.prints = line, commands, prints


def blocks_of(text):
    """All ```sh blocks in order; prints is None where the page shows no output."""
    found, ends = [], None
    for match in FENCE.finditer(text):
        language, body = match.groups()
        if language == "sh":
            found.append(Block(text.count("\n", 0, match.start()) + 1, body, None))
        elif language == "text" and found and ends is not None and not text[ends : match.start()].strip():
            found[-1].prints = body
        ends = match.end() if language == "sh" else None
    return found


def server_options(block):
    """The options of `tidemark server ...` when the block is that one command, else None."""
    command = block.commands.strip()
    return command.split()[2:] if command.startswith("tidemark server") and "\n" not in command else None


def is_printed(shown, printed):
    """Whether printed is what the page shows; in the page ... stands for anything, runs of blanks are one."""
    def lines(text):
        return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())
    pattern = ".*".join(re.escape(part) for part in lines(shown).split("..."))
    return re.fullmatch(pattern, lines(printed), re.DOTALL) is not None
