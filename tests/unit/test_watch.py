from workers.watch import LONGEST_STEP_SECONDS, Watch


def test_what_is_seen_again_was_there_meanwhile_and_what_was_away_begins_anew() -> None:
    now = 1000.0
    watch: Watch[str] = Watch(lambda: now)
    watch.look(["a"])
    assert watch.seconds("a") == watch.seconds("b") == 0.0
    now += 4.0
    watch.look(["a", "b"])
    assert (watch.seconds("a"), watch.seconds("b")) == (4.0, 0.0)
    now += 3.0
    watch.look(["b"])
    assert (watch.seconds("a"), watch.seconds("b")) == (0.0, 3.0)
    now += 1.0
    watch.look(["a", "b"])
    assert (watch.seconds("a"), watch.seconds("b")) == (0.0, 4.0)


def test_time_in_which_nobody_could_look_counts_for_little() -> None:
    now = 0.0
    watch: Watch[str] = Watch(lambda: now)
    watch.look(["a"])
    now += 3600.0
    watch.look(["a"])
    assert watch.seconds("a") == LONGEST_STEP_SECONDS
