"""The twin of bench/models.ts: runs the operator calls that bench/record.ts wrote down, as a plain Python function.

    replay.py write FOLDER      turns FOLDER/{train,eval}.json into FOLDER/{train,eval}.py, and tries them
    replay.py measure FOLDER    times them, as bench/models.ts --child does

The Python that is written calls torch's own functions one after the other and drops each tensor after its last use: it
has neither modules nor an interpreter's loop, so that nothing stands between Python and the operators.
"""
import json
import pathlib
import statistics
import sys
import time

import torch

KEYWORDS = {"self", "from", "lambda", "in"}


def expression(value):
    """A recorded argument as Python source."""
    if isinstance(value, dict):
        return f"v{value['tensor']}" if "tensor" in value else value["python"]
    if isinstance(value, list):
        return f"[{', '.join(map(expression, value))}]"
    return repr(value)


def tensors_in(value):
    if isinstance(value, dict):
        return [value["tensor"]] if "tensor" in value else []
    return [number for each in value for number in tensors_in(each)] if isinstance(value, list) else []


def indexing(call):
    """x[:, a:b] and x[:, i] as one writes them in Python."""
    args, kwargs, name = call["args"], call["kwargs"], call["name"]
    if name == "_local_scalar_dense":
        return f"{expression(args[0])}.item()"
    if kwargs or name not in ("slice", "index"):
        return None
    if name == "index":
        picks = [":" if pick is None else expression(pick) for pick in args[1]]
        return f"{expression(args[0])}[{', '.join(picks)}]"
    source, dim, start, stop, step = [*args, *[0, None, None, 1][len(args) - 1 :]]
    bounds = ["" if each is None else expression(each) for each in (start, stop)]
    axes = [":"] * (dim % call["dim"]) + [":".join(bounds + ([] if step == 1 else [expression(step)]))]
    return f"{expression(source)}[{', '.join(axes)}]"


def candidates(call):
    """Ways to write a call, the most direct first."""
    written = indexing(call)
    if written:
        yield written
    name = call["name"]
    args = [expression(each) for each in call["args"]]
    kwargs = [f"{key}={expression(each)}" for key, each in call["kwargs"].items() if key not in KEYWORDS]
    given = ", ".join(args + kwargs)
    for home, text in (
        (torch._C._VariableFunctions, "torch"),
        (torch._C._nn, "torch._C._nn"),
        (torch._C._linalg, "torch._C._linalg"),
        (torch._C._special, "torch._C._special"),
        (torch._C._fft, "torch._C._fft"),
    ):
        if hasattr(home, name):
            yield f"{text}.{name}({given})"
    if args and hasattr(torch._C.TensorBase, name):
        yield f"{args[0]}.{name}({', '.join(args[1:] + kwargs)})"
    yield f"torch.ops.aten.{name}({given})"


def matches(call, result):
    """Whether the result has the shapes and dtypes that were recorded."""
    results = list(result) if call["list"] else [result]
    if len(results) != len(call["made"]):
        return False
    for made, each in zip(call["made"], results):
        if made is None:
            continue
        if not isinstance(each, torch.Tensor) or [list(each.shape), str(each.dtype)[6:]] != made:
            return False
    return True


