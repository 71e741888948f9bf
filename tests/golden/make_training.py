#!/usr/bin/env python3
"""Writes training/*: what PyTorch computes when it trains, for the tests of gradients, losses and optimiser.

    make_training.py REFERENCE        (needs torch; REFERENCE holds torch_reference.py, data/ and weights/)

Float64 is the answer everywhere; where float32 stands beside it, it says how far PyTorch's own float32 lies from
that answer on this machine. It has several ways to compute (VARIANTS, its default first), none better than another:
an activation so near 0 that rounding decides its sign takes the other branch of LeakyReLU, and all gradients before
it move by 1e-4 and more. Which tensors that meets is chance, hence the `..._largest` of all variants. (Weights in
channels_last are not among them: PyTorch's batch norm sums less exactly there, gradients err five times as much.)
Tensors are in PyTorch's order, batches in the order of the scan, random numbers from counter_uniform of
torch_reference.py. Inputs are rounded to float32, so that every engine starts from the same.

  fine_tune.json              batch losses of fine_tune() and of five steps on one batch; which deviations to expect
  <network>-gradients.json    per trainable tensor: norm of the first step's gradient, relative L2 errors of float32
  <network>-gradients.npz     elements of it, at floor(counter_uniform(0, "gradient." + name, count) * elements)
  ptynet-b-statistics-1.npz   running statistics after the first of those five steps, where weights are still equal
  ptynet-b-statistics-5.npz   and after the last: by then float32 and float64 have drifted apart
  adam.json, schedules.json, layers.json, losses.npz   small cases: the functions of the same names below say what
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import warnings

import numpy as np
import torch
import torch.nn.functional as F

VARIANTS = {"default": (True, 2), "no_onednn": (False, 2), "one_thread": (True, 1)}  # with oneDNN, threads
OUTPUT = pathlib.Path(__file__).parent / "training"
RATE = 1e-4
SAMPLES = 256
POISSON_EPSILON = 1e-8
AMPLITUDE_FLOOR = 1e-12


def write_json(name, content):
    """Indented, but lists and the innermost objects each on one line."""
    content = {"provenance": {"made_by": "tests/golden/make_training.py", "torch": torch.__version__,
                              "instructions": torch.backends.cpu.get_cpu_capability()}, **content}
    text = json.dumps(content, indent=1, allow_nan=False)
    for innermost in (r"\[[^\[\]{}]*\]", r"\{[^{}]*\}"):
        text = re.sub(innermost, lambda found: re.sub(r"\s*\n\s*", " ", found.group()), text)
    temporary = OUTPUT / (name + ".part")
    temporary.write_text(text + "\n")
    temporary.replace(OUTPUT / name)


def write_npz(name, arrays):
    temporary = OUTPUT / (name + ".part")
    with open(temporary, "wb") as file:
        np.savez(file, **arrays)
    temporary.replace(OUTPUT / name)


def numbers(tensor):
    return tensor.detach().double().flatten().tolist()


def distance(found, exact):
    """Relative L2 error."""
    return float((found.double() - exact).norm() / exact.norm())


def converted(state, dtype):
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}


def random(reference, seed, name, shape, low=0.0, high=1.0):
    """Float64 holding float32 values."""
    values = low + (high - low) * reference.counter_uniform(seed, name, int(np.prod(shape)))
    return torch.from_numpy(values.astype(np.float32).astype(np.float64).reshape(shape))


# ----------------------------------------------------------------------------------------------------------------
# The networks.


class Case:
    """A network, its weights, frames and probe, in the precision asked for."""

    def __init__(self, reference, folder, name):
        self.reference, self.name = reference, name
        self.architecture = reference.architecture(name)
        self.weights = {"file": "ptynet-s-demo.pth"} if name == "ptynet-s" else {"seed": 0, "gain": 0.6}
        if name == "ptynet-s":
            self.state = torch.load(folder / "weights" / "ptynet-s-demo.pth")
        else:
            self.state = reference.random_state(self.architecture, 0, 0.6)
        self.frames = torch.from_numpy(np.load(folder / "data" / "ptynet-scan-0overlap" / "intensity.npy"))
        self.probe = torch.from_numpy(np.load(folder / "data" / "probe.npy"))

    def inputs(self, dtype):
        """State that requires gradients, frames, probe."""
        probe = self.probe.to(torch.complex128 if dtype == torch.float64 else torch.complex64)
        state = self.reference.trainable(converted(self.state, dtype))
        return state, self.frames.to(dtype), probe

    def loss(self, state, frames, probe):
        return self.reference.l1_loss(self.architecture, state, frames, probe)


def biases_before_batch_norm(layers):
    """Names of the convolution biases that a batch norm in training mode takes away again: true gradient 0."""
    found = set()
    for layer, following in zip(layers, layers[1:] + [{"type": ""}]):
        if layer["type"] in ("conv2d", "conv_transpose2d") and layer["bias"] and following["type"] == "batch_norm2d":
            found.add(layer["name"] + ".bias")
        for part in layer.get("branches", []) + [layer[k] for k in ("main", "shortcut") if k in layer]:
            found |= biases_before_batch_norm(part)
    return found


def exact_and_single(run, case):
    """What `run(case.inputs(..))` finds in float64, and by variant in float32."""
    torch.set_num_threads(2)
    exact, single = run(*case.inputs(torch.float64)), {}
    for name, (onednn, threads) in VARIANTS.items():
        torch.set_num_threads(threads)
        with torch.backends.mkldnn.flags(enabled=onednn):
            single[name] = run(*case.inputs(torch.float32))
    return exact, single


def undecided(case):
    """[index, sign of prediction - count] of the pixels of frames 0 to 15 where the two agree to 1e-3, so that rounding
    alone may turn the sign, which is the L1 loss's derivative: a single one moves a gradient by 1e-5."""
    state, frames, probe = case.inputs(torch.float64)
    frames = frames[:16]
    with torch.no_grad():
        sample = case.reference.net(case.architecture, state, case.reference.normalise(case.architecture, frames), True)[2]
        excess = (case.reference.diffraction(sample, probe) - frames).flatten()
    index = torch.nonzero(excess.abs() <= 1e-3 * frames.flatten()).flatten()
    return [[int(i), int(torch.sign(excess[i]))] for i in index]


