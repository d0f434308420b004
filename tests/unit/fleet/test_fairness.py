"""Turns and prefixes: everyone's turn comes, and a conversation is found again by its beginning."""

from hypothesis import given
from hypothesis import strategies as st

from cortex.fleet.affinity import Affinity
from cortex.fleet.fairness import FairQueue

SHARES = st.lists(st.sampled_from("abc"), max_size=30)


def drained(queue: FairQueue[tuple[str, int]]) -> list[tuple[str, int]]:
    return [item for _ in range(len(queue)) if (item := queue.pop()) is not None]


@given(SHARES)
def test_nobody_is_lost_and_each_share_keeps_its_order(shares: list[str]) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    items = [(share, number) for number, share in enumerate(shares)]
    for item in items:
        queue.push(item[0], item)
    served = drained(queue)
    assert sorted(served) == sorted(items)
    assert queue.pop() is None
    for share in "abc":
        own = [item for item in served if item[0] == share]
        assert own == sorted(own, key=lambda item: item[1])


@given(SHARES)
def test_no_share_is_served_twice_while_another_waits_for_its_first_turn(shares: list[str]) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number, share in enumerate(shares):
        queue.push(share, (share, number))
    served = [share for share, _ in drained(queue)]
    first = served[: len(set(shares))]
    assert len(set(first)) == len(first)


def test_one_request_waits_for_one_of_a_thousand() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number in range(1000):
        queue.push("many", ("many", number))
    queue.push("one", ("one", 0))
    assert [queue.pop(), queue.pop()] == [("many", 0), ("one", 0)]


def test_who_leaves_takes_no_turn_and_leaves_the_others_where_they_were() -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    items = [("a", 0), ("a", 1), ("b", 0), ("c", 0)]
    for item in items:
        queue.push(item[0], item)
    queue.remove("b", items[2])
    queue.remove("b", items[2])
    queue.remove("a", items[0])
    assert (len(queue), queue.count("a"), queue.count("b")) == (2, 1, 0)
    assert drained(queue) == [("a", 1), ("c", 0)]


def test_a_conversation_is_found_by_its_beginning() -> None:
    affinity = Affinity()
    turn = b"system prompt " * 50
    affinity.learn("m", turn, "beast")
    assert affinity.find("m", turn + b"and so on " * 500) == "beast"
    assert affinity.find("other", turn) is None
    assert affinity.find("m", b"x" + turn) is None
    assert affinity.find("m", turn[:500]) is None


def test_the_longest_known_head_counts() -> None:
    affinity = Affinity()
    shared = b"s" * 1024
    affinity.learn("m", shared + b"a" * 4000, "beast")
    affinity.learn("m", shared + b"b" * 4000, "quad")
    assert affinity.find("m", shared + b"a" * 9000) == "beast"
    assert affinity.find("m", shared + b"b" * 9000) == "quad"
    assert affinity.find("m", shared + b"c" * 9000) == "quad"


def test_what_is_remembered_is_bounded_and_the_oldest_goes() -> None:
    affinity = Affinity(limit=3)
    for number in range(10):
        affinity.learn("m", bytes([number]) * 600, f"host{number}")
    assert len(affinity) == 3
    assert affinity.find("m", bytes([9]) * 600) == "host9"
    assert affinity.find("m", bytes([0]) * 600) is None
