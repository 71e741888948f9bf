#!/usr/bin/env python3
"""PyTorch on a CUDA device: the baselines ptynet is measured against, and the device's own ceilings.

    torch_cuda.py [--reference DIR] [--output FILE] [--parts inference,layers,finetune,compiled] [--minutes 6]

device     copy bandwidth (bytes read plus written) and the rate of an 8192^3 matrix product per precision, always measured
inference  normalisation, network, amplitude and phase: eager and as a CUDA graph, channels_last; and the latency of one
           frame from host memory to a patch in host memory, by way of pinned memory as in ptynet
layers     every convolution of the networks through cuDNN, beside its floors by bytes and by arithmetic
finetune   one step on 16 frames: torch_reference.fine_tune as it is; the whole step as a CUDA graph with fused capturable
           Adam and no synchronisation
compiled   inference under torch.compile(mode="reduce-overhead", then "max-autotune"), fp16; the fine-tuning step with a compiled loss

Times are medians of repeats after a warm-up, on random data. What fails, or finds no time left, is said in one line and
left out. Compilation comes last, each case in a process of its own that is ended when its time is over;
`--parts compiled --minutes 9` gives it more.

Needs torch with CUDA, and the folder with torch_reference.py as --reference or in PTYNET_REFERENCE.
"""
import argparse
import gc
import json
import math
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import torch.nn.functional as F

ARCHITECTURES = ("ptynet-s", "ptynet-b")
GAIN = {"ptynet-b": 0.6}
SIDE = 128
DEVICE = "cuda"
# The target's precision first: a short budget leaves out the others.
PRECISIONS = {"fp16": torch.float16, "tf32": torch.float32, "bf16": torch.bfloat16, "fp32": torch.float32}
INFERENCE_BATCHES = {"ptynet-s": (1, 16, 64, 256, 1024), "ptynet-b": (1, 16, 64, 256)}
# The most telling first: a short budget leaves out the others.
COMPILED = (("inference", "ptynet-s", 1), ("inference", "ptynet-s", 256), ("finetune", "ptynet-b", 16), ("finetune", "ptynet-s", 16),
            ("inference", "ptynet-b", 1))
LAYER_BATCHES = (1, 16, 256)
LATENCY_CALLS = 2000
SCAN_FRAMES, BATCH, EPOCHS, LEARNING_RATE = 256, 16, 300, 1e-4
PARTS = ("inference", "layers", "finetune", "compiled")
# Parts of the whole budget; compilation gets what they leave.
SHARES = {"inference": 0.25, "layers": 0.25, "finetune": 0.17}
COMPILE_SECONDS = 100
COMPILE_START_SECONDS = 25
REPEATS = 5
REPEAT_SECONDS, LAYER_REPEAT_SECONDS = 0.02, 0.008
LAUNCHES = 20
WARM_UP = 3
# Inputs of repeated launches rotate through more than an L2 holds; the allocator is emptied when it keeps more than CACHED_BYTES.
ROTATED_BYTES = 150e6
CACHED_BYTES = 24e9
TOO_MANY_FAILURES = 8


def say(line):
    print(line, flush=True)


