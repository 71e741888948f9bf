#!/usr/bin/env python3
"""ptynet beside PyTorch, ONNX Runtime and OpenVINO: one run, one machine, same threads, same weights.

    compare_frameworks.py [--ptynet build/release/bin/ptynet] [--threads 2] [--rounds 11] [--json FILE]

Every framework lives in a process of its own (their thread pools would disturb each other) and the processes
take turns, round by round, so that a noisy moment of the machine falls on all alike. A round gives the median
latency of one framework; the table shows the median and the smallest of the rounds. Before anything is timed
all outputs are compared with a float64 evaluation, so that a framework which computes in bfloat16 cannot win.

Needs torch, onnx, onnxscript and safetensors; onnxruntime, openvino and h5py (to check ptynet's output) where
they are to take part; and the folder with torch_reference.py as --reference or in PTYNET_REFERENCE.
"""
import argparse
import importlib.metadata
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

# What single precision leaves of a deep network against float64; bfloat16 is a hundred times worse.
TOLERANCE = 1e-4
GAIN = {"ptynet-b": 0.6}
SETTLE_SECONDS = 0.05
PACKAGES = {"torch": "torch", "onnxruntime": "onnxruntime", "openvino": "openvino"}


def reference_module(folder):
    sys.path.insert(0, str(folder))
    import torch_reference
    return torch_reference


# ----------------------------------------------------------------------------------------------------------------
# Workers: one process per framework, told what to do by JSON lines.


class TorchWorker:
    def __init__(self, options):
        import torch
        self.torch = torch
        torch.set_num_threads(options["threads"])
        self.reference = reference_module(options["reference"])
        self.variants = ["contiguous", "channels_last"] + (["compiled"] if options["compile"] else [])

    def load(self, case):
        from safetensors.torch import load_file
        torch = self.torch
        architecture = self.reference.architecture(case["architecture"])
        state = load_file(case["weights"])
        last = {k: v.to(memory_format=torch.channels_last) if v.dim() == 4 else v for k, v in state.items()}
        x = torch.from_numpy(np.load(case["input"]))

        def run(weights, images):
            return self.reference.apply(architecture["layers"], weights, images)

        self.calls = {"contiguous": lambda: run(state, x),
                      "channels_last": lambda: run(last, x.to(memory_format=torch.channels_last))}
        if "compiled" in self.variants:
            torch._dynamo.reset()
            compiled = torch.compile(lambda images: run(state, images), mode="max-autotune-no-cudagraphs")
            self.calls["compiled"] = lambda: compiled(x)

    def output(self, variant):
        return self.call(variant).numpy()

    def call(self, variant):
        with self.torch.inference_mode():
            return self.calls[variant]()


class PeakWorker:
    """The best dense 3x3 convolution that the oneDNN inside PyTorch reaches: the machine's measured peak."""

    SHAPES = [(1, 64, 64, 64), (4, 64, 64, 64), (4, 128, 32, 32), (4, 256, 32, 32), (16, 128, 32, 32)]  # N, C, H, W

    def __init__(self, options):
        import torch
        self.torch = torch
        torch.set_num_threads(options["threads"])
        self.variants = [f"{n}x{c}x{h}x{w}" for n, c, h, w in self.SHAPES]

    def load(self, case):
        torch, last = self.torch, self.torch.channels_last
        self.calls = {}
        for name, (n, c, h, w) in zip(self.variants, self.SHAPES):
            x = torch.rand(n, c, h, w).to(memory_format=last)
            weights = torch.rand(c, c, 3, 3).to(memory_format=last)
            self.calls[name] = (lambda x=x, weights=weights: torch.conv2d(x, weights, None, 1, 1))

    def call(self, variant):
        with self.torch.inference_mode():
            return self.calls[variant]()

    @classmethod
    def gflop(cls, variant):
        n, c, h, w = map(int, variant.split("x"))
        return 2e-9 * n * c * c * h * w * 9


class OnnxRuntimeWorker:
    variants = ["default"]

    def __init__(self, options):
        import onnxruntime
        self.module = onnxruntime
        self.threads = options["threads"]

    def load(self, case):
        options = self.module.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = self.module.GraphOptimizationLevel.ORT_ENABLE_ALL
        # Its threads spin within a call, but not on while the others are measured.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self.session = self.module.InferenceSession(case["onnx"], options, providers=["CPUExecutionProvider"])
        self.feed = {self.session.get_inputs()[0].name: np.load(case["input"])}

    def call(self, variant):
        return self.session.run(None, self.feed)[0]

    output = call


