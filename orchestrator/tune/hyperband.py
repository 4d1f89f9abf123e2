"""HyperBand whose brackets outlive the driver: a new one is rebuilt from the ledger of the old.

Ray's other HyperBand fills brackets with trials that live at the same time only; where few fit, none is ever full.
"""

from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import HyperBandForBOHB, TrialScheduler

from orchestrator.tune.trial import name_of, number_of
from orchestrator.tune.unsaved import Unsaved


class RememberedHyperband(Unsaved, HyperBandForBOHB):
    """Ray Tune's HyperBand for BOHB. `retell` lives through an earlier run of the search without training anything."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._absent: dict[int, RayTrial] = {}
        """Stand-ins of trials that have not ended, by number; the trial takes its place when it comes."""
        self._condemned: set[int] = set()
        """Trials that lost a halving which the driver did not outlive."""
        self._is_expected: Callable[[int], bool] = lambda _: True

    def retell(self, events: Iterable[Mapping[str, Any]], is_expected: Callable[[int], bool]) -> None:
        """Take over brackets and halvings from what the ledger says, in its order.

        Args:
            is_expected: whether a trial that has not ended will run again; asked again and again.
        """
        self._is_expected = is_expected
        story = list(events)
        started, ended = (
            {event["trial"] for event in story if event["event"] == kind} for kind in ("started", "ended")
        )
        refused = ended - started  # Ray Tune never heard of them
        controller = _Onlooker(self)
        for event in story:
            number, kind = event["trial"], event["event"]
            if kind in ("suggested", "again") and number not in refused and number not in controller.live:
                controller.add(number)
            elif kind == "result" and number in controller.live:
                controller.report(number, event["epoch"], event["values"][0])
            elif kind == "ended" and event["status"] != "waiting" and number not in refused:
                controller.end(number, event.get("reason", ""))
        controller.settle()
        self._condemned = controller.condemned
        for number, stub in controller.live.items():
            bracket, _ = self._trial_info[stub]
            if stub in bracket._live_trials:
                bracket._live_trials[stub] = None  # so that no halving is decided before it has come
            stub.status = RayTrial.RUNNING  # nobody is to start it
            self._absent[number] = stub

    def on_trial_add(self, tune_controller: Any, trial: RayTrial) -> None:
        """Give a new trial a place in a bracket, and one that comes back its own."""
        stub = self._absent.pop(number_of(str(trial)), None)
        if stub is None:
            super().on_trial_add(tune_controller, trial)
            return
        bracket, _ = self._trial_info[trial] = self._trial_info.pop(stub)
        bracket._all_trials[bracket._all_trials.index(stub)] = trial
        live = {trial if one is stub else one: result for one, result in bracket._live_trials.items()}
        bracket._live_trials = live

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:
        """Decide on a trial; one whose halving was lost before ends here."""
        if number_of(str(trial)) in self._condemned:
            return str(TrialScheduler.STOP)
        return str(super().on_trial_result(tune_controller, trial, result))

    def choose_trial_to_run(self, tune_controller: Any, allow_recurse: bool = True) -> RayTrial | None:
        """Return the trial to start now; brackets do not wait for those that will not come again."""
        for number in [number for number in self._absent if not self._is_expected(number)]:
            stub = self._absent.pop(number)
            bracket, _ = self._trial_info.pop(stub)
            bracket.cleanup_trial(stub)
        for trial in tune_controller.get_trials():
            if trial.status == RayTrial.PENDING and number_of(str(trial)) in self._condemned:
                return trial  # to hear of it, at its first report
        return super().choose_trial_to_run(tune_controller, allow_recurse)


class _Onlooker:
    """Stands where Ray Tune's controller would, for a story that has happened: trials are stubs with a status."""

    def __init__(self, scheduler: RememberedHyperband) -> None:
        self._scheduler = scheduler
        self.live: dict[int, RayTrial] = {}
        self.condemned: set[int] = set()
        """Those that have lost a halving."""
        self._leaving: set[RayTrial] = set()
        """Those that have ended by a halving that is still to be told: the ledger names the losers before the result
        that decided it."""
        self.search_alg = SimpleNamespace(
            searcher=SimpleNamespace(on_pause=lambda _: None, on_unpause=lambda _: None),
        )

    def get_trials(self) -> list[RayTrial]:
        """All that have not ended."""
        return list(self.live.values())

    def add(self, number: int) -> None:
        """The search suggested it."""
        stub = RayTrial("remembered", stub=True, trial_id=name_of(number))
        stub.custom_trial_name = name_of(number)
        self.live[number] = stub
        HyperBandForBOHB.on_trial_add(self._scheduler, self, stub)

    def report(self, number: int, epoch: int, value: float) -> None:
        """It was evaluated. If it was waiting for others, its bracket had been halved while nothing ran."""
        stub = self.live[number]
        self._halve_if_waiting(stub)
        if number in self.condemned:
            return
        stub.status = RayTrial.RUNNING
        result = {"epoch": epoch, "value": value}
        decision = HyperBandForBOHB.on_trial_result(self._scheduler, self, stub, result)
        if decision == TrialScheduler.STOP:
            self.condemned.add(number)
        if decision != TrialScheduler.CONTINUE:
            stub.status = RayTrial.PAUSED

    def end(self, number: int, reason: str) -> None:
        """It ended, as the scheduler had decided or for reasons of its own."""
        stub = self.live.pop(number, None)
        if stub is None:
            return
        if reason.startswith("by hyperband") and number not in self.condemned:
            self._leaving.add(stub)
            return
        self.condemned.discard(number)
        stub.status = RayTrial.TERMINATED
        self._scheduler.on_trial_remove(self, stub)

    def settle(self) -> None:
        """The story is over."""
        for stub in self._leaving:
            self._halve_if_waiting(stub)
            bracket, _ = self._scheduler._trial_info[stub]
            bracket.cleanup_trial(stub)
        self.condemned &= self.live.keys()

    def stop_trial(self, stub: RayTrial) -> None:
        """The scheduler drops it; the ledger may say so later, or the driver died before."""
        self.condemned.add(number_of(str(stub)))
        bracket, _ = self._scheduler._trial_info[stub]
        bracket.cleanup_trial(stub)

    def _halve_if_waiting(self, stub: RayTrial) -> None:
        bracket, _ = self._scheduler._trial_info[stub]
        is_waiting = stub.status == RayTrial.PAUSED and stub not in bracket.trials_to_unpause
        if is_waiting and number_of(str(stub)) not in self.condemned:
            self._scheduler._process_bracket(self, bracket)
