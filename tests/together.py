"""A function in several processes at once, which know of one another as torchrun tells them."""

from contextlib import closing
import multiprocessing
import os
import pickle
import socket
import traceback

import torch

LONG = 60.0  # seconds, after which processes count as stuck


def together(function, *args, count=2):
    """What a function returns in each of several processes: its value, or the text of an error; None for one that has ended itself."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "inference.runs.saved", "inference.diagnostics.diagnosis", "inference.scripts.parsing"])
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [context.Process(target=_run, args=(rank, count, port, sender, function, args)) for rank, (_, sender) in enumerate(pipes)]
    for process in started:
        process.start()
    for _, sender in pipes:
        sender.close()
    try:
        return [_received(receiver) for receiver, _ in pipes]
    finally:
        for process in started:
            process.join(LONG)
            process.kill()


def _received(receiver):
    assert receiver.poll(LONG), "a process neither answers nor ends"
    try:
        return pickle.loads(receiver.recv_bytes())
    except EOFError:
        return None


def _run(rank, count, port, sender, function, args):
    os.environ |= {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": f"{count}", "TORCHELASTIC_RUN_ID": "tests"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}
    torch.set_num_threads(1)
    try:
        result = function(*args)
    except Exception:
        result = traceback.format_exc()
    sender.send_bytes(pickle.dumps(result))
