"""Who calls: nobody is asked here, and the services that tell clients so."""

# ruff: noqa: ARG002 - the methods of a service have the arguments that the generated code gives

from __future__ import annotations

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.auth import auth_service_connect, identity_connect
from flyteidl2.auth.auth_service_pb2 import (
    GetPublicClientConfigRequest,
    GetPublicClientConfigResponse,
)
from flyteidl2.auth.identity_pb2 import UserInfoRequest, UserInfoResponse

from flyte_deploy.embedded.common import Context


class AuthMetadataService(auth_service_connect.AuthMetadataService):
    """The API's service: there is no authorization server to tell of."""

    async def get_public_client_config(
        self,
        request: GetPublicClientConfigRequest,
        ctx: Context,
    ) -> GetPublicClientConfigResponse:
        return GetPublicClientConfigResponse(authorization_metadata_key="authorization")


class IdentityService(identity_connect.IdentityService):
    """The API's service: nobody has logged in."""

    async def user_info(
        self,
        request: UserInfoRequest,
        ctx: Context,
    ) -> UserInfoResponse:
        raise ConnectError(Code.UNAUTHENTICATED, "no authenticated identity on request")