def gradients(case):
    """The first step, frames 0 to 15."""
    def run(state, frames, probe):
        loss = case.loss(state, frames[:16], probe)
        loss.backward()
        return loss.item(), {k: v.grad for k, v in state.items() if v.requires_grad}

    (exact_loss, exact), single = exact_and_single(run, case)
    zeros = biases_before_batch_norm(case.architecture["layers"])
    tensors, samples = [], {}
    for name, gradient in exact.items():
        norm = float(gradient.norm())
        uniform = case.reference.counter_uniform(0, "gradient." + name, min(SAMPLES, gradient.numel()))
        index = torch.from_numpy(np.floor(uniform * gradient.numel()).astype(np.int64))
        samples[name] = gradient.flatten()[index].numpy()
        entry = {"name": name, "shape": list(gradient.shape), "norm": norm, "before_batch_norm": name in zeros}
        weight_norm = float(exact[name.rsplit(".", 1)[0] + ".weight"].norm())
        if (norm < 1e-9 * weight_norm) != (name in zeros):
            sys.exit(f"make_training.py: {name}: gradient {norm:.1e}, of its weight {weight_norm:.1e}: expected 0 only "
                     "before a batch norm")
        found = [values[name] for _, values in single.values()]
        if name in zeros:
            entry["float32_norms"] = [float(values.norm()) for values in found]
        else:
            entry["float32_errors"] = [distance(v, gradient) for v in found]
            entry["float32_errors_samples"] = [distance(v.flatten()[index], gradient.flatten()[index]) for v in found]
            entry.update(float32_error=entry["float32_errors"][0], float32_error_largest=max(entry["float32_errors"]),
                         float32_error_samples=entry["float32_errors_samples"][0],
                         float32_error_samples_largest=max(entry["float32_errors_samples"]))
        tensors.append(entry)
    write_json(f"{case.name}-gradients.json", {
        "architecture": case.name, "weights": case.weights, "frames": 16, "variants": list(VARIANTS), "loss": exact_loss,
        "losses_float32": [loss for loss, _ in single.values()], "undecided_pixels": undecided(case), "tensors": tensors})
    write_npz(f"{case.name}-gradients.npz", samples)
    errors = [t["float32_errors"] for t in tensors if "float32_errors" in t]
    print(f"{case.name}: {len(tensors)} gradients, {len(zeros)} zero, worst and median error of PyTorch float32: " + ", ".join(
        f"{n} {max(e):.1e} {np.median(e):.1e}" for n, e in zip(VARIANTS, zip(*errors))))


