"""llama.cpp's server for the comparison, as the wheel xllamacpp brings it.

Run by benches.serving, in the Python that has xllamacpp; arguments: MODEL PORT THREADS SLOTS
"""

import sys

import xllamacpp

CONTEXT_OF_A_SLOT = 2560


def main() -> None:
    """Serve until stdin ends."""
    model, port, threads, slots = sys.argv[1], *map(int, sys.argv[2:])
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.port, params.n_parallel = port, slots
    params.n_ctx = slots * CONTEXT_OF_A_SLOT
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.verbosity = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
