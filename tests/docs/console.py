#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: console.py [--write] PAGE.md...

Runs the commands that a page shows and compares what they print with what the page says. Commands
stand in ```console blocks, behind "$ " and, continued, behind "> ". All blocks of a page run in one
shell, in a folder that holds a model in model/ and the project's documentation in docs/. A command
must succeed unless "$ echo $?" follows it.

In the page "..." stands for anything within a line, and alone on a line for any lines. Digests and
times are not compared. --write puts what the commands print into blocks that differ.
"""

import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MASKED = re.compile(
    r"(?P<hex>\b[0-9a-f]{64,128}\b)"
    r"|(?P<time>\b\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(Z|\+00:00))"
)
START, END = "\036", "\037"


@dataclasses.dataclass
class Command:
    text: str
    expected: str
    block: int
    output: str = ""
    status: int = 0
    checks_status: bool = False  # "echo $?" follows

    def matches(self):
        return matches(self.expected, self.output)

    def failed(self):
        return self.status != 0 and not self.checks_status

    def shown(self, output):
        lines = self.text.split("\n")
        return "".join(f"{'$' if i == 0 else '>'} {line}\n" for i, line in enumerate(lines)) + output


def mask(text):
    return MASKED.sub(lambda found: f"<{found.lastgroup}>", text)


def matches(expected, actual):
    pattern = ""
    for line in mask(expected).splitlines():
        if line.strip() == "...":
            pattern += r"(.*\n)*?"
        else:
            pattern += r"[^\n]*?".join(map(re.escape, line.split("..."))) + r"\n"
    return re.fullmatch(pattern, mask(actual)) is not None


def commands_of(page_text):
    commands = []
    for number, block in enumerate(BLOCK.findall(page_text)):
        current = None
        for line in block.splitlines():
            if line.startswith("$ "):
                if line == "$ echo $?" and current is not None:
                    current.checks_status = True
                current = Command(line[2:], "", number)
                commands.append(current)
            elif line.startswith("> ") and current is not None and not current.expected:
                current.text += "\n" + line[2:]
            elif current is not None:
                current.expected += line + "\n"
            else:
                raise ValueError(f"a block begins without a command: {line}")
    return commands


def run(commands, folder, environment):
    script = "exec 2>&1 </dev/null\numask 022\n__status=0\n"
    for command in commands:
        script += f"printf '\\036'; (exit $__status)\n{command.text}\n"
        script += "__status=$?; printf '\\037%d\\036' $__status\n"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        timeout=600,
        check=False,
    )
    parts = done.stdout.decode("utf-8", "replace").split(START)[1::2]
    for command, part in zip(commands, parts, strict=True):
        command.output, _, status = part.rpartition(END)
        command.status = int(status)
        if command.output and not command.output.endswith("\n"):
            command.output += "\n"


def prepare(folder, binary):
    """Makes what every page may use; returns the environment for its commands."""
    folder = pathlib.Path(folder)
    tools = folder / ".tools"
    tools.mkdir()
    for name in ("hallmark", "model_signing"):
        (tools / name).symlink_to(binary)
    maker = ROOT / "scripts" / "make-model.py"
    subprocess.run([sys.executable, maker, folder / "model"], check=True)
    (folder / "docs").symlink_to(ROOT / "docs")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HALLMARK_")}
    return kept | {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
        "HOME": str(folder),
        "HALLMARK_STATE_DIR": str(folder / ".state"),
    }


def run_page(page, folder, binary, extra_environment=None):
    commands = commands_of(pathlib.Path(page).read_text())
    run(commands, folder, prepare(folder, binary) | (extra_environment or {}))
    return commands


def rewritten(page_text, commands):
    """The page with true output in every block that is wrong."""
    numbers = iter(range(page_text.count("```console\n")))

    def replace(found):
        number = next(numbers)
        mine = [command for command in commands if command.block == number]
        text = "".join(c.shown(c.expected if c.matches() else c.output) for c in mine)
        return f"```console\n{text}```"

    return BLOCK.sub(replace, page_text)


def main(arguments):
    write = arguments[:1] == ["--write"]
    binary = pathlib.Path(os.environ.get("HALLMARK_BIN", ROOT / "build" / "hallmark")).resolve()
    wrong = 0
    for page in arguments[1 if write else 0 :]:
        with tempfile.TemporaryDirectory() as folder:
            commands = run_page(page, folder, binary)
        for command in commands:
            if command.failed() or not command.matches():
                wrong += 1
                print(f"{page}: status {command.status}\n{command.shown(command.output)}")
        if write:
            text = pathlib.Path(page).read_text()
            pathlib.Path(page).write_text(rewritten(text, commands))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
