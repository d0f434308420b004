"""`neuron bench`: what it measures with the real engine, what it makes of numbers, what it prints."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cortex.cli import neuron
from cortex.engine import Machine, StepWork
from cortex.errors import InvalidField
from cortex.neuron.bench import BenchPlan, bench, limit_of
from cortex.ops.starter import cached_starter

MACHINE = Machine(threads=2, simd="avx2", bytes_per_second=1e9, multiply_adds_per_second=1e10)
STEP = StepWork(bytes=10_000_000, tokens=128, layer_weights=8_000_000, head_weights=2_000_000)


def test_one_sequence_is_bound_by_memory_and_a_prompt_by_arithmetic() -> None:
    one = limit_of(STEP, MACHINE, 1000, ("generate", 16, 1, 50.0))
    assert (one.resource, one.share) == ("memory", pytest.approx(50 * 10_016_000 / 1e9))
    prompt = limit_of(STEP, MACHINE, 1000, ("prompt", 256, 1, 1000.0))
    assert prompt.resource == "compute"
    assert prompt.share == pytest.approx((256 * 8e6 + 2e6) / 0.256 / 1e10)
    many = limit_of(STEP, MACHINE, 1000, ("generate", 16, 32, 900.0))
    assert (many.resource, many.share) == ("compute", pytest.approx(900 * 1e7 / 1e10))


def test_a_plan_has_room_for_its_longest_prompt_and_its_widest_batch() -> None:
    options = BenchPlan(prompts=(100,), generate=20, batches=(1, 50)).options(10)
    assert options.context_length == 132
    assert (options.max_sequences, options.kv_bytes) == (50, 10 * (50 * 32 + 32))
    assert BenchPlan(prompts=(), batches=(1,)).options(10).context_length == 128


@pytest.mark.parametrize("plan", [BenchPlan(prompts=(0,)), BenchPlan(batches=(-1,)), BenchPlan(generate=1)])
def test_a_plan_that_measures_nothing_is_refused(plan: BenchPlan) -> None:
    with pytest.raises(InvalidField):
        plan.check()


@pytest.fixture
def weights() -> Path:
    if not cached_starter().is_file():
        pytest.skip("the starter model is not in the cache: run make model")
    return cached_starter()


@pytest.mark.real
@pytest.mark.anyio
async def test_every_task_is_measured_within_the_machines_limits(weights: Path) -> None:
    said: list[str] = []
    plan = BenchPlan(prompts=(40,), generate=4, batches=(1, 3), rounds=1, threads=1)
    report = await bench(weights, plan, on_task=said.append)
    assert [(row.task, row.tokens, row.batch) for row in report.rows] == [
        ("prompt", 40, 1),
        ("generate", 4, 1),
        ("generate", 4, 3),
    ]
    assert all(0 < row.limit.share < 1.2 for row in report.rows)
    assert report.machine.threads == report.model.threads == 1
    assert len(said) == 6


@pytest.mark.real
def test_the_command_prints_a_table_or_json(weights: Path) -> None:
    words = ["bench", str(weights), "--prompt", "16", "--generate", "2", "--batch", "1", "--rounds", "1"]
    table = CliRunner().invoke(neuron.app, words)
    assert table.exit_code == 0, table.output
    assert [line.split()[0] for line in table.stdout.splitlines()] == ["TASK", "prompt", "generate"]
    printed = CliRunner().invoke(neuron.app, [*words, "--json"])
    report = json.loads(printed.stdout)
    assert [row["task"] for row in report["rows"]] == ["prompt", "generate"]
    assert report["model"]["quantisation"] == "Q4_1"


def test_numbers_that_are_none_are_an_error() -> None:
    result = CliRunner().invoke(neuron.app, ["bench", "x.gguf", "--prompt", "many"])
    assert isinstance(result.exception, InvalidField)
