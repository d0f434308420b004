"""Runs the simulator and prints what came of it: hits, swaps, waits, and how long decisions took.

python -m benches.simulate --hosts 1000 --models 5000 --rate 200 --deaths 0.1 --bursts 0.05
python -m benches.simulate --compare --hosts 20 --models 60     # lru and priority, with and without a minimum stay
"""

import argparse
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benches.simulate.trace import Arrival, Scene, arrivals, read_arrivals
from benches.simulate.world import Tally, World
from cortex.fleet.eviction import Policy

SERVED = ("warm", "cold")


def main() -> None:
    """Parse, run, print."""
    options = parsed()
    scene = Scene(
        seed=options.seed,
        hosts=options.hosts,
        models=options.models,
        seconds=options.seconds,
        rate=options.rate,
        skew=options.skew,
        deaths=options.deaths,
        bursts=options.bursts,
    )
    print(scene)
    policies = [Policy(replicate_after=8)]
    if options.compare:
        policies += [Policy(), Policy(replicate_after=8, min_residency_seconds=60.0)]
    for policy in policies:
        trace: Iterable[Arrival] = arrivals(scene) if options.trace is None else read_arrivals(options.trace)
        world = World(scene, policy, check=not options.unchecked)
        began = time.perf_counter()
        tally = world.run(trace)
        print(f"\nreplicate_after={policy.replicate_after} min_residency={policy.min_residency_seconds:g}")
        report(world, tally, time.perf_counter() - began)


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, kind, value in (
        ("seed", int, 1),
        ("hosts", int, 20),
        ("models", int, 60),
        ("seconds", float, 600.0),
        ("rate", float, 5.0),
        ("skew", float, 1.0),
        ("deaths", float, 0.0),
        ("bursts", float, 0.0),
    ):
        parser.add_argument(f"--{name}", type=kind, default=value)
    parser.add_argument("--trace", type=Path, help="JSON lines: at, model, seconds")
    parser.add_argument("--compare", action="store_true", help="several policies on the same trace")
    parser.add_argument("--unchecked", action="store_true", help="do not check the hosts at every event")
    return parser.parse_args()


def report(world: World, tally: Tally, seconds: float) -> None:
    """The numbers of one run."""
    total = sum(tally.endings.values())
    evictions = sum(machine.evictions for machine in world.machines.values())
    print(f"{total} requests in {seconds:.1f} s of real time; every one has one ending")
    warm, cold = (tally.endings[name] / total for name in SERVED)
    print(f"  served {warm + cold:.2%}: warm {warm:.2%}, cold {cold:.2%}")
    for name, count in sorted(tally.endings.items()):
        if name not in SERVED:
            print(f"  {name}: {count}")
    print(f"  waits: {spread(tally.waits, 1.0, 's')}")
    print(f"  loads {tally.loads}, failed {tally.failed_loads}, swaps {evictions}, old plans or pictures {tally.stale}")
    print(f"  deaths {tally.deaths}, requests sent again {tally.retries}")
    for name, times in sorted(tally.decisions.items()):
        print(f"  decisions {name}: {len(times)}, {spread(times, 1e6, 'us')}")
    every = [one for times in tally.decisions.values() for one in times]
    print(f"  decisions in all: {spread(every, 1e6, 'us')}")
    print(f"  taking over what happened since the last one: {spread(tally.follows, 1e6, 'us')}")


def spread(values: Sequence[float], factor: float, unit: str) -> str:
    """p50, p99 and the largest."""
    ordered = sorted(values) or [0.0]
    picked = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] * factor for share in (0.5, 0.99)]
    return f"p50 {picked[0]:.4g} {unit}, p99 {picked[1]:.4g} {unit}, max {ordered[-1] * factor:.4g} {unit}"


if __name__ == "__main__":
    main()
