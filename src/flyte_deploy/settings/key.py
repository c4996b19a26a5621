"""What an API key says of the settings: the endpoint and the organisation that it is for."""

from __future__ import annotations

from typing import cast

from flyte_deploy.api_key import ApiKey
from flyte_deploy.errors import DeployError
from flyte_deploy.settings.options import BY_PARAMETER
from flyte_deploy.settings.trust import from_file
from flyte_deploy.settings.values import EMBEDDED


def apply_key(key: ApiKey, values: dict[str, object], origins: dict[str, str]) -> None:
    """Take endpoint and organisation from an API key, by the rules of the SDK's command line.

    Its endpoint comes before that of a file, which is another's then, with what it says of TLS.

    Raises:
        DeployError: where another endpoint is given by a flag or the environment.
    """
    endpoint, origin = cast("str", values["endpoint"]), origins["endpoint"]
    if origin != "default" and not from_file(origin):
        insecure = endpoint.startswith("http://") or (
            values["insecure"] and not endpoint.startswith("https://")
        )
        if not endpoint or endpoint == EMBEDDED or insecure:
            return  # Nobody is logged in to there.
        if _host_of(endpoint) != key.host:
            raise DeployError(
                f"the API key is one for {key.host}, not for the endpoint that is given, {endpoint}",
                where=origins["api_key"],
                details=(f"the endpoint: {origin}",),
                mend="Give the key of this endpoint, or leave the endpoint out to use the key's.",
                usage=True,
            )
    else:
        values["endpoint"], origins["endpoint"] = key.host, f"the API key ({origins['api_key']})"
        for name in ("insecure", "insecure_skip_verify"):
            if from_file(origins[name]):
                values[name], origins[name] = False, "default"
    said = origins["org"] in ("flag --org", f"environment {BY_PARAMETER['org'].variable}")
    if key.org and not said:
        values["org"], origins["org"] = key.org, f"the API key ({origins['api_key']})"


def _host_of(endpoint: str) -> str:
    rest = endpoint.split("://", 1)[-1].strip("/").split("/", 1)[0]
    return rest.rpartition("@")[2].partition(":")[0].lower() if "[" not in rest else rest.lower()
