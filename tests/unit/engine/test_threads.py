"""Thread settings reach all libraries alike."""

from engine.threads import apply_thread_environment


def test_nothing_set_gives_every_library_the_cores() -> None:
    environment: dict[str, str] = {}
    apply_thread_environment(2, environment)
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "2"
    assert environment["OMP_WAIT_POLICY"] == "passive"


def test_the_users_number_of_threads_counts_for_the_others_too() -> None:
    # With OMP_NUM_THREADS=1 and MKL_NUM_THREADS=2 torch took two, and a run here differed from one on a Ray worker.
    environment = {"OMP_NUM_THREADS": "1"}
    apply_thread_environment(2, environment)
    assert environment["MKL_NUM_THREADS"] == "1"
