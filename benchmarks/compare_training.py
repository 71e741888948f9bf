#!/usr/bin/env python3
"""One fine-tuning step of ptynet beside PyTorch's eager mode: one run, one machine, same threads.

    compare_training.py [--ptynet build/release/bin/ptynet] [--threads 2] [--rounds 5] [--json FILE]

A step is the network in training mode, the far field, the L1 loss, the backward pass and Adam, on one batch. Every
measurement is a process of its own, and the frameworks take turns, round by round and every other round backwards, so
that a noisy moment of the machine falls on all alike. A measurement gives the median time of the steps after a warm-up,
and the largest resident memory (getrusage) that its process had reached when they were done. PyTorch runs with
contiguous weights, its default, and with channels_last ones; ratios take its better figure, of time and of memory each.
`baseline` is its memory before the first step: interpreter, libraries, weights.

Needs torch, and the folder with torch_reference.py and data/demo-probe.npy as --reference or in PTYNET_REFERENCE.
"""
import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

GAIN = {"ptynet-b": 0.6}
SETTLE_SECONDS = 0.05
LEARNING_RATE = 1e-4
TORCH_LAYOUTS = ("contiguous", "channels_last")
PTYNET = "ptynet"
SIDE = 128  # of a frame, px: that of the probe


def resident_bytes():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# ----------------------------------------------------------------------------------------------------------------
# The measuring process of PyTorch. The parent imports nothing large: a child's ru_maxrss starts with what its
# parent held.


def torch_step(options):
    """A function that makes one step and returns the loss."""
    sys.path.insert(0, options["reference"])
    import numpy as np
    import torch
    import torch_reference as reference

    torch.set_num_threads(options["threads"])
    architecture = reference.architecture(options["architecture"])
    state = reference.random_state(architecture, 0, GAIN.get(options["architecture"], 1.0))
    if options["layout"] == "channels_last":
        state = {k: v.to(memory_format=torch.channels_last) if v.dim() == 4 else v for k, v in state.items()}
    state = reference.trainable(state)
    probe = torch.from_numpy(np.load(pathlib.Path(options["reference"]) / "data" / "demo-probe.npy"))
    batch, (rows, columns) = options["batch"], probe.shape
    frames = np.floor(10 * reference.counter_uniform(1, "frames", batch * rows * columns))
    frames = torch.from_numpy(frames.astype(np.float32).reshape(batch, rows, columns))
    optimiser = torch.optim.Adam([v for v in state.values() if v.requires_grad], LEARNING_RATE)

    def step():
        loss = reference.l1_loss(architecture, state, frames, probe)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def serve(options):
    """Prints one JSON line: the median step, memory before and after, the version."""
    step = torch_step(options)
    baseline = resident_bytes()
    for _ in range(options["warm_up"]):
        step()
    times, loss, begin = [], 0.0, time.perf_counter()
    while len(times) < options["steps"] or time.perf_counter() - begin < options["seconds"]:
        start = time.perf_counter()
        loss = step()
        times.append(1e3 * (time.perf_counter() - start))
    if not loss < float("inf"):
        raise RuntimeError(f"{options['architecture']}: the loss became {loss}, expected a number")
    import torch
    print(json.dumps({"step_ms": statistics.median(times), "peak_memory_bytes": resident_bytes(),
                      "baseline_bytes": baseline, "version": torch.__version__}))


# ----------------------------------------------------------------------------------------------------------------
# The comparison.


