#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures Hallmark beside other tools, in turn, and writes tables and a plot.

Python 3.11 and its standard library. README.md says what is measured, and how.
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import machine
import models
import plot
import report
import scenes
from measure import CommandFailed, Meter

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE / "data"
RESULTS = HERE / "results"


def parse_size(text: str) -> int:
    found = re.fullmatch(r"(\d+)([KMG]?)", text)
    if not found or int(found.group(1)) == 0:
        raise argparse.ArgumentTypeError("a number of bytes; K, M and G are powers of 1024")
    return int(found.group(1)) << {"": 0, "K": 10, "M": 20, "G": 30}[found.group(2)]


def parse_runs(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError("a number, at least 1")
    return int(text)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small models and 2 runs, to see whether all works; figures of no use",
    )
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        default=[],
        help=f"only this scene, or those that begin so: {' '.join(scenes.NAMES)}",
    )
    parser.add_argument(
        "--runs", metavar="N", type=parse_runs, help="runs of each command (default 5)"
    )
    parser.add_argument(
        "--size",
        metavar="BYTES",
        type=parse_size,
        help="of the big file, and of the 64 files together (default 4G)",
    )
    parser.add_argument(
        "--shard-size",
        metavar="BYTES",
        type=parse_size,
        help="shards of this size instead of what --shards means",
    )
    parser.add_argument(
        "--build",
        metavar="DIR",
        type=pathlib.Path,
        default=HERE.parent / "build",
        help="where hallmark and the helpers are (default build)",
    )
    parser.add_argument(
        "--venv",
        metavar="DIR",
        type=pathlib.Path,
        help="where model-signing is (default venv in the build folder)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=pathlib.Path,
        help="for the results (default bench/results for a whole run with the "
        "usual sizes, else bench/data/results)",
    )
    parser.add_argument("--clean", action="store_true", help="remove bench/data, and do no more")
    return parser.parse_args()


