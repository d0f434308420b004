"""The catalogue: profiles of models.toml and aliases, joined with whatever the fleet has; names become models."""

import difflib
from fnmatch import fnmatchcase

import msgspec

from cortex.config import ModelProfile, ModelsConfig
from cortex.errors import ModelNotFound
from cortex.fleet.state import Fleet

__all__ = ["Catalogue", "Model", "catalogue_of", "known_models", "nearest", "resolve"]

_NEAR = 3
_NEAR_CUTOFF = 0.5


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """Profiles by id and aliases by name, in the order of the file."""

    profiles: dict[str, ModelProfile] = {}
    aliases: dict[str, str] = {}


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a request asks for. `listed` is false for one that only a host knows: it is served where it is,
    and never placed by us, since nothing says how."""

    profile: ModelProfile
    listed: bool

    @property
    def id(self) -> str:
        """The id that hosts know it by."""
        return self.profile.id


def catalogue_of(config: ModelsConfig) -> Catalogue:
    """The catalogue of a configuration."""
    return Catalogue(profiles={profile.id: profile for profile in config.models}, aliases=dict(config.aliases))


def resolve(catalogue: Catalogue, fleet: Fleet, name: str) -> Model:
    """The model of a name: 1. an alias, one step; 2. a profile; 3. a model that a host knows; 4. an alias with `*`,
    the first that matches; 5. else ModelNotFound with near names."""
    for target in (catalogue.aliases.get(name, name), _by_pattern(catalogue, name)):
        if target is None:
            continue
        if (profile := catalogue.profiles.get(target)) is not None:
            return Model(profile=profile, listed=True)
        if target in fleet.located:
            return Model(profile=ModelProfile(id=target), listed=False)
    near = nearest(catalogue, fleet, name)
    advice = f"did you mean {' or '.join(near)}?" if near else "GET /v1/models lists what there is."
    raise ModelNotFound(f"The model {name[:200]!r} does not exist; {advice}", param="model", extras={"nearest": near})


def known_models(catalogue: Catalogue, fleet: Fleet) -> dict[str, Model]:
    """Every model once, in a stable order: the catalogue's, then the hosts' own by name, then aliases."""
    found = {id_: Model(profile=profile, listed=True) for id_, profile in catalogue.profiles.items()}
    for name in sorted(fleet.models()):
        if name not in found:
            found[name] = Model(profile=ModelProfile(id=name), listed=False)
    for alias, target in catalogue.aliases.items():
        if "*" not in alias and target in found:
            found.setdefault(alias, found[target])
    return found


def nearest(catalogue: Catalogue, fleet: Fleet, name: str) -> list[str]:
    """Up to three known names that look like `name`: without regard to case, the part behind the last slash alone
    too, and those that begin like it."""
    shown: dict[str, str] = {}
    for known in known_models(catalogue, fleet):
        shown.setdefault(known.lower(), known)
        shown.setdefault(known.lower().rpartition("/")[2], known)
    wanted = name[:200].lower()
    close = difflib.get_close_matches(wanted, shown, n=2 * _NEAR, cutoff=_NEAR_CUTOFF)
    begin = [known for known in shown if wanted and (known.startswith(wanted) or wanted.startswith(known))]
    return list(dict.fromkeys(shown[found] for found in (*close, *begin)))[:_NEAR]


def _by_pattern(catalogue: Catalogue, name: str) -> str | None:
    patterns = (alias for alias in catalogue.aliases if "*" in alias)
    return next((catalogue.aliases[alias] for alias in patterns if fnmatchcase(name, alias)), None)