def run(command, threads):
    """What a program prints. As many OpenMP threads for each, oneDNN's within PyTorch too."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(f"{pathlib.Path(command[0]).name} exited {done.returncode}: {lines[-1]}")
    return json.loads(done.stdout)


def measure_torch(options, architecture, layout):
    request = dict(options, architecture=architecture, layout=layout)
    return run([sys.executable, __file__, "--worker", json.dumps(request)], options["threads"])


def measure_ptynet(program, options, architecture):
    found = run([program, "bench", "--finetune", "--architecture", architecture, "--batch", options["batch"],
                 "--height", SIDE, "--width", SIDE, "--threads", options["threads"], "--seconds", options["seconds"],
                 "--json"], options["threads"])
    try:
        return {"step_ms": float(found["latency_ms"]["p50"]), "peak_memory_bytes": 1e6 * float(found["peak_memory_mb"])}
    except (KeyError, TypeError, ValueError) as missing:
        raise RuntimeError(f"{program} bench --finetune --json: expected the numbers latency_ms.p50 and peak_memory_mb, "
                           f"found {sorted(found)}") from missing


def compare(turns, options, architecture):
    rounds = {label: [] for label in turns}
    for k in range(options["rounds"]):
        for label in list(turns)[::-1 if k % 2 else 1]:
            rounds[label].append(turns[label](architecture))
            time.sleep(SETTLE_SECONDS)
    rows = []
    for label, measured in rounds.items():
        times = [m["step_ms"] for m in measured]
        row = {"framework": label, "step_ms": statistics.median(times), "fastest_round_ms": min(times), "rounds_ms": times}
        if "version" in measured[0]:
            row["version"] = measured[0]["version"]
        for key in ("peak_memory_bytes", "baseline_bytes"):
            if key in measured[0]:
                row[key] = statistics.median(m[key] for m in measured)
        rows.append(row)
    summary = {"architecture": architecture, "batch": options["batch"], "frameworks": rows}
    mine = next((r for r in rows if r["framework"] == PTYNET), None)
    others = [r for r in rows if r is not mine]
    if mine and others:
        for name, key in (("speedup", "step_ms"), ("speedup_fastest", "fastest_round_ms"), ("memory", "peak_memory_bytes")):
            summary[name + "_over_torch"] = min(r[key] for r in others) / mine[key]
    return summary


def show(summary):
    batch = summary["batch"]
    print(f"\n{summary['architecture']}, fine-tuning step of {batch} frames")
    print(f"  {'framework':<20} {'step ms':>9} {'fastest':>9} {'ms/frame':>9} {'peak MB':>9} {'baseline':>9}")
    for row in sorted(summary["frameworks"], key=lambda r: r["step_ms"]):
        baseline = f"{row['baseline_bytes'] / 1e6:9.0f}" if "baseline_bytes" in row else f"{'':>9}"
        print(f"  {row['framework']:<20} {row['step_ms']:>9.1f} {row['fastest_round_ms']:>9.1f} {row['step_ms'] / batch:>9.2f} "
              f"{row['peak_memory_bytes'] / 1e6:>9.0f} {baseline}")
    if "speedup_over_torch" in summary:
        print(f"  ptynet is {summary['speedup_over_torch']:.2f}x PyTorch (fastest rounds: "
              f"{summary['speedup_fastest_over_torch']:.2f}x); PyTorch's peak memory is {summary['memory_over_torch']:.2f}x ptynet's")
    sys.stdout.flush()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ptynet", default="build/release/bin/ptynet", help="the program (default: %(default)s)")
    parser.add_argument("--reference", default=os.environ.get("PTYNET_REFERENCE"), help="folder with torch_reference.py")
    parser.add_argument("--architectures", nargs="+", default=["ptynet-s", "ptynet-b"])
    parser.add_argument("--batch", type=int, default=16, help="frames of a step (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=3, help="of timed steps, at least (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of PyTorch, at least (default: %(default)s; "
                        "ptynet makes 20)")
    parser.add_argument("--warm-up", type=int, default=2, help="steps of PyTorch before those (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers, every round included, to FILE")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if arguments.worker:
        serve(json.loads(arguments.worker))
        return 0
    if not arguments.reference:
        sys.exit("compare_training.py: expected --reference or PTYNET_REFERENCE, the folder with torch_reference.py")
    options = {k: getattr(arguments, k) for k in ("threads", "rounds", "seconds", "steps", "warm_up", "batch")}
    options["reference"] = str(pathlib.Path(arguments.reference).resolve())
    program, absent = pathlib.Path(arguments.ptynet).resolve(), []
    turns = {f"torch {layout}": (lambda architecture, layout=layout: measure_torch(options, architecture, layout))
             for layout in TORCH_LAYOUTS}
    if program.is_file():
        turns[PTYNET] = lambda architecture: measure_ptynet(str(program), options, architecture)
    else:
        absent.append(f"ptynet: no program at {program}; build it with `make release` or say --ptynet")
    load = os.getloadavg()[0]
    print(f"{arguments.threads} threads, {arguments.rounds} rounds, load of the machine before: {load:.2f}")
    for line in absent:
        print(f"*** NOT MEASURED: {line}")
    cases = []
    for architecture in arguments.architectures:
        cases.append(compare(turns, options, architecture))
        show(cases[-1])
    if arguments.json:
        report = {**{k: options[k] for k in ("threads", "batch", "seconds", "steps", "warm_up")}, "load_before": load,
                  "absent": absent, "cases": cases}
        temporary = pathlib.Path(arguments.json + ".part")
        temporary.write_text(json.dumps(report, indent=1))
        temporary.replace(arguments.json)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as error:
        sys.exit(f"compare_training.py: {error}")
