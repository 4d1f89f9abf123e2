"""Every error a user may see. Each message says what was given, what was expected and where to mend it.

OrchestratorError
├── UserError                 exit 2: the user can mend it
│   ├── ConfigError           a pipeline file or a setting
│   ├── DataError             images, annotations, data sets
│   ├── WeightsError          weights, checkpoints or bundles that do not fit
│   └── RegistryError         a model name, version or alias
├── GateRefused               exit 3: a gate said no
├── RunFailed                 exit 4: training or evaluation went wrong
│   └── NonFiniteLossError    a loss became NaN or infinite
├── InfrastructureError       exit 5: worth a retry (cluster, tracking server, storage)
└── Interrupted               exit 130: Ctrl-C or SIGTERM
"""


class OrchestratorError(Exception):
    """Base of all errors of our own kind; shown to the user as one paragraph, without a traceback."""

    exit_code = 4


class UserError(OrchestratorError):
    """A mistake that the user can mend."""

    exit_code = 2


class ConfigError(UserError):
    """A pipeline file or a setting is wrong."""


class DataError(UserError):
    """An image, an annotation or a whole data set is wrong."""


class WeightsError(UserError):
    """Weights, a checkpoint or a bundle cannot be read or do not fit."""


class RegistryError(UserError):
    """A model name, version or alias does not exist in the registry."""


class GateRefused(OrchestratorError):
    """A gate of a `register` stage refused the model."""

    exit_code = 3


class RunFailed(OrchestratorError):
    """A stage could not be finished."""

    exit_code = 4


class NonFiniteLossError(RunFailed):
    """A loss became NaN or infinite; the message names the sample ids of the batch."""


class InfrastructureError(OrchestratorError):
    """The cluster, the tracking server or the storage failed; worth a retry."""

    exit_code = 5


class Interrupted(OrchestratorError):
    """The run was stopped by the user or by SIGTERM; it can be resumed."""

    exit_code = 130