class Report:
    """The numbers so far, on disk after every part, and the time that is left."""

    def __init__(self, path, seconds):
        self.path, self.end = path, time.monotonic() + seconds
        self.part_end, self.part_name = self.end, ""
        self.content = {"failed": [], "left_out": []}
        self.failures_in_a_row = 0

    def left(self):
        return min(self.end, self.part_end) - time.monotonic()

    def save(self):
        if self.path:
            temporary = pathlib.Path(str(self.path) + ".part")
            temporary.write_text(json.dumps(self.content, indent=1))
            temporary.replace(self.path)

    def attempt(self, label, function, *arguments):
        """The function's value, or None with one line said where it fails or no time is left."""
        if self.left() <= 0:
            if not self.content["left_out"] or self.content["left_out"][-1]["part"] != self.part_name:
                say(f"*** {self.part_name}: time is over at {label}; what follows there is left out")
            self.content["left_out"].append({"part": self.part_name, "case": label})
            return None
        try:
            value = function(*arguments)
        except Exception as error:  # one failing variant must not end the run
            line = (str(error).strip().splitlines() or ["no message"])[0][:160]
            say(f"*** FAILED: {label}: {type(error).__name__}: {line}")
            self.content["failed"].append({"case": label, "error": f"{type(error).__name__}: {line}"})
            self.failures_in_a_row += 1
            value = None
        else:
            self.failures_in_a_row = 0
        if self.failures_in_a_row >= TOO_MANY_FAILURES:
            self.failures_in_a_row = 0
            raise RuntimeError(f"{TOO_MANY_FAILURES} failures in a row, the last at {label}; the part ends here")
        return value

    def part(self, name, seconds, function, *arguments):
        self.part_name, self.part_end = name, time.monotonic() + seconds
        start = time.monotonic()
        try:
            function(*arguments)
        except Exception as error:
            say(f"*** {name} ended: {type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}")
            self.content["failed"].append({"case": name, "error": str(error)[:400]})
        self.part_end = self.end
        self.content.setdefault("part_seconds", {})[name] = round(time.monotonic() - start, 1)
        self.save()
        gc.collect()
        try:
            torch.cuda.empty_cache()
        except RuntimeError as error:
            say(f"*** the device no longer answers: {str(error).splitlines()[0]}")


# ----------------------------------------------------------------------------------------------------------------
# Timing and capture.


def set_precision(precision):
    """fp32 means fp32: TF32 is allowed by its own name only."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def elapsed_ms(run, calls):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(calls):
        run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def median_ms(run, seconds=REPEAT_SECONDS):
    """Median time of a call, in ms; a repeat makes enough calls to outweigh the resolution of the events."""
    for _ in range(WARM_UP):
        run()
    one = max(elapsed_ms(run, 3) / 3, 1e-4)
    calls = max(3, min(2000, math.ceil(1e3 * seconds / one)))
    return statistics.median(elapsed_ms(run, calls) for _ in range(REPEATS)) / calls


def capture(run, warm_up=WARM_UP, before_capture=None):
    """A CUDA graph of run(), warmed up on the stream it is captured on, with what it returned kept alive.

    torch.cuda.graph collects garbage at every entry, a tenth of a second: too long for hundreds of small captures."""
    if torch.cuda.memory_reserved() > CACHED_BYTES:
        torch.cuda.empty_cache()
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(warm_up):
            run()
    torch.cuda.synchronize()
    if before_capture:
        before_capture()
    gc.disable()
    try:
        with torch.cuda.stream(stream):
            graph.capture_begin()
            try:
                kept = run()
            except BaseException:
                # The stream must leave capture, whatever that says; the first error is the one to tell.
                try:
                    graph.capture_end()
                except RuntimeError:
                    pass
                raise
            graph.capture_end()
    finally:
        gc.enable()
    torch.cuda.current_stream().wait_stream(stream)
    return graph, kept


# ----------------------------------------------------------------------------------------------------------------
# The device and its ceilings.


def driver_version():
    try:
        out = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
                             capture_output=True, text=True, timeout=20)
        return out.stdout.strip().splitlines()[0]
    except (OSError, IndexError, subprocess.SubprocessError):
        return "unknown"


def copy_rate():
    source = torch.rand(2 ** 29, device=DEVICE)  # 2 GiB
    target = torch.empty_like(source)
    return 2 * source.numel() * source.element_size() / (1e-3 * median_ms(lambda: target.copy_(source)))


def matmul_rate(precision):
    set_precision(precision)
    n = 8192
    a, b = (torch.randn(n, n, device=DEVICE).to(PRECISIONS[precision]) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * n ** 3 / (1e-3 * median_ms(lambda: torch.mm(a, b, out=out)))


def measure_device(report):
    properties = torch.cuda.get_device_properties(0)
    found = {"name": properties.name, "multiprocessors": properties.multi_processor_count,
             "capability": f"{properties.major}.{properties.minor}", "memory_bytes": properties.total_memory,
             "driver": driver_version(), "torch": torch.__version__, "cuda": torch.version.cuda,
             "cudnn": torch.backends.cudnn.version(), "date": time.strftime("%Y-%m-%d", time.gmtime()), "matmul_flops": {}}
    report.content["device"] = found
    say(f"{found['name']}, driver {found['driver']}, torch {found['torch']}, cuDNN {found['cudnn']}")
    found["copy_bytes_per_s"] = report.attempt("device copy", copy_rate)
    for precision in ("bf16", "fp16", "tf32", "fp32"):
        found["matmul_flops"][precision] = report.attempt(f"matmul {precision}", matmul_rate, precision)
    if found["copy_bytes_per_s"]:
        say(f"copy {found['copy_bytes_per_s'] / 1e9:.0f} GB/s (read plus written)")
    say("matmul TFLOP/s: " + ", ".join(f"{k} {v / 1e12:.0f}" for k, v in found["matmul_flops"].items() if v))


# ----------------------------------------------------------------------------------------------------------------
# Networks.


def channels_last(tensor):
    """A copy whose strides say NHWC even with one channel, where .to(memory_format=) may leave them."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device, memory_format=torch.channels_last).copy_(tensor)


