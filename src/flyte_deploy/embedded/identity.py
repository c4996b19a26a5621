"""Who calls: nobody is asked here unless a login is set, and the services that tell clients so."""

# ruff: noqa: ARG002 - the methods of a service have the arguments that the generated code gives

from __future__ import annotations

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.auth import auth_service_connect, identity_connect
from flyteidl2.auth.auth_service_pb2 import (
    GetOAuth2MetadataRequest,
    GetOAuth2MetadataResponse,
    GetPublicClientConfigRequest,
    GetPublicClientConfigResponse,
)
from flyteidl2.auth.identity_pb2 import UserInfoRequest, UserInfoResponse

from flyte_deploy.embedded.common import Context
from flyte_deploy.embedded.doors import LoginSide


class AuthMetadataService(auth_service_connect.AuthMetadataService):
    """The API's service: it tells of the authorization server, if there is one."""

    def __init__(self, login: LoginSide | None = None) -> None:
        self._login = login

    async def get_o_auth2_metadata(
        self,
        request: GetOAuth2MetadataRequest,
        ctx: Context,
    ) -> GetOAuth2MetadataResponse:
        if self._login is None or not self._login.token_endpoint:
            raise ConnectError(Code.UNIMPLEMENTED, "there is no authorization server")
        return GetOAuth2MetadataResponse(token_endpoint=self._login.token_endpoint)

    async def get_public_client_config(
        self,
        request: GetPublicClientConfigRequest,
        ctx: Context,
    ) -> GetPublicClientConfigResponse:
        if self._login is None:
            return GetPublicClientConfigResponse(authorization_metadata_key="authorization")
        return GetPublicClientConfigResponse(
            authorization_metadata_key=self._login.header,
            audience=self._login.audience,
            scopes=self._login.scopes,
        )


class IdentityService(identity_connect.IdentityService):
    """The API's service: nobody has logged in."""

    async def user_info(
        self,
        request: UserInfoRequest,
        ctx: Context,
    ) -> UserInfoResponse:
        raise ConnectError(Code.UNAUTHENTICATED, "no authenticated identity on request")