def begins_so(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(f"{wanted}-")


def chosen_scenes(only: list[str]) -> list[str]:
    for wanted in only:
        if not any(begins_so(name, wanted) for name in scenes.NAMES):
            sys.exit(f"bench: no scene {wanted}; there are: {' '.join(scenes.NAMES)}")
    return [
        name for name in scenes.NAMES if not only or any(begins_so(name, wanted) for wanted in only)
    ]


def make_models(arguments: argparse.Namespace, names: list[str]) -> dict[str, models.Model]:
    if arguments.quick:
        big, small_files, folder = arguments.size or 64 * models.MIB, 500, DATA / "quick"
    else:
        big, small_files, folder = arguments.size or 4 * models.GIB, 20_000, DATA / "full"
    planned = models.plan(folder, big, small_files)
    wanted = {scenes.model_of(name) for name in names}
    chosen = {name: model for name, model in planned.items() if name in wanted}
    folder.mkdir(parents=True, exist_ok=True)
    needed = sum(model.bytes for model in chosen.values() if not models.made(model))
    if shutil.disk_usage(folder).free < needed:
        sys.exit(f"bench: {folder} needs {models.size_text(needed)} more than there is")
    for model in chosen.values():
        models.make(model)
    return chosen


def make_setup(arguments: argparse.Namespace) -> scenes.Setup:
    build = arguments.build.resolve()
    venv = (arguments.venv or build / "venv").absolute()
    shards = ["--shards"]
    if arguments.shard_size or arguments.quick:
        shards = ["--shard-size", str(arguments.shard_size or 4 * models.MIB)]
    return scenes.Setup(
        hallmark=build / "hallmark",
        kernel_speed=build / "bench" / "kernel_speed",
        model_signing=venv / "bin" / "model_signing",
        python=venv / "bin" / "python",
        frameworks=build / "venv-frameworks" / "bin" / "python",
        work=DATA / "signatures",
        processors=machine.processors(),
        shards=shards,
    )


def prepare(setup: scenes.Setup, meter: Meter, chosen: dict[str, models.Model]) -> None:
    """Keys, and the signatures to verify."""
    shutil.rmtree(setup.work, ignore_errors=True)
    setup.work.mkdir(parents=True)
    make_key = [str(setup.hallmark), "key", "generate", "--no-passphrase", setup.private_key]
    meter.run(make_key)
    for model in chosen.values():
        for command in scenes.preparations(setup, model):
            meter.run(command)


def run_once(meter: Meter, scene: scenes.Scene, series: report.Series, timed: bool) -> None:
    """Another tool's failure is told and takes it out; Hallmark's ends the benchmark."""
    contender = scene.contenders[series.key]
    try:
        if scene.cold:
            models.cool(scene.model)
            meter.run([contender.command[0], "--version"])  # the program itself is not to be cold
        run = meter.run(contender.command, contender.environment)
    except CommandFailed as failure:
        if contender.ours:
            sys.exit(f"bench: {contender.what}: {failure}")
        series.skipped = str(failure)
        return
    if timed:
        series.add(run, contender)


def run_scene(
    setup: scenes.Setup, meter: Meter, scene: scenes.Scene, runs: int
) -> report.SceneResult:
    """All contenders in turn, then all again; an untimed round first when the cache is warm."""
    state = "cold" if scene.cold else "cached"
    print(f"{scene.name}: {scene.model.describe()}, {state}", flush=True)
    series = {
        key: report.Series(key, contender.what, contender.ours)
        for key, contender in scene.contenders.items()
    }
    for key, contender in scene.contenders.items():
        series[key].skipped = scenes.missing(setup, contender)
    if not scene.cold:
        models.warm(scene.model)
    warm_ups = 0 if scene.cold else 1
    for turn in range(warm_ups + runs * scene.runs_factor):
        for entry in series.values():
            if entry.skipped is None:
                run_once(meter, scene, entry, timed=turn >= warm_ups)
    result = report.scene_result(scene, series)
    print("\n".join(report.terminal_lines(result)), flush=True)
    return result


def kernels_here(setup: scenes.Setup, meter: Meter) -> set[str]:
    return set(scenes.kernel_speeds(meter.run([str(setup.kernel_speed)]).output))


def warnings(chosen: dict[str, models.Model]) -> list[str]:
    told = []
    if machine.load() > 0.5 * machine.processors():
        told.append(f"The machine was busy with something else: load {machine.load()}.")
    if max(model.bytes for model in chosen.values()) > machine.memory_bytes("MemAvailable"):
        told.append("The largest model does not fit into memory: cached runs are not cached.")
    return told


def output_folder(arguments: argparse.Namespace) -> pathlib.Path:
    unusual = arguments.quick or arguments.only or arguments.size or arguments.shard_size
    return arguments.out or (DATA / "results" if unusual else RESULTS)


def write_results(
    folder: pathlib.Path,
    environment: dict[str, str],
    remark: str,
    results: list[report.SceneResult],
) -> None:
    judged = [report.judge_ceiling(ceiling, results) for ceiling in scenes.CEILINGS]
    ceilings = [verdict for verdict in judged if verdict is not None]
    folder.mkdir(parents=True, exist_ok=True)
    table = report.markdown(environment, remark, results, ceilings)
    (folder / "results.md").write_text(table)
    data = report.as_json(environment, remark, results, ceilings)
    (folder / "results.json").write_text(json.dumps(data, indent=1) + "\n")
    (folder / "results.svg").write_text(plot.draw(results))
    print(f"{report.summary(results, ceilings)}\nwritten: {folder}/results.md, .json, .svg")


def remark_on(arguments: argparse.Namespace, runs: int, told: list[str]) -> str:
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    parts = [f"Measured on {today}: {runs} runs of each command, in turn."]
    if arguments.quick:
        parts.append("A quick run, to see whether the benchmark works: its figures are of no use.")
    return " ".join([*parts, *told])


def main() -> None:
    arguments = parse_arguments()
    if arguments.clean:
        shutil.rmtree(DATA, ignore_errors=True)
        return
    # What the caller forces must not decide who wins.
    for variable in ("HALLMARK_KERNEL", "OPENSSL_ia32cap"):
        os.environ.pop(variable, None)
    names = chosen_scenes(arguments.only)
    runs = arguments.runs or (2 if arguments.quick else 5)
    setup = make_setup(arguments)
    meter = Meter(arguments.build.resolve() / "bench" / "measure")
    chosen = make_models(arguments, names)
    told = warnings(chosen)
    environment = machine.describe(DATA, setup.hallmark, setup.model_signing)
    results = []
    try:
        prepare(setup, meter, chosen)
        available = kernels_here(setup, meter)
        for name in names:
            scene = scenes.build(name, setup, chosen[scenes.model_of(name)], available)
            results.append(run_scene(setup, meter, scene, runs))
    except (CommandFailed, OSError, subprocess.SubprocessError) as failure:
        sys.exit(f"bench: {failure}")
    environment["load after"] = str(machine.load())
    write_results(output_folder(arguments), environment, remark_on(arguments, runs, told), results)


if __name__ == "__main__":
    main()
