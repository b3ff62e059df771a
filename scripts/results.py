#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: results.py FOLDER STAGE...     a table of what the stages of test.sh came to
       results.py --line FOLDER        the same in one line: "N passed, N failed, N skipped"

Counts from the runners' JUnit files (STAGE-*.xml) and from test.sh's own notes (STAGE.tsv).
The exit status is 0 when nothing failed and something passed.
"""

import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree


def from_junit(path):
    """Passed, failed, skipped. A file may hold several documents, one after the other."""
    totals = [0, 0, 0]
    for document in re.split(r"(?=<\?xml )", path.read_text(errors="replace")):
        if not document.strip():
            continue
        for case in ElementTree.fromstring(document).iter("testcase"):
            kinds = {child.tag for child in case}
            if kinds & {"failure", "error"}:
                totals[1] += 1
            elif "skipped" in kinds:
                totals[2] += 1
            else:
                totals[0] += 1
    return totals


def from_notes(path):
    words = [line.rsplit("\t", 1)[1] for line in path.read_text().splitlines()]
    return [words.count("passed"), words.count("failed"), words.count("skipped")]


def of_stage(folder, stage):
    parts = [from_junit(path) for path in folder.glob(f"{stage}-*.xml")]
    parts += [from_notes(path) for path in folder.glob(f"{stage}.tsv")]
    return [sum(column) for column in zip(*parts)] if parts else [0, 1, 0]


def main(arguments):
    as_line = arguments[0] == "--line"
    folder = pathlib.Path(arguments[1 if as_line else 0])
    found = {re.split(r"[-.]", path.name)[0] for path in folder.glob("*.[xt][ms][lv]")}
    stages = sorted(found) if as_line else arguments[1:]
    rows = {stage: of_stage(folder, stage) for stage in stages}
    totals = [sum(column) for column in zip(*rows.values())] if rows else [0, 1, 0]
    if as_line:
        print("{} passed, {} failed, {} skipped".format(*totals))
    else:
        print(f"{'stage':<12}{'passed':>8}{'failed':>8}{'skipped':>8}")
        for stage, counts in [*rows.items(), ("all", totals)]:
            print(f"{stage:<12}{counts[0]:>8}{counts[1]:>8}{counts[2]:>8}")
    return 0 if totals[1] == 0 and totals[0] > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
