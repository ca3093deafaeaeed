from headrace.report.balance import MOST_BARS, NO_NAMES, balance
from headrace.report.data import load_run


def test_from_the_records(runs):
    found = balance(load_run(runs / "real"))
    summary = load_run(runs / "real").summary
    assert summary is not None
    assert {bar.label: bar.value for bar in found.bars} == {
        name: f"{count:,}" for name, count in summary.per_replica.items()
    }
    assert max(bar.share for bar in found.bars) == 100


def with_counts(runs, counts):
    run = load_run(runs / "bench")
    assert run.summary is not None
    summary = run.summary.model_copy(update={"per_replica": counts})
    return balance(type(run)(**vars(run) | {"records": None, "summary": summary}))


def test_many_replicas_are_shown_by_their_extremes(runs):
    found = with_counts(runs, {f"r{i}": 100 + i for i in range(96)})
    assert len(found.bars) == MOST_BARS
    assert {found.bars[0].label, found.bars[-1].label} == {"r0", "r95"}
    assert found.table is not None
    assert len(found.table.rows) == 96


def test_unknown_replicas_are_said_to_be_unknown(runs):
    found = with_counts(runs, {})
    assert (found.about, found.bars) == (NO_NAMES, [])