def run_and_write(recording, tensors):
    """Runs the calls, choosing for each the first candidate that works. Returns the lines and the output."""
    names = {f"v{number}": tensor for number, tensor in tensors.items()}
    scope = {"torch": torch}
    last_use = {}
    for position, call in enumerate(recording["calls"]):
        used = tensors_in(call["args"]) + tensors_in(list(call["kwargs"].values()))
        for number in used + [number for number in call["results"] if number is not None]:
            last_use[number] = position
    last_use[recording["output"]] = len(recording["calls"])

    lines, grad = [], True
    for position, call in enumerate(recording["calls"]):
        errors = []
        with torch.set_grad_enabled(call["grad"]):
            for source in candidates(call):
                try:
                    result = eval(source, scope, names)
                except Exception as error:  # what kind it is depends on the operator
                    errors.append(f"{source}: {error}")
                    continue
                if matches(call, result):
                    break
                errors.append(f"{source}: another shape, dtype or number of results")
            else:
                raise RuntimeError(f"aten::{call['name']} cannot be repeated:\n  " + "\n  ".join(errors))
        if call["grad"] != grad:
            grad = call["grad"]
            lines.append(f"    torch.set_grad_enabled({grad})")
        known = [number for number in call["results"] if number is not None and f"v{number}" in names]
        new = [number for number in call["results"] if number is not None and f"v{number}" not in names]
        if not new:
            lines.append(f"    {source}")
        elif call["list"]:
            targets = ", ".join("_" if n is None or n in known else f"v{n}" for n in call["results"])
            lines.append(f"    {targets}{',' if len(call['results']) == 1 else ''} = {source}")
        else:
            lines.append(f"    v{new[0]} = {source}")
        for number, value in zip(call["results"], list(result) if call["list"] else [result]):
            if number in new:
                names[f"v{number}"] = value
        result = value = None
        mentioned = set(tensors_in(call["args"]) + tensors_in(list(call["kwargs"].values())) + new)
        gone = sorted(n for n in mentioned if last_use[n] == position and n not in tensors)
        if gone:
            lines.append(f"    del {', '.join(f'v{number}' for number in gone)}")
            for number in gone:
                del names[f"v{number}"]
    if not grad:
        lines.append("    torch.set_grad_enabled(True)")
    return lines, names[f"v{recording['output']}"]


def load(folder):
    info = json.loads((folder / "info.json").read_text())
    saved = torch.load(folder / "values.pth", weights_only=True)
    tensors = {int(number): tensor for number, tensor in saved.items()}
    for number in info["trainable"]:
        tensors[number].requires_grad_()
    return info, tensors


def write(folder):
    info, tensors = load(folder)
    for mode in ("eval", "train"):
        recording = json.loads((folder / f"{mode}.json").read_text())
        # Copies: running statistics change, and the seed is the measurement's.
        copies = {number: tensor.detach().clone() for number, tensor in tensors.items()}
        for number in info["trainable"]:
            copies[number].requires_grad_()
        if mode == "train":
            torch.manual_seed(info["seed"])
        lines, output = run_and_write(recording, copies)
        found, wanted = output.detach().double().sum().item(), recording["sum"]
        if abs(found - wanted) > 1e-5 * max(1, abs(wanted)):
            raise RuntimeError(f"{mode}: the repeated calls give {found}, not {wanted}")
        values = "".join(f"v{number}, " for number in tensors)
        source = ["import torch", "", "", "def run(values):", f"    {values}= values", *lines]
        source.append(f"    return v{recording['output']}")
        (folder / f"{mode}.py").write_text("\n".join(source) + "\n")
    print(json.dumps({}))


def status(key):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    return 0


def function(folder, mode):
    scope = {}
    path = folder / f"{mode}.py"
    exec(compile(path.read_text(), str(path), "exec"), scope)
    return scope["run"]


def timed(step, info):
    """Images a second by the median step after the first; the peak memory in MiB; what the first steps returned."""
    seconds, least = info["seconds"], info["least"]
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    numbers, times = [step()], []
    begin = time.perf_counter()
    while len(times) < least or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        number = step()
        times.append((time.perf_counter() - start) * 1e3)
        if len(numbers) < least:
            numbers.append(number)
    per_second = 1e3 * info["batch"] / statistics.median(times)
    return {"perSecond": per_second, "peak": status("VmHWM"), "numbers": numbers}


def measure(folder):
    info, tensors = load(folder)
    torch.set_num_threads(info["threads"])
    values = tuple(tensors.values())
    infer, train = function(folder, "eval"), function(folder, "train")
    parameters = [tensors[number] for number in info["trainable"]]
    optimizer = torch.optim.Adam(parameters, lr=info["lr"], weight_decay=info["weightDecay"], fused=True)
    def inference():
        with torch.no_grad():
            return infer(values).double().sum().item()

    def training():
        optimizer.zero_grad()
        loss = train(values)
        loss.backward()
        optimizer.step()
        return loss.item()

    inferred = timed(inference, info)
    torch.manual_seed(info["seed"])
    print(json.dumps({"inference": inferred, "training": timed(training, info)}))


if __name__ == "__main__":
    {"write": write, "measure": measure}[sys.argv[1]](pathlib.Path(sys.argv[2]))