def fine_tuning(case, steps=20):
    """Losses of the first batches of torch_reference.fine_tune, as it computes them."""
    def run(state, frames, probe):
        loss_function, losses = case.reference.l1_loss, []

        def recording(*arguments):
            loss = loss_function(*arguments)
            losses.append(loss.item())
            if len(losses) == steps:
                raise StopIteration
            return loss

        case.reference.l1_loss = recording
        try:
            start = {k: v.detach() for k, v in state.items()}
            case.reference.fine_tune(case.architecture, start, frames, probe, epochs=20)
        except StopIteration:
            pass
        finally:
            case.reference.l1_loss = loss_function
        return losses

    return exact_and_single(run, case)


def steps_on_one_batch(state, frames, probe, case, steps=5):
    """Losses of Adam steps on frames 0 to 15, and the running statistics after the first and after the last."""
    optimiser = torch.optim.Adam([v for v in state.values() if v.requires_grad], RATE)
    losses, statistics = [], {}
    for step in range(1, steps + 1):
        loss = case.loss(state, frames[:16], probe)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if step in (1, steps):
            statistics[step] = {k: v.clone() for k, v in state.items() if k.endswith(("running_mean", "running_var"))}
    return losses, statistics


def deviations(found, exact):
    """The worst tensor of each kind, after each step: `largest` difference over the largest magnitude, and L2 error."""
    worst = {}
    for step, tensors in exact.items():
        for name, values in tensors.items():
            of_kind = worst.setdefault(str(step), {}).setdefault(name.rsplit(".", 1)[1], {"largest": 0.0, "l2": 0.0})
            single = found[step][name].double()
            of_kind["largest"] = max(of_kind["largest"], float((single - values).abs().max() / values.abs().max()))
            of_kind["l2"] = max(of_kind["l2"], distance(single, values))
    return worst


def fine_tune(small, big):
    """ptynet-s as fine_tune(epochs=20) runs it, ptynet-b for five steps on one batch."""
    small_exact, small_single = fine_tuning(small)
    (big_exact, statistics), big_runs = exact_and_single(lambda *inputs: steps_on_one_batch(*inputs, big), big)
    big_single = {name: losses for name, (losses, _) in big_runs.items()}
    for instructions in ("avx2", "default"):  # chosen when the process starts
        found = subprocess.run([sys.executable, __file__, sys.argv[1], "--losses-of-ptynet-b"], check=True, text=True, capture_output=True,
                               env={**os.environ, "ATEN_CPU_CAPABILITY": instructions, "ONEDNN_MAX_CPU_ISA": "AVX2" if instructions == "avx2" else "ALL"})
        big_single["instructions_" + instructions] = json.loads(found.stdout.splitlines()[-1])
    spread = {name: deviations(found, statistics) for name, (_, found) in big_runs.items()}
    for step, tensors in statistics.items():
        write_npz(f"ptynet-b-statistics-{step}.npz", {k: v.numpy() for k, v in tensors.items()})
    write_json("fine_tune.json", {
        "ptynet-s": {"weights": small.weights, "frames": 25, "batch": 16, "rate": RATE, "epochs": 20,
                     "learning_rate_of_epoch": step_rates(20, RATE), "losses": small_exact,
                     "losses_float32": small_single},
        "ptynet-b": {"weights": big.weights, "frames": 16, "rate": RATE, "losses": big_exact,
                     "losses_float32": big_single, "statistics_float32_deviation": spread}})
    for name, single, exact in (("ptynet-s", small_single, small_exact), ("ptynet-b", big_single, big_exact)):
        worst = {k: max(abs(a / b - 1) for a, b in zip(v, exact)) for k, v in single.items()}
        print(f"{name}: {len(exact)} losses, {exact[0]:.6g} to {exact[-1]:.6g}, deviation of PyTorch float32: " +
              ", ".join(f"{k} {v:.1e}" for k, v in worst.items()))
    for name, of_variant in spread.items():
        print(f"ptynet-b: running statistics, {name}: " + ", ".join(
            f"{kind} after {step} {d['largest']:.1e} (L2 {d['l2']:.1e})"
            for step, kinds in of_variant.items() for kind, d in kinds.items()))


