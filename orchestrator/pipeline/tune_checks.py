"""Faults in searches that the types cannot see: keys, ranges and metrics with which every trial would be in vain."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from engine.catalog import TASKS
from orchestrator.pipeline.problems import KeyPath, listed, nearest
from orchestrator.pipeline.settings import train_stage_class
from orchestrator.tune.settings import (
    COSTS,
    POPULATIONS,
    BayesSearch,
    Domain,
    DomainBase,
    SweepSettings,
    domain_faults,
    domain_kind,
)
from orchestrator.tune.space import Space, corners, extremes, freedom, in_order
from orchestrator.tune.space import listed as listed_values
from orchestrator.tune.values import flat_keys, overlap, with_values

Found = Iterator[tuple[KeyPath, str]]
FIXED = ("kind", "task", "data", "base", "resources", "failure", "checkpoint")
"""Keys of a train stage that say what is trained, or where: no trial is better by them."""
CHANGEABLE = ("loop.optimizer.", "loop.clip_norm", "augment.", "loss.", "sampler.")
"""Keys that a trial of a population may change while it keeps its weights."""
FRACTIONS = {"uniform": "integers", "loguniform": "logintegers"}
"""Where a key wants whole numbers, what to take instead."""
MAX_MESSAGES = 3
_DOMAIN: TypeAdapter[Any] = TypeAdapter(Domain)
DEFAULT_STARTUP = BayesSearch.model_fields["startup"].default
DEFAULT_SAMPLES = SweepSettings.model_fields["num_samples"].default


def tune_faults(stages: Mapping[str, Any]) -> Found:
    """Yield (key path, message) for every fault in the tune stages; what the types refuse is left to them."""
    for name, stage in stages.items():
        if not isinstance(stage, Mapping) or stage.get("kind") != "tune":
            continue
        base = stage.get("base")
        if not isinstance(base, Mapping) or base.get("task") not in TASKS or not _is_valid(base):
            continue
        path = ("stages", name)
        yield from _metric_faults(path, stage, base)
        yield from _scheduler_faults(path, stage, base)
        yield from _space_faults(path, stage, base)


def _space_faults(path: KeyPath, stage: Mapping[str, Any], base: Mapping[str, Any]) -> Found:
    search = _mapping(stage.get("search"))
    if search.get("name") == "manual":
        yield from _manual_faults((*path, "search"), search, base)
        return
    space = _domains(stage.get("space"))
    if not space:
        return
    faults = [*_domain_faults((*path, "space"), space), *_key_faults((*path, "space"), space, search)]
    yield from faults
    if faults:
        return
    if not freedom(space):
        yield (*path, "space"), "every key has one value only; all trials would be the same"
    yield from _search_faults((*path, "space"), space, search, stage)
    told = set()
    for key, values in corners(space):
        for place, message in value_faults((*path, "space", key), values, base, key):
            kind = domain_kind(space[key])
            is_fraction = kind in FRACTIONS and "a whole number" in message
            full = f"{message}; take `{FRACTIONS[kind]}`" if is_fraction else message
            if (place, full) not in told:
                told.add((place, full))
                yield place, full


def _manual_faults(path: KeyPath, search: Mapping[str, Any], base: Mapping[str, Any]) -> Found:
    trials = search.get("trials", ())
    if not isinstance(trials, list | tuple):
        return
    if not trials and search.get("wait") is not True:
        yield path, "there are no `trials`, and without `wait: true` nobody can add one; nothing would be tried"
    for index, values in enumerate(trials):
        if not isinstance(values, Mapping):
            continue
        place = (*path, "trials", index)
        if values in trials[:index]:
            yield place, f"this is trial {trials.index(values) + 1} again"
            continue
        fixed = [(place, message) for message in map(fixed_fault, values) if message]
        yield from fixed or value_faults(place, dict(values), base)


def fixed_fault(key: str) -> str | None:
    """Say why trials cannot differ in a key; None if they can."""
    return f"{key!r} says what is trained or where; no trial is better by it" if key.split(".")[0] in FIXED else None


def _domains(space: Any) -> dict[str, DomainBase]:
    domains = {}
    for key, value in space.items() if isinstance(space, Mapping) else ():
        try:
            domains[str(key)] = _DOMAIN.validate_python(value)
        except ValidationError:
            return {}
    return domains


def _domain_faults(path: KeyPath, space: Space) -> Found:
    for key, domain in space.items():
        fault = domain_faults(domain)
        if fault:
            yield (*path, key, domain_kind(domain)), fault
        for other, wanted in domain.when.items():
            place = (*path, key, "when", other)
            if other not in space:
                hint = nearest(other, list(space)) or f"; searched keys: {', '.join(space)}"
                yield place, f"{other!r} is not searched{hint}"
                continue
            if domain_kind(space[other]) != "choice":
                yield place, f"{other!r} is no `choice`; `when` goes by choices"
                continue
            for value in wanted if isinstance(wanted, list | tuple) else [wanted]:
                if value not in extremes(space[other]):
                    yield place, f"{value!r} is none of the choices of {other!r}: {extremes(space[other])}"
    try:
        in_order({key: domain for key, domain in space.items() if all(name in space for name in domain.when)})
    except ValueError as error:
        yield path, str(error)


def _key_faults(path: KeyPath, space: Space, search: Mapping[str, Any]) -> Found:
    keys = list(space)
    for index, key in enumerate(keys):
        if fault := fixed_fault(key):
            yield (*path, key), fault
        other = next((other for other in keys[:index] if overlap(key, other)), None)
        if other is not None:
            yield (*path, key), f"{key!r} and {other!r} are about the same key; search one of them"
        is_changeable = key.startswith(CHANGEABLE) and not key.endswith((".name", ".preset"))
        if search.get("name") in POPULATIONS and not is_changeable:
            yield (
                (*path, key),
                f"a trial of `search: {search['name']}` keeps its weights when {key!r} changes, which it cannot; "
                f"search keys below {listed(sorted({part.split('.')[0] for part in CHANGEABLE}), 'and')} such as "
                "'loop.optimizer.lr'",
            )


def _search_faults(path: KeyPath, space: Space, search: Mapping[str, Any], stage: Mapping[str, Any]) -> Found:
    name, conditional = search.get("name"), [key for key, domain in space.items() if domain.when]
    if name == "bayes" and search.get("sampler") == "gp" and conditional:
        yield (
            (*path, conditional[0], "when"),
            "`sampler: gp` has no conditional keys: each must count in every trial; take `sampler: tpe`",
        )
    if name in POPULATIONS and conditional:
        yield (
            (*path, conditional[0], "when"),
            f"`search: {name}` has no conditional keys: a trial that takes over another one's values must have a place "
            "for each",
        )
    if name == "pb2" and all(domain_kind(domain) == "choice" for domain in space.values()):
        yield path, "`search: pb2` learns which numbers are good, and every key here is a `choice`; take `search: pbt`"
    if name == "grid":
        for key, domain in space.items():
            try:
                listed_values(domain)
            except ValueError as error:
                yield (*path, key), str(error)
    startup, num_samples = search.get("startup", DEFAULT_STARTUP), stage.get("num_samples", DEFAULT_SAMPLES)
    if name == "bayes" and isinstance(startup, int) and isinstance(num_samples, int) and startup >= num_samples:
        yield (
            (*path[:-1], "search", *(["startup"] if "startup" in search else [])),
            f"the first {startup} trials are drawn at random before anything is learned, and there are {num_samples} "
            "in all; lower `startup`, or raise `num_samples`",
        )
    if name == "bisect":
        if len(space) != 1:
            yield path, f"`search: bisect` narrows one key down, and here are {len(space)}: {', '.join(space)}"
        for key, domain in space.items():
            if domain_kind(domain) == "choice":
                yield (*path, key), "`search: bisect` needs a range of numbers, and this is a `choice`"


def value_faults(path: KeyPath, values: dict[str, Any], base: Mapping[str, Any], key: str | None = None) -> Found:
    """Yield why a trial with these values would not be a train stage; `key` is the one that is being tried."""
    from orchestrator.pipeline.messages import explain  # knows the types of a whole file, this one included
    from orchestrator.pipeline.settings import Pipeline

    try:
        trial = with_values(base, values)
    except KeyError as error:
        yield path, f"there is no place for {error.args[0]!r}: a part of it is a single value in the base"
        return
    try:
        train_stage_class(base["task"]).model_validate(trial)
    except ValidationError:
        data = {"name": "trial", "data": {}, "stages": {"trial": trial}}
        try:
            Pipeline.model_validate(data)
        except ValidationError as error:
            for place, message in explain(error, data)[:MAX_MESSAGES]:
                inner = ".".join(str(part) for part in place[2:])
                about = "" if key is not None and inner == key else f"{inner}: "
                if message.startswith("unknown key"):
                    yield path, f"{about}{_with_nearest_key(message, inner, list(values), base)}"
                    continue
                tried = "" if key is None else f"with {values[key]!r} here, "
                yield path, f"{tried}{about}{message}"


def _with_nearest_key(message: str, inner: str, keys: list[str], base: Mapping[str, Any]) -> str:
    """Name the dotted key of the base that is nearest to an unknown one, where nothing nearer is known."""
    key = next((key for key in keys if overlap(key, inner)), inner)
    known = flat_keys(train_stage_class(base["task"]).model_validate(base).model_dump(mode="json"))
    if inner in known:
        return f"{message}; give it a `when`, so that it counts only where it fits"
    if "did you mean" in message:
        return message
    same_end = [other for other in known if other.split(".")[-1] == key.split(".")[-1]]
    shorter = [other for other in same_end if {*other.split(".")} <= {*key.split(".")}]
    likely = shorter or (same_end if len(same_end) == 1 else [])
    hint = f"; did you mean {likely[0]!r}?" if likely else nearest(key, same_end) or nearest(key, known)
    return f"{message.partition('; ')[0]}{hint}" if hint else message


def _metric_faults(path: KeyPath, stage: Mapping[str, Any], base: Mapping[str, Any]) -> Found:
    entry = TASKS[base["task"]]
    if "val_split" in base and base["val_split"] is None:
        yield (*path, "base", "val_split"), "this is null, and a search goes by a validation metric"
    metric = stage.get("metric")
    for index, name in enumerate(metric if isinstance(metric, list) else [metric]):
        if not isinstance(name, str) or (index and name in COSTS):
            continue
        if name not in entry.metrics and not name.startswith(entry.metric_families) and name not in COSTS:
            known = [*entry.metrics, *(COSTS if index else ())]
            hint = nearest(name, known) or f"; metrics: {', '.join(known)}"
            place = (*path, "metric", index) if isinstance(metric, list) else (*path, "metric")
            yield place, f"{base['task']} has no metric {name!r}{hint}"


def _scheduler_faults(path: KeyPath, stage: Mapping[str, Any], base: Mapping[str, Any]) -> Found:
    scheduler, loop = _mapping(stage.get("scheduler")), train_stage_class(base["task"]).model_validate(base).loop
    space = stage.get("space")
    search = _mapping(stage.get("search"))
    is_early = scheduler.get("name") not in (None, "none") or search.get("name") in POPULATIONS
    if not is_early:
        return
    evaluations = -(-loop.epochs // loop.eval_every)
    if evaluations < 2:
        yield (
            (*path, "base", "loop", "epochs"),
            f"trials are evaluated {evaluations} time, at their end, so none can be stopped or exchanged before it; "
            "give more epochs, or evaluate more often",
        )
    every = search.get("every_epochs", 1)
    if isinstance(every, int) and every >= loop.epochs > 1:
        yield (
            (*path, "search", "every_epochs"),
            f"there is no exchange before epoch {every}, and all trials end after epoch {loop.epochs}",
        )
    grace = scheduler.get("grace_epochs", 1)
    if isinstance(grace, int) and grace >= loop.epochs > 1:
        yield (
            (*path, "scheduler", "grace_epochs"),
            f"no trial is stopped before epoch {grace}, and all end after epoch {loop.epochs}",
        )
    if isinstance(space, Mapping) and "loop.epochs" in space:
        yield (*path, "space", "loop.epochs"), "trials of unequal length cannot be compared while they run"


def _is_valid(base: Mapping[str, Any]) -> bool:
    try:
        train_stage_class(base["task"]).model_validate(base)
    except ValidationError:
        return False
    return True


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