def device_state(reference, architecture, dtype=torch.float32, last=True):
    """random_state on the device; convolutions in `dtype`, batch norm in fp32 as PyTorch's mixed precision has it."""
    name = architecture["name"]
    state = {k: v.to(DEVICE) for k, v in reference.random_state(architecture, 0, GAIN.get(name, 1.0)).items()}
    for key, value in state.items():
        if key.rsplit(".", 1)[0] + ".running_mean" not in state:
            state[key] = channels_last(value.to(dtype)) if last and value.dim() == 4 else value.to(dtype)
    return state


def one_channel_last(x):
    """[N, 1, H, W], the same bytes, with strides by which cuDNN's whole chain stays NHWC."""
    n, _, h, w = x.shape
    return x.as_strided((n, 1, h, w), (h * w, 1, w, 1))


def patch_function(reference, architecture, dtype):
    """(state, counts [N, H, W]) -> float32 [N, 2, H, W], amplitude and phase, in as few launches as eager mode allows."""
    heads = sorted(architecture["output"].values(), key=lambda o: o["channel"])
    if [o["channel"] for o in heads] != [0, 1] or any(o.get("offset") for o in heads):
        raise ValueError(f"{architecture['name']}: expected the output channels 0 and 1 without offset, found {heads}")
    scale = torch.tensor([o.get("scale", 1.0) for o in heads], device=DEVICE).view(1, 2, 1, 1)

    def patch(state, counts):
        x = one_channel_last(reference.normalise(architecture, counts.float()).to(dtype))
        return reference.apply(architecture["layers"], state, x) * scale

    return patch


class Patches(torch.nn.Module):
    """The patch function with its weights as parameters: torch.compile then leaves them where they are at each replay."""

    def __init__(self, state, patch):
        super().__init__()
        self.patch, self.attributes = patch, {}
        for name, value in state.items():
            if value.is_floating_point():
                self.attributes[name] = name.replace(".", "_")
                self.register_parameter(self.attributes[name], torch.nn.Parameter(value, requires_grad=False))

    def forward(self, counts):
        return self.patch({name: getattr(self, attribute) for name, attribute in self.attributes.items()}, counts)


# ----------------------------------------------------------------------------------------------------------------
# Inference.


def random_counts(n):
    return torch.poisson(1000 * torch.rand(n, SIDE, SIDE, device=DEVICE) ** 8)


def percentiles(call):
    for _ in range(50):
        call()
    times = []
    for _ in range(LATENCY_CALLS):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    p50, p99, p999 = np.percentile(np.array(times) * 1e-3, [50, 99, 99.9])
    return {"calls": LATENCY_CALLS, "p50_us": p50, "p99_us": p99, "p99_9_us": p999}


def integer_counts(n):
    """Detector integers. They stay under 2^15, so int16 holds the bytes of u16, for which PyTorch has few kernels."""
    return random_counts(n).to(torch.int16)


def pinned_like(patch):
    """With the strides of the patch, so that the copy out is one transfer."""
    return torch.empty_strided(patch.shape, patch.stride(), dtype=patch.dtype, pin_memory=True)