# ----------------------------------------------------------------------------------------------------------------
# Small cases.


def adam(reference):
    """PyTorch's defaults on 64 parameters; gradient of step s (from 1): float32 of scale times
    (2 counter_uniform(1, "adam." + s, 64) - 1); rate 1e-3 in steps 1 to 50, 5e-4 in steps 51 to 100."""
    scale = np.logspace(-6, 3, 64)
    start = random(reference, 1, "adam.parameters", (64,), -1, 1)
    runs = {}
    for key, dtype in (("after_step", torch.float64), ("after_step_float32", torch.float32)):
        parameters = start.to(dtype, copy=True).requires_grad_()
        optimiser = torch.optim.Adam([parameters], 1e-3)
        runs[key] = {}
        for step in range(1, 101):
            for group in optimiser.param_groups:
                group["lr"] = 1e-3 if step <= 50 else 5e-4
            drawn = scale * (2 * reference.counter_uniform(1, f"adam.{step}", 64) - 1)
            parameters.grad = torch.from_numpy(drawn.astype(np.float32)).to(dtype)
            optimiser.step()
            if step in (1, 2, 10, 50, 100):
                runs[key][str(step)] = numbers(parameters)
    group = optimiser.param_groups[0]
    write_json("adam.json", {"seed": 1, "rates": [1e-3, 5e-4], "last_step_of_first_rate": 50, "betas": list(group["betas"]),
                             "epsilon": group["eps"], "scale": scale.tolist(), "start": numbers(start), **runs})
    worst = max(abs(a - b) for s in runs["after_step"] for a, b in zip(runs["after_step_float32"][s], runs["after_step"][s]))
    print(f"adam: PyTorch float32 within {worst:.1e}")


def rates(make_scheduler, rate, count):
    """The learning rates of `count` epochs or batches."""
    optimiser = torch.optim.Adam([torch.zeros(1, requires_grad=True)], rate)
    scheduler, found = make_scheduler(optimiser), []
    for _ in range(count):
        found.append(float(optimiser.param_groups[0]["lr"]))
        optimiser.step()
        scheduler.step()
    return found


def step_rates(epochs, rate):
    milestones = [int(f * epochs) - 1 for f in (0.2, 0.4, 0.6, 0.8)]
    return rates(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, milestones, 0.5), rate, epochs)