class OpenVinoWorker:
    variants = ["default"]

    def __init__(self, options):
        import openvino
        self.core = openvino.Core()
        self.threads = options["threads"]

    def load(self, case):
        # On CPUs with AMX its own choice would be bfloat16: the precision is forced.
        self.model = self.core.compile_model(case["onnx"], "CPU", {
            "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(self.threads)})
        precision = self.model.get_property("INFERENCE_PRECISION_HINT").to_string()
        if precision != "f32":
            raise RuntimeError(f"OpenVINO runs in {precision}, expected f32")
        self.x = np.load(case["input"])
        self.request = self.model.create_infer_request()

    def call(self, variant):
        return self.request.infer([self.x], share_inputs=True, share_outputs=True)[0]

    output = call


WORKERS = {"torch": TorchWorker, "onnxruntime": OnnxRuntimeWorker, "openvino": OpenVinoWorker, "peak": PeakWorker}


def measure(worker, variant, seconds):
    """Latencies in milliseconds of calls in a row, after one that warms up."""
    worker.call(variant)
    times, begin = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        worker.call(variant)
        times.append(1e3 * (time.perf_counter() - start))
    return {"p50": statistics.median(times), "minimum": min(times), "calls": len(times)}


def serve(name, options):
    """A worker's life: requests on stdin, answers on what was stdout (libraries may print, so that is moved away)."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = WORKERS[name](options)
    print(json.dumps({"variants": worker.variants}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        answer = {}
        if request["do"] == "load":
            worker.load(request)
        elif request["do"] == "output":
            np.save(request["file"], worker.output(request["variant"]))
        else:
            answer = measure(worker, request["variant"], request["seconds"])
        print(json.dumps(answer), file=answers, flush=True)


class Process:
    """The other end of a worker; raises what it printed when it dies."""

    def __init__(self, name, options):
        environment = dict(os.environ, OMP_NUM_THREADS=str(options["threads"]))
        self.name = name
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([sys.executable, __file__, "--worker", name, json.dumps(options)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, env=environment)
        self.variants = self.answer()["variants"]

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.log.seek(0)
            lines = self.log.read().strip().splitlines() or ["no message"]
            raise RuntimeError(f"{self.name} stopped: {lines[-1]}")
        return json.loads(line)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


# ----------------------------------------------------------------------------------------------------------------
# Work counted from the architecture.


def layers_gflop(layers, height, width):
    """(GFLOP of one frame, height, width after): multiply and add of the convolutions, two operations per tap."""
    total = 0.0
    for layer in layers:
        kind = layer["type"]
        if kind == "conv2d":
            k, s, p = layer["kernel"], layer["stride"], layer["padding"]
            height, width = (height + 2 * p - k) // s + 1, (width + 2 * p - k) // s + 1
            total += 2e-9 * height * width * layer["out"] * (layer["in"] // layer["groups"]) * k * k
        elif kind == "conv_transpose2d":
            k, s, p = layer["kernel"], layer["stride"], layer["padding"]
            total += 2e-9 * height * width * layer["in"] * (layer["out"] // layer["groups"]) * k * k
            height, width = (height - 1) * s + k - 2 * p, (width - 1) * s + k - 2 * p
        elif kind == "max_pool2d":
            height, width = height // layer["kernel"], width // layer["kernel"]
        elif kind == "upsample_bilinear2d":
            height, width = height * layer["scale"], width * layer["scale"]
        else:
            parts = layer.get("branches", []) + [layer[k] for k in ("main", "shortcut") if k in layer]
            results = [layers_gflop(part, height, width) for part in parts]
            total += sum(r[0] for r in results)
            height, width = results[0][1:] if results else (height, width)
    return total, height, width


# ----------------------------------------------------------------------------------------------------------------
# The comparison.


def prepare(reference, folder, name, batch, size):
    """Weights, frames, network input, ONNX model and the float64 answer of one case, as files and arrays."""
    import torch
    from safetensors.torch import save_file

    architecture = reference.architecture(name)
    state = reference.random_state(architecture, 0, GAIN.get(name, 1.0))
    frames = np.floor(10 * reference.counter_uniform(1, "frames", batch * size * size))
    frames = frames.astype(np.float32).reshape(batch, size, size)
    x = reference.normalise(architecture, torch.from_numpy(frames))
    case = {key: str(folder / f"{name}-{batch}.{end}") for key, end in
            (("weights", "safetensors"), ("onnx", "onnx"), ("input", "input.npy"), ("frames", "frames.npy"))}
    case.update(architecture=name, batch=batch)
    save_file({k: v.contiguous() for k, v in state.items()}, case["weights"])
    np.save(case["input"], x.numpy())
    np.save(case["frames"], frames)

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.names = list(state)
            for key, value in state.items():
                self.register_buffer(key.replace(".", "_"), value)

        def forward(self, images):
            weights = {key: getattr(self, key.replace(".", "_")) for key in self.names}
            return reference.apply(architecture["layers"], weights, images)

    with torch.no_grad():
        torch.onnx.export(Module().eval(), (x,), case["onnx"], opset_version=20, dynamo=True, verbose=False)
        double = {k: v.double() if v.is_floating_point() else v for k, v in state.items()}
        exact = reference.apply(architecture["layers"], double, x.double()).numpy()
    amplitude, phase, _ = reference.net(architecture, double, x.double())
    return case, exact, {"amplitude": amplitude.numpy(), "phase": phase.numpy()}


def deviation(found, exact):
    return float(np.abs(found - exact).max() / np.abs(exact).max())


def check(label, found):
    if not found <= TOLERANCE:
        raise RuntimeError(f"{label} deviates from float64 by {found:.2e} of the largest output, allowed {TOLERANCE:.0e}: "
                           "a timing of wrong results means nothing")


class Ptynet:
    """ptynet through its own program: every round is a fresh `ptynet bench`."""

    def __init__(self, program, options):
        self.program, self.threads, self.arguments = program, options["threads"], options["bench_arguments"]

    def check(self, case, heads, folder):
        import h5py
        result, batch = folder / "result.h5", case["batch"]
        self.run("reconstruct", case["frames"], "--weights", case["weights"], "--architecture", case["architecture"],
                 "--raster", f"1x{batch}", "--step", "32", "--stitch", "mean", "--batch", str(batch), "--patches",
                 "--object-pixel-size", "1e-8", "--output", str(result), "--quiet")
        with h5py.File(result) as file:
            return max(deviation(file["patches"][head][...], heads[head]) for head in heads)

    def measure(self, case):
        out = self.run("bench", "--architecture", case["architecture"], "--weights", case["weights"], "--batch",
                       str(case["batch"]), "--json", *self.arguments)
        return json.loads(out)

    def run(self, *arguments):
        done = subprocess.run([self.program, *arguments, "--threads", str(self.threads)], text=True, capture_output=True)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise RuntimeError(f"{' '.join([self.program, *arguments])} exited {done.returncode}: {lines[-1]}")
        return done.stdout


def compare(options, processes, ptynet, reference, name, batch, folder):
    case, exact, heads = prepare(reference, folder, name, batch, options["size"])
    gflop = batch * layers_gflop(reference.architecture(name)["layers"], options["size"], options["size"])[0]
    turns, deviations, rounds, own = [], {}, {}, []
    for process in processes:
        process.ask(do="load", **case)
        for variant in process.variants:
            label = process.name if variant == "default" else f"{process.name} {variant}"
            turns.append((label, process, variant))
            if process.name != "peak":
                process.ask(do="output", variant=variant, file=case["input"] + ".out.npy")
                deviations[label] = deviation(np.load(case["input"] + ".out.npy"), exact)
                check(label, deviations[label])
    if ptynet:
        deviations["ptynet"] = ptynet.check(case, heads, folder)
        check("ptynet", deviations["ptynet"])
    for _ in range(options["rounds"]):
        for label, process, variant in turns:
            seconds = options["seconds"] / (5 if process.name == "peak" else 1)
            rounds.setdefault(label, []).append(process.ask(do="time", variant=variant, seconds=seconds)["p50"])
            time.sleep(SETTLE_SECONDS)
        if ptynet:
            own.append(ptynet.measure(case))
            rounds.setdefault("ptynet", []).append(own[-1]["latency_ms"]["p50"])
            time.sleep(SETTLE_SECONDS)
    peak = max(PeakWorker.gflop(variant) / statistics.median(rounds.pop(label)) * 1e3
               for label, process, variant in turns if process.name == "peak")
    rows = [{"framework": label, "p50_ms": statistics.median(times), "fastest_round_ms": min(times),
             "gflops": gflop / statistics.median(times) * 1e3,
             "peak_share": gflop / statistics.median(times) * 1e3 / peak,
             "deviation": deviations[label], "rounds_ms": times} for label, times in rounds.items()]
    summary = {"architecture": name, "batch": batch, "gflop": gflop, "peak_gflops": peak, "frameworks": rows}
    if own:
        summary["ptynet_peak_share"] = statistics.median(o["peak_share"] for o in own)
        mine = next(r for r in rows if r["framework"] == "ptynet")
        others = [r for r in rows if r is not mine]
        torch_rows = [r for r in others if r["framework"].startswith("torch")]
        for key, against in (("speedup_over_torch", torch_rows), ("speedup_over_best", others)):
            summary[key] = min(r["p50_ms"] for r in against) / mine["p50_ms"]
            summary[key + "_fastest"] = min(r["fastest_round_ms"] for r in against) / mine["fastest_round_ms"]
    return summary


def show(summary):
    print(f"\n{summary['architecture']}, batch {summary['batch']}: {summary['gflop']:.3f} GFLOP per call, "
          f"dense 3x3 peak {summary['peak_gflops']:.0f} GFLOP/s")
    print(f"  {'framework':<22} {'p50 ms':>9} {'fastest':>9} {'GFLOP/s':>9} {'of peak':>8} {'deviation':>10}")
    for row in sorted(summary["frameworks"], key=lambda r: r["p50_ms"]):
        print(f"  {row['framework']:<22} {row['p50_ms']:>9.3f} {row['fastest_round_ms']:>9.3f} {row['gflops']:>9.1f} "
              f"{100 * row['peak_share']:>7.0f}% {row['deviation']:>10.1e}")
    if "speedup_over_best" in summary:
        print(f"  ptynet is {summary['speedup_over_torch']:.2f}x PyTorch and {summary['speedup_over_best']:.2f}x the best of "
              f"the others (fastest rounds: {summary['speedup_over_torch_fastest']:.2f}x, "
              f"{summary['speedup_over_best_fastest']:.2f}x); its own peak_share: {summary['ptynet_peak_share']:.2f}")
    sys.stdout.flush()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ptynet", default="build/release/bin/ptynet", help="the program (default: %(default)s)")
    parser.add_argument("--bench-arguments", default="", help="more arguments for `ptynet bench`, of those that leave the result alone")
    parser.add_argument("--reference", default=os.environ.get("PTYNET_REFERENCE"), help="folder with torch_reference.py")
    parser.add_argument("--architectures", nargs="+", default=["ptynet-s", "ptynet-b", "ptychonn"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--size", type=int, default=128, help="rows and columns of a frame (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all, %(default)s here")
    parser.add_argument("--rounds", type=int, default=11, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=0.5, help="measuring time of a turn (default: %(default)s)")
    parser.add_argument("--compile", action="store_true", help="PyTorch through torch.compile too (slow to start)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers, every round included, to FILE")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if arguments.worker:
        serve(arguments.worker[0], json.loads(arguments.worker[1]))
        return 0
    if not arguments.reference:
        sys.exit("compare_frameworks.py: expected --reference or PTYNET_REFERENCE, the folder with torch_reference.py")
    options = {k: getattr(arguments, k) for k in ("threads", "rounds", "seconds", "size", "compile")}
    options.update(reference=str(pathlib.Path(arguments.reference).resolve()),
                   bench_arguments=arguments.bench_arguments.split())
    processes, absent = [], []
    for name in WORKERS:
        try:
            processes.append(Process(name, options))
        except RuntimeError as error:
            absent.append(f"{name}: {error}")
    ptynet = Ptynet(arguments.ptynet, options) if pathlib.Path(arguments.ptynet).is_file() else None
    if not ptynet:
        absent.append(f"ptynet: no program at {arguments.ptynet}; build it with `make release` or say --ptynet")
    versions = {n: importlib.metadata.version(p) for n, p in PACKAGES.items() if any(q.name == n for q in processes)}
    print(f"{arguments.threads} threads, {arguments.rounds} rounds, " + ", ".join(f"{n} {v}" for n, v in versions.items()))
    for line in absent:
        print(f"*** NOT MEASURED: {line}")
    if {"torch", "peak"} - {p.name for p in processes}:
        sys.exit("compare_frameworks.py: PyTorch is needed for the weights, the ONNX models and the peak")
    reference, cases = reference_module(options["reference"]), []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.architectures:
            for batch in arguments.batches:
                cases.append(compare(options, processes, ptynet, reference, name, batch, pathlib.Path(folder)))
                show(cases[-1])
    for process in processes:
        process.close()
    for line in absent:
        print(f"*** NOT MEASURED: {line}")
    if arguments.json:
        report = {"threads": arguments.threads, "size": arguments.size, "versions": versions, "absent": absent, "cases": cases}
        temporary = pathlib.Path(arguments.json + ".part")
        temporary.write_text(json.dumps(report, indent=1))
        temporary.replace(arguments.json)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as error:
        sys.exit(f"compare_frameworks.py: {error}")
