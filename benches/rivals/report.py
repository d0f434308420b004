"""The comparison as tables: medians, and ours by the rivals'."""

import statistics
from dataclasses import dataclass, field

OURS = "cortex"
Measured = dict[str, float]


@dataclass(frozen=True)
class Entrant:
    """An engine with a file, and what was measured of it by task."""

    engine: str
    format: str
    file_bytes: int
    load_seconds: float
    resident_bytes: int
    found: dict[str, list[Measured]] = field(default_factory=dict)

    def median(self, task: str, what: str) -> float:
        """The median of one number of a task."""
        return statistics.median(one[what] for one in self.found[task])

    def best(self, task: str, what: str) -> float:
        """The best of one number of a task."""
        return max(one[what] for one in self.found[task])


def print_tasks(entrants: list[Entrant]) -> None:
    """For each task every entrant; for ours the ratio to the rival on the same file and to the best rival on any."""
    for task in entrants[0].found:
        print(
            f"\n{task:22}{'tok/s (best)':>16}{'tok/CPU-s':>11}{'to same file':>14}{'to best rival':>15}"
            f"{'others, cores':>15}"
        )
        rivals = [one for one in entrants if one.engine != OURS]
        for one in entrants:
            ratios = " " * 29
            if one.engine == OURS and rivals:
                same = [rival for rival in rivals if rival.format == one.format]
                ratios = f"{ratio(one, same, task):>14}{ratio(one, rivals, task):>15}"
            speed = f"{one.median(task, 'per_second'):.0f} ({one.best(task, 'per_second'):.0f})"
            cpu, others = one.median(task, "per_cpu_second"), one.median(task, "others")
            print(f"{one.engine + ' ' + one.format:22}{speed:>16}{cpu:>11.0f}{ratios}{others:>15.2f}")


def ratio(one: Entrant, rivals: list[Entrant], task: str) -> str:
    """Tokens a second, and in brackets tokens a CPU-second, by those of the best rival."""
    both = [
        one.median(task, what) / max(rival.median(task, what) for rival in rivals)
        for what in ("per_second", "per_cpu_second")
    ]
    return f"{both[0]:.2f} ({both[1]:.2f})"


def print_loads(entrants: list[Entrant]) -> None:
    """What a load took, until the first token, and what it left in memory beside the file's own pages."""
    print(f"\n{'load to first token':22}{'seconds':>9}{'file GB/s':>11}{'memory, by file':>17}")
    for one in entrants:
        rate = one.file_bytes / one.load_seconds / 1e9
        memory = one.resident_bytes / one.file_bytes
        print(f"{one.engine + ' ' + one.format:22}{one.load_seconds:>9.2f}{rate:>11.2f}{memory:>17.2f}")


def print_repeats(entrants: list[Entrant], task: str) -> None:
    """The first token of a prompt that was seen before, as a share of the time when it was new."""
    print(f"\n{task}: time to the first token, as a share of the time when the prompt was new")
    for one in entrants:
        print(f"{one.engine + ' ' + one.format:22}{one.median(task, 'share'):>9.1%}")