def schedules():
    """`step` and `cosine`: the rate of every epoch. `triangular2`: the rate of the batches in `at` (from 0).

    A milestone of 0 halves before the first epoch, and equal milestones act twice: that is what PyTorch does."""
    cosine, half_cycle, epochs, batches = {}, 60, 300, 7
    for count in (1, 2, 5, 7, 20, 60, 300):
        cosine[str(count)] = rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, count, 0.0), RATE, count)
    cyclic = rates(lambda o: torch.optim.lr_scheduler.CyclicLR(
        o, RATE / 10, RATE, half_cycle * batches, mode="triangular2", cycle_momentum=False), RATE, epochs * batches)
    turns = [t for turn in range(0, len(cyclic), half_cycle * batches) for t in (turn - 1, turn, turn + 1)]
    at = sorted({i for i in [*range(0, len(cyclic), 9), *turns, len(cyclic) - 1] if 0 <= i < len(cyclic)})
    write_json("schedules.json", {
        "rate": RATE, "step": {str(n): step_rates(n, RATE) for n in (1, 2, 3, 4, 5, 7, 20, 60, 300)}, "cosine": cosine,
        "triangular2": {"base": RATE / 10, "maximum": RATE, "epochs": epochs, "batches_per_epoch": batches,
                        "half_cycle_epochs": half_cycle, "at": at, "rates": [cyclic[i] for i in at]}})
    print(f"schedules: {len(at)} samples of triangular2")


def layers(reference):
    """Forward and gradients; `grad_<name>` is the gradient of sum(output * grad_output). Shapes are N, C, H, W.

    Batch norm in training mode is called twice, `second` with another input; running_var takes the unbiased
    variance. Among equal elements of a window max_pool2d's gradient goes to the first, in row-major order."""
    def with_gradient(operation, x, name):
        x = x.clone().requires_grad_()
        y = operation(x)
        grad = random(reference, 2, name + ".grad_output", tuple(y.shape), -1, 1)
        y.backward(grad)
        return {"shape": list(x.shape), "output_shape": list(y.shape), "input": numbers(x), "output": numbers(y),
                "grad_output": numbers(grad), "grad_input": numbers(x.grad)}

    channels = 6
    weight = random(reference, 2, "batch_norm.weight", (channels,), 0.5, 1.5).requires_grad_()
    bias = random(reference, 2, "batch_norm.bias", (channels,), -1, 1).requires_grad_()
    mean = random(reference, 2, "batch_norm.mean", (channels,), -1, 1)
    var = random(reference, 2, "batch_norm.var", (channels,), 0.5, 2)
    found = {"momentum": 0.1, "epsilon": 1e-5, "weight": numbers(weight), "bias": numbers(bias),
             "running_mean": numbers(mean), "running_var": numbers(var)}
    for call in ("first", "second"):
        x = random(reference, 2, f"batch_norm.{call}", (3, channels, 4, 5), -2, 3)
        weight.grad = bias.grad = None
        found[call] = with_gradient(lambda x: F.batch_norm(x, mean, var, weight, bias, True, 0.1, 1e-5), x,
                                    f"batch_norm.{call}")
        found[call].update(grad_weight=numbers(weight.grad), grad_bias=numbers(bias.grad), running_mean=numbers(mean),
                           running_var=numbers(var))
    pools, upsamplings = [], []
    tied = random(reference, 2, "max_pool2d", (2, 3, 7, 6), 0, 4).floor()
    smooth = random(reference, 2, "upsample", (2, 3, 4, 5), -1, 1)
    for factor in (2, 3):
        pools.append({"kernel": factor, **with_gradient(lambda x: F.max_pool2d(x, factor), tied, f"max_pool2d.{factor}")})
        upsamplings.append({"scale": factor, **with_gradient(
            lambda x: F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False), smooth,
            f"upsample.{factor}")})
    write_json("layers.json", {"batch_norm": found, "max_pool2d": pools, "upsample_bilinear2d": upsamplings})
    print("layers: batch norm, max_pool2d, upsample_bilinear2d")


def loss_functions():
    """Means over the good pixels, of measured counts I and predicted intensity P.

      l1         |I - P|
      amplitude  |sqrt I - sqrt P|; the derivative of sqrt P is 1 / (2 sqrt(max(P, 1e-12))), which matters only where P is 0
      poisson    P - I log(P + 1e-8)
    """
    return {"l1": lambda i, p: (i - p).abs().mean(),
            "amplitude": lambda i, p: (i.sqrt() - p.clamp(min=AMPLITUDE_FLOOR).sqrt()).abs().mean(),
            "poisson": lambda i, p: (p - i * (p + POISSON_EPSILON).log()).mean()}


