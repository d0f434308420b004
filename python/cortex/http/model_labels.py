"""ModelLabels: the values of Prometheus' model label, bounded: anybody may ask for any name."""

__all__ = ["MODELS_LIMIT", "UNKNOWN_MODEL", "ModelLabels"]

UNKNOWN_MODEL = "unknown"
MODELS_LIMIT = 500
_OTHER = "other"


class ModelLabels:
    """The first names keep their own label, all further ones share one."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def __call__(self, model: str) -> str:
        """The label of a model."""
        if model in self._names or model == UNKNOWN_MODEL:
            return model
        if len(self._names) >= MODELS_LIMIT:
            return _OTHER
        self._names.add(model)
        return model