def host_latency(patch, state):
    """Copy in, cast, network and copy out as one graph, between host memory that is not pinned, as ptynet's calls take it."""
    source, staged = integer_counts(1).cpu(), integer_counts(1)
    frame, out = source.pin_memory(), pinned_like(patch(state, staged))
    result = torch.empty_like(out, pin_memory=False)

    def run():
        staged.copy_(frame, non_blocking=True)
        return out.copy_(patch(state, staged), non_blocking=True)

    graph, _kept = capture(run)

    def call():
        frame.copy_(source)
        graph.replay()
        torch.cuda.synchronize()
        result.copy_(out)

    return percentiles(call)


def prepare(reference, architecture, dtype):
    return patch_function(reference, architecture, dtype), device_state(reference, architecture, dtype)


def eager_ms(patch, state, counts):
    return median_ms(lambda: patch(state, counts))


def graph_ms(patch, state, counts):
    graph, _kept = capture(lambda: patch(state, counts))
    return median_ms(graph.replay)


def inference_row(report, name, precision, variant, batch, ms):
    row = {"architecture": name, "precision": precision, "variant": variant, "batch": batch, "ms": ms,
           "us_per_frame": 1e3 * ms / batch, "frames_per_s": 1e3 * batch / ms}
    report.content.setdefault("inference", []).append(row)
    return row


def latency_row(report, row):
    report.content.setdefault("latency", []).append(row)
    say(f"  {row['architecture']} {row['precision']} {row['variant']}, host to host: "
        f"p50 {row['p50_us']:.1f}, p99 {row['p99_us']:.1f}, p99.9 {row['p99_9_us']:.1f} us")


@torch.no_grad()
def measure_inference(report, reference):
    torch.backends.cudnn.benchmark = True
    for precision, dtype in PRECISIONS.items():
        set_precision(precision)
        for name in ARCHITECTURES:
            architecture = reference.architecture(name)
            prepared = report.attempt(f"{name} {precision}", prepare, reference, architecture, dtype)
            if not prepared:
                continue
            patch, state = prepared
            say(f"\n{name} {precision}: us per frame\n  {'batch':>6} {'eager':>9} {'graph':>9} {'graph frames/s':>15}")
            for batch in INFERENCE_BATCHES[name]:
                counts = random_counts(batch)
                found = {}
                for variant, measure in (("eager", eager_ms), ("graph", graph_ms)):
                    ms = report.attempt(f"{name} {precision} batch {batch} {variant}", measure, patch, state, counts)
                    if ms:
                        found[variant] = inference_row(report, name, precision, variant, batch, ms)
                cells = [f"{found[v]['us_per_frame']:9.2f}" if v in found else f"{'-':>9}" for v in ("eager", "graph")]
                rate = f"{found['graph']['frames_per_s']:15.0f}" if "graph" in found else ""
                if found:
                    say(f"  {batch:>6} {cells[0]} {cells[1]} {rate}")
            latency = report.attempt(f"{name} {precision} host latency", host_latency, patch, state)
            if latency:
                latency_row(report, {"architecture": name, "precision": precision, "variant": "graph", **latency})


# ----------------------------------------------------------------------------------------------------------------
# Layers.


def convolutions(layers, h):
    """(layer, height of its input) for every convolution, and the height of the last output; frames are square."""
    found = []
    for layer in layers:
        kind = layer["type"]
        if kind == "conv2d":
            found.append((layer, h))
            h = (h + 2 * layer["padding"] - layer["kernel"]) // layer["stride"] + 1
        elif kind == "conv_transpose2d":
            found.append((layer, h))
            h = (h - 1) * layer["stride"] - 2 * layer["padding"] + layer["kernel"]
        elif kind == "max_pool2d":
            h //= layer["kernel"]
        elif kind == "upsample_bilinear2d":
            h *= layer["scale"]
        elif kind in ("residual", "branches"):
            parts = layer.get("branches") or [layer["main"], layer["shortcut"]]
            walked = [convolutions(part, h) for part in parts]
            found += [pair for pairs, _ in walked for pair in pairs]
            h = walked[0][1]
    return found, h


def distinct_convolutions(layers):
    """Layers of equal shape are timed once: [(layer, height, names)]."""
    groups = {}
    for layer, h in convolutions(layers, SIDE)[0]:
        key = tuple(layer[k] for k in ("type", "in", "out", "kernel", "stride", "padding", "groups")) + (h,)
        groups.setdefault(key, (layer, h, []))[2].append(layer["name"])
    return list(groups.values())