def losses(reference):
    """losses.npz: for one and for two incoherent modes ("1.", "2." in front), two frames of 16x16:

      amplitude, phase [2, 16, 16], probe_real, probe_imaginary [modes, 16, 16], counts [2, 16, 16] (negative: bad
      pixel), intensity [2, 16, 16] = sum over the modes of |fftshift(fft2(probe amplitude exp(i phase)))|^2
      <loss>.value [1], <loss>.grad_<amplitude, phase, probe_real, probe_imaginary>

    Predictions are away from 0 and from the counts, so that no derivative hangs on a choice."""
    arrays = {}
    for modes in (1, 2):
        size = (2, 16, 16)
        strength = torch.tensor([1.0, 0.5], dtype=torch.float64)[:modes, None, None]
        inputs = {"amplitude": random(reference, 3, "losses.amplitude", size, 0.5, 1.0),
                  "phase": random(reference, 3, "losses.phase", size, 0.0, 1.5),
                  "probe_real": strength * random(reference, 3, "losses.real", (modes, 16, 16), -1, 1),
                  "probe_imaginary": strength * random(reference, 3, "losses.imaginary", (modes, 16, 16), -1, 1)}

        def predict(leaves):
            sample = torch.polar(leaves["amplitude"], leaves["phase"])
            probe = torch.complex(leaves["probe_real"], leaves["probe_imaginary"])
            return reference.diffraction(sample[:, None], probe[None]).sum(1)

        predicted = predict(inputs)
        ratio = random(reference, 3, "losses.ratio", size, -1, 1)
        counts = torch.where(ratio > 0, (predicted * (1.1 + ratio)).ceil(), (predicted * (0.9 + 0.5 * ratio)).floor())
        counts[random(reference, 3, "losses.bad", size) < 0.1] = -1
        good = counts >= 0
        if float((predicted - counts).abs()[good].min()) < 1e-3 or float(predicted.min()) < 1e-3:
            sys.exit("make_training.py: losses: a prediction lies on a kink; choose other inputs")
        arrays.update({f"{modes}.{k}": v.numpy() for k, v in {**inputs, "counts": counts, "intensity": predicted}.items()})
        for name, function in loss_functions().items():
            leaves = {k: v.clone().requires_grad_() for k, v in inputs.items()}
            value = function(counts[good], predict(leaves)[good])
            value.backward()
            arrays[f"{modes}.{name}.value"] = np.array([value.item()])
            arrays.update({f"{modes}.{name}.grad_{k}": v.grad.numpy() for k, v in leaves.items()})
        print(f"losses: {modes} modes, {int((~good).sum())} bad pixels, {int((counts == 0).sum())} empty, "
              f"mean count {float(counts[good].mean()):.0f}")
    write_npz("losses.npz", arrays)


def print_losses_of_ptynet_b(case):
    """The five losses in float32 with the instructions that this process was given, as JSON."""
    torch.set_num_threads(2)
    print(json.dumps(steps_on_one_batch(*case.inputs(torch.float32), case)[0]))


def main():
    if len(sys.argv) not in (2, 3) or not pathlib.Path(sys.argv[1], "torch_reference.py").is_file():
        sys.exit("make_training.py: expected one argument, the folder that holds torch_reference.py")
    folder = pathlib.Path(sys.argv[1])
    sys.path.insert(0, str(folder))
    import torch_reference as reference

    warnings.filterwarnings("ignore", message="TF32")
    if len(sys.argv) == 3:
        return print_losses_of_ptynet_b(Case(reference, folder, "ptynet-b"))
    torch.set_num_threads(2)
    OUTPUT.mkdir(exist_ok=True)
    adam(reference)
    schedules()
    layers(reference)
    losses(reference)
    small, big = (Case(reference, folder, name) for name in ("ptynet-s", "ptynet-b"))
    gradients(small)
    gradients(big)
    fine_tune(small, big)


if __name__ == "__main__":
    main()