@torch.no_grad()
def time_layer(layer, h, batch, precision, device):
    """The convolution without bias (which eager mode adds in a kernel of its own), ms, beside its floors."""
    dtype, transposed = PRECISIONS[precision], layer["type"] == "conv_transpose2d"
    channels = (layer["in"], layer["out"] // layer["groups"]) if transposed else (layer["out"], layer["in"] // layer["groups"])
    weight = channels_last((0.1 * torch.randn(*channels, layer["kernel"], layer["kernel"], device=DEVICE)).to(dtype))
    operation = F.conv_transpose2d if transposed else F.conv2d
    options = {"stride": layer["stride"], "padding": layer["padding"], "groups": layer["groups"]}

    def launch(x):
        return operation(x, weight, **options)

    def random_input():
        return channels_last(torch.randn(batch, layer["in"], h, h, device=DEVICE).to(dtype))

    inputs = [random_input()]
    out = launch(inputs[0])
    moved = sum(t.numel() * t.element_size() for t in (inputs[0], weight, out))
    positions = inputs[0].numel() // layer["in"] if transposed else out.numel() // layer["out"]  # each meets every weight once
    flops = 2 * positions * weight.numel()
    sets = max(2, min(LAUNCHES, math.ceil(ROTATED_BYTES / moved)))
    inputs += [random_input() for _ in range(sets - 1)]
    kept = [None] * sets

    def run():
        for i in range(LAUNCHES):
            kept[i % sets] = launch(inputs[i % sets])
        return kept

    graph, _ = capture(run, warm_up=1)
    ms = median_ms(graph.replay, LAYER_REPEAT_SECONDS) / LAUNCHES
    floors = {}
    if device.get("copy_bytes_per_s"):
        floors["bytes_floor_ms"] = 1e3 * moved / device["copy_bytes_per_s"]
    if device["matmul_flops"].get(precision):
        floors["flops_floor_ms"] = 1e3 * flops / device["matmul_flops"][precision]
    share = max(floors.values()) / ms if floors else None
    return {"ms": ms, "bytes": moved, "flops": flops, **floors, "share_of_floor": share}


def show_layers(name, precision, batch, rows):
    total = sum(r["ms"] * len(r["names"]) for r in rows)
    floor = sum((r["share_of_floor"] or 0) * r["ms"] * len(r["names"]) for r in rows)
    dearest = sorted(rows, key=lambda r: -r["ms"] * len(r["names"]))[:3]
    text = ", ".join(f"{r['names'][0]} x{len(r['names'])} {1e3 * r['ms']:.1f} us ({100 * (r['share_of_floor'] or 0):.0f} %)"
                     for r in dearest)
    say(f"  {name} {precision} batch {batch:>3}: {1e3 * total:9.1f} us, floor {1e3 * floor:8.1f} us; dearest: {text}")


def measure_layers(report, reference):
    torch.backends.cudnn.benchmark = True
    device = report.content.get("device", {"matmul_flops": {}})
    say(f"\nConvolutions through cuDNN, each in a graph of {LAUNCHES} launches: the network's sum, floor, dearest (share of floor)")
    for precision in PRECISIONS:
        set_precision(precision)
        for name in ARCHITECTURES:
            layers = distinct_convolutions(reference.architecture(name)["layers"])
            for batch in LAYER_BATCHES:
                rows = []
                for layer, h, names in layers:
                    label = f"{name} {names[0]} {precision} batch {batch}"
                    timed = report.attempt(label, time_layer, layer, h, batch, precision, device)
                    if timed:
                        description = {k: layer[k] for k in ("type", "in", "out", "kernel", "stride", "padding", "groups")}
                        rows.append({"architecture": name, "names": names, "height": h, **description,
                                     "precision": precision, "batch": batch, **timed})
                report.content.setdefault("layers", []).extend(rows)
                if len(rows) == len(layers):
                    show_layers(name, precision, batch, rows)


# ----------------------------------------------------------------------------------------------------------------
# Fine-tuning.


def scan(reference):
    """Frames [256, H, W] of smooth random objects behind the probe, with Poisson noise, and the probe."""
    probe = torch.from_numpy(np.load(reference.HERE / "data" / "probe.npy")).to(DEVICE).to(torch.complex64)
    coarse = torch.rand(SCAN_FRAMES, 2, 9, 9, device=DEVICE)
    smooth = F.interpolate(coarse, size=tuple(probe.shape), mode="bicubic", align_corners=True).clamp(0, 1)
    amplitude, phase = 0.3 + 0.7 * smooth[:, 0], math.pi * (smooth[:, 1] - 0.5)
    return torch.poisson(reference.diffraction(torch.polar(amplitude, phase), probe)), probe


def memory_since(before, held):
    """The allocator's high water of the case, with the scan it `held` all along but without what other cases left."""
    return {"allocated_bytes": torch.cuda.max_memory_allocated() - before[0] + held,
            "reserved_bytes": torch.cuda.max_memory_reserved() - before[1] + held}


def scan_bytes(frames, probe):
    return frames.numel() * frames.element_size() + probe.numel() * probe.element_size()


def settle_memory():
    """What is allocated and reserved before the case: the scan, and what other cases left."""
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return torch.cuda.memory_allocated(), torch.cuda.memory_reserved()


def restart_peak():
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def time_epochs(epoch, epochs=2):
    """Median ms per step over repeats of whole epochs, by the host's clock, to the device's end."""
    times = []
    for _ in range(REPEATS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        loss = epoch(epochs)
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start) / (epochs * SCAN_FRAMES // BATCH))
    if not math.isfinite(loss):
        raise RuntimeError(f"expected a finite loss, found {loss}")
    return {"ms_per_step": statistics.median(times), "fastest_ms": min(times), "loss": loss}


def reference_steps(reference, architecture, frames, probe):
    """torch_reference.fine_tune as it is: contiguous, the library's defaults, the loss fetched at every step."""
    torch.backends.cudnn.benchmark = False
    baseline = settle_memory()
    state = device_state(reference, architecture, last=False)

    def epoch(epochs):
        return reference.fine_tune(architecture, state, frames, probe, epochs, BATCH, LEARNING_RATE)[1][-1]

    epoch(1)
    restart_peak()
    timed = time_epochs(epoch)
    return {**timed, **memory_since(baseline, scan_bytes(frames, probe))}


def loss_function(reference, architecture, state, probe):
    def loss(frames):
        x = one_channel_last(reference.normalise(architecture, frames))
        predicted = reference.diffraction(reference.net(architecture, state, x, True)[2], probe)
        return (predicted - frames).abs().mean()

    return loss


def own_steps(reference, architecture, frames, probe, compiled=False, graphed=True):
    """channels_last, fused capturable Adam, the loss summed on the device and fetched once per epoch."""
    torch.backends.cudnn.benchmark = True
    baseline = settle_memory()
    state = reference.trainable(device_state(reference, architecture))
    rate = torch.tensor(LEARNING_RATE, device=DEVICE)  # a tensor, so that a schedule reaches the captured step
    optimiser = torch.optim.Adam([v for v in state.values() if v.requires_grad], lr=rate, capturable=True, fused=True)
    loss_of = loss_function(reference, architecture, state, probe)
    if compiled:
        loss_of = torch.compile(loss_of)
    part, total = frames[:BATCH].clone(), torch.zeros((), device=DEVICE)

    def step():
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(part)
        loss.backward()
        optimiser.step()
        total.add_(loss.detach())

    if graphed:
        # Gradients of the warm-up go, so that those of the graph are made in its own pool.
        graph, _ = capture(step, before_capture=lambda: (optimiser.zero_grad(set_to_none=True), restart_peak()))
        make_step = graph.replay
    else:
        for _ in range(WARM_UP):
            step()
        restart_peak()
        make_step = step

    def epoch(epochs):
        for _ in range(epochs):
            total.zero_()
            for i in range(0, len(frames), BATCH):
                part.copy_(frames[i:i + BATCH])
                make_step()
            mean = total.item() * BATCH / len(frames)
        return mean

    epoch(1)
    timed = time_epochs(epoch)
    return {**timed, **memory_since(baseline, scan_bytes(frames, probe))}


def finetune_row(report, name, variant, precision, measured):
    row = {"architecture": name, "variant": variant, "precision": precision, "batch": BATCH, "frames": SCAN_FRAMES, **measured,
           "seconds_for_300_epochs": 1e-3 * measured["ms_per_step"] * EPOCHS * (SCAN_FRAMES // BATCH)}
    report.content.setdefault("finetune", []).append(row)
    say(f"  {name:<9} {precision:<5} {variant:<16} {row['ms_per_step']:9.3f} {row['seconds_for_300_epochs']:9.2f} "
        f"{row['allocated_bytes'] / 1e6:9.0f} {row['reserved_bytes'] / 1e6:9.0f}")


def measure_finetune(report, reference):
    frames, probe = scan(reference)
    say(f"\nFine-tuning, {SCAN_FRAMES} frames, batch {BATCH}")
    say(f"  {'network':<9} {'':<5} {'variant':<16} {'ms/step':>9} {'300 ep. s':>9} {'alloc. MB':>9} {'res. MB':>9}")
    for variant, steps in (("graph", own_steps), ("fine_tune as is", reference_steps)):
        for name in ARCHITECTURES:
            for precision in ("tf32", "fp32"):
                set_precision(precision)
                measured = report.attempt(f"finetune {name} {precision} {variant}", steps, reference,
                                          reference.architecture(name), frames, probe)
                if measured:
                    finetune_row(report, name, variant, precision, measured)


# ----------------------------------------------------------------------------------------------------------------
# Compilation: slow, so each case is a process with a time limit. A worker prints a JSON line per finding.


def flat(module, counts):
    """The module as one flat graph, where it can be exported: each call then checks few guards of Python's."""
    try:
        return torch.export.export(module, (counts,)).module()
    except Exception as error:  # the module itself compiles too, with more time per call
        print(f"not exported: {error}", file=sys.stderr)
        return module


@torch.no_grad()
def compiled_inference(reference, task):
    """First the call with the integer frames on the device, then, for one frame, from host memory to host memory."""
    set_precision(task["precision"])
    torch.backends.cudnn.benchmark = True
    architecture = reference.architecture(task["architecture"])
    state = device_state(reference, architecture, torch.float16)
    counts = integer_counts(task["batch"])
    module = Patches(state, patch_function(reference, architecture, torch.float16)).eval()
    # The quick compilation first, so that a case that runs out of time has that.
    for mode in ("reduce-overhead", "max-autotune"):
        torch.compiler.reset()
        case = {"architecture": task["architecture"], "precision": task["precision"], "variant": f"compiled, {mode}",
                "batch": task["batch"]}
        start = time.monotonic()
        network = torch.compile(flat(module, counts), mode=mode)
        network(counts)
        torch.cuda.synchronize()
        case["compile_s"] = time.monotonic() - start
        say(json.dumps({"inference": {**case, "ms": median_ms(lambda: network(counts))}}))
        if task["batch"] == 1:
            say(json.dumps({"latency": {**case, **percentiles(compiled_call(network, counts))}}))


def compiled_call(network, counts):
    """One frame from host memory to host memory, as in host_latency."""
    source = integer_counts(1).cpu()
    frame, out = source.pin_memory(), pinned_like(network(counts))
    result = torch.empty_like(out, pin_memory=False)

    def call():
        frame.copy_(source)
        counts.copy_(frame, non_blocking=True)
        out.copy_(network(counts), non_blocking=True)
        torch.cuda.synchronize()
        result.copy_(out)

    return call


def compiled_finetune(reference, task):
    set_precision(task["precision"])
    architecture = reference.architecture(task["architecture"])
    frames, probe = scan(reference)
    for variant, graphed in (("compiled", False), ("compiled, graph", True)):
        measured = own_steps(reference, architecture, frames, probe, compiled=True, graphed=graphed)
        say(json.dumps({"finetune": {"variant": variant, "measured": measured}}))


def run_worker(task, seconds):
    """The JSON lines a worker printed, and what went wrong, if anything did."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as log:
        # A session of its own: the compiler's helper processes end with it.
        process = subprocess.Popen([sys.executable, __file__, "--worker", json.dumps(task)],
                                   stdout=out, stderr=log, start_new_session=True)
        problem = None
        try:
            if process.wait(seconds) != 0:
                problem = f"exit status {process.returncode}"
        except subprocess.TimeoutExpired:
            problem = f"not done after {seconds:.0f} s"
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        out.seek(0)
        log.seek(0)
        if problem and problem.startswith("exit"):
            problem += ": " + (log.read().strip().splitlines() or ["no message"])[-1][:160]
        return [json.loads(line) for line in out.read().splitlines() if line.startswith("{") and line.endswith("}")], problem


def take(report, task, line):
    if "inference" in line:
        found = line["inference"]
        row = inference_row(report, found["architecture"], found["precision"], found["variant"], found["batch"], found["ms"])
        row["compile_s"] = found["compile_s"]
        say(f"  {row['architecture']} {row['precision']} {row['variant']}, batch {row['batch']}: {row['us_per_frame']:.2f} us per frame, "
            f"{row['frames_per_s']:.0f} frames/s, compiled in {row['compile_s']:.0f} s")
    elif "latency" in line:
        latency_row(report, line["latency"])
    else:
        found = line["finetune"]
        finetune_row(report, task["architecture"], found["variant"], task["precision"], found["measured"])


def measure_compiled(report, tasks):
    say("\ntorch.compile, each case a process of its own")
    for done, task in enumerate(tasks):
        label = " ".join(str(v) for k, v in task.items() if k != "reference")
        if report.left() < COMPILE_START_SECONDS:
            say(f"  NOT MEASURED: {label}: {max(report.left(), 0):.0f} s are left; say more --minutes")
            report.content["left_out"].append({"part": "compiled", "case": label})
            continue
        # A long budget is shared out evenly; a short one goes to the first cases.
        share = max(COMPILE_SECONDS, report.left() / (len(tasks) - done))
        lines, problem = run_worker(task, min(share, report.left()))
        for line in lines:
            take(report, task, line)
        if problem:
            say(f"*** FAILED: {label}: {problem}")
            report.content["failed"].append({"case": label, "error": problem})
        report.save()


def compile_tasks(folder):
    precision = {"inference": "fp16", "finetune": "tf32"}
    return [{"kind": kind, "architecture": name, "batch": batch, "precision": precision[kind], "reference": folder}
            for kind, name, batch in COMPILED]


def load_reference(folder):
    sys.path.insert(0, folder)
    import torch_reference
    return torch_reference


def serve(task):
    reference = load_reference(task["reference"])
    (compiled_inference if task["kind"] == "inference" else compiled_finetune)(reference, task)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", default=os.environ.get("PTYNET_REFERENCE"), help="folder with torch_reference.py")
    parser.add_argument("--output", metavar="FILE", help="write all numbers to FILE, as JSON")
    parser.add_argument("--parts", default=",".join(PARTS), help="of %(default)s")
    parser.add_argument("--minutes", type=float, default=6, help="time for everything (default: %(default)s)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.parts = arguments.parts.split(",")
    if unknown := [p for p in arguments.parts if p not in PARTS]:
        parser.error(f"--parts: expected some of {','.join(PARTS)}, found {','.join(unknown)}")
    return arguments


def main():
    arguments = parse_arguments()
    torch.manual_seed(1)
    if arguments.worker:
        serve(json.loads(arguments.worker))
        return 0
    if not arguments.reference:
        sys.exit("torch_cuda.py: expected --reference or PTYNET_REFERENCE, the folder with torch_reference.py")
    if not torch.cuda.is_available():
        sys.exit("torch_cuda.py: expected a CUDA device, found none; check nvidia-smi and that torch is built for CUDA")
    folder = str(pathlib.Path(arguments.reference).resolve())
    reference, seconds = load_reference(folder), 60 * arguments.minutes
    report = Report(arguments.output, seconds)
    report.part("device", 0.1 * seconds, measure_device, report)
    for name, function in (("inference", measure_inference), ("layers", measure_layers), ("finetune", measure_finetune)):
        if name in arguments.parts:
            report.part(name, SHARES[name] * seconds, function, report, reference)
    if "compiled" in arguments.parts:
        report.part("compiled", report.end - time.monotonic(), measure_compiled, report, compile_tasks(folder))
    say(f"\n{len(report.content['failed'])} failed, {len(report.content['left_out'])} left out for want of time")
    return 1 if report.content["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
